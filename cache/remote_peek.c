/* remote_peek.c: see remote_peek.h.
 *
 *   HEAD (primary key) --marker--> HEAD (variant) --record--> [PARTS ..] --> ended
 *
 * Parts are counted by EXISTS, as many at a time as a command has room for. Rejected: a look-up with a flag
 * that it is not to be counted. It takes the lease of what is not there, and says of a purged record no more
 * than that. */
#include "cache/remote_peek.h"

#include <stdlib.h>

#include "cache/hidden.h"
#include "cache/remote_load.h"
#include "cache/remote_read.h"
#include "cache/shard.h"
#include "cache/stale.h"
#include "core/panic.h"

#define PEEK_MAGIC       0x7065656bu
#define PEEK_SCRATCH_MAX (192 * KB) /* the whole key of a variant, and what making it takes */
#define PARTS_AT_ONCE    32

/* Owned by the remote store; one worker's thread. Ends with on_end or by being cancelled. */
struct cache_remote_peek {
    uint32_t magic;
    /* set once */
    struct cache_remote *remote;
    struct cache_key primary;
    const struct http_head *request;
    void (*on_end)(void *arg, const struct cache_remote_seen *s);
    void *arg;
    mono_ms_t until_ms;
    /* worker's thread */
    struct list node;
    struct cache_key whole; /* what is asked for; of a variant in `scratch` */
    struct arena scratch;
    struct cache_remote_read read;
    struct redis_call parts;
    uint32_t next_part, asked_parts;
    enum remote_load found_as; /* what it comes to when all parts are there: FOUND or STALE */
    struct cache_remote_seen seen;
    struct grave grave;
};

/* ---- ending ---- */

static void peek_free(struct cache_remote_peek *p)
{
    struct worker *w = p->remote->settings.worker;
    cache_remote_read_cancel(&p->read);
    redis_call_cancel(&p->parts);
    list_remove(&p->node);
    arena_reset(&p->scratch);
    p->magic = 0;
    worker_bury(w, &p->grave, free, p);
}

static void peek_end(struct cache_remote_peek *p, enum remote_load outcome)
{
    p->seen.outcome = outcome;
    p->on_end(p->arg, &p->seen);
    peek_free(p);
}

void cache_remote_end_peeks(struct cache_remote *r)
{
    while (!list_empty(&r->peeks))
        peek_end(CONTAINER_OF(r->peeks.next, struct cache_remote_peek, node), REMOTE_LOAD_UNAVAILABLE);
}

/* ---- asking: NONE when it goes on ---- */

static dur_ms_t time_left_ms(const struct cache_remote_peek *p)
{
    return p->until_ms - worker_now_ms(p->remote->settings.worker);
}

static void parts_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply);

static enum remote_load parts_ask(struct cache_remote_peek *p)
{
    const struct cache_remote_settings *s = &p->remote->settings;
    char names[PARTS_AT_ONCE][CACHE_REMOTE_NAME_BYTES];
    slice_t argv[1 + PARTS_AT_ONCE] = {SLICE_LIT("EXISTS")};
    p->asked_parts = MIN(p->seen.chunks - p->next_part, PARTS_AT_ONCE);
    if (p->asked_parts == 0)
        return p->found_as;
    for (uint32_t i = 0; i < p->asked_parts; i++)
        argv[1 + i] = cache_record_name(names[i], s->prefix, p->whole.text, p->next_part + i);
    p->next_part += p->asked_parts;
    p->parts = (struct redis_call){.on_reply = parts_on_reply, .timeout_ms = time_left_ms(p)};
    if (p->parts.timeout_ms <= 0)
        return REMOTE_LOAD_TIMEOUT;
    return redis_call(s->redis, &p->parts, argv[1], argv, 1 + p->asked_parts) ? REMOTE_LOAD_NONE
                                                                              : REMOTE_LOAD_UNAVAILABLE;
}

static void parts_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_remote_peek *p = CONTAINER_OF(call, struct cache_remote_peek, parts);
    CHECK_MAGIC(p, PEEK_MAGIC);
    enum remote_load outcome = cache_remote_of_redis(o);
    int64_t there;
    if (o == REDIS_ANSWERED)
        outcome = redis_reply_integer(reply, &there) && there == p->asked_parts ? parts_ask(p)
                                                                                : REMOTE_LOAD_INCOMPLETE;
    if (outcome != REMOTE_LOAD_NONE)
        peek_end(p, outcome);
}

static enum remote_load take_record(struct cache_remote_peek *p, const struct cache_record *record,
                                    size_t bytes)
{
    const struct cache_remote_settings *s = &p->remote->settings;
    const struct cache_remote_question q = {p->remote, &p->primary, p->request, 0};
    struct cache_remote_seen *seen = &p->seen;
    struct cache_record_fill fill;
    struct cache_object_info info = {.status = record->status, .head = record->head};
    slice_t tags = cache_tags_joined(&record->tags);
    tags.len = MIN(tags.len, CACHE_REMOTE_PEEK_TAGS_MAX);
    cache_record_to_fill(record, 0, p->request, 0, s->worker->now_wall_ms, seen->left_ms, &fill);
    info.hidden_bytes = cache_hidden_take(&info.head);
    seen->is_there = true;
    seen->has_control = cache_control_of_stored(&info, &seen->control);
    seen->status = record->status;
    seen->chunks = cache_record_chunks(record);
    seen->record_bytes = bytes;
    seen->body_bytes = record->body_bytes;
    seen->fresh = fill.fill.fresh;
    seen->tags = arena_copy(&p->scratch, tags);
    p->found_as = cache_remote_judge(&q, record, seen->left_ms, &fill);
    return p->found_as == REMOTE_LOAD_FOUND || p->found_as == REMOTE_LOAD_STALE ? parts_ask(p) : p->found_as;
}

static enum remote_load head_ask(struct cache_remote_peek *p);

static enum remote_load take_head(struct cache_remote_peek *p, slice_t bytes)
{
    struct cache_record record;
    if (bytes.len == 0)
        return REMOTE_LOAD_ABSENT;
    const enum cache_record_fault fault = cache_record_decode(bytes, p->whole.text, &record);
    if (fault != CACHE_RECORD_NONE)
        return cache_remote_of_fault(fault);
    if (record.kind != CACHE_RECORD_MARKER)
        return take_record(p, &record, bytes.len);
    p->seen.vary_names = arena_copy(&p->scratch, record.vary_names);
    if (!cache_variant_key(&p->scratch, p->primary.text, record.vary_names, p->request, &p->whole))
        return REMOTE_LOAD_NO_MEMORY;
    return head_ask(p);
}

static void head_on_record(struct cache_remote_read *q, enum redis_outcome o, slice_t record)
{
    struct cache_remote_peek *p = CONTAINER_OF(q, struct cache_remote_peek, read);
    CHECK_MAGIC(p, PEEK_MAGIC);
    p->seen.left_ms = q->left_ms;
    const enum remote_load outcome = o == REDIS_ANSWERED ? take_head(p, record) : cache_remote_of_redis(o);
    if (outcome != REMOTE_LOAD_NONE)
        peek_end(p, outcome);
}

static enum remote_load head_ask(struct cache_remote_peek *p)
{
    return cache_remote_read(p->remote, &p->read, p->whole.text, time_left_ms(p), head_on_record);
}

enum remote_load cache_remote_peek(struct cache_remote *r, const struct cache_key *key,
                                   const struct http_head *request,
                                   void (*on_end)(void *arg, const struct cache_remote_seen *s), void *arg)
{
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    if (!cache_remote_is_followed(r))
        return REMOTE_LOAD_UNFOLLOWED;
    struct cache_remote_peek *p = calloc(1, sizeof *p);
    if (p == NULL)
        return REMOTE_LOAD_NO_MEMORY;
    p->magic = PEEK_MAGIC;
    p->remote = r;
    p->primary = p->whole = *key;
    p->request = request;
    p->on_end = on_end;
    p->arg = arg;
    p->until_ms = worker_now_ms(r->settings.worker) + r->settings.timeout_ms;
    p->seen = (struct cache_remote_seen){.left_ms = -1};
    arena_init(&p->scratch, NULL, 0, PEEK_SCRATCH_MAX);
    list_push_back(&r->peeks, &p->node);
    const enum remote_load outcome = head_ask(p);
    if (outcome != REMOTE_LOAD_NONE)
        peek_free(p);
    return outcome;
}
