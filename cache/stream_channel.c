/* stream_channel.c: see stream_channel.h. */
#include "cache/stream_channel.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"

#define CHANNEL_MAGIC 0x53544348u
#define ARENA_BYTES   (2 * MB) /* a message has at most 64 KB; each of its texts is kept a few times over */

struct heard {
    struct list node;
    mono_ms_t due_ms; /* when it is this node's turn */
    char digest[CACHE_STREAM_DIGEST];
    size_t bytes;
    char text[];
};

/* Owned by the link. */
struct cache_stream_channel {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct cache_stream_channel_settings s;
    slice_t channels[2];
    struct redis_subscription *subscription;
    /* control thread */
    struct list heard; /* in the order in which they came */
    size_t heard_count;
    struct deadline deadline;
    struct cache_stream_channel_figures figures;
    struct grave grave;
};

/* ---- one message ---- */

static bool parse(const struct cache_stream_channel *c, slice_t text, struct arena *arena,
                  struct cache_purge_request *r)
{
    arena_init(arena, NULL, 0, ARENA_BYTES);
    cache_purge_request_init(r, arena);
    if (c->s.prepare != NULL)
        c->s.prepare(c->s.arg, r);
    return cache_purge_request_add_message(r, text);
}

static void act(struct cache_stream_channel *c, slice_t text)
{
    struct cache_purge_request r;
    struct arena arena;
    if (parse(c, text, &arena, &r)) {
        c->figures.appended++;
        c->s.on_message(c->s.arg, &r);
    }
    arena_reset(&arena);
}

static bool digest_of(const struct cache_purge_request *r, char *digest)
{
    struct cache_stream_entry e = {.count = r->count};
    struct cache_stream_fields f;
    memcpy(e.items, r->items, r->count * sizeof r->items[0]);
    cache_stream_entry_encode(&e, &f);
    return cache_stream_digest(&f, digest);
}

static void heard_drop(struct cache_stream_channel *c, struct heard *h)
{
    list_remove(&h->node);
    c->heard_count--;
    free(h);
}

static void heard_act(struct cache_stream_channel *c, struct heard *h)
{
    act(c, slice_make(h->text, h->bytes));
    heard_drop(c, h);
}

static void set_deadline(struct cache_stream_channel *c)
{
    mono_ms_t due_ms = 0;
    LIST_FOREACH (n, &c->heard) {
        const struct heard *h = CONTAINER_OF(n, struct heard, node);
        due_ms = due_ms == 0 ? h->due_ms : MIN(due_ms, h->due_ms);
    }
    if (due_ms != 0)
        deadline_set(c->worker, &c->deadline, due_ms);
    else
        deadline_clear(c->worker, &c->deadline);
}

static void on_deadline(struct deadline *d)
{
    struct cache_stream_channel *c = CONTAINER_OF(d, struct cache_stream_channel, deadline);
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    const mono_ms_t now_ms = worker_now_ms(c->worker);
    for (struct list *n = c->heard.next, *next; n != &c->heard; n = next) {
        struct heard *h = CONTAINER_OF(n, struct heard, node);
        next = n->next;
        if (h->due_ms <= now_ms)
            heard_act(c, h);
    }
    set_deadline(c);
}

/* Without memory to keep it, it is this node's turn. */
static void keep(struct cache_stream_channel *c, slice_t text, const char *digest, size_t rank)
{
    struct heard *h = rank > 0 && !c->s.is_cluster ? malloc(sizeof *h + text.len) : NULL;
    if (h == NULL) {
        act(c, text);
        return;
    }
    if (c->heard_count == CACHE_STREAM_HEARD_MAX)
        heard_act(c, CONTAINER_OF(c->heard.next, struct heard, node));
    h->due_ms = worker_now_ms(c->worker) + (mono_ms_t)rank * c->s.turn_ms;
    h->bytes = text.len;
    memcpy(h->digest, digest, sizeof h->digest);
    memcpy(h->text, text.ptr, text.len);
    list_push_back(&c->heard, &h->node);
    c->heard_count++;
    set_deadline(c);
}

static void hear(struct cache_stream_channel *c, slice_t text)
{
    struct cache_purge_request r;
    struct arena arena;
    char digest[CACHE_STREAM_DIGEST];
    c->figures.heard++;
    if (!parse(c, text, &arena, &r)) {
        c->figures.refused++;
        log_warn("Redis: a message on the purge channel is refused: %s; %s", r.problem, r.hint);
    } else {
        const bool known = digest_of(&r, digest);
        keep(c, text, digest,
             known ? cache_stream_nodes_rank(c->s.nodes, slice_make(digest, sizeof digest)) : 0);
    }
    arena_reset(&arena);
}

/* An event was appended that purges what the digest says: it stands for what was heard before. */
static void cover(struct cache_stream_channel *c, slice_t digest)
{
    for (struct list *n = c->heard.next, *next; n != &c->heard; n = next) {
        struct heard *h = CONTAINER_OF(n, struct heard, node);
        next = n->next;
        if (slice_eq(digest, slice_make(h->digest, sizeof h->digest))) {
            c->figures.covered++;
            heard_drop(c, h);
        }
    }
    set_deadline(c);
}

/* ---- the subscription ---- */

static void on_message(void *arg, slice_t channel, slice_t payload)
{
    struct cache_stream_channel *c = arg;
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    if (slice_eq(channel, c->channels[0]))
        hear(c, payload);
    else
        cover(c, payload);
}

static void on_up(void *arg)
{
    struct cache_stream_channel *c = arg;
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    c->figures.up = true;
    c->figures.is_refused = false;
    log_info("Redis: listens to purges on channel " SLICE_FMT, SLICE_ARG(c->s.channel));
}

static void on_down(void *arg, const char *reason)
{
    struct cache_stream_channel *c = arg;
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    c->figures.up = false;
    log_warn("Redis: what is published on channel " SLICE_FMT " is not heard: %s", SLICE_ARG(c->s.channel),
             reason);
}

/* Each second, until it is allowed. */
static void on_refused(void *arg, slice_t reason)
{
    struct cache_stream_channel *c = arg;
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    if (!c->figures.is_refused)
        log_warn(
            "Redis: refuses to let this node listen to channel " SLICE_FMT " (" SLICE_FMT
            "): what is published there is lost; the user needs SUBSCRIBE and the channels of the prefix",
            SLICE_ARG(c->s.channel), SLICE_ARG(reason));
    c->figures.is_refused = true;
}

/* ---- life ---- */

struct cache_stream_channel *cache_stream_channel_open(struct worker *w,
                                                       const struct cache_stream_channel_settings *s)
{
    struct cache_stream_channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->magic = CHANNEL_MAGIC;
    c->worker = w;
    c->s = *s;
    c->channels[0] = s->channel;
    c->channels[1] = slice_str(s->keys->done);
    list_init(&c->heard);
    deadline_init(&c->deadline, on_deadline);
    const struct redis_subscriber subscriber = {
        .channels = c->channels,
        .channel_count = s->is_cluster ? 1 : 2,
        .on_message = on_message,
        .on_up = on_up,
        .on_down = on_down,
        .on_refused = on_refused,
        .arg = c,
    };
    c->subscription = redis_subscribe(s->redis, &subscriber);
    if (c->subscription == NULL)
        cache_stream_channel_close(&c);
    return c;
}

void cache_stream_channel_close(struct cache_stream_channel **cp)
{
    struct cache_stream_channel *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    redis_unsubscribe(&c->subscription);
    deadline_clear(c->worker, &c->deadline);
    while (!list_empty(&c->heard))
        heard_drop(c, CONTAINER_OF(c->heard.next, struct heard, node));
    c->magic = 0;
    worker_bury(c->worker, &c->grave, free, c);
}

struct cache_stream_channel_figures cache_stream_channel_get_figures(const struct cache_stream_channel *c)
{
    CHECK_MAGIC(c, CHANNEL_MAGIC);
    return c->figures;
}
