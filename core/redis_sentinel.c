/* redis_sentinel.c: see redis_sentinel.h.
 *
 * A vote is what a Sentinel said last; it ends when the Sentinel does not answer. The message of
 * +switch-master is not believed but only makes us ask: so there is one way in which an address comes in. */
#include "core/redis_sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "core/redis_sub.h"

#define REDIS_SENTINEL_MAGIC 0x7264736eu

struct watcher {
    struct redis_sentinel *owner;
    struct redis_node *node;
    struct redis_sub *sub;
    struct redis_call ask;
    char vote[REDIS_SERVER_TEXT]; /* "" = none */
};

/* Owned by who opened it; one worker's thread. */
struct redis_sentinel {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct redis_sentinel_settings settings;
    /* worker's thread */
    struct redis_node *master;
    bool master_up; /* and told so */
    mono_ms_t moved_ms;
    struct redis_call role;
    struct deadline poll;
    struct redis_sentinel_figures figures;
    struct grave grave;
    struct watcher watchers[];
};

/* ---- the master ---- */

static void watchers_ask(struct redis_sentinel *s);

static void sentinel_tell_down(struct redis_sentinel *s, const char *server, const char *reason)
{
    if (!s->master_up)
        return;
    s->master_up = false;
    if (s->settings.on_down != NULL)
        s->settings.on_down(s->settings.arg, server, reason);
}

static void master_on_up(void *arg)
{
    struct redis_sentinel *s = arg;
    s->master_up = true;
    if (s->settings.on_up != NULL)
        s->settings.on_up(s->settings.arg, redis_node_server(s->master));
}

static void master_on_down(void *arg, const char *reason)
{
    struct redis_sentinel *s = arg;
    sentinel_tell_down(s, redis_node_server(s->master), reason);
    watchers_ask(s);
}

/* Its calls end here, and what they lead to must not find it any more. */
static void sentinel_leave_master(struct redis_sentinel *s, const char *reason)
{
    struct redis_node *master = s->master;
    if (master == NULL)
        return;
    char server[REDIS_SERVER_TEXT];
    snprintf(server, sizeof server, "%s", redis_node_server(master));
    s->master = NULL;
    redis_call_cancel(&s->role);
    redis_node_close(&master);
    sentinel_tell_down(s, server, reason);
}

static void sentinel_tell_moved(struct redis_sentinel *s)
{
    if (s->settings.on_moved != NULL)
        s->settings.on_moved(s->settings.arg);
}

static void sentinel_demote_master(struct redis_sentinel *s)
{
    s->figures.demotions++;
    sentinel_leave_master(s, "the server is not a master any more");
    watchers_ask(s);
    sentinel_tell_moved(s);
}

static bool master_on_outcome(void *arg, struct redis_call *call, enum redis_outcome o,
                              const struct redisReply *r)
{
    struct redis_sentinel *s = arg;
    UNUSED(call);
    if (o == REDIS_REFUSED && slice_starts(redis_reply_text(r), SLICE_LIT("READONLY")))
        sentinel_demote_master(s);
    return false;
}

static void role_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_sentinel *s = CONTAINER_OF(call, struct redis_sentinel, role);
    if (o == REDIS_ANSWERED && !redis_role_is_master(reply) && s->master != NULL)
        sentinel_demote_master(s);
}

static void sentinel_move(struct redis_sentinel *s, const char *server)
{
    const struct redis_node_settings n = {
        .limits = s->settings.limits,
        .login = s->settings.login,
        .master_only = true,
        .on_up = master_on_up,
        .on_down = master_on_down,
        .on_outcome = master_on_outcome,
        .arg = s,
    };
    sentinel_leave_master(s, "another server is the master now");
    s->master = redis_node_open(s->worker, slice_str(server), &n);
    s->moved_ms = worker_now_ms(s->worker);
    s->figures.moves++;
    sentinel_tell_moved(s);
}

/* ---- the Sentinels ---- */

static unsigned votes_for(const struct redis_sentinel *s, const char *server)
{
    unsigned votes = 0;
    for (size_t i = 0; i < s->settings.sentinel_count; i++)
        votes += strcmp(s->watchers[i].vote, server) == 0;
    return votes;
}

/* Among equals a master stays that works, or had no time to come up yet; one that does not work goes. */
static void sentinel_count_votes(struct redis_sentinel *s)
{
    const char *current = s->master != NULL ? redis_node_server(s->master) : "";
    bool keep = s->master_up || worker_now_ms(s->worker) - s->moved_ms < REDIS_SENTINEL_POLL_MS;
    const char *best = NULL;
    unsigned best_votes = 0;
    for (size_t i = 0; i < s->settings.sentinel_count; i++) {
        const char *vote = s->watchers[i].vote;
        bool is_current = strcmp(vote, current) == 0;
        unsigned votes = vote[0] != '\0' ? votes_for(s, vote) : 0;
        if (votes > best_votes || (votes > 0 && votes == best_votes && is_current == keep)) {
            best = vote;
            best_votes = votes;
        }
    }
    if (best != NULL && strcmp(best, current) != 0)
        sentinel_move(s, best);
}

static void watcher_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct watcher *a = CONTAINER_OF(call, struct watcher, ask);
    struct redis_server server;
    a->vote[0] = '\0';
    a->owner->figures.answers += o == REDIS_ANSWERED;
    if (o == REDIS_ANSWERED && redis_master_addr_parse(reply, &server) &&
        redis_server_format(&server, SLICE_EMPTY, a->vote) && !redis_server_is_valid(slice_str(a->vote)))
        a->vote[0] = '\0';
    sentinel_count_votes(a->owner);
}

static void watcher_ask(struct watcher *a)
{
    slice_t argv[] = {SLICE_LIT("SENTINEL"), SLICE_LIT("GET-MASTER-ADDR-BY-NAME"),
                      a->owner->settings.master_name};
    if (a->ask.conn != NULL)
        return;
    a->ask = (struct redis_call){.on_reply = watcher_on_reply};
    if (!redis_node_call(a->node, &a->ask, argv, ARRAY_LEN(argv)))
        a->vote[0] = '\0';
}

static void watchers_ask(struct redis_sentinel *s)
{
    for (size_t i = 0; i < s->settings.sentinel_count; i++)
        watcher_ask(&s->watchers[i]);
}

static void watcher_on_up(void *arg)
{
    watcher_ask(arg);
}

static void watcher_on_message(void *arg, slice_t channel, slice_t payload)
{
    struct watcher *a = arg;
    slice_t name = a->owner->settings.master_name;
    UNUSED(channel);
    if (!slice_starts(payload, name) || payload.len == name.len || payload.ptr[name.len] != ' ')
        return; /* another master of theirs */
    a->owner->figures.announcements++;
    watcher_ask(a);
}

static void sentinel_on_poll(struct deadline *d)
{
    struct redis_sentinel *s = CONTAINER_OF(d, struct redis_sentinel, poll);
    slice_t role = SLICE_LIT("ROLE");
    CHECK_MAGIC(s, REDIS_SENTINEL_MAGIC);
    deadline_set(s->worker, &s->poll, worker_now_ms(s->worker) + REDIS_SENTINEL_POLL_MS);
    watchers_ask(s);
    if (s->master != NULL && s->role.conn == NULL) {
        s->role = (struct redis_call){.on_reply = role_on_reply};
        redis_node_call(s->master, &s->role, &role, 1);
    }
}

static bool watcher_open(struct watcher *a, struct redis_sentinel *s, slice_t server)
{
    static const slice_t channel = SLICE_LIT("+switch-master");
    const struct redis_node_settings n = {
        .limits = {.connections = 1,
                   .calls_max = REDIS_CALLS_MAX,
                   .timeout_ms = REDIS_SENTINEL_TIMEOUT_MS,
                   .connect_timeout_ms = REDIS_SENTINEL_TIMEOUT_MS},
        .login = s->settings.sentinel_login,
        .on_up = watcher_on_up,
        .arg = a,
    };
    const struct redis_sub_settings sub = {
        .login = s->settings.sentinel_login,
        .channels = &channel,
        .channel_count = 1,
        .timeout_ms = REDIS_SENTINEL_TIMEOUT_MS,
        .connect_timeout_ms = REDIS_SENTINEL_TIMEOUT_MS,
        .on_message = watcher_on_message,
        .on_up = watcher_on_up, /* it may have been published before */
        .arg = a,
    };
    a->owner = s;
    a->node = redis_node_open(s->worker, server, &n);
    a->sub = redis_sub_open(s->worker, server, &sub);
    return a->node != NULL && a->sub != NULL;
}

/* ---- life ---- */

struct redis_sentinel *redis_sentinel_open(struct worker *w, const struct redis_sentinel_settings *settings)
{
    ASSERT(settings->sentinel_count >= 1 && settings->sentinel_count <= REDIS_SENTINELS_MAX);
    struct redis_sentinel *s = calloc(1, sizeof *s + settings->sentinel_count * sizeof s->watchers[0]);
    if (s == NULL)
        return NULL;
    s->magic = REDIS_SENTINEL_MAGIC;
    s->worker = w;
    s->settings = *settings;
    deadline_init(&s->poll, sentinel_on_poll);
    deadline_set(w, &s->poll, worker_now_ms(w) + REDIS_SENTINEL_POLL_MS);
    bool ok = true;
    for (size_t i = 0; i < settings->sentinel_count; i++)
        ok = watcher_open(&s->watchers[i], s, settings->sentinels[i]) && ok;
    if (!ok)
        redis_sentinel_close(&s);
    return s;
}

void redis_sentinel_close(struct redis_sentinel **sp)
{
    struct redis_sentinel *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHECK_MAGIC(s, REDIS_SENTINEL_MAGIC);
    s->settings.on_up = NULL;
    s->settings.on_down = NULL;
    s->settings.on_moved = NULL;
    sentinel_leave_master(s, "closed");
    for (size_t i = 0; i < s->settings.sentinel_count; i++) {
        redis_call_cancel(&s->watchers[i].ask);
        redis_node_close(&s->watchers[i].node);
        redis_sub_close(&s->watchers[i].sub);
    }
    deadline_clear(s->worker, &s->poll);
    s->magic = 0;
    worker_bury(s->worker, &s->grave, free, s);
}

struct redis_node *redis_sentinel_master(const struct redis_sentinel *s)
{
    return s->master;
}

const struct redis_node *redis_sentinel_watcher(const struct redis_sentinel *s, size_t i)
{
    return i < s->settings.sentinel_count ? s->watchers[i].node : NULL;
}

struct redis_sentinel_figures redis_sentinel_get_figures(const struct redis_sentinel *s)
{
    struct redis_sentinel_figures f = s->figures;
    f.trouble = "";
    if (s->master != NULL)
        return f;
    f.trouble = "no Sentinel answers";
    for (size_t i = 0; i < s->settings.sentinel_count; i++) {
        if (redis_node_is_up(s->watchers[i].node))
            f.trouble = "no Sentinel knows a master of that name";
    }
    return f;
}
