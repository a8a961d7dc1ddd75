/* phase.h: the life of a request as a table of functions.
 *
 *   ACCEPT -> ROUTE -> [LIMIT] -> [AUTH] -> LOOKUP -> [WAIT] -> [REMOTE] -> [FETCH -> STORE]
 *                                             ^------'------------'              '-> DELIVER -> [TUNNEL] ->
 * LOG
 *
 * and LOOKUP -> [SLICES] -> DELIVER, or back (slices.h).
 *
 * Each function looks at the exchange and says MORE (phase_set was called, go on), PARK (an event will resume
 * it) or DONE (only LOG: the exchange is gone). No phase knows a wire protocol. LOG always runs. */
#ifndef PROXY_PHASE_H
#define PROXY_PHASE_H

#include "proxy/exchange.h"

struct text;

#define PHASES(X)                                                                                            \
    X(ACCEPT, accept)                                                                                        \
    X(ROUTE, route)                                                                                          \
    X(LIMIT, limit)                                                                                          \
    X(AUTH, auth)                                                                                            \
    X(LOOKUP, lookup)                                                                                        \
    X(WAIT, wait)                                                                                            \
    X(SLICES, slices)                                                                                        \
    X(REMOTE, remote)                                                                                        \
    X(FETCH, fetch)                                                                                          \
    X(DELIVER, deliver)                                                                                      \
    X(TUNNEL, tunnel)                                                                                        \
    X(LOG, log)

enum phase_id {
#define X(id, fn) PHASE_##id,
    PHASES(X)
#undef X
        PHASE_COUNT
};

enum phase_result { PHASE_MORE, PHASE_PARK, PHASE_DONE };

#define X(id, fn) enum phase_result phase_##fn(struct exchange *x);
PHASES(X)
#undef X

/* Asserts that `to` may follow the current phase. */
void phase_set(struct exchange *x, enum phase_id to);
/* Runs phases until one parks or the exchange is done. The caller must not touch `x` afterwards. */
void phase_run(struct exchange *x);

/* Answers with a page of our own, from any phase before the head was sent: sets phase DELIVER, returns
 * PHASE_MORE. */
enum phase_result phase_answer_error(struct exchange *x, unsigned status, const char *detail);

/* ---- between the files of the phases ---- */

/* phase.c: any final answer of our own; `type` empty = none. */
enum phase_result phase_answer(struct exchange *x, unsigned status, slice_t type, slice_t body);
/* phase.c: is the client's address in the list? */
bool exchange_client_in(const struct exchange *x, const struct config_cidrs *list);
/* phase.c: the client's address as a number; false for a peer at a unix socket. */
bool exchange_client_addr(const struct exchange *x, struct net_addr *out);
/* phase.c: what the route does with a request that it takes: answers itself, or LOOKUP. */
enum phase_result phase_route_go_on(struct exchange *x);
/* phase.c: takes out of the request what is no credential here: Authorization, where we have checked it and
 * tell nobody; and on routes of files Cookie too, as nothing is answered by it. */
void phase_route_drop(struct exchange *x);
/* phase.c: the client is gone; end now, or go on for the sake of followers and the cache. */
void phase_client_gone(struct exchange *x);

/* phase.c: a fetch without a client goes on when others wait for it, or once its response is being stored. */
bool phase_fetch_is_wanted(struct exchange *x);
/* phase.c: ends an exchange without a client, whatever others wait for: the server stops. */
void exchange_abandon(struct exchange *x);

/* phase_limit.c: the question to Redis, if one is under way, needs no answer any more. */
void phase_limit_cancel(struct exchange *x);
/* The value of Retry-After of a request over its limit, else 0. */
uint64_t phase_limit_retry_after_s(const struct exchange *x);

/* phase_auth.c: the password that is being checked, if any, is not needed any more; it was for too long. */
void phase_auth_cancel(struct exchange *x);
void phase_auth_timeout(struct exchange *x);
/* The fields of the answer of a request with `auth`: of a 401 and a 503. */
void phase_auth_put_challenge(struct text *t, const struct exchange *x);
/* Who passed; "" on routes without basic_auth. */
slice_t phase_auth_user(const struct exchange *x);
/* The same for an exchange without a client, as of another's. false when out of memory. */
bool phase_auth_copy(struct exchange *x, const struct exchange *of);

/* phase_lookup.c: the wait for another request's fetch, or for the instance's 100 (Continue), took too long.
 */
void phase_wait_timeout(struct exchange *x);
void phase_wait_on_event(void *arg, enum cache_event event);

/* phase_remote.c: may the leader of this flight look into the store that nodes share before it fetches? `old`
 * is what is stored here, or NULL. */
bool phase_remote_may_ask(const struct exchange *x, const struct cache_object *old);
/* How fresh a response of another node must still be to take the place of one that has so much left. */
dur_ms_t phase_remote_fresher_than_ms(dur_ms_t ours_left_ms);
/* The look-up under way, if any, is not wanted any more; a fetch for other nodes ends without a response. */
void phase_remote_cancel(struct exchange *x);
/* The store is going to be closed. */
void phase_remote_give_back(struct exchange *x);
/* `x` goes on with the fetch of `of`, also for other nodes. false: no memory, nothing has changed. */
bool phase_remote_inherit(struct exchange *x, struct exchange *of);
/* The response to this request was stored: into the store that nodes share, too. */
void phase_remote_save(struct exchange *x);
/* The response's head has come, or its end: what other nodes need not wait for, they learn. There is a
 * `remote`.
 */
void phase_remote_settle(struct exchange *x);
/* The same for what has come of its body. */
void phase_remote_on_body(struct exchange *x);

/* phase_fetch.c: request body towards the instance, as far as both sides can. May end the exchange. */
void fetch_pump_body(struct exchange *x);
/* Gives up the upstream connection (closing it) and the lease, telling the balancer `outcome`. */
void phase_fetch_release(struct exchange *x, enum fetch_error outcome);
/* The fetch ended badly before a head was accepted: another try, or an error page. The exchange runs on by
 * itself. */
void phase_fetch_failed(struct exchange *x, enum fetch_error e);
/* phase_fetch.c: probes have taken x->instance down. Who may be sent to another one, is; others wait on,
 * since what they wait for may still come. */
void phase_fetch_lost(struct exchange *x);
/* phase_fetch.c: asks x->instance, a lease. FETCH_NONE, or why that failed at once. */
enum fetch_error phase_fetch_try(struct exchange *x);
/* phase_fetch.c: a lease on `i`, for which the request waited. */
void phase_fetch_granted(struct exchange *x, struct instance *i);

/* Before the first try: the request as it is sent, and the figures. false: no memory. */
bool phase_fetch_prepare(struct exchange *x);

/* A 502, 503 or 504 that the pool says may be tried elsewhere: does so and returns true. */
bool fetch_retry_on_status(struct exchange *x, unsigned status);
/* The instance does not have it, another may: asks one that was not asked yet and returns true. */
bool fetch_retry_elsewhere(struct exchange *x);

/* phase_store.c: decides what becomes of the final response head: into the cache, straight to the client, or
 * both. Prepares the exchange for phase DELIVER. false: neither, another request is on its way to the
 * instance.
 */
bool phase_store_response(struct exchange *x, const struct http_head *head);
/* What follows from that in phase FETCH, when it was true: DELIVER. May end the exchange. */
void phase_store_go_on(struct exchange *x);

/* phase_store.c, for partial.c: begins to store the response, with the leader's own client as a reader.
 * `head` decides whether and for how long; tags are those of `came`, which is `head` or what it was made of
 * (tags.h); `text` is what is stored as its head (NULL: made of `head`), of a body of `body_bytes` (-1
 * unknown). false with *why; the flight may be gone. */
bool phase_store_fill(struct exchange *x, const struct http_head *head, const struct http_head *came,
                      slice_t text, int64_t body_bytes, enum no_store_reason *why);
/* Body bytes into what is being stored. false: no memory. */
bool phase_store_put(struct exchange *x, const char *data, size_t n);

#endif
