/* outcome.h: how things end, as values from tables (house rule 9).
 *
 * Each table is an X-macro: the enum, the name in logs and metrics, and the sentence in docs and
 * `explain` come from one place. Names are lower case with underscores and stay stable: operators
 * grep for them. */
#ifndef CORE_OUTCOME_H
#define CORE_OUTCOME_H

#include "core/base.h"

/* What the cache had to do with a request: X(id, name, what it means). */
#define OUTCOME_CACHE_VERDICTS(X)                                                                            \
    X(NONE, "none", "the request never reached the cache (refused or answered by a route)")                  \
    X(HIT, "hit", "answered from a fresh stored response")                                                   \
    X(REDIS, "redis", "answered from a fresh response that was found in Redis")                              \
    X(REVALIDATED, "revalidated", "the stored response was confirmed by the instance and used")              \
    X(STALE, "stale", "answered from a stored response past its freshness")                                  \
    X(COLLAPSED, "collapsed", "shared the response another request was fetching")                            \
    X(MISS, "miss", "nothing usable was stored; fetched from an instance")                                   \
    X(REFRESHED, "refreshed",                                                                                \
      "the client's Cache-Control refused what was stored; fetched from an instance")                        \
    X(EXPIRED, "expired", "the stored response was out of date and the instance sent a new one")             \
    X(PARTIAL, "partial", "part of it was stored, but not all that was wanted; fetched from an instance")    \
    X(PASS, "pass", "not a candidate for the cache; forwarded")                                              \
    X(LIMITED, "limited", "answered 429 by the route's rate_limit, before the cache was asked")              \
    X(UNAUTHORIZED, "unauthorized", "answered 401 by the route's basic_auth, before the cache was asked")

enum cache_verdict {
#define X(id, name, text) VERDICT_##id,
    OUTCOME_CACHE_VERDICTS(X)
#undef X
        VERDICT_COUNT
};

/* Why a response was not stored, or a request not looked up. */
#define OUTCOME_NO_STORE(X)                                                                                  \
    X(STORED, "stored", "it was stored")                                                                     \
    X(CACHE_OFF, "cache_off", "the store is off, or the route says cache = off")                             \
    X(BYPASS_RULE, "bypass_rule", "the route's bypass_if matched")                                           \
    X(METHOD, "method", "only GET and HEAD are looked up and only GET is stored")                            \
    X(AUTHORIZATION, "authorization",                                                                        \
      "the request had Authorization and the response did not allow sharing")                                \
    X(CERTIFICATE, "client_certificate",                                                                     \
      "the client showed a certificate and the response did not allow sharing")                              \
    X(REQUEST_BODY, "request_body", "the request had a body")                                                \
    X(UPGRADE, "upgrade", "the request asked to switch protocols")                                           \
    X(EVENT_STREAM, "event_stream", "a stream of events (text/event-stream) has no end to wait for")         \
    X(STATUS, "status", "responses with this status are not stored")                                         \
    X(NO_STORE, "no_store", "Cache-Control: no-store")                                                       \
    X(PRIVATE, "private", "Cache-Control: private")                                                          \
    X(SET_COOKIE, "set_cookie", "the response set a cookie")                                                 \
    X(COOKIE, "cookie", "the request had a cookie, and the response is fresh only by the route's ttl")       \
    X(DECEPTION, "deception", "the path looks like a file and the response is something else")               \
    X(VARY_STAR, "vary_star", "Vary: *, or a field written for each client")                                 \
    X(TAGS_TOO_LARGE, "tags_too_large", "more than 1024 tags, or more than 16 KB of them")                   \
    X(VARY_TOO_LARGE, "vary_too_large", "the Vary list or the values it selects are too large")              \
    X(KEY_TOO_LARGE, "key_too_large", "the fields and cookies that the route adds to the key are too long")  \
    X(NO_FRESHNESS, "no_freshness",                                                                          \
      "no freshness information, no default_ttl, and nothing to estimate it by")                             \
    X(ALREADY_EXPIRED, "already_expired", "out of date on arrival and without a validator")                  \
    X(AGE_INVALID, "age_invalid", "its Age is not one number, so how old it is cannot be told")              \
    X(TTL_ZERO, "ttl_zero", "the route gives this status a ttl of 0")                                        \
    X(TOO_LARGE, "too_large", "larger than max_object_size")                                                 \
    X(NO_MEMORY, "no_memory", "no room could be made in memory_size")                                        \
    X(INCOMPLETE, "incomplete", "the response was cut short")                                                \
    X(FETCH_FAILED, "fetch_failed", "no response came from an instance")                                     \
    X(ABANDONED, "abandoned", "the client left before the response was complete, and nobody else waited")    \
    X(PURGED, "purged", "purged while it was being fetched")                                                 \
    X(PARTIAL, "partial", "a partial response (206)")                                                        \
    X(PASS_REMEMBERED, "pass_remembered",                                                                    \
      "an earlier response for this key could not be stored; not queued")                                    \
    X(WAIT_LIMIT, "wait_limit", "too many requests already waited for this key, or the wait took too long")  \
    X(REQUEST_NO_STORE, "request_no_store", "the client asked for it with Cache-Control: no-store")          \
    X(REQUEST_RELOAD, "request_reload", "the client wanted a newer one than a fetch under way would bring")  \
    X(ONLY_IF_CACHED, "only_if_cached", "the client wanted a stored response or none; answered 504")         \
    X(NOT_FRESH, "not_fresh",                                                                                \
      "it waited for another request's fetch, whose response must be asked about for each client")           \
    X(SUPERSEDED, "superseded", "another request fetched the same variant at the same time")                 \
    X(OTHER_QUERIES, "other_queries",                                                                        \
      "its No-Vary-Search is news: it stands for other queries than it was asked for")                       \
    X(RATE_LIMITED, "rate_limited", "the client was over the route's rate_limit; answered 429")              \
    X(UNAUTHORIZED, "unauthorized", "no user and password of the route's basic_auth; answered 401")          \
    X(RANGES, "ranges", "several ranges at once were asked for, on a route with slice")                      \
    X(NOT_SLICEABLE, "not_sliceable",                                                                        \
      "on a route with slice, an answer to a range that could not be kept as a slice")

enum no_store_reason {
#define X(id, name, text) NO_STORE_##id,
    OUTCOME_NO_STORE(X)
#undef X
        NO_STORE_COUNT,
    /* What is said of a request: one of these, or, beyond them, the reason for which its key is remembered
     * (cache/pass.h), named "remembered_" and that reason. */
    NO_STORE_REMEMBERED = NO_STORE_COUNT,
    NO_STORE_SAID_COUNT = 2 * NO_STORE_COUNT
};

/* `why` as the memory has it; NO_STORE_STORED: nobody said. */
static inline enum no_store_reason no_store_remembered(enum no_store_reason why)
{
    return why == NO_STORE_STORED ? NO_STORE_PASS_REMEMBERED
                                  : (enum no_store_reason)(NO_STORE_REMEMBERED + (unsigned)why);
}

/* Why a client connection (or the exchange on it) ended. */
#define OUTCOME_CLOSES(X)                                                                                    \
    X(OPEN, "open", "still open")                                                                            \
    X(CLIENT_CLOSED, "client_closed", "the client closed between requests")                                  \
    X(CLIENT_ABORTED, "client_aborted", "the client left in the middle of a request")                        \
    X(CLIENT_RESET, "client_reset", "the client's connection broke")                                         \
    X(NO_KEEP_ALIVE, "no_keep_alive", "the request or its protocol version asked for it")                    \
    X(RESPONSE_CLOSE, "response_close", "the end of the response is the end of the connection")              \
    X(BAD_REQUEST, "bad_request", "the request could not be parsed; its end is unknown")                     \
    X(BODY_UNREAD, "body_unread", "answered before the request body was read")                               \
    X(HEADER_TIMEOUT, "header_timeout", "the request head took longer than header_timeout")                  \
    X(BODY_TIMEOUT, "body_timeout", "the request body stopped for longer than body_timeout")                 \
    X(IDLE_TIMEOUT, "idle_timeout", "no request within idle_timeout")                                        \
    X(WRITE_TIMEOUT, "write_timeout", "the client took nothing for write_timeout")                           \
    X(MIN_RATE, "min_rate", "slower than min_rate")                                                          \
    X(MAX_REQUESTS, "max_requests", "max_requests_per_connection reached")                                   \
    X(UPSTREAM_CUT, "upstream_cut", "the instance cut the response short; so was the client's copy")         \
    X(LEFT_BEHIND, "left_behind",                                                                            \
      "too slow for a shared fetch that is not stored, and the rest could not be fetched for it alone")      \
    X(TUNNEL_CLIENT, "tunnel_client", "the client ended its tunnel (WebSocket or another Upgrade)")          \
    X(TUNNEL_INSTANCE, "tunnel_instance", "the instance ended the tunnel")                                   \
    X(TUNNEL_TIMEOUT, "tunnel_timeout", "nothing passed through the tunnel for tunnel_timeout")              \
    X(TLS_FAILED, "tls_failed", "the TLS handshake failed, or what came was no TLS")                         \
    X(TLS_TIMEOUT, "tls_timeout", "the TLS handshake took longer than header_timeout")                       \
    X(TLS_CROWDED, "tls_crowded", "too many TLS handshakes were under way, this the longest")                \
    X(PROXY_HEADER, "proxy_header",                                                                          \
      "the PROXY header that proxy_protocol = required asks for was missing or wrong")                       \
    X(PROXY_TIMEOUT, "proxy_timeout", "the PROXY header took longer than header_timeout")                    \
    X(PROXY_UNTRUSTED, "proxy_untrusted",                                                                    \
      "a PROXY header is required, and the peer is not in trusted_proxies")                                  \
    X(MAX_PER_IP, "max_per_ip", "max_connections_per_ip reached by the address in the PROXY header")         \
    X(H2_ERROR, "h2_error", "the client broke the rules of HTTP/2")                                          \
    X(H2_FLOOD, "h2_flood",                                                                                  \
      "the client sent HTTP/2 frames that ask for nothing, or heads that grow too large")                    \
    X(H2_RESETS, "h2_resets", "more than h2_max_resets of its streams ended before their time")              \
    X(SHUTDOWN, "shutdown", "the server is stopping")                                                        \
    X(NO_MEMORY, "no_memory", "out of memory")

enum close_reason {
#define X(id, name, text) CLOSE_##id,
    OUTCOME_CLOSES(X)
#undef X
        CLOSE_COUNT
};

/* What went wrong with a fetch: X(id, name, status the client gets, text). */
#define OUTCOME_FETCH_ERRORS(X)                                                                              \
    X(NONE, "none", 0, "no error")                                                                           \
    X(NO_INSTANCE, "no_instance", 503, "no instance of the pool is usable")                                  \
    X(QUEUE_FULL, "queue_full", 503, "every instance has its max_connections, and the queue is full")        \
    X(QUEUE_TIMEOUT, "queue_timeout", 503,                                                                   \
      "every instance has its max_connections; none was free within queue_timeout")                          \
    X(QUEUE_SHED, "queue_shed", 503,                                                                         \
      "every instance has its max_connections, and has had for long; dropped after queue_target")            \
    X(CONNECT_REFUSED, "connect_refused", 502, "the instance refused the connection")                        \
    X(CONNECT_TIMEOUT, "connect_timeout", 504, "connecting took longer than connect_timeout")                \
    X(CONNECT_FAILED, "connect_failed", 502, "the connection could not be made")                             \
    X(TLS_FAILED, "tls_failed", 502, "the TLS handshake with the instance failed")                           \
    X(RESET, "reset", 502, "the connection broke before the response")                                       \
    X(REFUSED, "refused", 503, "the instance took no more requests for now")                                 \
    X(RESPONSE_TIMEOUT, "response_timeout", 504, "no response byte within response_timeout")                 \
    X(TIMEOUT, "timeout", 504, "the response did not begin within the route's timeout")                      \
    X(BAD_RESPONSE, "bad_response", 502, "the response broke HTTP framing")                                  \
    X(CUT_SHORT, "cut_short", 502, "the response ended before it was complete")                              \
    X(ERROR_STATUS, "error_status", 502, "the instance answered with a server error")                        \
    X(CHANGED, "changed", 502, "the rest of a response was asked for, and the instance has another one now") \
    X(NO_FOLDER, "no_folder", 503,                                                                           \
      "the folder of the route's root cannot be opened, or a file in it for now")                            \
    X(NO_MEMORY, "no_memory", 503, "out of memory or descriptors")                                           \
    X(CANCELLED, "cancelled", 0, "nobody wanted the answer any more")

enum fetch_error {
#define X(id, name, status, text) FETCH_##id,
    OUTCOME_FETCH_ERRORS(X)
#undef X
        FETCH_ERROR_COUNT
};

/* What an event of the invalidation log names (enum cache_purge_kind). */
#define OUTCOME_PURGE_KINDS(X)                                                                               \
    X(NONE, "none", "nothing")                                                                               \
    X(URL, "url", "one URL, all its variants")                                                               \
    X(URL_ANY_QUERY, "url_any_query", "one URL, whatever its query")                                         \
    X(TAG, "tag", "what carries a tag")                                                                      \
    X(PREFIX, "prefix", "URLs by how they begin")                                                            \
    X(GLOB, "glob", "URLs by a pattern")                                                                     \
    X(HOST, "host", "everything of one host")                                                                \
    X(ALL, "all", "everything")

enum purge_kind {
#define X(id, name, text) PURGE_KIND_##id,
    OUTCOME_PURGE_KINDS(X)
#undef X
        PURGE_KIND_COUNT
};

/* Where it came from. */
#define OUTCOME_PURGE_SOURCES(X)                                                                             \
    X(NONE, "none", "nowhere")                                                                               \
    X(CLI, "cli", "the command line, or whoever opened the control socket")                                  \
    X(API, "api", "POST /api/purge at the admin address")                                                    \
    X(METHOD, "method", "a PURGE or BAN request")                                                            \
    X(UNSAFE, "unsafe", "a POST, PUT, DELETE or the like that succeeded")                                    \
    X(GROUP, "group", "Cache-Group-Invalidation of a response")                                              \
    X(CHANNEL, "channel", "a message on the purge channel of Redis")                                         \
    X(NODE, "node", "another node, through the stream of purges")

enum purge_source {
#define X(id, name, text) PURGE_SOURCE_##id,
    OUTCOME_PURGE_SOURCES(X)
#undef X
        PURGE_SOURCE_COUNT
};

/* What came of looking into the store that nodes share. */
#define OUTCOME_REMOTE_LOADS(X)                                                                              \
    X(NONE, "none", "not known yet, or not asked")                                                           \
    X(FOUND, "found", "found: fresh, whole and not purged")                                                  \
    X(ABSENT, "absent", "nothing is kept there under this key")                                              \
    X(PASSED, "passed", "another node fetched it, and found that it may not be kept there")                  \
    X(WAITED, "waited", "another node was fetching it, for too long")                                        \
    X(STALE, "stale", "found, but no longer fresh, or no fresher than what is here")                         \
    X(PURGED, "purged", "found, but purged since, or perhaps so")                                            \
    X(TOO_LARGE, "too_large", "found, but larger than max_object_size")                                      \
    X(FOREIGN, "foreign", "what is kept there was not written by Millpond")                                  \
    X(VERSION, "version", "written by a version with another format")                                        \
    X(DAMAGED, "damaged", "length or checksum is wrong")                                                     \
    X(MALFORMED, "malformed", "undamaged, but nothing this version writes")                                  \
    X(WRONG_KEY, "wrong_key", "the record of another key")                                                   \
    X(TORN, "torn", "a part belongs to another write")                                                       \
    X(INCOMPLETE, "incomplete", "a part is missing")                                                         \
    X(UNFOLLOWED, "unfollowed", "purges of other nodes are not followed, so nothing there can be believed")  \
    X(BUSY, "busy", "too much is being loaded already")                                                      \
    X(UNAVAILABLE, "unavailable", "no connection, or it broke")                                              \
    X(TIMEOUT, "timeout", "no answer in time")                                                               \
    X(REFUSED, "refused", "Redis answered with an error")                                                    \
    X(CANCELLED, "cancelled", "nobody waited for it any more")                                               \
    X(NO_MEMORY, "no_memory", "out of memory")

enum remote_load {
#define X(id, name, text) REMOTE_LOAD_##id,
    OUTCOME_REMOTE_LOADS(X)
#undef X
        REMOTE_LOAD_COUNT
};

/* What became of a stored response on its way there. */
#define OUTCOME_REMOTE_SAVES(X)                                                                              \
    X(NONE, "none", "under way")                                                                             \
    X(SAVED, "saved", "it is kept there")                                                                    \
    X(UNFIT, "unfit", "not worth keeping there, or purges of other nodes are not followed")                  \
    X(TOO_LARGE, "too_large", "larger than max_object_size")                                                 \
    X(BUSY, "busy", "too much was on its way already")                                                       \
    X(OVERTAKEN, "overtaken", "by then it was another node's to put there")                                  \
    X(UNAVAILABLE, "unavailable", "no connection, or it broke")                                              \
    X(TIMEOUT, "timeout", "no answer in time")                                                               \
    X(REFUSED, "refused", "Redis answered with an error")                                                    \
    X(CANCELLED, "cancelled", "the server stopped before")                                                   \
    X(NO_MEMORY, "no_memory", "out of memory")

enum remote_save {
#define X(id, name, text) REMOTE_SAVE_##id,
    OUTCOME_REMOTE_SAVES(X)
#undef X
        REMOTE_SAVE_COUNT
};

/* What a route's rate_limit came to for a request. */
#define OUTCOME_RATE_LIMITS(X)                                                                               \
    X(NONE, "none", "the route has none, or Redis was not heard of yet")                                     \
    X(PASSED, "passed", "within the limit, as this node counts")                                             \
    X(OVER, "over", "over the limit, as this node counts")                                                   \
    X(UNCOUNTED, "uncounted", "passed without being counted, since others were busy at the same place")      \
    X(SHARED_PASSED, "shared_passed", "within the limit of all nodes, as Redis counts")                      \
    X(SHARED_OVER, "shared_over", "over the limit of all nodes, as Redis counts")                            \
    X(UNAVAILABLE, "unavailable", "Redis could not be asked, or the connection broke: this node's count")    \
    X(TIMEOUT, "timeout", "Redis did not answer in time: this node's count")                                 \
    X(REFUSED, "refused", "Redis answered with an error: this node's count")

enum rate_outcome {
#define X(id, name, text) RATE_OUTCOME_##id,
    OUTCOME_RATE_LIMITS(X)
#undef X
        RATE_OUTCOME_COUNT
};

/* What a route's basic_auth came to for a request. */
#define OUTCOME_BASIC_AUTH(X)                                                                                \
    X(NONE, "none", "the route has none, or the password is being checked")                                  \
    X(REMEMBERED, "remembered", "user and password were found right before")                                 \
    X(RIGHT, "right", "user and password were checked and are right")                                        \
    X(MISSING, "missing", "no user and password were shown, or not as RFC 7617 says")                        \
    X(WRONG, "wrong", "there is no such user, or the password is another")                                   \
    X(BUSY, "busy", "too many passwords waited to be checked, or it took too long; answered 503")

enum auth_outcome {
#define X(id, name, text) AUTH_OUTCOME_##id,
    OUTCOME_BASIC_AUTH(X)
#undef X
        AUTH_OUTCOME_COUNT
};

const char *outcome_basic_auth_name(enum auth_outcome o);
const char *outcome_basic_auth_text(enum auth_outcome o);
const char *outcome_rate_limit_name(enum rate_outcome r);
const char *outcome_rate_limit_text(enum rate_outcome r);
const char *outcome_remote_load_name(enum remote_load l);
const char *outcome_remote_load_text(enum remote_load l);
const char *outcome_remote_save_name(enum remote_save s);
const char *outcome_remote_save_text(enum remote_save s);
const char *outcome_verdict_name(enum cache_verdict v);
const char *outcome_verdict_text(enum cache_verdict v);
const char *outcome_no_store_name(enum no_store_reason r); /* below NO_STORE_SAID_COUNT */
const char *outcome_no_store_text(enum no_store_reason r);
const char *outcome_close_name(enum close_reason r);
const char *outcome_close_text(enum close_reason r);
const char *outcome_fetch_name(enum fetch_error e);
const char *outcome_fetch_text(enum fetch_error e);
const char *outcome_purge_kind_name(enum purge_kind k);
const char *outcome_purge_kind_text(enum purge_kind k);
const char *outcome_purge_source_name(enum purge_source s);
const char *outcome_purge_source_text(enum purge_source s);
unsigned outcome_fetch_status(enum fetch_error e);

#endif
