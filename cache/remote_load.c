/* remote_load.c: see remote_load.h.
 *
 *   GET (primary key) --marker--> GET (variant) --record--> [CHUNKS] --> ended
 *    `--nothing, no use: the LEASE, or another record--'  ^     `--torn: the LEASE
 *              `--ours, another's, no answer--> ended     `--there is one by now
 *
 * The lease is asked for, by a script that looks once more, only when there is nothing: a GET costs Redis a
 * third of that, and what is there is asked for more often than what is not.
 *
 * A record with its whole body inside is used where the reply lies, without a copy; of a larger one the head
 * record is copied, and the chunks go into one block. When Redis hangs it is the questions for records that
 * open the client's circuit breaker. Chunks have no time limit of their own, only the deadline of the whole,
 * which cancels them: a large body that takes too long says nothing about Redis. That deadline is put off for
 * as long as another node is waited for.
 *
 * Rejected: filling the flight with chunks as they come. A torn or missing one would cut responses that
 * clients are already reading. */
#include "cache/remote_load.h"

#include <stdlib.h>

#include "cache/record_object.h"
#include "cache/remote_read.h"
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
    struct cache_remote_want want;
    struct cache_key primary;
    mono_ms_t wait_until_ms, end_at_ms; /* for other nodes; the latest end */
    /* worker's thread */
    struct list node;
    struct cache_key whole; /* what is asked for: the primary key, or that of a variant, in `scratch` */
    struct arena scratch;
    mono_ms_t until_ms; /* put off by as long as the lease was asked for */
    struct cache_remote_read read;
    struct cache_lease *lease; /* asked for; NULL: not now */
    mono_ms_t lease_asked_ms;
    enum remote_load refused; /* why the first record that is no use is none, else NONE */
    unsigned refusals;
    enum remote_load found_as; /* what it comes to when the record is taken: FOUND or STALE */
    dur_ms_t left_ms;          /* of the record's expiry, -1 unknown */
    struct cache_record record;
    struct cache_record_fill fill;
    /* CHUNKS */
    char *bytes, *body; /* the head record; the body, of which `reserved` bytes are accounted */
    size_t record_bytes, reserved;
    uint32_t next_chunk, chunks_left;
    struct load_piece pieces[CACHE_REMOTE_LOAD_WINDOW];
    struct deadline deadline;
    struct grave grave;
};

_Static_assert(REMOTE_LOAD_TORN - REMOTE_LOAD_FOREIGN == CACHE_RECORD_TORN - CACHE_RECORD_FOREIGN &&
                   REMOTE_LOAD_WRONG_KEY - REMOTE_LOAD_FOREIGN ==
                       CACHE_RECORD_WRONG_KEY - CACHE_RECORD_FOREIGN,
               "faults of records are outcomes, in the same order");

enum remote_load cache_remote_of_fault(enum cache_record_fault f)
{
    return (enum remote_load)(REMOTE_LOAD_FOREIGN + (f - CACHE_RECORD_FOREIGN));
}

enum remote_load cache_remote_of_redis(enum redis_outcome o)
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

/* ---- ending ---- */

static void chunks_drop(struct cache_remote_load *l)
{
    for (size_t i = 0; i < CACHE_REMOTE_LOAD_WINDOW; i++)
        redis_call_cancel(&l->pieces[i].call);
    l->remote->load_bytes -= l->reserved;
    l->reserved = 0;
}

static void load_leave(struct cache_remote_load *l)
{
    cache_remote_read_cancel(&l->read);
    cache_lease_cancel(&l->lease);
    chunks_drop(l);
    deadline_clear(l->remote->settings.worker, &l->deadline);
    list_remove(&l->node);
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
static void load_end_with(struct cache_remote_load *l, enum remote_load outcome, slice_t body,
                          struct cache_lease *lease)
{
    const bool taken = outcome == REMOTE_LOAD_FOUND || (outcome == REMOTE_LOAD_STALE && l->want.or_stale);
    const struct cache_remote_loaded loaded = {outcome, taken ? &l->fill.fill : NULL, body, lease};
    load_leave(l);
    count(l->remote, outcome);
    l->want.on_end(l->want.arg, &loaded);
    load_free(l);
}

static void load_end(struct cache_remote_load *l, enum remote_load outcome)
{
    load_end_with(l, outcome, SLICE_EMPTY, NULL);
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
        load_end(CONTAINER_OF(r->loads.next, struct cache_remote_load, node), REMOTE_LOAD_UNAVAILABLE);
}

/* ---- asking ---- */

static void load_on_lease(void *arg, const struct cache_lease_result *r);

/* NONE: asked. `refused` is a record that is no use, or empty. */
static enum remote_load load_ask_lease(struct cache_remote_load *l, slice_t refused)
{
    const mono_ms_t now_ms = worker_now_ms(l->remote->settings.worker);
    const struct cache_lease_request request = {
        .key = l->whole.text,
        .want = refused.len > 0 ? CACHE_LEASE_NEWER : CACHE_LEASE_RECORD,
        .refused = refused,
        .wait_ms = MAX(l->wait_until_ms - now_ms, 0),
        .on_result = load_on_lease,
        .arg = l,
    };
    l->lease_asked_ms = now_ms;
    l->lease = cache_lease_ask(l->remote->leases, &request);
    return l->lease != NULL ? REMOTE_LOAD_NONE : REMOTE_LOAD_UNAVAILABLE;
}

static void load_on_record(struct cache_remote_read *q, enum redis_outcome o, slice_t record);

/* NONE: asked. */
static enum remote_load load_ask(struct cache_remote_load *l)
{
    const dur_ms_t left_ms = l->until_ms - worker_now_ms(l->remote->settings.worker);
    return cache_remote_read(l->remote, &l->read, l->whole.text, left_ms, load_on_record);
}

/* It is to be replaced. NONE: another one is asked for, or the lease. */
static enum remote_load load_refuse(struct cache_remote_load *l, enum remote_load why, slice_t record)
{
    if (l->refused == REMOTE_LOAD_NONE)
        l->refused = why;
    return ++l->refusals > CACHE_REMOTE_LOAD_REFUSALS || record.len == 0 ? why : load_ask_lease(l, record);
}

static void load_on_deadline(struct deadline *d)
{
    struct cache_remote_load *l = CONTAINER_OF(d, struct cache_remote_load, deadline);
    struct worker *w = l->remote->settings.worker;
    if (l->lease != NULL && cache_lease_has_waited(l->lease) && worker_now_ms(w) < l->end_at_ms)
        deadline_set(w, d, l->end_at_ms);
    else
        load_end(l, REMOTE_LOAD_TIMEOUT);
}

/* ---- chunks ---- */

/* What lies there for a part of the body, put to where that belongs; false: it is not what was packed. */
static bool take_part(const struct cache_remote_load *l, int64_t part, slice_t bytes, char *to)
{
    const size_t whole = cache_record_part_bytes(&l->record, part);
    if (bytes.len < whole)
        return cache_packer_unpack(l->remote->packer, bytes, to, whole);
    memcpy(to, bytes.ptr, whole);
    return true;
}

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

static void chunks_refuse(struct cache_remote_load *l, enum remote_load why)
{
    chunks_drop(l);
    const enum remote_load outcome = load_refuse(l, why, slice_make(l->bytes, l->record_bytes));
    if (outcome != REMOTE_LOAD_NONE)
        load_end(l, outcome);
}

static void piece_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct load_piece *p = CONTAINER_OF(call, struct load_piece, call);
    struct cache_remote_load *l = p->load;
    CHECK_MAGIC(l, LOAD_MAGIC);
    slice_t part;
    if (o != REDIS_ANSWERED) {
        load_end(l, cache_remote_of_redis(o));
        return;
    }
    const bool missing = redis_reply_is_nil(reply);
    enum cache_record_fault fault =
        missing ? CACHE_RECORD_NONE
                : cache_record_decode_chunk(redis_reply_text(reply), &l->record, p->chunk, &part);
    if (missing || fault != CACHE_RECORD_NONE) {
        chunks_refuse(l, missing ? REMOTE_LOAD_INCOMPLETE : cache_remote_of_fault(fault));
        return;
    }
    if (!take_part(l, p->chunk, part, l->body + (size_t)p->chunk * CACHE_RECORD_CHUNK))
        chunks_refuse(l, REMOTE_LOAD_MALFORMED);
    else if (--l->chunks_left == 0)
        load_end_with(l, l->found_as, slice_make(l->body, (size_t)l->record.body_bytes), NULL);
    else if (l->next_chunk < cache_record_chunks(&l->record) && !piece_ask(p))
        load_end(l, REMOTE_LOAD_UNAVAILABLE);
}

/* Room for the body, and a copy of the record, whose slices then lie in that. */
static enum remote_load chunks_prepare(struct cache_remote_load *l, slice_t bytes)
{
    struct cache_remote *r = l->remote;
    const size_t body_bytes = (size_t)l->record.body_bytes;
    if (r->load_bytes > 0 && r->load_bytes + body_bytes > CACHE_REMOTE_LOAD_BYTES_MAX)
        return REMOTE_LOAD_BUSY;
    free(l->bytes);
    free(l->body);
    l->bytes = malloc(bytes.len);
    l->body = malloc(body_bytes);
    if (l->bytes == NULL || l->body == NULL)
        return REMOTE_LOAD_NO_MEMORY;
    r->load_bytes += l->reserved = body_bytes;
    l->record_bytes = bytes.len;
    memcpy(l->bytes, bytes.ptr, bytes.len);
    enum cache_record_fault fault =
        cache_record_decode(slice_make(l->bytes, bytes.len), l->whole.text, &l->record);
    ASSERT(fault == CACHE_RECORD_NONE);
    return REMOTE_LOAD_NONE;
}

static enum remote_load chunks_begin(struct cache_remote_load *l)
{
    l->next_chunk = 0;
    l->chunks_left = cache_record_chunks(&l->record);
    for (size_t i = 0; i < MIN(l->chunks_left, CACHE_REMOTE_LOAD_WINDOW); i++) {
        l->pieces[i].load = l;
        if (!piece_ask(&l->pieces[i]))
            return REMOTE_LOAD_UNAVAILABLE;
    }
    return REMOTE_LOAD_NONE;
}

/* ---- heads ---- */

enum remote_load cache_remote_judge(const struct cache_remote_question *q, const struct cache_record *record,
                                    dur_ms_t left_ms, struct cache_record_fill *out)
{
    const struct cache_remote_settings *s = &q->remote->settings;
    uint64_t checked_id;
    if (record->status == 206) /* a part is not written */
        return REMOTE_LOAD_MALFORMED;
    if (!cache_stream_map_locate(s->map, &record->stamp, &checked_id) ||
        cache_was_purged_since(s->cache, q->primary, cache_tags_joined(&record->tags), checked_id))
        return REMOTE_LOAD_PURGED;
    cache_record_to_fill(record, checked_id, q->request, 0, s->worker->now_wall_ms, left_ms, out);
    if (record->body_bytes > s->max_object_bytes)
        return REMOTE_LOAD_TOO_LARGE;
    const struct cache_freshness *f = &out->fill.fresh;
    return f->revalidate_always || cache_freshness_left_ms(f, s->worker->now_wall_ms) <= q->fresher_than_ms
               ? REMOTE_LOAD_STALE
               : REMOTE_LOAD_FOUND;
}

/* NONE: so far it may be used. Makes the fill. */
static enum remote_load judge(struct cache_remote_load *l)
{
    const struct cache_remote_question q = {l->remote, &l->primary, l->want.request, l->want.fresher_than_ms};
    const enum remote_load outcome = cache_remote_judge(&q, &l->record, l->left_ms, &l->fill);
    if (outcome != REMOTE_LOAD_FOUND && !(outcome == REMOTE_LOAD_STALE && l->want.or_stale))
        return outcome;
    l->found_as = outcome;
    return REMOTE_LOAD_NONE;
}

/* The URL varies: on to the variant of this request. */
static enum remote_load take_marker(struct cache_remote_load *l)
{
    if (!cache_variant_key(&l->scratch, l->primary.text, l->record.vary_names, l->want.request, &l->whole))
        return REMOTE_LOAD_NO_MEMORY;
    return load_ask(l);
}

/* The body that is in the head record. */
static enum remote_load take_inline(struct cache_remote_load *l)
{
    const size_t whole = cache_record_part_bytes(&l->record, CACHE_RECORD_HEAD);
    if (l->record.body.len == whole)
        return l->found_as;
    free(l->body);
    l->body = malloc(whole);
    if (l->body == NULL)
        return REMOTE_LOAD_NO_MEMORY;
    if (!take_part(l, CACHE_RECORD_HEAD, l->record.body, l->body))
        return REMOTE_LOAD_MALFORMED;
    l->record.body = slice_make(l->body, whole);
    return l->found_as;
}

/* NONE: it goes on. */
static enum remote_load take_record(struct cache_remote_load *l, slice_t bytes)
{
    enum cache_record_fault fault = cache_record_decode(bytes, l->whole.text, &l->record);
    if (fault != CACHE_RECORD_NONE)
        return load_refuse(l, cache_remote_of_fault(fault), bytes);
    if (l->record.kind == CACHE_RECORD_MARKER)
        return take_marker(l);
    enum remote_load outcome = judge(l);
    if (outcome != REMOTE_LOAD_NONE)
        return load_refuse(l, outcome, bytes);
    if (cache_record_chunks(&l->record) == 0) {
        outcome = take_inline(l);
        return outcome == REMOTE_LOAD_MALFORMED ? load_refuse(l, outcome, bytes) : outcome;
    }
    outcome = chunks_prepare(l, bytes);
    if (outcome == REMOTE_LOAD_NONE)
        outcome = judge(l); /* the fill lies in the copy now */
    return outcome == REMOTE_LOAD_NONE ? chunks_begin(l) : outcome;
}

/* The first question has a limit of its own. */
static void load_go_on(struct cache_remote_load *l, enum remote_load outcome)
{
    if (outcome == REMOTE_LOAD_NONE)
        deadline_set(l->remote->settings.worker, &l->deadline, l->until_ms);
    else
        load_end_with(l, outcome, outcome == l->found_as ? l->record.body : SLICE_EMPTY, NULL);
}

static void load_on_record(struct cache_remote_read *q, enum redis_outcome o, slice_t record)
{
    struct cache_remote_load *l = CONTAINER_OF(q, struct cache_remote_load, read);
    CHECK_MAGIC(l, LOAD_MAGIC);
    l->left_ms = q->left_ms;
    load_go_on(l, o != REDIS_ANSWERED ? cache_remote_of_redis(o)
                  : record.len == 0   ? load_ask_lease(l, SLICE_EMPTY)
                                      : take_record(l, record));
}

static void load_on_lease(void *arg, const struct cache_lease_result *r)
{
    struct cache_remote_load *l = arg;
    CHECK_MAGIC(l, LOAD_MAGIC);
    struct cache_lease *lease = l->lease;
    enum remote_load outcome = REMOTE_LOAD_NONE;
    l->lease = NULL;
    switch (r->outcome) {
    case CACHE_LEASE_HELD:
        load_end_with(l, l->refused != REMOTE_LOAD_NONE ? l->refused : REMOTE_LOAD_ABSENT, SLICE_EMPTY,
                      lease);
        return;
    case CACHE_LEASE_FOUND:
        l->until_ms += worker_now_ms(l->remote->settings.worker) - l->lease_asked_ms;
        l->left_ms = MAX(r->left_ms, -1);
        outcome = take_record(l, r->record);
        break;
    case CACHE_LEASE_PASSED:
        outcome = REMOTE_LOAD_PASSED;
        break;
    case CACHE_LEASE_ALONE:
        outcome = REMOTE_LOAD_WAITED;
        break;
    case CACHE_LEASE_UNAVAILABLE:
        outcome = cache_remote_of_redis(r->redis);
        break;
    case CACHE_LEASE_OUTCOME_COUNT:
        PANIC("a lease without an outcome");
    }
    load_go_on(l, outcome);
}

bool cache_remote_is_followed(const struct cache_remote *r)
{
    struct cache_stream_stamp stamp;
    return cache_stream_map_stamp(r->settings.map, CACHE_INVAL_ID_MAX, &stamp);
}

enum remote_load cache_remote_load(struct cache_remote *r, const struct cache_remote_want *want,
                                   struct cache_remote_load **out)
{
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    *out = NULL;
    if (!cache_remote_is_followed(r))
        return count(r, REMOTE_LOAD_UNFOLLOWED);
    struct cache_remote_load *l = calloc(1, sizeof *l);
    if (l == NULL)
        return count(r, REMOTE_LOAD_NO_MEMORY);
    const mono_ms_t now_ms = worker_now_ms(r->settings.worker);
    l->magic = LOAD_MAGIC;
    l->remote = r;
    l->want = *want;
    l->primary = l->whole = *want->key;
    l->until_ms = now_ms + r->settings.timeout_ms;
    l->wait_until_ms = now_ms + want->wait_ms;
    l->end_at_ms = l->wait_until_ms + r->settings.timeout_ms;
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
