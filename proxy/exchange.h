/* exchange.h: one request and its response, whatever the wire.
 *
 * Made by the client connection when a head is complete, driven by phases (phase.h), ended by the log phase
 * and by nothing else. Its client may leave at any time (`client` becomes NULL); a fetch that others wait
 * for, or whose response is being stored, then goes on without it. Memory comes from its arena; what it holds
 * elsewhere is released in exchange_free. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "cache/cache.h"
#include "cache/cache_control.h"
#include "core/arena.h"
#include "core/encoder.h"
#include "core/h1_parse.h"
#include "core/outcome.h"
#include "proxy/snapshot.h"

struct client_conn;
struct compress;
struct config_listen;
struct deliver_range;
struct fetch_place;
struct fetch_timeout;
struct grpc_call;
struct h2_call;
struct hedge;
struct h2_stream;
struct h2_tally;
struct instance;
struct mirror_copy;
struct no_vary_use;
struct own_fetch;
struct partial;
struct phase_auth_use;
struct phase_limit_use;
struct phase_remote_use;
struct proxy_url_key;
struct proxy_worker;
struct slices;
struct tls_peer;
struct tunnel;
struct upstream_conn;

/* Where the body of the response comes from. */
enum exchange_source {
    SOURCE_NONE,   /* not decided yet */
    SOURCE_LOCAL,  /* our own page: local_body */
    SOURCE_OBJECT, /* `object`, complete */
    SOURCE_FOLLOW, /* `follower`, perhaps still being filled */
    SOURCE_SLICES, /* `slices`, one after the other */
    SOURCE_RELAY,  /* straight from the upstream connection */
    SOURCE_TUNNEL  /* there is none, but what follows a 101 */
};

/* How the end of the response body is marked towards the client. */
enum exchange_framing { FRAME_NONE, FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE, FRAME_STREAM };

/* The flags of a request body. */
enum exchange_body { BODY_ABSENT, BODY_UNREAD, BODY_READING, BODY_DONE };

#define EXCHANGE_MAGIC       0x45584348u
#define EXCHANGE_MAX_TRIES   8
#define EXCHANGE_ARENA_BYTES 2048
#define EXCHANGE_REPLAY_MAX  (16 * KB)

/* Owned by its worker; one thread. */
struct exchange {
    uint32_t magic;
    uint8_t phase; /* enum phase_id, phase_set */
    uint8_t source, out_framing, body_state;
    bool head_owned;         /* req points into the arena, not into the read buffer */
    bool keep_alive;         /* the client connection may be used again */
    bool head_sent;          /* the final response head was handed to the client connection */
    bool body_cut;           /* the response must end as broken, not as complete */
    bool body_suppressed;    /* HEAD, 204, 304: head only */
    bool expects_continue;   /* the client waits for a 100 before it sends its body */
    bool awaits_continue;    /* so do we, from the instance */
    bool running;            /* inside phase_run */
    bool run_again;          /* an event came meanwhile */
    bool pass_forced;        /* do not join a flight again */
    bool trailers_end;       /* request trailers were read */
    bool upstream_done;      /* the response was read to its end */
    bool client_refused;     /* its Cache-Control ruled out a fresh stored response */
    bool collapsed;          /* the body comes from another request's fetch */
    bool replay_lost;        /* part of the request body is gone: it cannot be sent again */
    bool fresh_only;         /* a kept-alive connection died: no more of those */
    bool conditions_dropped; /* the instance did not see the client's conditions: we evaluate them */
    bool filling;            /* the response goes into the cache through `flight` */
    bool end_sent;           /* the end of the body was marked */
    bool fetch_counted;      /* in the gauge of fetches */
    bool background;         /* never had a client: stale.h, or `inherited` */
    bool inherited;          /* the fetch was begun by another exchange: exchange_new_heir */
    bool stale_renewed;      /* VERDICT_STALE by stale-while-revalidate */
    bool stale_on_error;     /* VERDICT_STALE because the fetch failed */
    bool asset_missing;      /* an instance answered 404 on a route with keep_assets */
    bool is_mirror;          /* sends a copy of a request: mirror.h */
    bool mirror_asked;       /* its copy was thought of */
    bool asset_kept;         /* stale_on_error, since all did: assets.h */
    bool peer_trusted;       /* it came from one of trusted_proxies */
    bool secure;             /* it came over TLS: exchange_scheme */
    uint8_t identity_fields; /* of the request, the first ones, say who the client is: client_identity.h */
    bool certified;          /* by a client that showed a certificate of its own: client_identity.h */
    bool request_sent;       /* of the try under way, the head at least */
    bool keyed;              /* its Idempotency-Key makes it one that may be repeated */
    bool http2;              /* it came by HTTP/2 */
    uint8_t credentials;     /* enum no_store_reason: guard_credentials */
    bool hinted;             /* a 103 of ours went out: early_hints.h */
    bool object_held;        /* there is a reference on `object` */
    bool vary_miss;          /* of the URL, other variants are stored */
    uint8_t reuse_races;     /* tries lost to connections the instance was closing */
    uint8_t wait_rounds;
    uint8_t verdict;     /* enum cache_verdict */
    uint8_t no_store;    /* enum no_store_reason */
    uint8_t fetch_error; /* enum fetch_error of the last try */
    uint8_t close_reason;
    uint8_t tries;
    uint8_t stored;        /* the response went into the cache */
    uint16_t status;       /* sent to the client */
    uint16_t other_status; /* of the instance, when the client gets what is stored; 0: no answer, or 304 */

    struct proxy_worker *pw;
    struct client_conn *client;
    struct h2_stream *stream; /* of `client`; NULL: HTTP/1.1 */
    struct snapshot_view *view;
    const struct config_listen *listen;
    const struct route *route;
    struct list node; /* pw->exchanges or pw->free_exchanges */

    /* request */
    struct http_head req;
    struct h1_framing framing;
    struct h1_target target;
    slice_t host;       /* authority of the target, or Host; "" for HTTP/1.0 without */
    slice_t client_ip;  /* the peer's, or what trusted proxies say; lives in the connection, the head or the
                           arena */
    slice_t request_id; /* empty until exchange_request_id made one */
    slice_t trailers;   /* raw trailer section of the request */
    const struct tls_peer *peer; /* NULL: its connection was not asked for a certificate. In the arena */
    struct h1_chunked chunked;
    uint64_t body_left, body_read;
    slice_t replay; /* the whole request body, when small */

    /* cache */
    struct cache_key key;
    struct no_vary_use *no_vary;   /* what `key` was made by, or NULL; in the arena: no_vary.h */
    struct cache_object *object;   /* what is served; a reference only if object_held */
    struct cache_object_info info; /* of `object`, unpacked once: exchange_set_object */
    struct cache_object *stale;    /* a reference: what is being revalidated, or completed */
    struct partial *partial;     /* the fetch is about a part, or follows from one: partial.h; in the arena */
    struct mirror_copy *mirror;  /* is going to be copied: mirror.h */
    struct slices *slices;       /* is answered from slices: slices.h; in the arena */
    struct own_fetch *own_fetch; /* was too slow for a shared one: own_fetch.h; in the arena */
    struct phase_limit_use *limit;   /* it is over its route's rate_limit, or Redis is asked; in the arena */
    struct phase_auth_use *auth;     /* of routes with basic_auth; in the arena */
    struct phase_remote_use *remote; /* of the store that nodes share; NULL: none yet. In the arena */
    struct cache_flight *flight;
    struct cache_follower *follower;
    struct h2_tally *tally; /* a reference: it counts among its connection's; NULL: HTTP/1.1 */
    uint64_t offset;        /* bytes of the body handed to the client connection */
    struct deadline wait_deadline;

    /* fetch */
    struct pool_affinity *affinity; /* if the route has_affinity; in the arena */
    struct upstream_conn *upstream;
    struct h2_call *call;           /* on `upstream`, which it shares with others; NULL: HTTP/1.1 */
    struct grpc_call *grpc;         /* it is one of gRPC; in the arena: grpc.h */
    struct fetch_place *queued;     /* waits for an instance with room: fetch_queue.h */
    struct fetch_timeout *timeout;  /* of its route; NULL: none. In the arena */
    struct hedge *hedge;            /* of routes that hedge: hedge.h. In the arena */
    struct instance *instance;      /* lease of the try under way */
    struct instance *last_instance; /* for the log; a reference */
    struct instance *tried[EXCHANGE_MAX_TRIES];
    struct compress *compress; /* its response is being compressed: compress.h */
    struct tunnel *tunnel;     /* the request asks for another protocol: tunnel.h; in the arena */
    slice_t upstream_head;     /* the request as sent to the instance */
    struct h1_framing response_framing;

    /* response */
    slice_t local_body, local_type, location;
    slice_t response_head;   /* status line and fields, CRLF each, no blank line (relay and local) */
    int64_t response_length; /* announced body length, -1 unknown */
    uint32_t head_bytes, response_head_bytes;
    uint64_t response_bytes;            /* body bytes handed to the client connection */
    struct deliver_range *range;        /* a 206 or 416 cut from `object`; in the arena */
    struct cache_validators validators; /* of a relayed response, for conditions */

    /* timings */
    wall_ms_t start_wall_ms, sent_wall_ms;
    mono_us_t start_us, fetch_us, connected_us, first_byte_us, response_end_us, wait_us, end_us;

    struct arena arena;
    _Alignas(16) char arena_block[EXCHANGE_ARENA_BYTES];
};

/* A new exchange in phase ACCEPT for this connection; NULL when out of memory. */
struct exchange *exchange_new(struct proxy_worker *pw, struct client_conn *c);
/* One without a client, in phase FETCH (or REMOTE before), for the request of `of`: same head, route and key.
 * NULL when out of memory. */
struct exchange *exchange_new_background(const struct exchange *of);
/* One without a client that goes on with the fetch of `of`, whose response is being delivered, in its place:
 * flight, upstream connection and lease are no longer of `of`, which may make another fetch. NULL when out of
 * memory: nothing has changed. */
struct exchange *exchange_new_heir(struct exchange *of);
/* `x`, which fetches nothing, goes on with the fetch of `of`, whose response has begun: upstream connection,
 * lease, tries and times are its own. The flight stays with `of`. */
void exchange_take_fetch(struct exchange *x, struct exchange *of);
/* It counts among the requests of the connection that `of` came by, if that is one of HTTP/2. */
void exchange_count_with(struct exchange *x, const struct exchange *of);
/* The other side of a second try for the fetch of `of`, whose listener is still there: hedge.h. It borrows
 * the request, and must not outlive `of`. NULL when out of memory. */
struct exchange *exchange_new_second(const struct exchange *of);
/* One without a client, in phase FETCH, that asks an instance of `route` with this head, as it is sent, and
 * this body; both are copied. NULL when out of memory. */
struct exchange *exchange_new_mirror(const struct exchange *of, const struct route *route, slice_t head,
                                     slice_t body);
/* Only the log phase ends an exchange, but for a second try's. */
void exchange_free(struct exchange *x);

/* Moves the request head from the read buffer into the arena; needed before the exchange parks. Without
 * memory: false. */
bool exchange_own_head(struct exchange *x);

/* The key of what is asked for, once; in exchange_key.c. For another method than GET and HEAD, and without a
 * route, it is the first of exchange_url_keys. false: there is none, and no_store says why. */
bool exchange_build_key(struct exchange *x);
/* proxy_url_keys of the request's URL. */
size_t exchange_url_keys(struct exchange *x, struct proxy_url_key **out);

/* From here on `host` is written as in the key: what may be shared must not depend on how one client wrote it
 * ("Test.", "TEST:80"). */
void exchange_host_as_keyed(struct exchange *x);

/* What will be served: borrowed inside the RCU section, or covered by `follower`, unless object_held. */
void exchange_set_object(struct exchange *x, struct cache_object *o, enum exchange_source source);

/* Of the request, as it came to us. */
static inline slice_t exchange_scheme(const struct exchange *x)
{
    return slice_make("https", sizeof "http" - 1 + x->secure); /* without a branch, for each key */
}

/* The request carries credentials: what goes wrong with it may be this client's own trouble. */
static inline bool exchange_is_personal(const struct exchange *x)
{
    return (x->req.present & (HTTP_BIT(COOKIE) | HTTP_BIT(AUTHORIZATION))) != 0 || x->certified;
}

/* The request's id (a trusted client's own, or a new one). Never fails: "" without memory. */
slice_t exchange_request_id(struct exchange *x);

/* The client connection goes on without this exchange, which has nothing more to say to it. */
void exchange_detach_client(struct exchange *x);
/* The client connection is going away. Sending stops; the exchange ends now or when its fetch is done. */
void exchange_client_gone(struct exchange *x, enum close_reason why);
/* The client connection has room again. */
void exchange_on_client_writable(struct exchange *x);
/* More request body may be there. */
void exchange_on_client_readable(struct exchange *x);

/* ---- called by the upstream connection ---- */

void exchange_on_connected(struct exchange *x);
/* Its connection broke before a byte of the response: upstream_tls_judge, and whether a request was sent. */
enum fetch_error exchange_judge_break(struct exchange *x);
void exchange_on_upstream_writable(struct exchange *x);
/* 408, as the first and last thing on a kept-alive connection. true: the request goes to a fresh one, and
 * this one is closed. */
bool exchange_on_request_timeout(struct exchange *x);
/* 100: the instance wants the body. */
void exchange_on_continue(struct exchange *x);
/* A 1xx other than 100 and 101. */
void exchange_on_interim(struct exchange *x, const struct http_head *head);
/* The final head. May end the upstream connection (retry on another instance). */
void exchange_on_response_head(struct exchange *x, const struct http_head *head,
                               const struct h1_framing *framing);
/* A 101 that tunnel_is_agreed allows; `upstream` is in state TUNNEL. */
void exchange_on_switch(struct exchange *x, const struct http_head *head);
/* Either side of the tunnel has something new, or room; then, nothing was sent for response_timeout. */
void exchange_on_tunnel(struct exchange *x);
void exchange_on_tunnel_deadline(struct exchange *x);
/* Where the next body bytes may be read to directly; NULL: use a buffer of your own and
 * exchange_on_response_body. */
char *exchange_body_buffer(struct exchange *x, size_t *room);
void exchange_on_body_filled(struct exchange *x, size_t n);
void exchange_on_response_body(struct exchange *x, const char *data, size_t n);
/* The response is complete; `trailers` may be NULL. The connection is no longer the exchange's afterwards. */
void exchange_on_response_end(struct exchange *x, const struct http_head *trailers);
void exchange_on_upstream_error(struct exchange *x, enum fetch_error e);
/* The upstream connection has nothing more to read for now. */
void exchange_on_upstream_rested(struct exchange *x);
/* How much of `most` is worth reading at once of a body that is relayed. */
size_t exchange_stream_room(const struct exchange *x, size_t most);
static inline size_t exchange_relay_room(const struct exchange *x, size_t most)
{
    return LIKELY(((uintptr_t)x->stream | (uintptr_t)x->compress) == 0) ? most
                                                                        : exchange_stream_room(x, most);
}
/* How much of what was read is handed on as one piece. */
static inline size_t exchange_piece_room(const struct exchange *x, size_t n)
{
    return LIKELY(x->compress == NULL) ? n : MIN(n, (size_t)ENCODER_STEP_BYTES);
}
/* Should the upstream connection stop reading for now? */
bool exchange_wants_pause(struct exchange *x);

#endif
