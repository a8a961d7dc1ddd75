/* lease_script.c: see lease_script.h.
 *
 * Why no old holder writes over a newer one's record. Only the script `end` writes a record, and only while
 * the lease is there with the token of who writes; Redis runs a script as one step. A token is random, is put
 * there by one `ask` at most, and once it is gone (expired, or ended) nothing brings it back, since nobody
 * asks again with a token that was granted, and `renew` prolongs only what is there. So the times during
 * which tokens are there do not overlap, and records are written in the order in which leases were granted,
 * each holder's at most once, however late a command arrives and whatever the clocks of nodes say. What has
 * no lease any more is not written, although nobody may have held one since: whether somebody did, and what
 * became of his record, is known to nobody. A server that goes back in time (an old snapshot, a replica that
 * lagged behind) goes back with leases and records alike, in the order in which they were written.
 *
 * Rejected: a counter per key as the fence (it would have to outlive leases and records: memory for each key
 * that was ever asked for, or a fence that starts anew); and telling the end of every lease, waited for or
 * not: each worker of each node would hear of each miss of all others. So who finds another's lease marks it,
 * in the step in which he finds it.
 *
 * A key does not expire in the middle of a script, so SETRANGE never makes a lease that does not expire. That
 * nobody may be told (ACL of channels) ends no script half way: who waits, asks again in time. */
#include "cache/lease_script.h"

#include <stdio.h>

#include "core/redis_reply.h"

static const char ask_text[] =
    "local tail = redis.call('GETRANGE', KEYS[1], -8, -1)\n"
    "if tail ~= '' and ARGV[3] ~= '*' and tail ~= ARGV[3] then\n"
    "  return {'stored', redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}\n"
    "end\n"
    "if redis.call('SET', KEYS[2], '-' .. ARGV[1], 'NX', 'PX', ARGV[2]) then return {'ours'} end\n"
    "redis.call('SETRANGE', KEYS[2], 0, '+')\n"
    "return {'others', redis.call('GETRANGE', KEYS[2], 1, -1), redis.call('PTTL', KEYS[2]), tail}\n";

static const char renew_text[] = "if redis.call('GETRANGE', KEYS[1], 1, -1) ~= ARGV[1] then return 0 end\n"
                                 "return redis.call('PEXPIRE', KEYS[1], ARGV[2])\n";

static const char end_text[] =
    "local lease = redis.call('GET', KEYS[2])\n"
    "if not lease or string.sub(lease, 2) ~= ARGV[1] then return 0 end\n"
    "if ARGV[5] ~= '0' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end\n"
    "redis.call('DEL', KEYS[2])\n"
    "if string.sub(lease, 1, 1) == '+' then redis.pcall('PUBLISH', ARGV[2], ARGV[3]) end\n"
    "return 1\n";

void cache_lease_scripts_init(struct cache_lease_scripts *s)
{
    redis_script_init(&s->ask, slice_str(ask_text));
    redis_script_init(&s->renew, slice_str(renew_text));
    redis_script_init(&s->end, slice_str(end_text));
}

void cache_lease_names_make(struct cache_lease_names *n, char *text, slice_t prefix, slice_t key)
{
    static const slice_t part = SLICE_LIT("lease");
    n->head = cache_record_name(text, prefix, key, CACHE_RECORD_HEAD);
    size_t common = prefix.len + CACHE_LEASE_TOKEN + sizeof "{}:" - 1;
    char *lease = text + prefix.len + CACHE_RECORD_NAME_BYTES;
    memcpy(lease, text, common);
    memcpy(lease + common, part.ptr, part.len);
    n->lease = slice_make(lease, common + part.len);
    n->hash = slice_make(text + prefix.len + 1, CACHE_LEASE_TOKEN);
}

/* ---- asking ---- */

bool cache_lease_call_ask(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                          enum redis_script_form form, const struct cache_lease_names *n, slice_t token,
                          dur_ms_t ttl_ms, slice_t seen)
{
    char ttl[20];
    const slice_t words[] = {n->head, n->lease, token, {ttl, slice_put_u64(ttl, (uint64_t)ttl_ms)}, seen};
    return redis_script_call(r, call, &s->ask, form, 2, words, ARRAY_LEN(words));
}

bool cache_lease_answer_parse(const struct redisReply *reply, struct cache_lease_answer *out)
{
    slice_t kind = redis_reply_text(redis_reply_at(reply, 0));
    size_t count = redis_reply_count(reply);
    *out = (struct cache_lease_answer){.kind = CACHE_LEASE_IS_OURS};
    if (slice_eq(kind, SLICE_LIT("ours")))
        return count == 1;
    if (slice_eq(kind, SLICE_LIT("stored"))) {
        out->kind = CACHE_LEASE_IS_STORED;
        out->record = redis_reply_text(redis_reply_at(reply, 1));
        return count == 3 && redis_reply_integer(redis_reply_at(reply, 2), &out->left_ms);
    }
    out->kind = CACHE_LEASE_IS_OTHERS;
    out->holder = redis_reply_text(redis_reply_at(reply, 1));
    out->tail = redis_reply_text(redis_reply_at(reply, 3));
    return slice_eq(kind, SLICE_LIT("others")) && count == 4 && out->tail.len <= CACHE_LEASE_TAIL &&
           redis_reply_integer(redis_reply_at(reply, 2), &out->left_ms);
}

slice_t cache_lease_tail(slice_t record)
{
    size_t bytes = MIN(record.len, CACHE_LEASE_TAIL);
    return slice_make(record.ptr + record.len - bytes, bytes);
}

/* ---- holding ---- */

bool cache_lease_call_renew(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                            enum redis_script_form form, const struct cache_lease_names *n, slice_t token,
                            dur_ms_t ttl_ms)
{
    char ttl[20];
    const slice_t words[] = {n->lease, token, {ttl, slice_put_u64(ttl, (uint64_t)ttl_ms)}};
    return redis_script_call(r, call, &s->renew, form, 1, words, ARRAY_LEN(words));
}

bool cache_lease_call_end(struct redis *r, struct redis_call *call, const struct cache_lease_scripts *s,
                          const struct cache_lease_names *n, slice_t token, slice_t channel, slice_t outcome,
                          slice_t record, dur_ms_t expire_ms)
{
    char expire[20], told[CACHE_LEASE_TOKEN + 16];
    size_t bytes =
        (size_t)snprintf(told, sizeof told, SLICE_FMT " " SLICE_FMT, SLICE_ARG(n->hash), SLICE_ARG(outcome));
    const slice_t words[] = {n->head,
                             n->lease,
                             token,
                             channel,
                             {told, bytes},
                             record,
                             {expire, slice_put_u64(expire, (uint64_t)expire_ms)}};
    return redis_script_call(r, call, &s->end, REDIS_WHOLE, 2, words, ARRAY_LEN(words));
}
