/* lease_script.h: what of a lease happens inside Redis: three scripts, the names they work on, and what they
 * answer, read.
 *
 *   PREFIX{hash}:head    the record, as cache/record.h names and writes it
 *
 *   PREFIX{hash}:lease   a mark ("-": nobody waits, "+": somebody does), then the holder's token; expires
 *
 *   PREFIXwake           the channel on which the end of a lease is told, "HASH OUTCOME", if somebody waits
 *
 * Answers are strict: what a script of ours would not say is false. Pure, but for the three calls. */
#ifndef CACHE_LEASE_SCRIPT_H
#define CACHE_LEASE_SCRIPT_H

#include "cache/record.h"
#include "core/redis_script.h"

#define CACHE_LEASE_TOKEN 32 /* bytes of a token, and of the hash in a name */
#define CACHE_LEASE_TAIL  8  /* bytes that tell one record from another: of ours, the checksum */

struct cache_lease_scripts {
    struct redis_script ask, renew, end;
};
void cache_lease_scripts_init(struct cache_lease_scripts *s);

/* The two names and the hash within; they lie in `text`, of 2 * (prefix.len + CACHE_RECORD_NAME_BYTES). */
struct cache_lease_names {
    slice_t head, lease, hash;
};
void cache_lease_names_make(struct cache_lease_names *n, char *text, slice_t prefix, slice_t key);

/* ---- asking: one round trip ---- */

#define CACHE_LEASE_ANY_TAIL SLICE_LIT("*") /* as `seen`: whatever is stored is passed over */

enum cache_lease_answer_kind { CACHE_LEASE_IS_STORED, CACHE_LEASE_IS_OURS, CACHE_LEASE_IS_OTHERS };
struct cache_lease_answer {
    enum cache_lease_answer_kind kind;
    slice_t record;   /* STORED */
    slice_t holder;   /* OTHERS: his token */
    slice_t tail;     /* OTHERS: of the record that is stored, empty = none */
    dur_ms_t left_ms; /* STORED: of the record; OTHERS: of the lease; negative = it does not expire */
};
/* The record, unless its tail is `seen`; else the lease, for `ttl_ms`, unless it is another's. */
bool cache_lease_call_ask(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                          enum redis_script_form form, const struct cache_lease_names *n, slice_t token,
                          dur_ms_t ttl_ms, slice_t seen);
bool cache_lease_answer_parse(const struct redisReply *reply, struct cache_lease_answer *out);
slice_t cache_lease_tail(slice_t record);

/* ---- holding: these answer 1, or 0 and do nothing, when the lease is not (any more) the token's ---- */

bool cache_lease_call_renew(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                            enum redis_script_form form, const struct cache_lease_names *n, slice_t token,
                            dur_ms_t ttl_ms);
/* Writes the record, for `expire_ms` (0: writes none), ends the lease, and tells it by `channel`. Goes out
 * whole: a few hundred bytes beside a record, which so need not be kept in order to be sent again. */
bool cache_lease_call_end(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                          const struct cache_lease_names *n, slice_t token, slice_t channel, slice_t outcome,
                          slice_t record, dur_ms_t expire_ms);

#endif
