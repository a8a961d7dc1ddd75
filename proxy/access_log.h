/* access_log.h: one line per request, as JSON, in the combined format or by a template. Pure: record in,
 * bytes out.
 *
 * The names below are stable; operators' queries and dashboards rest on them. docs/logging.md is made from
 * this table. A field that does not apply to a request is left out of JSON and is "-" elsewhere. */
#ifndef PROXY_ACCESS_LOG_H
#define PROXY_ACCESS_LOG_H

#include <stdio.h>

#include "core/clock.h"
#include "core/outcome.h"
#include "core/slice.h"

/* What was known about a request at its end. Borrowed slices; the caller fills it on its stack. Texts may be
 * empty and hold any byte. Durations in microseconds, -1 = did not happen. */
struct access_record {
    wall_ms_t wall_ms; /* when the request head was read */
    slice_t client, scheme, tls, tls_cipher, tls_client, method, host, target, version;
    unsigned status; /* 0 = no answer was sent */
    uint64_t request_bytes, response_bytes;
    int64_t duration_us, wait_us, connect_us, first_byte_us, upstream_us;
    int cache;    /* enum cache_verdict */
    int no_store; /* enum no_store_reason; -1 = does not apply */
    int64_t age_s;
    slice_t route, pool, instance, hedge;
    uint64_t tries, retries;
    int fetch_error; /* enum fetch_error */
    int close;       /* enum close_reason; CLOSE_OPEN = the connection stays */
    slice_t request_id, referer, user_agent;
};

/* X(name, kind, member of the record, type for people, what it is), in the order of the JSON line. */
#define ACCESS_FIELDS(X)                                                                                     \
    X("time", ISO, wall_ms, "text", "when the request head was read, UTC, RFC 3339 with milliseconds")       \
    X("client", TEXT, client, "text", "address of the client, without port")                                 \
    X("scheme", TEXT, scheme, "text", "http or https")                                                       \
    X("tls", TEXT, tls, "text", "version of TLS, as TLSv1.3")                                                \
    X("tls_cipher", TEXT, tls_cipher, "text", "cipher suite of TLS")                                         \
    X("tls_client", TEXT, tls_client, "text", "subject of the certificate that the client showed")           \
    X("method", TEXT, method, "text", "request method")                                                      \
    X("host", TEXT, host, "text", "host the request was for")                                                \
    X("target", TEXT, target, "text", "request target as sent: path and query")                              \
    X("version", TEXT, version, "text", "protocol of the client, as HTTP/1.1")                               \
    X("status", UINT, status, "number", "status sent to the client; 0 = none was")                           \
    X("request_bytes", U64, request_bytes, "number", "bytes received for this request, head included")       \
    X("response_bytes", U64, response_bytes, "number", "bytes sent for this request, head included")         \
    X("duration_us", OPT, duration_us, "microseconds",                                                       \
      "from the request head read to the last byte handed to the kernel")                                    \
    X("wait_us", OPT, wait_us, "microseconds", "waiting for another request's fetch or for a free instance") \
    X("connect_us", OPT, connect_us, "microseconds",                                                         \
      "connecting to the instance; absent on a reused connection")                                           \
    X("first_byte_us", OPT, first_byte_us, "microseconds",                                                   \
      "from sending the request to the instance's first byte")                                               \
    X("upstream_us", OPT, upstream_us, "microseconds", "from picking the instance to its last byte")         \
    X("cache", VERDICT, cache, "text", "what the cache had to do with it")                                   \
    X("no_store", NO_STORE, no_store, "text", "why the response was not stored, or `stored`")                \
    X("age_s", OPT, age_s, "seconds", "age of the stored response")                                          \
    X("route", TEXT, route, "text", "route that matched")                                                    \
    X("pool", TEXT, pool, "text", "pool that was asked")                                                     \
    X("instance", TEXT, instance, "text", "instance that answered last")                                     \
    X("tries", U64, tries, "number", "times an instance was asked")                                          \
    X("retries", U64, retries, "number", "tries beyond the first")                                           \
    X("hedge", TEXT, hedge, "text",                                                                          \
      "a second instance was asked beside the first: `won` if its response was sent, else `lost`")           \
    X("fetch_error", FETCH, fetch_error, "text", "what went wrong with the fetch")                           \
    X("close", CLOSE, close, "text", "why the client's connection ended; absent when it stays open")         \
    X("request_id", TEXT, request_id, "text", "X-Request-Id")                                                \
    X("referer", TEXT, referer, "text", "Referer of the request")                                            \
    X("user_agent", TEXT, user_agent, "text", "User-Agent of the request")                                   \
    X("time_clf", CLF, wall_ms, "text", "the time as in the combined format (templates only)")

/* Room a caller should give for a line. Anything that does not fit is cut within the longest texts ("...").
 */
#define ACCESS_LINE_MAX 4096

struct access_format; /* immutable, shared by threads; lives until access_format_free */

/* `json`, `combined`, or a template with %{field} and %% (JSON escaping when it stands in braces). NULL and a
 * message in `err` for a bad template or when out of memory. */
struct access_format *access_format_compile(const char *spec, char *err, size_t err_bytes);
void access_format_free(struct access_format *f);

/* The line, newline included; its length, at most `cap`. 0 when `cap` has no room even for a line of cut
 * texts (never with ACCESS_LINE_MAX and the formats json and combined). Any thread. */
size_t access_format_write(const struct access_format *f, const struct access_record *r, char *buf,
                           size_t cap);

/* A sentence about a request, for the error log, NUL-terminated, without newline; its length. */
size_t access_slow_line(const struct access_record *r, char *buf, size_t cap);

/* The table of fields for docs/logging.md. */
void access_log_print_markdown(FILE *out);

#endif
