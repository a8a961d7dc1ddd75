/* h1_portable.h: a second copy of the head parser, built without SSE2, to hold against the first.
 * Include it before cmocka.h, in one file of a program. Its functions are portable_parse_*. */
#ifndef TESTS_SUPPORT_H1_PORTABLE_H
#define TESTS_SUPPORT_H1_PORTABLE_H

#include "core/h1_parse.h"

#define H1_SCAN_PORTABLE  1
#define h1_parse_request  portable_parse_request
#define h1_parse_response portable_parse_response
#define h1_parse_fields   portable_parse_fields
#define h1_error_status   portable_error_status
#define h1_error_text     portable_error_text
#define h1_error_name     portable_error_name

enum h1_status h1_parse_request(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                const struct h1_limits *limits);
enum h1_status h1_parse_response(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                 const struct h1_limits *limits);
enum h1_status h1_parse_fields(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                               const struct h1_limits *limits);
unsigned h1_error_status(enum h1_error e);
const char *h1_error_text(enum h1_error e);
const char *h1_error_name(enum h1_error e);

#include "core/h1_parse.c"

#undef h1_parse_request
#undef h1_parse_response
#undef h1_parse_fields
#undef h1_error_status
#undef h1_error_text
#undef h1_error_name

#endif
