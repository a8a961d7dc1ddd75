/* redis_cluster.c: see redis_cluster.h.
 *
 * Members stand in a dense array, and slots hold an index into it. A member that goes is closed by the tick,
 * never by what its own calls lead to. Seeds are open only while no member is up: they are how a worker comes
 * in, and how it comes back after all members have changed. */
#include "core/redis_cluster.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "core/redis_slots.h"

#define REDIS_CLUSTER_MAGIC 0x7264636cu

struct member {
    struct redis_cluster *cluster;
    struct redis_node *node;
    bool in_map, up;
    mono_ms_t named_ms; /* by a redirection or a map */
};

struct seed {
    struct redis_cluster *cluster;
    struct redis_node *node; /* NULL while members are up */
};

/* Owned by who opened it; one worker's thread. */
struct redis_cluster {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct redis_cluster_settings settings;
    /* worker's thread */
    struct member *members[REDIS_SERVERS_MAX];
    size_t member_count;
    unsigned members_up;
    uint16_t owner[REDIS_SLOTS]; /* index of a member, or REDIS_NO_SERVER */
    struct redis_call refresh;
    char asked[REDIS_SERVER_TEXT]; /* who is to answer it */
    size_t turn;                   /* whose turn it is to be asked */
    bool refresh_wanted;
    mono_ms_t refreshed_ms; /* when it was last asked */
    struct deadline tick;
    struct redis_cluster_figures figures;
    struct grave grave;
    struct seed seeds[];
};

static void cluster_want_refresh(struct redis_cluster *c);

/* ---- members ---- */

static void seeds_close(struct redis_cluster *c);

static void member_on_up(void *arg)
{
    struct member *m = arg;
    struct redis_cluster *c = m->cluster;
    m->up = true;
    c->members_up++;
    seeds_close(c);
    if (c->settings.on_up != NULL)
        c->settings.on_up(c->settings.arg, redis_node_server(m->node));
}

static void member_tell_down(struct member *m, const char *reason)
{
    struct redis_cluster *c = m->cluster;
    if (!m->up)
        return;
    m->up = false;
    c->members_up--;
    if (c->settings.on_down != NULL)
        c->settings.on_down(c->settings.arg, redis_node_server(m->node), reason);
}

static void member_on_down(void *arg, const char *reason)
{
    struct member *m = arg;
    member_tell_down(m, reason);
    cluster_want_refresh(m->cluster);
}

static bool member_on_outcome(void *arg, struct redis_call *call, enum redis_outcome o,
                              const struct redisReply *r);

static size_t cluster_find(const struct redis_cluster *c, const char *server)
{
    size_t i = 0;
    while (i < c->member_count && strcmp(redis_node_server(c->members[i]->node), server) != 0)
        i++;
    return i;
}

/* Index of the member, opened when it is new; REDIS_NO_SERVER when it cannot be. */
static uint16_t cluster_name(struct redis_cluster *c, const struct redis_server *server, slice_t self)
{
    char text[REDIS_SERVER_TEXT];
    if (!redis_server_format(server, self, text) || !redis_server_is_valid(slice_str(text)))
        return REDIS_NO_SERVER;
    size_t i = cluster_find(c, text);
    if (i == REDIS_SERVERS_MAX)
        return REDIS_NO_SERVER;
    if (i == c->member_count) {
        struct member *m = calloc(1, sizeof *m);
        const struct redis_node_settings n = {
            .limits = c->settings.limits,
            .login = c->settings.login,
            .keep_commands = true,
            .on_up = member_on_up,
            .on_down = member_on_down,
            .on_outcome = member_on_outcome,
            .arg = m,
        };
        if (m == NULL || (m->node = redis_node_open(c->worker, slice_str(text), &n)) == NULL) {
            free(m);
            return REDIS_NO_SERVER;
        }
        m->cluster = c;
        c->members[c->member_count++] = m;
    }
    c->members[i]->named_ms = worker_now_ms(c->worker);
    return (uint16_t)i;
}

/* The last one takes its place. From the tick or the end only: no call of the member is on the stack. */
static void cluster_drop_member(struct redis_cluster *c, size_t i)
{
    struct member *m = c->members[i];
    size_t last = --c->member_count;
    c->members[i] = c->members[last];
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        if (c->owner[slot] == i)
            c->owner[slot] = REDIS_NO_SERVER;
        else if (c->owner[slot] == last)
            c->owner[slot] = (uint16_t)i;
    }
    member_tell_down(m, "the server is not in the cluster any more");
    redis_node_close(&m->node);
    free(m);
}

/* ---- redirections ---- */

static void cluster_tell_moved(struct redis_cluster *c)
{
    if (c->settings.on_moved != NULL)
        c->settings.on_moved(c->settings.arg);
}

static void cluster_learn(struct redis_cluster *c, unsigned slot, uint16_t owner)
{
    cluster_want_refresh(c);
    if (c->owner[slot] == owner)
        return;
    c->owner[slot] = owner;
    cluster_tell_moved(c);
}

static bool member_on_outcome(void *arg, struct redis_call *call, enum redis_outcome o,
                              const struct redisReply *r)
{
    struct member *m = arg;
    struct redis_cluster *c = m->cluster;
    struct redis_redirect to;
    if (o != REDIS_REFUSED)
        return false;
    if (slice_starts(redis_reply_text(r), SLICE_LIT("CLUSTERDOWN")))
        cluster_want_refresh(c);
    if (!redis_redirect_parse(redis_reply_text(r), &to))
        return false;
    slice_t self = redis_server_host(slice_str(redis_node_server(m->node)));
    uint16_t owner = cluster_name(c, &to.server, self);
    if (owner == REDIS_NO_SERVER)
        return false;
    if (to.kind == REDIS_MOVED)
        cluster_learn(c, to.slot, owner);
    if (call->hops >= REDIS_HOPS_MAX)
        return false;
    call->hops++;
    bool sent = redis_node_call_again(c->members[owner]->node, call, to.kind == REDIS_ASK);
    c->figures.redirects += sent;
    return sent;
}

/* ---- the map ---- */

static void cluster_apply(struct redis_cluster *c, const struct redis_slots *map)
{
    uint16_t index[REDIS_SERVERS_MAX];
    bool changed = false;
    for (size_t i = 0; i < c->member_count; i++)
        c->members[i]->in_map = false;
    for (size_t i = 0; i < map->server_count; i++) {
        index[i] = cluster_name(c, &map->servers[i], redis_server_host(slice_str(c->asked)));
        if (index[i] != REDIS_NO_SERVER)
            c->members[index[i]]->in_map = true;
    }
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        uint16_t owner = map->owner[slot] != REDIS_NO_SERVER ? index[map->owner[slot]] : REDIS_NO_SERVER;
        changed = changed || owner != c->owner[slot];
        c->owner[slot] = owner;
    }
    if (changed)
        cluster_tell_moved(c);
}

static const char *cluster_take_map(struct redis_cluster *c, const struct redisReply *reply)
{
    struct redis_slots *map = malloc(sizeof *map);
    const char *trouble = "";
    if (map == NULL)
        trouble = "out of memory";
    else if (!redis_slots_parse(reply, map))
        trouble = "the answer to CLUSTER SLOTS makes no sense";
    else if (map->covered == 0)
        trouble = "the server knows of no slots";
    else
        cluster_apply(c, map);
    free(map);
    return trouble;
}

static void refresh_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_cluster *c = CONTAINER_OF(call, struct redis_cluster, refresh);
    if (o == REDIS_ANSWERED) {
        c->figures.refreshes++;
        c->figures.trouble = cluster_take_map(c, reply);
    } else {
        c->figures.trouble =
            o == REDIS_REFUSED ? "the server refuses CLUSTER SLOTS" : "the server did not answer";
        c->refresh_wanted = true;
    }
}

/* Who is asked next; NULL when nobody is up. */
static struct redis_node *cluster_pick(struct redis_cluster *c)
{
    c->turn++;
    for (size_t i = 0; i < c->member_count; i++) {
        struct member *m = c->members[(c->turn + i) % c->member_count];
        if (m->up)
            return m->node;
    }
    for (size_t i = 0; i < c->settings.seed_count; i++) {
        struct redis_node *n = c->seeds[(c->turn + i) % c->settings.seed_count].node;
        if (n != NULL && redis_node_is_up(n))
            return n;
    }
    return NULL;
}

static void cluster_want_refresh(struct redis_cluster *c)
{
    const slice_t argv[] = {SLICE_LIT("CLUSTER"), SLICE_LIT("SLOTS")};
    mono_ms_t now_ms = worker_now_ms(c->worker);
    c->refresh_wanted = true; /* the tick asks when we cannot now */
    if (c->refresh.conn != NULL || now_ms - c->refreshed_ms < REDIS_REFRESH_MS)
        return;
    struct redis_node *n = cluster_pick(c);
    if (n == NULL)
        return;
    c->refresh = (struct redis_call){.on_reply = refresh_on_reply, .timeout_ms = REDIS_REFRESH_TIMEOUT_MS};
    if (!redis_node_call(n, &c->refresh, argv, ARRAY_LEN(argv)))
        return;
    snprintf(c->asked, sizeof c->asked, "%s", redis_node_server(n));
    c->refreshed_ms = now_ms;
    c->refresh_wanted = false;
}

/* Each slot has a master, and all masters are up. */
static bool cluster_is_whole(const struct redis_cluster *c)
{
    for (size_t i = 0; i < c->member_count; i++) {
        if (c->members[i]->in_map && !c->members[i]->up)
            return false;
    }
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        if (c->owner[slot] == REDIS_NO_SERVER)
            return false;
    }
    return true;
}

/* ---- seeds ---- */

static void seed_on_up(void *arg)
{
    cluster_want_refresh(((struct seed *)arg)->cluster);
}

static void seeds_open(struct redis_cluster *c)
{
    for (size_t i = 0; i < c->settings.seed_count; i++) {
        const struct redis_node_settings n = {
            .limits = {.connections = 1,
                       .calls_max = REDIS_CALLS_MAX,
                       .timeout_ms = REDIS_REFRESH_TIMEOUT_MS,
                       .connect_timeout_ms = c->settings.limits.connect_timeout_ms},
            .login = c->settings.login,
            .on_up = seed_on_up,
            .arg = &c->seeds[i],
        };
        c->seeds[i].cluster = c;
        if (c->seeds[i].node == NULL)
            c->seeds[i].node = redis_node_open(c->worker, c->settings.seeds[i], &n);
    }
}

static void seeds_close(struct redis_cluster *c)
{
    for (size_t i = 0; i < c->settings.seed_count; i++)
        redis_node_close(&c->seeds[i].node);
}

static void cluster_on_tick(struct deadline *d)
{
    struct redis_cluster *c = CONTAINER_OF(d, struct redis_cluster, tick);
    CHECK_MAGIC(c, REDIS_CLUSTER_MAGIC);
    mono_ms_t now_ms = worker_now_ms(c->worker);
    deadline_set(c->worker, &c->tick, now_ms + REDIS_REFRESH_MS);
    for (size_t i = c->member_count; i-- > 0;) {
        const struct member *m = c->members[i];
        if (!m->in_map && now_ms - m->named_ms >= REDIS_LINGER_MS && redis_node_load(m->node) == 0)
            cluster_drop_member(c, i);
    }
    if (c->members_up == 0)
        seeds_open(c);
    if (c->refresh_wanted || !cluster_is_whole(c))
        cluster_want_refresh(c);
}

/* ---- life ---- */

static void cluster_forget_map(struct redis_cluster *c)
{
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        c->owner[slot] = REDIS_NO_SERVER;
}

struct redis_cluster *redis_cluster_open(struct worker *w, const struct redis_cluster_settings *settings)
{
    ASSERT(settings->seed_count >= 1);
    struct redis_cluster *c = calloc(1, sizeof *c + settings->seed_count * sizeof c->seeds[0]);
    if (c == NULL)
        return NULL;
    c->magic = REDIS_CLUSTER_MAGIC;
    c->worker = w;
    c->settings = *settings;
    c->figures.trouble = "no server answers";
    c->refreshed_ms = worker_now_ms(w) - REDIS_REFRESH_MS;
    cluster_forget_map(c);
    deadline_init(&c->tick, cluster_on_tick);
    deadline_set(w, &c->tick, worker_now_ms(w) + REDIS_REFRESH_MS);
    seeds_open(c);
    return c;
}

void redis_cluster_close(struct redis_cluster **cp)
{
    struct redis_cluster *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHECK_MAGIC(c, REDIS_CLUSTER_MAGIC);
    c->settings.on_up = NULL;
    c->settings.on_down = NULL;
    c->settings.on_moved = NULL;
    redis_call_cancel(&c->refresh);
    cluster_forget_map(c); /* calls that end now find no member */
    while (c->member_count > 0)
        cluster_drop_member(c, c->member_count - 1);
    seeds_close(c);
    deadline_clear(c->worker, &c->tick);
    c->magic = 0;
    worker_bury(c->worker, &c->grave, free, c);
}

struct redis_node *redis_cluster_node(const struct redis_cluster *c, slice_t key)
{
    uint16_t owner = c->owner[redis_key_slot(key)];
    return owner != REDIS_NO_SERVER ? c->members[owner]->node : NULL;
}

struct redis_node *redis_cluster_server(const struct redis_cluster *c, size_t i)
{
    return i < c->member_count ? c->members[i]->node : NULL;
}

const struct redis_node *redis_cluster_seed(const struct redis_cluster *c, size_t i)
{
    return i < c->settings.seed_count ? c->seeds[i].node : NULL;
}

struct redis_cluster_figures redis_cluster_get_figures(const struct redis_cluster *c)
{
    struct redis_cluster_figures f = c->figures;
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        f.covered += c->owner[slot] != REDIS_NO_SERVER;
    return f;
}
