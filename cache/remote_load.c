/* remote_load.c: see remote_load.h.
 *
 *   HEAD (primary key) --marker--> HEAD (variant) --record--> [CHUNKS] --> ended
 *
 * A record with its whole body inside is used where the reply lies, without a copy; of a larger one the head
 * record is copied, and the chunks go into one block. Commands for heads have what is left of the time limit
 * each, and when Redis hangs it is they that open the client's circuit breaker. Chunks have a deadline in
 * common instead, which cancels them: a large body that takes too long says nothing about Redis.
 *
 * Rejected: filling the flight with chunks as they come. A torn or missing one would cut responses that
 * clients are already reading. */
#include "cache/remote_load.h"

#include <stdlib.h>

#include "cache/record_object.h"
#include "cache/shard.h"
#include "cache/validity.h"
#include "core/metrics.h"
#include "core/panic.h"

#define LOAD_MAGIC       0x6c6f6164u
#define LOAD_SCRATCH_MAX (192 * KB) /* the whole key of a variant, and what making it takes */

struct load_piece {
    struct redis_call call;
    struct cache_remote_load *load;
    uint32_t chunk;
};

/* Owned by the remote store; one worker's thread. Ends with on_end or by being cancelled. */
struct cache_remote_load {
    uint32_t magic;
    /* set once */
    struct cache_remote *remote;
    struct cache_key primary;
    const struct http_head *request;
    void (*on_end)(void *arg, const struct cache_remote_loaded *l);
    void *arg;
    mono_ms_t until_ms;
    /* worker's thread */
    struct list node;
    struct cache_key whole; /* what is asked for: the primary key, or that of a variant, in `scratch` */
    struct arena scratch;
    struct redis_call left, head;
    dur_ms_t left_ms; /* of the record's expiry, -1 unknown */
    struct cache_record record;
    struct cache_record_fill fill;
    /* CHUNKS */
    char *bytes, *body; /* the head record; the body, of which `reserved` bytes are accounted */
    size_t reserved;
    uint32_t next_chunk, chunks_left;
    struct load_piece pieces[CACHE_REMOTE_LOAD_WINDOW];
    struct deadline deadline;
    struct grave grave;
};

_Static_assert(REMOTE_LOAD_TORN - REMOTE_LOAD_FOREIGN == CACHE_RECORD_TORN - CACHE_RECORD_FOREIGN &&
                   REMOTE_LOAD_WRONG_KEY - REMOTE_LOAD_FOREIGN ==
                       CACHE_RECORD_WRONG_KEY - CACHE_RECORD_FOREIGN,
               "faults of records are outcomes, in the same order");

static enum remote_load of_fault(enum cache_record_fault f)
{
    return (enum remote_load)(REMOTE_LOAD_FOREIGN + (f - CACHE_RECORD_FOREIGN));
}

/* Of a call that got no answer to go on with. */
static enum remote_load of_redis(enum redis_outcome o)
{
    return o == REDIS_REFUSED   ? REMOTE_LOAD_REFUSED
           : o == REDIS_TIMEOUT ? REMOTE_LOAD_TIMEOUT
                                : REMOTE_LOAD_UNAVAILABLE;
}

static enum remote_load count(const struct cache_remote *r, enum remote_load outcome)
{
    metrics_count_reason(r->settings.worker->metrics, METRICS_REASON_REMOTE_LOADS, outcome);
    return outcome;
}

/* ---- ending ----------------------------------------------------------------------------------------------
 */

static void load_leave(struct cache_remote_load *l)
{
    redis_call_cancel(&l->left);
    redis_call_cancel(&l->head);
    for (size_t i = 0; i < CACHE_REMOTE_LOAD_WINDOW; i++)
        redis_call_cancel(&l->pieces[i].call);
    deadline_clear(l->remote->settings.worker, &l->deadline);
    list_remove(&l->node);
    l->remote->load_bytes -= l->reserved;
}

static void load_free(struct cache_remote_load *l)
{
    struct worker *w = l->remote->settings.worker;
    arena_reset(&l->scratch);
    free(l->bytes);
    free(l->body);
    l->magic = 0;
    worker_bury(w, &l->grave, free, l);
}

/* Nothing of `l` may be touched afterwards. */
static void load_end(struct cache_remote_load *l, enum remote_load outcome, slice_t body)
{
    const struct cache_remote_loaded loaded = {outcome, outcome == REMOTE_LOAD_FOUND ? &l->fill.fill : NULL,
                                               body};
    load_leave(l);
    if (outcome == REMOTE_LOAD_ABSENT)
        cache_remote_remember_absent(l->remote, l->whole.hash.lo);
    count(l->remote, outcome);
    l->on_end(l->arg, &loaded);
    load_free(l);
}

void cache_remote_load_cancel(struct cache_remote_load **lp)
{
    struct cache_remote_load *l = *lp;
    *lp = NULL;
    if (l == NULL)
        return;
    CHECK_MAGIC(l, LOAD_MAGIC);
    load_leave(l);
    count(l->remote, REMOTE_LOAD_CANCELLED);
    load_free(l);
}

void cache_remote_end_loads(struct cache_remote *r)
{
    while (!list_empty(&r->loads))
        load_end(CONTAINER_OF(r->loads.next, struct cache_remote_load, node), REMOTE_LOAD_UNAVAILABLE,
                 SLICE_EMPTY);
}

/* ---- chunks ----------------------------------------------------------------------------------------------
 */

static void piece_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply);

/* Asks for the next chunk; false when that is refused. */
static bool piece_ask(struct load_piece *p)
{
    struct cache_remote_load *l = p->load;
    char name[CACHE_REMOTE_NAME_BYTES];
    p->chunk = l->next_chunk++;
    p->call = (struct redis_call){.on_reply = piece_on_reply};
    const slice_t argv[] = {SLICE_LIT("GET"),
                            cache_record_name(name, l->remote->settings.prefix, l->whole.text, p->chunk)};
    return redis_call(l->remote->settings.redis, &p->call, argv[1], argv, ARRAY_LEN(argv));
}

static void piece_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct load_piece *p = CONTAINER_OF(call, struct load_piece, call);
    struct cache_remote_load *l = p->load;
    CHECK_MAGIC(l, LOAD_MAGIC);
    slice_t part;
    if (o != REDIS_ANSWERED || redis_reply_is_nil(reply)) {
        load_end(l, o != REDIS_ANSWERED ? of_redis(o) : REMOTE_LOAD_INCOMPLETE, SLICE_EMPTY);
        return;
    }
    enum cache_record_fault fault =
        cache_record_decode_chunk(redis_reply_text(reply), &l->record, p->chunk, &part);
    if (fault != CACHE_RECORD_NONE) {
        load_end(l, of_fault(fault), SLICE_EMPTY);
        return;
    }
    memcpy(l->body + (size_t)p->chunk * CACHE_RECORD_CHUNK, part.ptr, part.len);
    if (--l->chunks_left == 0)
        load_end(l, REMOTE_LOAD_FOUND, slice_make(l->body, (size_t)l->record.body_bytes));
    else if (l->next_chunk < cache_record_chunks(&l->record) && !piece_ask(p))
        load_end(l, REMOTE_LOAD_UNAVAILABLE, SLICE_EMPTY);
}

static void load_on_deadline(struct deadline *d)
{
    load_end(CONTAINER_OF(d, struct cache_remote_load, deadline), REMOTE_LOAD_TIMEOUT, SLICE_EMPTY);
}

/* Room for the body, and a copy of the record, whose slices then lie in that. */
static enum remote_load chunks_prepare(struct cache_remote_load *l, slice_t bytes)
{
    struct cache_remote *r = l->remote;
    const size_t body_bytes = (size_t)l->record.body_bytes;
    if (r->load_bytes > 0 && r->load_bytes + body_bytes > CACHE_REMOTE_LOAD_BYTES_MAX)
        return REMOTE_LOAD_BUSY;
    l->bytes = malloc(bytes.len);
    l->body = malloc(body_bytes);
    if (l->bytes == NULL || l->body == NULL)
        return REMOTE_LOAD_NO_MEMORY;
    r->load_bytes += l->reserved = body_bytes;
    memcpy(l->bytes, bytes.ptr, bytes.len);
    enum cache_record_fault fault =
        cache_record_decode(slice_make(l->bytes, bytes.len), l->whole.text, &l->record);
    ASSERT(fault == CACHE_RECORD_NONE);
    return REMOTE_LOAD_NONE;
}

static enum remote_load chunks_begin(struct cache_remote_load *l)
{
    deadline_set(l->remote->settings.worker, &l->deadline, l->until_ms);
    l->chunks_left = cache_record_chunks(&l->record);
    for (size_t i = 0; i < MIN(l->chunks_left, CACHE_REMOTE_LOAD_WINDOW); i++) {
        l->pieces[i].load = l;
        if (!piece_ask(&l->pieces[i]))
            return REMOTE_LOAD_UNAVAILABLE;
    }
    return REMOTE_LOAD_NONE;
}

/* ---- heads -----------------------------------------------------------------------------------------------
 */

/* May the record be used? NONE: so far it may. Makes the fill. */
static enum remote_load judge(struct cache_remote_load *l)
{
    const struct cache_remote_settings *s = &l->remote->settings;
    uint64_t checked_id;
    if (l->record.status == 206) /* a part is not written */
        return REMOTE_LOAD_MALFORMED;
    if (!cache_stream_map_locate(s->map, &l->record.stamp, &checked_id) ||
        cache_was_purged_since(s->cache, &l->primary, cache_tags_joined(&l->record.tags), checked_id))
        return REMOTE_LOAD_PURGED;
    cache_record_to_fill(&l->record, checked_id, l->request, 0, s->worker->now_wall_ms, l->left_ms, &l->fill);
    if (!cache_freshness_is_fresh(&l->fill.fill.fresh, s->worker->now_wall_ms))
        return REMOTE_LOAD_STALE;
    return l->record.body_bytes > s->max_object_bytes ? REMOTE_LOAD_TOO_LARGE : REMOTE_LOAD_NONE;
}

static enum remote_load load_ask(struct cache_remote_load *l);

/* The URL varies: on to the variant of this request. */
static enum remote_load take_marker(struct cache_remote_load *l)
{
    if (!cache_variant_key(&l->scratch, l->primary.text, l->record.vary_names, l->request, &l->whole))
        return REMOTE_LOAD_NO_MEMORY;
    return cache_remote_is_absent(l->remote, l->whole.hash.lo) ? REMOTE_LOAD_REMEMBERED : load_ask(l);
}

/* NONE: it goes on. */
static enum remote_load take_head(struct cache_remote_load *l, const struct redisReply *reply)
{
    if (redis_reply_is_nil(reply))
        return REMOTE_LOAD_ABSENT;
    const slice_t bytes = redis_reply_text(reply);
    enum cache_record_fault fault = cache_record_decode(bytes, l->whole.text, &l->record);
    if (fault != CACHE_RECORD_NONE)
        return of_fault(fault);
    if (l->record.kind == CACHE_RECORD_MARKER)
        return take_marker(l);
    enum remote_load outcome = judge(l);
    if (outcome != REMOTE_LOAD_NONE)
        return outcome;
    if (cache_record_chunks(&l->record) == 0)
        return REMOTE_LOAD_FOUND;
    outcome = chunks_prepare(l, bytes);
    if (outcome == REMOTE_LOAD_NONE)
        outcome = judge(l); /* the fill lies in the copy now */
    return outcome == REMOTE_LOAD_NONE ? chunks_begin(l) : outcome;
}

static void left_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_remote_load *l = CONTAINER_OF(call, struct cache_remote_load, left);
    CHECK_MAGIC(l, LOAD_MAGIC);
    if (o == REDIS_ANSWERED && redis_reply_integer(reply, &l->left_ms))
        l->left_ms = MAX(l->left_ms, -1);
}

static void head_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_remote_load *l = CONTAINER_OF(call, struct cache_remote_load, head);
    CHECK_MAGIC(l, LOAD_MAGIC);
    redis_call_cancel(&l->left);
    if (l->left.hops > 0 || l->head.hops > 0) /* they may have changed places */
        l->left_ms = -1;
    const enum remote_load outcome = o == REDIS_ANSWERED ? take_head(l, reply) : of_redis(o);
    if (outcome != REMOTE_LOAD_NONE)
        load_end(l, outcome, outcome == REMOTE_LOAD_FOUND ? l->record.body : SLICE_EMPTY);
}

static enum remote_load load_ask(struct cache_remote_load *l)
{
    struct redis *redis = l->remote->settings.redis;
    char name[CACHE_REMOTE_NAME_BYTES];
    const dur_ms_t timeout_ms = l->until_ms - worker_now_ms(l->remote->settings.worker);
    if (timeout_ms <= 0)
        return REMOTE_LOAD_TIMEOUT;
    l->left_ms = -1;
    l->left = (struct redis_call){.on_reply = left_on_reply, .timeout_ms = timeout_ms};
    l->head = (struct redis_call){.on_reply = head_on_reply, .timeout_ms = timeout_ms};
    slice_t argv[] = {SLICE_LIT("PTTL"),
                      cache_record_name(name, l->remote->settings.prefix, l->whole.text, CACHE_RECORD_HEAD)};
    if (!redis_call(redis, &l->left, argv[1], argv, ARRAY_LEN(argv)))
        return REMOTE_LOAD_UNAVAILABLE;
    argv[0] = SLICE_LIT("GET");
    return redis_call_behind(redis, &l->head, &l->left, argv[1], argv, ARRAY_LEN(argv))
               ? REMOTE_LOAD_NONE
               : REMOTE_LOAD_UNAVAILABLE;
}

static bool is_followed(const struct cache_remote *r)
{
    struct cache_stream_stamp stamp;
    return cache_stream_map_stamp(r->settings.map, CACHE_INVAL_ID_MAX, &stamp);
}

enum remote_load cache_remote_load(struct cache_remote *r, const struct cache_key *key,
                                   const struct http_head *request,
                                   void (*on_end)(void *arg, const struct cache_remote_loaded *l), void *arg,
                                   struct cache_remote_load **out)
{
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    *out = NULL;
    if (cache_remote_is_absent(r, key->hash.lo))
        return count(r, REMOTE_LOAD_REMEMBERED);
    if (!is_followed(r))
        return count(r, REMOTE_LOAD_UNFOLLOWED);
    struct cache_remote_load *l = calloc(1, sizeof *l);
    if (l == NULL)
        return count(r, REMOTE_LOAD_NO_MEMORY);
    l->magic = LOAD_MAGIC;
    l->remote = r;
    l->primary = l->whole = *key;
    l->request = request;
    l->on_end = on_end;
    l->arg = arg;
    l->until_ms = worker_now_ms(r->settings.worker) + r->settings.timeout_ms;
    arena_init(&l->scratch, NULL, 0, LOAD_SCRATCH_MAX);
    deadline_init(&l->deadline, load_on_deadline);
    list_push_back(&r->loads, &l->node);
    const enum remote_load outcome = load_ask(l);
    if (outcome != REMOTE_LOAD_NONE) {
        load_leave(l);
        load_free(l);
        return count(r, outcome);
    }
    *out = l;
    return REMOTE_LOAD_NONE;
}
