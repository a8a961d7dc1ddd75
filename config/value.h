/* value.h: from the text of one value to a number, a size, an address: strict, whole text, no surprises.
 *
 * Pure. Each parser returns NULL on success, else constant text that goes on after the quoted value: "is what
 * is wrong; what would be right". Ranges are the caller's. Beside them the way back, for messages and the
 * manual. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/config.h"
#include "core/slice.h"

const char *value_parse_count(slice_t s, int64_t *out);
/* 250ms 5s 1m 12h 7d; 0. Milliseconds. */
const char *value_parse_duration(slice_t s, dur_ms_t *out);
/* 512K 64M 2G 1T, or plain bytes. */
const char *value_parse_size(slice_t s, int64_t *out);
/* "240/s" "64K/s" "600/m"; 0 = off. Bytes per second, rounded up. */
const char *value_parse_byte_rate(slice_t s, int64_t *out);
const char *value_parse_bool(slice_t s, bool *out);
/* "20%" */
const char *value_parse_percent(slice_t s, int64_t *out);
/* "0660" */
const char *value_parse_mode(slice_t s, mode_t *out);
const char *value_parse_cidr(slice_t s, struct net_cidr *out);
/* Where to listen: numeric addresses only. */
const char *value_parse_listen_address(slice_t s, struct net_addr *out);
/* host:port or unix:/path of an instance; `host` is the part for a Host field. */
const char *value_parse_server_address(slice_t s, slice_t *host);
/* A host without port: name, IPv4 or [v6]. */
const char *value_parse_host(slice_t s);
/* The same, or "*." and a name. */
const char *value_parse_host_pattern(slice_t s);
const char *value_parse_path_pattern(slice_t s, struct config_path *out);
/* A field name (RFC 9110 section 5.1). */
const char *value_parse_field_name(slice_t s);
/* "200" or "200-399" */
const char *value_parse_status_range(slice_t s, struct config_status_range *out);
/* "10% up to 1d" or "off" */
/* `off` 0, `p95` CONFIG_HEDGE_P95. */
const char *value_parse_hedge(slice_t s, dur_ms_t *out);
const char *value_parse_heuristic(slice_t s, int *percent, dur_ms_t *max);
/* Variables of a template ($name) must be among the blank-separated `allowed`. NULL, or sets `unknown`. */
const char *value_check_variables(slice_t s, const char *allowed, slice_t *unknown);

bool value_is_token(slice_t s);
/* Letters, digits, - _ and . : names of sections and servers. */
bool value_is_name(slice_t s);
/* Takes the next blank-separated word off *s; empty at the end. */
slice_t value_next_word(slice_t *s);

#define VALUE_TEXT 32
/* "250ms", "1d": the largest unit that is exact. Returns `buf`. */
const char *value_format_duration(dur_ms_t ms, char buf[VALUE_TEXT]);
const char *value_format_size(int64_t bytes, char buf[VALUE_TEXT]);

#endif
