/* client_purge.h: what `millpond purge` sends and prints. Pure but for the stream. */
#ifndef ADMIN_CLIENT_PURGE_H
#define ADMIN_CLIENT_PURGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Adds a text to the list `member` of the body for POST /api/purge. false when it is not UTF-8. */
bool client_purge_add(json_t *wish, const char *member, const char *text);

/* The answer for people. */
void client_purge_print(const json_t *answer, FILE *out);

#endif
