/* stream_link.c: see stream_link.h. Whatever happens ends in link_go, which does all that can be done now and
 * sets a deadline for the rest. */
#include "cache/stream_link.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"

#define LINK_MAGIC    0x53544c4bu
#define READ_AGAIN_MS 1000
#define START_MS      900  /* in which a connection comes about */
#define RETRY_MS      100  /* after a call without an answer */
#define REFUSED_MS    1000 /* after one that Redis refused */
#define APPEND_MS     1000 /* after an append that Redis refused, twice as long each time */
#define APPEND_MAX_MS 8000
#define RING_MS       5000 /* a bell that does not ring is asked again */
#define RING_PAUSE_MS 100  /* after one that rang for nothing */
#define BATCH_BYTES   (256 * KB)
#define TROUBLE_TEXT  160

/* Owned by who opened it; control thread. */
struct cache_stream_link {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct cache_stream_link_settings s;
    struct cache_stream_keys keys;
    struct redis *line, *bell;
    struct cache_stream_nodes *nodes;
    struct cache_stream_channel *channel;
    /* control thread */
    struct cache_stream_follow follow;
    struct redis_call talk; /* a read or a start */
    struct redis_call append, ring;
    struct deadline deadline;
    bool closed, caught_up, has_rung, is_start_owed, is_told;
    bool is_first, is_untold;  /* a start: of what was never there; appends: messages are not told of, said */
    mono_ms_t silent_until_ms; /* not followed yet is no trouble before; 0: it was */
    mono_ms_t read_ms, ring_ms, append_ms; /* when the next of each is due */
    dur_ms_t append_pause_ms;              /* before the next one; 0: the last one was not refused */
    char seen[16];                         /* the epoch that the last read saw */
    size_t seen_bytes;
    size_t batch; /* events in the append that is under way */
    char trouble[TROUBLE_TEXT];
    char append_trouble[TROUBLE_TEXT]; /* why Redis refuses them; "": it does not */
    struct cache_stream_link_figures figures;
    /* any thread */
    atomic_bool woken;
    struct mail wake;
};

static void link_go(struct cache_stream_link *l);

static mono_ms_t now_ms(const struct cache_stream_link *l)
{
    return worker_now_ms(l->worker);
}

static bool is_under_way(const struct redis_call *call)
{
    return call->conn != NULL;
}

static slice_t link_key(const struct cache_stream_link *l)
{
    return slice_str(l->keys.stream);
}

/* ---- trouble ---- */

/* What is said once for each time it is lost. */
static void link_tell_down(struct cache_stream_link *l, slice_t why)
{
    snprintf(l->trouble, sizeof l->trouble, SLICE_FMT, (int)MIN(why.len, TROUBLE_TEXT - 1), why.ptr);
    if (!l->is_told || now_ms(l) < l->silent_until_ms)
        return;
    log_warn("Redis: the stream of purges cannot be followed (%s): purges of other nodes are late, "
             "and nothing is taken from Redis",
             l->trouble);
    l->is_told = false;
}

/* Why there is no connection. */
static slice_t link_reason(const struct cache_stream_link *l)
{
    struct redis_node_figures server;
    const char *trouble = redis_get_figures(l->line).trouble;
    if (trouble[0] == '\0' && l->s.redis.mode != REDIS_CLUSTER &&
        redis_get_server_figures(l->line, 0, &server))
        trouble = server.last_reason;
    return trouble[0] != '\0' ? slice_str(trouble) : SLICE_LIT("there is no connection");
}

static void link_tell_up(struct cache_stream_link *l)
{
    if (!l->is_told || l->silent_until_ms != 0)
        log_info("Redis: the stream of purges is followed");
    l->is_told = true;
    l->silent_until_ms = 0;
    l->trouble[0] = '\0';
}

static void link_disconnected(struct cache_stream_link *l, slice_t why, dur_ms_t pause_ms)
{
    redis_call_cancel(&l->talk);
    redis_call_cancel(&l->append);
    l->caught_up = l->is_start_owed = false;
    l->read_ms = now_ms(l) + pause_ms;
    l->figures.failures++;
    cache_stream_follow_disconnected(&l->follow);
    cache_stream_nodes_look(l->nodes);
    link_tell_down(l, why);
}

/* A call that was not answered as it should be. */
static void link_failed(struct cache_stream_link *l, enum redis_outcome o, const struct redisReply *reply)
{
    slice_t why = o == REDIS_REFUSED ? redis_reply_text(reply) : slice_str(redis_outcome_name(o));
    if (o == REDIS_ANSWERED)
        why = SLICE_LIT("an answer is not understood");
    link_disconnected(l, why, o == REDIS_REFUSED || o == REDIS_ANSWERED ? REFUSED_MS : RETRY_MS);
}

/* false when the line does not take it. */
static bool link_call(struct cache_stream_link *l, struct redis_call *call,
                      void (*on_reply)(struct redis_call *, enum redis_outcome, const struct redisReply *),
                      const struct cache_stream_command *c)
{
    *call = (struct redis_call){.on_reply = on_reply};
    return redis_call(l->line, call, link_key(l), c->argv, c->argc);
}

/* ---- reading ---- */

static void link_take(struct cache_stream_link *l, const struct cache_stream_page *page)
{
    l->seen_bytes = MIN(page->epoch.len, sizeof l->seen);
    memcpy(l->seen, page->epoch.ptr, l->seen_bytes);
    const enum cache_stream_next next =
        cache_stream_follow_take(&l->follow, page->epoch, page->entries, page->count, page->whole);
    l->caught_up = next == CACHE_STREAM_WAIT;
    l->is_start_owed = next == CACHE_STREAM_START;
    l->read_ms = now_ms(l) + (next == CACHE_STREAM_WAIT ? READ_AGAIN_MS : 0);
    if (l->has_rung && page->count <= 1)
        l->ring_ms = now_ms(l) + RING_PAUSE_MS;
    l->has_rung = false;
    if (l->follow.state == CACHE_STREAM_INSIDE)
        link_tell_up(l);
    cache_stream_nodes_look(l->nodes);
}

static void on_read(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_link *l = CONTAINER_OF(call, struct cache_stream_link, talk);
    struct cache_stream_page page = {.entries = NULL};
    CHECK_MAGIC(l, LINK_MAGIC);
    if (o == REDIS_ANSWERED && cache_stream_page_open(&page, reply))
        link_take(l, &page);
    else
        link_failed(l, o, reply);
    cache_stream_page_close(&page);
    link_go(l);
}

static void link_read(struct cache_stream_link *l)
{
    char buf[CACHE_STREAM_ID_TEXT];
    struct cache_stream_command c;
    cache_stream_script_read(&c, &l->keys, cache_stream_follow_from(&l->follow, buf));
    if (link_call(l, &l->talk, on_read, &c))
        l->figures.reads++;
    else
        link_tell_down(l, link_reason(l));
    l->read_ms = now_ms(l) + READ_AGAIN_MS;
}

/* ---- starting it anew ---- */

static void link_tell_start(const struct cache_stream_link *l)
{
    if (l->is_first)
        log_info("Redis: the stream of purges begins here");
    else
        log_warn("Redis: the stream of purges begins anew: what it was before is lost or not known");
}

static void on_start(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_link *l = CONTAINER_OF(call, struct cache_stream_link, talk);
    CHECK_MAGIC(l, LINK_MAGIC);
    if (o == REDIS_ANSWERED) {
        if (cache_stream_script_was_done(reply)) {
            l->figures.starts++;
            link_tell_start(l);
        }
        l->read_ms = now_ms(l);
    } else {
        link_failed(l, o, reply);
    }
    link_go(l);
}

static void link_start(struct cache_stream_link *l)
{
    char epoch[16], packed[256];
    struct cache_stream_fields entry;
    struct cache_stream_command c;
    cache_stream_follow_start(&l->follow, &entry, epoch);
    const size_t bytes = cache_stream_fields_bytes(&entry);
    ASSERT(bytes <= sizeof packed);
    cache_stream_fields_pack(&entry, packed);
    cache_stream_script_start(&c, &l->keys, l->s.length, slice_make(l->seen, l->seen_bytes),
                              slice_make(epoch, sizeof epoch), slice_make(packed, bytes));
    l->is_start_owed = false;
    l->is_first = l->seen_bytes == 0 && l->follow.state == CACHE_STREAM_OUTSIDE && !l->follow.owes_start;
    if (!link_call(l, &l->talk, on_start, &c))
        l->read_ms = now_ms(l) + RETRY_MS;
}

/* ---- appending ---- */

/* It may still have carried out a part, which a read takes back. Reading goes on. */
static void link_append_refused(struct cache_stream_link *l, slice_t why)
{
    const bool is_new = l->append_trouble[0] == '\0';
    snprintf(l->append_trouble, TROUBLE_TEXT, "appends are refused: " SLICE_FMT,
             (int)MIN(why.len, TROUBLE_TEXT / 2), why.ptr);
    if (is_new)
        log_warn("Redis: refuses what is purged here (" SLICE_FMT
                 "): other nodes hear of it when that is over",
                 SLICE_ARG(why));
    l->append_pause_ms = MIN(MAX(2 * l->append_pause_ms, APPEND_MS), APPEND_MAX_MS);
    l->append_ms = now_ms(l) + l->append_pause_ms;
    l->figures.refusals++;
    cache_stream_queue_resend(l->s.queue);
    l->caught_up = false;
    l->read_ms = now_ms(l);
}

static void link_appended(struct cache_stream_link *l, bool is_told)
{
    l->figures.appends++;
    l->figures.appended += l->batch;
    l->read_ms = now_ms(l);
    if (l->append_trouble[0] != '\0')
        log_info("Redis: takes what is purged here again");
    l->append_trouble[0] = '\0';
    l->append_pause_ms = 0;
    if (!is_told && !l->is_untold)
        log_warn("Redis: refuses to PUBLISH what was purged: each node appends what it hears on the purge "
                 "channel");
    l->is_untold = !is_told;
}

static void on_append(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_link *l = CONTAINER_OF(call, struct cache_stream_link, append);
    CHECK_MAGIC(l, LINK_MAGIC);
    if (o == REDIS_REFUSED) {
        link_append_refused(l, redis_reply_text(reply));
    } else if (o != REDIS_ANSWERED) {
        link_failed(l, o, reply);
    } else if (cache_stream_script_was_done(reply)) {
        link_appended(l, !cache_stream_script_was_untold(reply));
    } else { /* there is no stream */
        cache_stream_queue_resend(l->s.queue);
        l->caught_up = false;
        l->read_ms = now_ms(l);
    }
    link_go(l);
}

static void link_append(struct cache_stream_link *l)
{
    struct cache_stream_command c;
    slice_t packed[CACHE_STREAM_BATCH];
    size_t sum = 0, bytes;
    if (!redis_is_up(l->line, link_key(l)))
        return;
    l->batch = 0;
    while (l->batch < CACHE_STREAM_BATCH && sum < BATCH_BYTES) {
        char *one = cache_stream_queue_take_unsent(l->s.queue, &bytes);
        if (one == NULL)
            break;
        packed[l->batch++] = slice_make(one, bytes);
        sum += bytes;
    }
    if (l->batch == 0)
        return;
    cache_stream_script_append(&c, &l->keys, l->s.length, packed, l->batch);
    const bool taken = link_call(l, &l->append, on_append, &c);
    for (size_t i = 0; i < l->batch; i++)
        free((char *)(uintptr_t)packed[i].ptr);
    if (!taken)
        link_disconnected(l, SLICE_LIT("the connection takes no more"), RETRY_MS);
}

/* ---- the bell ---- */

/* It may have been read meanwhile, as own events are. */
static bool is_news(const struct cache_stream_link *l, const struct redisReply *reply)
{
    struct cache_stream_id id;
    const struct redisReply *entry = redis_reply_at(redis_reply_at(redis_reply_at(reply, 0), 1), 0);
    return redis_reply_count(reply) > 0 &&
           (!cache_stream_id_parse(redis_reply_text(redis_reply_at(entry, 0)), &id) ||
            cache_stream_id_compare(id, l->follow.cursor) > 0);
}

static void on_ring(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_link *l = CONTAINER_OF(call, struct cache_stream_link, ring);
    CHECK_MAGIC(l, LINK_MAGIC);
    if (o != REDIS_ANSWERED) {
        l->ring_ms = now_ms(l) + REFUSED_MS;
    } else if (is_news(l, reply)) {
        l->figures.rings++;
        l->has_rung = true;
        l->read_ms = now_ms(l);
    }
    link_go(l);
}

static void link_ring(struct cache_stream_link *l)
{
    char cursor[CACHE_STREAM_ID_TEXT], block[24];
    const slice_t argv[] = {SLICE_LIT("XREAD"),
                            SLICE_LIT("COUNT"),
                            SLICE_LIT("1"),
                            SLICE_LIT("BLOCK"),
                            slice_make(block, slice_put_u64(block, RING_MS)),
                            SLICE_LIT("STREAMS"),
                            link_key(l),
                            cache_stream_id_print(cursor, l->follow.cursor)};
    l->ring = (struct redis_call){.on_reply = on_ring};
    if (!redis_call(l->bell, &l->ring, link_key(l), argv, ARRAY_LEN(argv)))
        l->ring_ms = now_ms(l) + RING_PAUSE_MS;
}

/* ---- what is to be done ---- */

static bool is_flowing(const struct cache_stream_link *l)
{
    return l->follow.state == CACHE_STREAM_INSIDE && l->append_trouble[0] == '\0';
}

static void link_go(struct cache_stream_link *l)
{
    if (l->closed)
        return;
    if (!is_under_way(&l->talk) && l->is_start_owed)
        link_start(l);
    else if (!is_under_way(&l->talk) && now_ms(l) >= l->read_ms)
        link_read(l);
    if (l->caught_up && !is_under_way(&l->talk) && !is_under_way(&l->append) && now_ms(l) >= l->append_ms)
        link_append(l);
    if (l->caught_up && !l->has_rung && !is_under_way(&l->ring) && now_ms(l) >= l->ring_ms)
        link_ring(l);
    mono_ms_t next_ms = l->read_ms;
    if (!is_under_way(&l->ring) && l->ring_ms > now_ms(l))
        next_ms = MIN(next_ms, l->ring_ms);
    if (l->append_ms > now_ms(l))
        next_ms = MIN(next_ms, l->append_ms);
    cache_stream_queue_set_flows(l->s.queue, is_flowing(l));
    deadline_set(l->worker, &l->deadline, MAX(next_ms, now_ms(l) + 1));
}

static void on_deadline(struct deadline *d)
{
    link_go(CONTAINER_OF(d, struct cache_stream_link, deadline));
}

static void on_line_up(void *arg, const char *server)
{
    struct cache_stream_link *l = arg;
    CHECK_MAGIC(l, LINK_MAGIC);
    UNUSED(server);
    l->read_ms = now_ms(l);
    link_go(l);
}

/* In a Cluster also another server's: a read tells whether it was this one. */
static void on_line_down(void *arg, const char *server, const char *reason)
{
    struct cache_stream_link *l = arg;
    CHECK_MAGIC(l, LINK_MAGIC);
    UNUSED(server);
    link_disconnected(l, slice_str(reason), 0);
    link_go(l);
}

static void on_bell_up(void *arg, const char *server)
{
    struct cache_stream_link *l = arg;
    UNUSED(server);
    l->ring_ms = now_ms(l);
    link_go(l);
}

static void on_wake(struct worker *w, struct mail *m)
{
    struct cache_stream_link *l = CONTAINER_OF(m, struct cache_stream_link, wake);
    CHECK_MAGIC(l, LINK_MAGIC);
    atomic_store(&l->woken, false);
    if (l->closed) {
        l->magic = 0;
        free(l);
        return;
    }
    UNUSED(w);
    link_go(l);
}

void cache_stream_link_wake(struct cache_stream_link *l)
{
    CHECK_MAGIC(l, LINK_MAGIC);
    if (!atomic_exchange(&l->woken, true))
        worker_post(l->worker, &l->wake);
}

/* ---- life ---- */

static bool link_open_redis(struct cache_stream_link *l)
{
    struct redis_settings line = l->s.redis, bell = l->s.redis;
    const dur_ms_t timeout_ms = l->s.redis.limits.timeout_ms;
    line.limits.connections = bell.limits.connections = 1;
    line.limits.calls_max = bell.limits.calls_max = 8;
    bell.limits.timeout_ms = RING_MS + timeout_ms;
    bell.limits.stall_timeout_ms = RING_MS + 2 * timeout_ms;
    line.arg = bell.arg = l;
    line.on_up = on_line_up;
    line.on_down = on_line_down;
    bell.on_up = on_bell_up;
    bell.on_down = NULL;
    l->line = redis_open(l->worker, &line);
    l->bell = redis_open(l->worker, &bell);
    return l->line != NULL && l->bell != NULL;
}

static bool link_open_parts(struct cache_stream_link *l)
{
    const struct cache_stream_nodes_settings nodes = {
        .redis = l->line,
        .keys = &l->keys,
        .follow = &l->follow,
        .name = l->s.node_name,
        .unreachable_ms = l->s.unreachable_ms,
    };
    l->nodes = cache_stream_nodes_open(l->worker, &nodes);
    if (l->nodes == NULL || l->s.channel.len == 0)
        return l->nodes != NULL;
    const struct cache_stream_channel_settings channel = {
        .redis = l->line,
        .is_cluster = l->s.redis.mode == REDIS_CLUSTER,
        .channel = l->s.channel,
        .turn_ms = l->s.turn_ms,
        .keys = &l->keys,
        .nodes = l->nodes,
        .on_message = l->s.on_message,
        .prepare = l->s.prepare,
        .arg = l->s.arg,
    };
    l->channel = cache_stream_channel_open(l->worker, &channel);
    return l->channel != NULL;
}

struct cache_stream_link *cache_stream_link_open(struct worker *w, const struct cache_stream_link_settings *s)
{
    struct cache_stream_link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->magic = LINK_MAGIC;
    l->worker = w;
    l->s = *s;
    l->wake.on_mail = on_wake;
    l->is_told = true;
    l->silent_until_ms = now_ms(l) + START_MS;
    deadline_init(&l->deadline, on_deadline);
    cache_stream_follow_init(&l->follow, &(struct cache_stream_follow_settings){s->queue, s->purge, s->arg});
    if (!cache_stream_keys_open(&l->keys, s->prefix) || !link_open_redis(l) || !link_open_parts(l))
        cache_stream_link_close(&l);
    else
        deadline_set(w, &l->deadline, now_ms(l) + READ_AGAIN_MS);
    return l;
}

void cache_stream_link_close(struct cache_stream_link **lp)
{
    struct cache_stream_link *l = *lp;
    *lp = NULL;
    if (l == NULL)
        return;
    CHECK_MAGIC(l, LINK_MAGIC);
    l->closed = true;
    cache_stream_queue_set_flows(l->s.queue, false);
    redis_call_cancel(&l->talk);
    redis_call_cancel(&l->append);
    redis_call_cancel(&l->ring);
    deadline_clear(l->worker, &l->deadline);
    cache_stream_channel_close(&l->channel);
    cache_stream_nodes_close(&l->nodes);
    redis_close(&l->line);
    redis_close(&l->bell);
    cache_stream_keys_close(&l->keys);
    if (!atomic_exchange(&l->woken, true)) /* else it is freed when the mail comes */
        worker_post(l->worker, &l->wake);
}

void cache_stream_link_leave(struct cache_stream_link *l, void (*on_left)(void *arg))
{
    CHECK_MAGIC(l, LINK_MAGIC);
    cache_stream_nodes_leave(l->nodes, on_left, l->s.arg);
}

struct cache_stream_nodes *cache_stream_link_nodes(struct cache_stream_link *l)
{
    CHECK_MAGIC(l, LINK_MAGIC);
    return l->nodes;
}

const struct cache_stream_follow *cache_stream_link_follow(const struct cache_stream_link *l)
{
    CHECK_MAGIC(l, LINK_MAGIC);
    return &l->follow;
}

struct cache_stream_link_figures cache_stream_link_get_figures(const struct cache_stream_link *l)
{
    CHECK_MAGIC(l, LINK_MAGIC);
    struct cache_stream_link_figures f = l->figures;
    f.up = l->follow.state == CACHE_STREAM_INSIDE;
    f.trouble = l->trouble[0] != '\0' ? l->trouble : l->append_trouble;
    if (l->channel != NULL)
        f.channel = cache_stream_channel_get_figures(l->channel);
    if (f.trouble[0] == '\0' && f.channel.is_refused)
        f.trouble = "Redis does not let this node listen to its channel";
    return f;
}
