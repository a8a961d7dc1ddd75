/* remote_read.c: see remote_read.h. PTTL and GET, one behind the other on one connection. Rejected: a script
 * of both, which costs Redis three times as much; and the time of expiry inside the record, which would have
 * to be compared with the clock of another machine. */
#include "cache/remote_read.h"

#include "cache/record.h"
#include "core/redis_reply.h"

static void left_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_remote_read *q = CONTAINER_OF(call, struct cache_remote_read, left);
    int64_t left_ms;
    if (o == REDIS_ANSWERED && redis_reply_integer(reply, &left_ms))
        q->left_ms = MAX(left_ms, -1);
}

static void head_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_remote_read *q = CONTAINER_OF(call, struct cache_remote_read, head);
    const bool there = o == REDIS_ANSWERED && !redis_reply_is_nil(reply);
    redis_call_cancel(&q->left);
    if (q->left.hops > 0 || q->head.hops > 0) /* they may have changed places */
        q->left_ms = -1;
    q->on_record(q, o, there ? redis_reply_text(reply) : SLICE_EMPTY);
}

enum remote_load
cache_remote_read(const struct cache_remote *r, struct cache_remote_read *q, slice_t key, dur_ms_t timeout_ms,
                  void (*on_record)(struct cache_remote_read *q, enum redis_outcome o, slice_t record))
{
    struct redis *redis = r->settings.redis;
    char name[CACHE_REMOTE_NAME_BYTES];
    if (timeout_ms <= 0)
        return REMOTE_LOAD_TIMEOUT;
    q->left_ms = -1;
    q->on_record = on_record;
    q->left = (struct redis_call){.on_reply = left_on_reply, .timeout_ms = timeout_ms};
    q->head = (struct redis_call){.on_reply = head_on_reply, .timeout_ms = timeout_ms};
    slice_t argv[] = {SLICE_LIT("PTTL"), cache_record_name(name, r->settings.prefix, key, CACHE_RECORD_HEAD)};
    if (!redis_call(redis, &q->left, argv[1], argv, ARRAY_LEN(argv)))
        return REMOTE_LOAD_UNAVAILABLE;
    argv[0] = SLICE_LIT("GET");
    if (redis_call_behind(redis, &q->head, &q->left, argv[1], argv, ARRAY_LEN(argv)))
        return REMOTE_LOAD_NONE;
    redis_call_cancel(&q->left);
    return REMOTE_LOAD_UNAVAILABLE;
}

void cache_remote_read_cancel(struct cache_remote_read *q)
{
    redis_call_cancel(&q->left);
    redis_call_cancel(&q->head);
}
