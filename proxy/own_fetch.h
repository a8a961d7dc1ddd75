/* own_fetch.h: the rest of a response for a client that was too slow for the fetch it shared.
 *
 *   WAITS for the client to take what it was given -> FETCHES -> [SKIPS ->] RELAYS
 *
 * begin makes of a reader of a flight (SOURCE_FOLLOW) a request with a fetch of its own, whose body is
 * relayed behind what the client has already. Cuts happen in every state: body_cut. */
#ifndef PROXY_OWN_FETCH_H
#define PROXY_OWN_FETCH_H

#include "core/digest.h"
#include "core/outcome.h"
#include "core/text.h"

struct exchange;
struct http_head;

enum own_fetch_state { OWN_FETCH_WAITS, OWN_FETCH_FETCHES, OWN_FETCH_SKIPS, OWN_FETCH_RELAYS };

/* In the exchange's arena; owner thread. */
struct own_fetch {
    uint8_t state;               /* enum own_fetch_state */
    uint16_t status;             /* of the response that was begun */
    bool has_value;              /* `value` is known */
    uint64_t offset;             /* bytes of its body that the client has been given */
    uint64_t left;               /* of these, still to be skipped */
    slice_t head;                /* its stored head */
    slice_t validator;           /* strong, of a 200; or empty */
    uint8_t value[DIGEST_BYTES]; /* of the bytes given */
    struct digest *skipped;      /* of the bytes skipped */
};

/* CACHE_EVENT_BEHIND. Goes on with the exchange, as phase_run does: the caller must not touch it afterwards.
 */
void own_fetch_begin(struct exchange *x);
/* DELIVER: the client has taken all. true: the phase is FETCH now. */
bool own_fetch_is_due(struct exchange *x);
/* The fields by which the rest is asked for, if anything but the whole is. */
void own_fetch_put_fields(struct text *t, const struct exchange *x);
/* The final response head has come: its body is the rest, or has it, or the client's response is cut. Goes on
 * with the exchange. */
void own_fetch_on_head(struct exchange *x, const struct http_head *head);
/* A piece of the body: relays what the client has not got yet, as deliver_relay does. Cut if other bytes came
 * before. */
void own_fetch_on_body(struct exchange *x, const char *data, size_t n);
/* The response was read to its end. */
void own_fetch_on_end(struct exchange *x);
/* No response came. The phase is DELIVER then. */
void own_fetch_failed(struct exchange *x, enum fetch_error e);
void own_fetch_free(struct exchange *x);

#endif
