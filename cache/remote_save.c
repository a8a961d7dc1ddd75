/* remote_save.c: see remote_save.h.
 *
 *   WAITING --turn is over, its turn comes--> [LEASE] --> CHUNKS --> HEAD --> ended
 *                                    of one that varies:     HEAD --> [MARKER_LEASE] --> MARKER_LEFT
 *                                                                 --> MARKER --> ended
 *
 * Each step begins when all commands of the one before are answered. The record is made anew for the head, so
 * that its stamp and its expiry are those of the moment it is sent; what was softly purged or has become
 * stale by then is given up.
 *
 * A response is written under its own key: of one that varies, the variant's. If it was fetched under the
 * lease of its URL, since nobody knew that, that is kept until the marker lies there, so that who waits for
 * it finds both. A marker that another node is about to write is left to that one. A marker has to live as
 * long as the longest of its variants, so what is left of the old one's expiry is asked for before it is
 * replaced.
 *
 * Rejected: a transaction for all parts of an object. It would hold up Redis as one large value does, and
 * what a reader joins is told by the id of the write anyway. */
#include "cache/remote_save.h"

#include <stdlib.h>

#include "cache/object.h"
#include "cache/record_object.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/random.h"

#define SAVE_MAGIC 0x73617665u

enum save_step {
    SAVE_WAITING,
    SAVE_LEASE,
    SAVE_CHUNKS,
    SAVE_HEAD,
    SAVE_MARKER_LEASE,
    SAVE_MARKER_LEFT,
    SAVE_MARKER
};

struct save_piece {
    struct redis_call call;
    struct cache_remote_save *save;
};

/* Owned by the remote store; one worker's thread. */
struct cache_remote_save {
    uint32_t magic;
    /* set once */
    struct cache_remote *remote;
    struct cache_object *object; /* a reference */
    size_t body_bytes;
    /* worker's thread */
    struct list node; /* waiting_saves, then saves */
    enum save_step step;
    struct cache_lease *lease,
        *url_lease;             /* of the response's key; of its URL, if it varies. NULL: not ours */
    struct cache_record record; /* borrows the object */
    bool packed;                /* some part was */
    uint32_t next_chunk;
    unsigned under_way;
    struct save_piece pieces[CACHE_REMOTE_SAVE_WINDOW];
    struct grave grave;
};

static void count(const struct cache_remote *r, enum remote_save outcome)
{
    metrics_count_reason(r->settings.worker->metrics, METRICS_REASON_REMOTE_SAVES, outcome);
}

void cache_remote_let_go(const struct cache_remote *r, struct cache_object *o)
{
    if (r->settings.alone)
        cache_forget(r->settings.cache, o);
}

static void save_go_on(struct cache_remote_save *s);

static unsigned saves_active_max(const struct cache_remote *r)
{
    return r->settings.pack ? CACHE_REMOTE_SAVES_PACKING : CACHE_REMOTE_SAVES_ACTIVE;
}

static void queue_look(struct cache_remote *r)
{
    if (!list_empty(&r->waiting_saves) && r->active_saves < saves_active_max(r))
        worker_at_turn_end(r->settings.worker, &r->save_hook);
}

static void save_end(struct cache_remote_save *s, enum remote_save outcome)
{
    struct cache_remote *r = s->remote;
    for (size_t i = 0; i < CACHE_REMOTE_SAVE_WINDOW; i++)
        redis_call_cancel(&s->pieces[i].call);
    list_remove(&s->node);
    r->save_count--;
    r->save_bytes -= s->body_bytes;
    r->active_saves -= s->step != SAVE_WAITING;
    count(r, outcome);
    cache_lease_cancel(&s->lease);
    cache_lease_cancel(&s->url_lease);
    cache_remote_let_go(r, s->object);
    cache_object_unref(&s->object);
    s->magic = 0;
    worker_bury(r->settings.worker, &s->grave, free, s);
    queue_look(r);
}

/* ---- commands ---- */

static void save_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct save_piece *p = CONTAINER_OF(call, struct save_piece, call);
    struct cache_remote_save *s = p->save;
    CHECK_MAGIC(s, SAVE_MAGIC);
    s->under_way--;
    if (o != REDIS_ANSWERED) {
        save_end(s, o == REDIS_REFUSED   ? REMOTE_SAVE_REFUSED
                    : o == REDIS_TIMEOUT ? REMOTE_SAVE_TIMEOUT
                                         : REMOTE_SAVE_UNAVAILABLE);
        return;
    }
    int64_t left_ms;
    if (s->step == SAVE_MARKER_LEFT && redis_reply_integer(reply, &left_ms))
        s->record.expire_ms = MAX(s->record.expire_ms, left_ms);
    save_go_on(s);
}

/* On a piece that is free. false: refused. */
static bool save_call(struct cache_remote_save *s, const slice_t *argv, size_t argc)
{
    struct save_piece *p = s->pieces;
    while (p->call.conn != NULL)
        p++;
    ASSERT(p < s->pieces + CACHE_REMOTE_SAVE_WINDOW);
    *p = (struct save_piece){.call.on_reply = save_on_reply, .save = s};
    if (!redis_call(s->remote->settings.redis, &p->call, argv[1], argv, argc))
        return false;
    s->under_way++;
    return true;
}

static bool save_set(struct cache_remote_save *s, slice_t name, slice_t value)
{
    char digits[20];
    const slice_t argv[] = {SLICE_LIT("SET"), name, value, SLICE_LIT("PX"),
                            slice_make(digits, slice_put_u64(digits, (uint64_t)s->record.expire_ms))};
    return save_call(s, argv, ARRAY_LEN(argv));
}

/* ---- steps: NONE when it goes on, else how it ends ---- */

/* The part that is encoded next. */
static void pack_part(struct cache_remote_save *s, int64_t part)
{
    const struct cache_remote *r = s->remote;
    s->record.part = SLICE_EMPTY;
    if (r->settings.pack && cache_pack_wants(s->record.head, s->record.body_bytes))
        s->record.part = cache_packer_pack(r->packer, &s->record, part);
    s->packed |= s->record.part.len > 0;
    s->record.packed = s->packed;
}

static enum remote_save send_chunk(struct cache_remote_save *s)
{
    char name[CACHE_REMOTE_NAME_BYTES];
    if (!cache_lease_is_held(s->lease))
        return REMOTE_SAVE_OVERTAKEN;
    pack_part(s, s->next_chunk);
    const size_t bytes = cache_record_chunk_bytes(&s->record, s->next_chunk);
    char *buf = malloc(bytes);
    if (buf == NULL)
        return REMOTE_SAVE_NO_MEMORY;
    cache_record_encode_chunk(&s->record, s->next_chunk, buf);
    const bool sent =
        save_set(s, cache_record_name(name, s->remote->settings.prefix, s->record.key, s->next_chunk),
                 slice_make(buf, bytes));
    free(buf);
    s->next_chunk++;
    return sent ? REMOTE_SAVE_NONE : REMOTE_SAVE_UNAVAILABLE;
}

static void save_on_put(void *arg, enum cache_lease_put put)
{
    struct cache_remote_save *s = arg;
    CHECK_MAGIC(s, SAVE_MAGIC);
    if (s->step == SAVE_HEAD)
        s->lease = NULL;
    else
        s->url_lease = NULL;
    if (put == CACHE_LEASE_WRITTEN)
        save_go_on(s);
    else
        save_end(s, put == CACHE_LEASE_FENCED     ? REMOTE_SAVE_OVERTAKEN
                    : put == CACHE_LEASE_REJECTED ? REMOTE_SAVE_REFUSED
                                                  : REMOTE_SAVE_TIMEOUT);
}

/* The head record, of the object or of the marker. */
static enum remote_save put_record(struct cache_remote_save *s, struct cache_lease **lease,
                                   const struct cache_record *record)
{
    if (!cache_lease_is_held(*lease))
        return REMOTE_SAVE_OVERTAKEN;
    const size_t bytes = cache_record_bytes(record);
    char *buf = malloc(bytes);
    if (buf == NULL)
        return REMOTE_SAVE_NO_MEMORY;
    cache_record_encode(record, buf);
    const bool sent = cache_lease_put(lease, slice_make(buf, bytes), s->record.expire_ms, save_on_put, s);
    free(buf);
    return sent ? REMOTE_SAVE_NONE : REMOTE_SAVE_UNAVAILABLE;
}

static bool make_record(struct cache_remote_save *s, uint64_t write_id)
{
    const struct cache_remote_settings *settings = &s->remote->settings;
    return cache_record_of_object(s->object, settings->map, write_id, settings->worker->now_wall_ms,
                                  &s->record);
}

static enum remote_save send_head(struct cache_remote_save *s)
{
    s->step = SAVE_HEAD;
    if (!make_record(s, s->record.write_id))
        return REMOTE_SAVE_UNFIT;
    if (cache_record_chunks(&s->record) == 0)
        pack_part(s, CACHE_RECORD_HEAD);
    s->record.packed = s->packed;
    return put_record(s, &s->lease, &s->record);
}

static void save_on_lease(void *arg, const struct cache_lease_result *r)
{
    struct cache_remote_save *s = arg;
    CHECK_MAGIC(s, SAVE_MAGIC);
    const bool held = r->outcome == CACHE_LEASE_HELD, of_object = s->step == SAVE_LEASE;
    if (!held && of_object)
        s->lease = NULL;
    else if (!held)
        s->url_lease = NULL;
    if (held)
        save_go_on(s);
    else if (!of_object)
        save_end(s, REMOTE_SAVE_SAVED);
    else
        save_end(s, r->outcome != CACHE_LEASE_UNAVAILABLE ? REMOTE_SAVE_OVERTAKEN
                    : r->redis == REDIS_REFUSED           ? REMOTE_SAVE_REFUSED
                    : r->redis == REDIS_TIMEOUT           ? REMOTE_SAVE_TIMEOUT
                                                          : REMOTE_SAVE_UNAVAILABLE);
}

static enum remote_save ask_lease(struct cache_remote_save *s, struct cache_lease **lease, slice_t key)
{
    const struct cache_lease_request request = {
        .key = key, .want = CACHE_LEASE_ANYWAY, .on_result = save_on_lease, .arg = s};
    *lease = cache_lease_ask(s->remote->leases, &request);
    return *lease != NULL ? REMOTE_SAVE_NONE : REMOTE_SAVE_UNAVAILABLE;
}

static slice_t primary_of(const struct cache_remote_save *s)
{
    return slice_make(s->record.key.ptr, s->record.primary_bytes);
}

static enum remote_save ask_marker_left(struct cache_remote_save *s)
{
    char name[CACHE_REMOTE_NAME_BYTES];
    s->step = SAVE_MARKER_LEFT;
    const slice_t argv[] = {SLICE_LIT("PTTL"), cache_record_name(name, s->remote->settings.prefix,
                                                                 primary_of(s), CACHE_RECORD_HEAD)};
    return save_call(s, argv, ARRAY_LEN(argv)) ? REMOTE_SAVE_NONE : REMOTE_SAVE_UNAVAILABLE;
}

static enum remote_save send_marker(struct cache_remote_save *s)
{
    s->step = SAVE_MARKER;
    const struct cache_record marker = cache_record_of_marker(primary_of(s), s->record.vary_names);
    return put_record(s, &s->url_lease, &marker);
}

static enum remote_save send_chunks(struct cache_remote_save *s)
{
    enum remote_save outcome = REMOTE_SAVE_NONE;
    s->step = SAVE_CHUNKS;
    while (outcome == REMOTE_SAVE_NONE && s->next_chunk < cache_record_chunks(&s->record) &&
           s->under_way < CACHE_REMOTE_SAVE_WINDOW)
        outcome = send_chunk(s);
    return outcome != REMOTE_SAVE_NONE || s->under_way > 0 ? outcome : send_head(s);
}

static enum remote_save save_begin(struct cache_remote_save *s)
{
    s->step = SAVE_LEASE;
    if (!make_record(s, random_next(&s->remote->random)))
        return REMOTE_SAVE_UNFIT;
    return s->lease != NULL ? send_chunks(s) : ask_lease(s, &s->lease, s->record.key);
}

static enum remote_save save_step(struct cache_remote_save *s)
{
    switch (s->step) {
    case SAVE_WAITING:
        break;
    case SAVE_LEASE:
    case SAVE_CHUNKS:
        return send_chunks(s);
    case SAVE_HEAD:
        s->step = SAVE_MARKER_LEASE;
        if (s->record.vary_names.len == 0)
            return REMOTE_SAVE_SAVED;
        return s->url_lease != NULL ? ask_marker_left(s) : ask_lease(s, &s->url_lease, primary_of(s));
    case SAVE_MARKER_LEASE:
        return ask_marker_left(s);
    case SAVE_MARKER_LEFT:
        return send_marker(s);
    case SAVE_MARKER:
        return REMOTE_SAVE_SAVED;
    }
    PANIC("a save in no step");
}

static void save_end_unless_none(struct cache_remote_save *s, enum remote_save outcome)
{
    if (outcome != REMOTE_SAVE_NONE)
        save_end(s, outcome);
}

/* What was sent before is answered. May end it. */
static void save_go_on(struct cache_remote_save *s)
{
    save_end_unless_none(s, save_step(s));
}

/* ---- the queue ---- */

static void queue_on_turn_end(struct turn_hook *h)
{
    struct cache_remote *r = CONTAINER_OF(h, struct cache_remote, save_hook);
    struct list *n;
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    while (r->active_saves < saves_active_max(r) && (n = list_pop_front(&r->waiting_saves)) != NULL) {
        struct cache_remote_save *s = CONTAINER_OF(n, struct cache_remote_save, node);
        list_push_back(&r->saves, &s->node);
        r->active_saves++;
        save_end_unless_none(s, save_begin(s));
    }
}

static bool is_too_large(const struct cache_remote *r, const struct cache_object_info *i)
{
    return i->body_bytes > 0 && (uint64_t)i->body_bytes > r->settings.max_object_bytes;
}

/* What is stale from the beginning would never be found to be of use. */
bool cache_remote_is_unfit(const struct cache_remote *r, const struct cache_object_info *i)
{
    return i->status == 206 || is_too_large(r, i) ||
           !cache_freshness_is_fresh(&i->fresh, r->settings.worker->now_wall_ms);
}

/* NONE: it may be queued. */
static enum remote_save may_queue(const struct cache_remote *r, const struct cache_object_info *i)
{
    if (cache_remote_is_unfit(r, i))
        return i->status != 206 && is_too_large(r, i) ? REMOTE_SAVE_TOO_LARGE : REMOTE_SAVE_UNFIT;
    if (r->save_count >= CACHE_REMOTE_SAVES_MAX ||
        (r->save_count > 0 && r->save_bytes + (size_t)i->body_bytes > CACHE_REMOTE_SAVE_BYTES_MAX))
        return REMOTE_SAVE_BUSY;
    return REMOTE_SAVE_NONE;
}

/* Which key it was fetched under. Neither: others who wait for that one look again. */
static void save_take_lease(struct cache_remote_save *s, struct cache_lease **lease)
{
    const slice_t key = cache_object_key(s->object);
    const bool varies = key.len > s->object->primary_bytes;
    if (*lease != NULL && cache_lease_is_of(*lease, key))
        s->lease = *lease;
    else if (*lease != NULL && varies &&
             cache_lease_is_of(*lease, slice_make(key.ptr, s->object->primary_bytes)))
        s->url_lease = *lease;
    else
        cache_lease_cancel(lease);
    *lease = NULL;
}

void cache_remote_save(struct cache_remote *r, struct cache_object *o, struct cache_lease **lease)
{
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    ASSERT(cache_object_is_complete(o));
    const struct cache_object_info i = cache_object_info(o);
    enum remote_save outcome = may_queue(r, &i);
    struct cache_remote_save *s = outcome == REMOTE_SAVE_NONE ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        outcome = outcome != REMOTE_SAVE_NONE ? outcome : REMOTE_SAVE_NO_MEMORY;
        count(r, outcome);
        if (*lease != NULL && (outcome == REMOTE_SAVE_UNFIT || outcome == REMOTE_SAVE_TOO_LARGE))
            cache_lease_end(lease, CACHE_WAKE_PASS); /* nor will that of who waits for it */
        cache_lease_cancel(lease);
        cache_remote_let_go(r, o);
        return;
    }
    s->magic = SAVE_MAGIC;
    s->remote = r;
    s->object = cache_object_ref(o);
    s->body_bytes = (size_t)i.body_bytes;
    save_take_lease(s, lease);
    list_push_back(&r->waiting_saves, &s->node);
    r->save_count++;
    r->save_bytes += s->body_bytes;
    r->save_hook.on_turn_end = queue_on_turn_end;
    queue_look(r);
}

static void end_all(struct list *saves)
{
    while (!list_empty(saves))
        save_end(CONTAINER_OF(saves->next, struct cache_remote_save, node), REMOTE_SAVE_CANCELLED);
}

void cache_remote_end_saves(struct cache_remote *r)
{
    end_all(&r->waiting_saves);
    end_all(&r->saves);
}
