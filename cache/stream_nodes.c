/* stream_nodes.c: see stream_nodes.h. */
#include "cache/stream_nodes.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/panic.h"

#define NODES_MAGIC 0x5354524eu

/* Owned by the link. */
struct cache_stream_nodes {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct cache_stream_nodes_settings s;
    /* control thread */
    struct redis_call report; /* or the command that takes it back */
    struct deadline deadline;
    bool is_refused; /* and that was said */
    void (*on_left)(void *arg);
    void *left_arg;
    mono_ms_t leave_until_ms; /* 0: it is not leaving */
    mono_ms_t reported_ms;    /* 0: never */
    uint64_t reported_epoch;
    struct cache_stream_id reported_id;
    size_t count;
    mono_ms_t answered_ms;
    mono_ms_t inside_ms; /* when this node came inside; others could not report before, or not to it */
    struct cache_stream_node nodes[CACHE_STREAM_NODES_MAX], before[CACHE_STREAM_NODES_MAX];
    struct grave grave;
};

static uint64_t epoch_now(const struct cache_stream_nodes *n)
{
    return n->s.follow->state == CACHE_STREAM_INSIDE ? n->s.follow->epoch : 0;
}

/* ---- reports ---- */

static bool is_changed(const struct cache_stream_nodes *n)
{
    return n->reported_epoch != epoch_now(n) ||
           cache_stream_id_compare(n->reported_id, n->s.follow->cursor) != 0;
}

static bool is_listed(const struct cache_stream_nodes *n, const char *name)
{
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->nodes[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Redis that lost this node's report has lost those of others, too. A node that cannot reach it now does not
 * report again, and must still be missed: it is remembered here, until it does, or would be forgotten. */
static void take_reports(struct cache_stream_nodes *n, const struct redisReply *reply)
{
    const mono_ms_t now_ms = worker_now_ms(n->worker);
    const size_t known = n->count;
    bool first;
    memcpy(n->before, n->nodes, known * sizeof n->nodes[0]);
    n->count = cache_stream_nodes_parse(reply, &first, n->nodes);
    for (size_t i = 0; i < known && n->count < CACHE_STREAM_NODES_MAX; i++) {
        struct cache_stream_node *node = &n->before[i];
        node->age_ms += now_ms - n->answered_ms;
        node->is_lost = node->is_lost || first;
        if (node->is_lost && node->age_ms <= CACHE_STREAM_FORGET_S * 1000 && !is_listed(n, node->name))
            n->nodes[n->count++] = *node;
    }
    n->answered_ms = now_ms;
}

static void on_report(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_nodes *n = CONTAINER_OF(call, struct cache_stream_nodes, report);
    CHECK_MAGIC(n, NODES_MAGIC);
    if (o == REDIS_REFUSED && !n->is_refused) {
        const slice_t why = redis_reply_text(reply);
        log_warn("Redis: refuses to keep how far this node has followed the stream of purges (" SLICE_FMT
                 "): nobody can wait for it",
                 SLICE_ARG(why));
    }
    n->is_refused = o == REDIS_REFUSED || (n->is_refused && o != REDIS_ANSWERED);
    if (o != REDIS_ANSWERED)
        return;
    take_reports(n, reply);
    cache_stream_nodes_look(n);
}

static void send_report(struct cache_stream_nodes *n)
{
    char text[CACHE_STREAM_REPORT];
    struct cache_stream_command c;
    n->reported_epoch = epoch_now(n);
    n->reported_id = n->s.follow->cursor;
    n->reported_ms = worker_now_ms(n->worker);
    cache_stream_script_report(&c, n->s.keys, n->s.name,
                               cache_stream_report_print(text, n->reported_epoch, n->reported_id));
    n->report = (struct redis_call){.on_reply = on_report};
    redis_call(n->s.redis, &n->report, slice_str(n->s.keys->nodes), c.argv, c.argc);
}

void cache_stream_nodes_look(struct cache_stream_nodes *n)
{
    CHECK_MAGIC(n, NODES_MAGIC);
    if (n->leave_until_ms != 0)
        return;
    const mono_ms_t now_ms = worker_now_ms(n->worker);
    if (epoch_now(n) == 0)
        n->inside_ms = now_ms;
    mono_ms_t due_ms =
        n->reported_ms + (is_changed(n) ? CACHE_STREAM_REPORT_MS : CACHE_STREAM_REPORT_AGAIN_MS);
    if (n->report.conn == NULL && now_ms >= due_ms) {
        send_report(n);
        due_ms = now_ms + CACHE_STREAM_REPORT_AGAIN_MS;
    }
    deadline_set(n->worker, &n->deadline, MAX(due_ms, now_ms + CACHE_STREAM_REPORT_MS));
}

/* ---- leaving ---- */

static void end_leave(struct cache_stream_nodes *n)
{
    void (*on_left)(void *) = n->on_left;
    n->on_left = NULL;
    redis_call_cancel(&n->report);
    deadline_clear(n->worker, &n->deadline);
    if (on_left != NULL)
        on_left(n->left_arg);
}

static void on_forgotten(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_stream_nodes *n = CONTAINER_OF(call, struct cache_stream_nodes, report);
    CHECK_MAGIC(n, NODES_MAGIC);
    UNUSED(o);
    UNUSED(reply);
    end_leave(n);
}

/* Behind a report that may be under way, over the same connection. */
void cache_stream_nodes_leave(struct cache_stream_nodes *n, void (*on_left)(void *arg), void *arg)
{
    CHECK_MAGIC(n, NODES_MAGIC);
    struct cache_stream_command c;
    const mono_ms_t now_ms = worker_now_ms(n->worker);
    cache_stream_script_forget(&c, n->s.keys, n->s.name);
    n->on_left = on_left;
    n->left_arg = arg;
    n->leave_until_ms = now_ms + CACHE_STREAM_LEAVE_MS;
    redis_call_cancel(&n->report);
    n->report = (struct redis_call){.on_reply = on_forgotten};
    if (!redis_call(n->s.redis, &n->report, slice_str(n->s.keys->nodes), c.argv, c.argc))
        n->leave_until_ms = now_ms + 1;
    deadline_set(n->worker, &n->deadline, n->leave_until_ms);
}

static void on_deadline(struct deadline *d)
{
    struct cache_stream_nodes *n = CONTAINER_OF(d, struct cache_stream_nodes, deadline);
    if (n->leave_until_ms != 0)
        end_leave(n);
    else
        cache_stream_nodes_look(n);
}

/* ---- looking ---- */

const struct cache_stream_node *cache_stream_nodes_all(struct cache_stream_nodes *n, size_t *count)
{
    CHECK_MAGIC(n, NODES_MAGIC);
    const mono_ms_t now_ms = worker_now_ms(n->worker);
    for (size_t i = 0; i < n->count; i++)
        n->nodes[i].age_ms += now_ms - n->answered_ms;
    n->answered_ms = now_ms;
    *count = n->count;
    return n->nodes;
}

bool cache_stream_node_is_reachable(const struct cache_stream_nodes *n, const struct cache_stream_node *node)
{
    const mono_ms_t now_ms = worker_now_ms(n->worker);
    const dur_ms_t silent_ms = node->age_ms + now_ms - n->answered_ms;
    return MIN(silent_ms, epoch_now(n) != 0 ? now_ms - n->inside_ms : silent_ms) <= n->s.unreachable_ms;
}

static uint64_t weight(slice_t name, slice_t key)
{
    return hash_bytes_unseeded(name.ptr, name.len).lo ^ hash_bytes_unseeded(key.ptr, key.len).hi;
}

size_t cache_stream_nodes_rank(const struct cache_stream_nodes *n, slice_t key)
{
    size_t rank = 0;
    for (size_t i = 0; i < n->count; i++) {
        const struct cache_stream_node *node = &n->nodes[i];
        rank += node->epoch != 0 && cache_stream_node_is_reachable(n, node) &&
                weight(slice_str(node->name), key) < weight(n->s.name, key);
    }
    return rank;
}

/* ---- life ---- */

struct cache_stream_nodes *cache_stream_nodes_open(struct worker *w,
                                                   const struct cache_stream_nodes_settings *s)
{
    ASSERT(s->name.len > 0 && s->name.len <= CACHE_STREAM_NAME_MAX);
    struct cache_stream_nodes *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->magic = NODES_MAGIC;
    n->worker = w;
    n->s = *s;
    deadline_init(&n->deadline, on_deadline);
    deadline_set(w, &n->deadline, worker_now_ms(w) + CACHE_STREAM_REPORT_MS);
    return n;
}

void cache_stream_nodes_close(struct cache_stream_nodes **np)
{
    struct cache_stream_nodes *n = *np;
    *np = NULL;
    if (n == NULL)
        return;
    CHECK_MAGIC(n, NODES_MAGIC);
    redis_call_cancel(&n->report);
    deadline_clear(n->worker, &n->deadline);
    n->magic = 0;
    worker_bury(n->worker, &n->grave, free, n);
}
