/* truth.c: the application, its nodes, and what is counted. Requests are in truth_clients.c, what nodes say
 * of each other in truth_watch.c. One mutex guards all but the versions, which the origin's threads read. */
#include "tests/support/truth_inner.h"

#include <poll.h>

#include "core/panic.h"
#include "tests/support/gate.h"

#define LARGE_BODY_BYTES (150 * KB)
#define BODY_LINE        128

/* ---- the application ---- */

static const char *fields_of(enum truth_kind kind)
{
    switch (kind) {
    case RENEWED:
        return "Cache-Control: max-age=1, stale-while-revalidate=600\r\n";
    case VARIES:
        return "Cache-Control: max-age=600\r\nVary: Accept-Language\r\n";
    default:
        return "Cache-Control: max-age=600\r\n";
    }
}

/* An application takes a little time now and then: what it says then may have been changed meanwhile. */
static void think(const struct origin_conn *c)
{
    static const int pauses_ms[] = {0, 0, 2, 0, 10, 0, 5};
    const int pause_ms = pauses_ms[(c->number + c->served) % ARRAY_LEN(pauses_ms)];
    if (pause_ms > 0)
        poll(NULL, 0, pause_ms);
}

static void respond(struct origin_conn *c, const struct message *request, unsigned page, unsigned version)
{
    const enum truth_kind kind = truth_kind_of(page);
    const char *language = message_field(request, "Accept-Language");
    const char *known = message_field(request, "If-None-Match");
    char line[BODY_LINE], fields[256], etag[32];
    snprintf(etag, sizeof etag, "\"v%u\"", version);
    const int n = snprintf(line, sizeof line, "%s %u %s\n", request->target, version,
                           kind == VARIES && language != NULL ? language : "-");
    snprintf(fields, sizeof fields, "%sCache-Tag: page-%u, group-%u\r\n%s%s%s", fields_of(kind), page,
             truth_group_of(page), kind == VALIDATED ? "ETag: " : "", kind == VALIDATED ? etag : "",
             kind == VALIDATED ? "\r\n" : "");
    if (kind == VALIDATED && known != NULL && strcmp(known, etag) == 0) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s\r\n", fields);
        return;
    }
    const size_t times = kind == LARGE ? LARGE_BODY_BYTES / (size_t)n : 1;
    char *body = malloc(times * (size_t)n + 1);
    if (body == NULL)
        abort();
    for (size_t i = 0; i <= times; i++)
        memcpy(body + i * (size_t)n, i < times ? line : "", i < times ? (size_t)n : 1);
    origin_respond(c, 200, fields, body);
    free(body);
}

static void script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct truth *t = arg;
    unsigned page, group;
    if (sscanf(request->target, "/%u/%u", &group, &page) != 2 || page >= TRUTH_PAGES) {
        origin_respond(c, 404, "", "no such page");
        return;
    }
    const bool changes = strcmp(request->method, "POST") == 0;
    const unsigned version = changes ? ++t->version[page] : t->version[page];
    think(c);
    respond(c, request, page, version);
}

/* ---- nodes ---- */

void truth_open_node(struct truth *t, unsigned i, struct millpond *m)
{
    pthread_mutex_lock(&t->mtx);
    struct truth_node *n = &t->nodes[i];
    n->port = m->port;
    n->admin_port = m->admin_port;
    n->generation++;
    n->is_open = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mtx);
}

void truth_close_node(struct truth *t, unsigned i)
{
    pthread_mutex_lock(&t->mtx);
    t->nodes[i].is_open = false;
    while (t->nodes[i].users > 0)
        pthread_cond_wait(&t->changed, &t->mtx);
    pthread_mutex_unlock(&t->mtx);
}

static void connect_to(struct truth_client *c, unsigned i, int port, unsigned generation)
{
    if (c->generations[i] != generation)
        wire_free(&c->wires[i]);
    c->generations[i] = generation;
    if (c->wires[i].fd < 0)
        wire_init(&c->wires[i], wire_connect(port, 0));
}

bool truth_enter(struct truth_client *c, unsigned i, bool admin)
{
    struct truth_node *n = &c->t->nodes[i];
    pthread_mutex_lock(&c->t->mtx);
    const bool open = n->is_open;
    const int port = admin ? n->admin_port : n->port;
    const unsigned generation = n->generation;
    n->users += open;
    pthread_mutex_unlock(&c->t->mtx);
    if (open)
        connect_to(c, i, port, generation);
    return open;
}

void truth_leave(struct truth_client *c, unsigned i)
{
    pthread_mutex_lock(&c->t->mtx);
    if (--c->t->nodes[i].users == 0)
        pthread_cond_broadcast(&c->t->changed);
    pthread_mutex_unlock(&c->t->mtx);
}

/* ---- requests ---- */

struct message *truth_ask(struct truth_client *c, unsigned i, const char *request)
{
    struct wire *w = &c->wires[i];
    wire_send(w, request, strlen(request));
    struct message *m = wire_read_head(w, true, false);
    wire_read_body(w, m);
    const char *connection = message_field(m, "Connection");
    if (m->end != MESSAGE_COMPLETE || (connection != NULL && strcmp(connection, "close") == 0))
        wire_free(w);
    return m;
}

static void note_problem(struct truth *t, const char *what, unsigned i, const char *request,
                         const struct message *m, unsigned floor)
{
    if (t->figures.problem[0] != '\0')
        return;
    snprintf(t->figures.problem, sizeof t->figures.problem,
             "%s: %s: node %u, %.*s, due is version %u; %s, %.*s %.60s", t->at, what, i,
             (int)strcspn(request, "\r"), request, floor, message_end_name(m->end), 200, m->head, m->body);
}

bool truth_book(struct truth_client *c, unsigned i, const char *request, const struct message *m,
                mono_ms_t since_ms)
{
    struct truth *t = c->t;
    const bool whole = m->end == MESSAGE_COMPLETE && m->status == 200;
    const dur_ms_t took_ms = clock_mono_ms() - since_ms;
    pthread_mutex_lock(&t->mtx);
    if (c != &t->watcher)
        t->figures.longest_ms = MAX(t->figures.longest_ms, took_ms);
    if (!whole) {
        t->figures.failed++;
        note_problem(t, "failed", i, request, m, 0);
    }
    c->done[i]++;
    c->all++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mtx);
    return whole;
}

void truth_note_old(struct truth *t, unsigned i, const char *request, const struct message *m, unsigned floor)
{
    pthread_mutex_lock(&t->mtx);
    t->figures.old++;
    note_problem(t, "old or wrong", i, request, m, floor);
    pthread_mutex_unlock(&t->mtx);
}

bool truth_goes_on(struct truth *t)
{
    pthread_mutex_lock(&t->mtx);
    const bool go_on = !t->stop;
    pthread_mutex_unlock(&t->mtx);
    return go_on;
}

/* ---- waiting ---- */

void truth_at(struct truth *t, const char *what)
{
    pthread_mutex_lock(&t->mtx);
    snprintf(t->at, sizeof t->at, "%s", what);
    pthread_mutex_unlock(&t->mtx);
}

struct progress {
    uint64_t done[TRUTH_CLIENTS][TRUTH_NODES], all[TRUTH_CLIENTS];
};

static struct progress progress_locked(const struct truth *t)
{
    struct progress p;
    for (unsigned k = 0; k < TRUTH_CLIENTS; k++) {
        memcpy(p.done[k], t->clients[k].done, sizeof p.done[k]);
        p.all[k] = t->clients[k].all;
    }
    return p;
}

static bool has_moved_locked(const struct truth *t, const struct progress *since, unsigned n)
{
    for (unsigned k = 0; k < t->readers; k++) {
        for (unsigned i = 0; i < TRUTH_NODES; i++) {
            if (t->nodes[i].is_open && t->clients[k].done[i] < since->done[k][i] + n)
                return false;
        }
    }
    for (unsigned k = t->readers; k < t->readers + t->purgers && !t->is_paused; k++) {
        if (t->clients[k].all == since->all[k])
            return false;
    }
    return true;
}

static uint64_t sum_locked(const struct truth *t)
{
    uint64_t sum = 0;
    for (unsigned k = 0; k < t->readers + t->purgers; k++)
        sum += t->clients[k].all;
    return sum;
}

/* What hangs fails after support_wait_ms; how long all together takes is another matter. */
void truth_wait_(struct truth *t, unsigned n)
{
    mono_ms_t deadline = clock_mono_ms() + 2 * support_wait_ms();
    bool stuck = false;
    pthread_mutex_lock(&t->mtx);
    const struct progress since = progress_locked(t);
    for (uint64_t sum = sum_locked(t); !stuck && !has_moved_locked(t, &since, n); sum = sum_locked(t)) {
        stuck = !cond_wait_until(&t->changed, &t->mtx, deadline) || t->figures.problem[0] != '\0';
        if (sum_locked(t) > sum)
            deadline = clock_mono_ms() + 2 * support_wait_ms();
    }
    pthread_mutex_unlock(&t->mtx);
    if (stuck)
        support_fail("%s: requests wait for something: %s", t->at, truth_take(t).problem);
}

static struct message *mark_purged(struct truth *t, unsigned i, const char *mark)
{
    return client_ask_(t->nodes[i].port, "PURGE", textf("/%s", mark), "", "");
}

void truth_purge_mark_(struct truth *t, unsigned i, const char *mark)
{
    message_expect_status(mark_purged(t, i, mark), 200);
}

/* One page at each node. */
static void purge_some(struct truth *t)
{
    for (unsigned i = 0; i < TRUTH_NODES; i++) {
        if (!t->nodes[i].is_open)
            continue;
        const unsigned page = truth_pick(&t->watcher, TRUTH_PAGES), due = ++t->version[page];
        char *field = textf("Cache-Tag: page-%u\r\n", page);
        message_expect_status(client_ask_(t->nodes[i].port, "PURGE", "/", field, ""), 200);
        pthread_mutex_lock(&t->mtx);
        unsigned *own = &t->nodes[i].own.version[page], *floor = &t->nodes[i].floor.version[page];
        *own = MAX(*own, due);
        *floor = MAX(*floor, due);
        t->figures.purges++;
        pthread_mutex_unlock(&t->mtx);
    }
}

static bool have_settled_locked(const struct truth *t, const struct truth_floors *due)
{
    for (unsigned i = 0; i < TRUTH_NODES; i++) {
        for (unsigned p = 0; p < TRUTH_PAGES && t->nodes[i].is_open; p++) {
            if (t->nodes[i].floor.version[p] < due->version[p])
                return false;
        }
    }
    return true;
}

/* All that any node has acknowledged is said to be applied at all. */
static void wait_for_floors(struct truth *t)
{
    const mono_ms_t deadline = clock_mono_ms() + 2 * support_wait_ms();
    struct truth_floors due = {{0}};
    bool settled;
    pthread_mutex_lock(&t->mtx);
    for (unsigned i = 0; i < TRUTH_NODES; i++) {
        for (unsigned p = 0; p < TRUTH_PAGES; p++)
            due.version[p] = MAX(due.version[p], t->nodes[i].own.version[p]);
    }
    while (!(settled = have_settled_locked(t, &due)))
        if (!cond_wait_until(&t->changed, &t->mtx, deadline))
            break;
    pthread_mutex_unlock(&t->mtx);
    if (!settled)
        support_fail("%s: nodes do not hear of each other's purges again; %s", t->at, truth_take(t).problem);
}

static bool are_purgers_idle_locked(const struct truth *t)
{
    for (unsigned k = t->readers; k < t->readers + t->purgers; k++) {
        if (!t->clients[k].is_idle)
            return false;
    }
    return true;
}

void truth_pause(struct truth *t)
{
    pthread_mutex_lock(&t->mtx);
    t->is_paused = true;
    while (!are_purgers_idle_locked(t))
        pthread_cond_wait(&t->changed, &t->mtx);
    pthread_mutex_unlock(&t->mtx);
}

static void resume(struct truth *t)
{
    pthread_mutex_lock(&t->mtx);
    t->is_paused = false;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mtx);
}

void truth_settle_(struct truth *t, unsigned n)
{
    truth_pause(t);
    wait_for_floors(t);
    truth_wait_(t, n);
    resume(t);
    purge_some(t);
    wait_for_floors(t);
}

struct truth_figures truth_take(struct truth *t)
{
    pthread_mutex_lock(&t->mtx);
    struct truth_figures f = t->figures;
    t->figures.longest_ms = 0;
    pthread_mutex_unlock(&t->mtx);
    return f;
}

/* ---- life ---- */

static void client_init(struct truth *t, struct truth_client *c, uint64_t number)
{
    c->t = t;
    c->random = number * 0x9e3779b97f4a7c15u + (uint64_t)clock_mono_ms();
    for (unsigned i = 0; i < TRUTH_NODES; i++)
        wire_init(&c->wires[i], -1);
}

static void client_start(struct truth *t, struct truth_client *c, uint64_t number, void *(*main)(void *))
{
    client_init(t, c, number);
    if (pthread_create(&c->thread, NULL, main, c) != 0)
        abort();
}

static void client_end(struct truth_client *c)
{
    pthread_join(c->thread, NULL);
    for (unsigned i = 0; i < TRUTH_NODES; i++)
        wire_free(&c->wires[i]);
}

void truth_run(struct truth *t, unsigned readers, unsigned purgers)
{
    ASSERT(!t->runs && readers + purgers <= TRUTH_CLIENTS);
    t->runs = true;
    t->readers = readers;
    t->purgers = purgers;
    for (unsigned k = 0; k < readers + purgers; k++)
        client_start(t, &t->clients[k], k, k < readers ? truth_reader_main : truth_purger_main);
    client_start(t, &t->watcher, TRUTH_CLIENTS, truth_watcher_main);
}

void truth_stop(struct truth *t)
{
    if (!t->runs)
        return;
    pthread_mutex_lock(&t->mtx);
    t->stop = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mtx);
    for (unsigned k = 0; k < t->readers + t->purgers; k++)
        client_end(&t->clients[k]);
    client_end(&t->watcher);
    t->runs = false;
}

static void stop_clients(void *arg)
{
    truth_stop(arg);
}

static void truth_free(void *arg)
{
    struct truth *t = arg;
    pthread_mutex_destroy(&t->mtx);
    pthread_cond_destroy(&t->changed);
    free(t);
}

struct truth *truth_start(void)
{
    struct truth *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    pthread_mutex_init(&t->mtx, NULL);
    cond_init_mono(&t->changed);
    for (unsigned p = 0; p < TRUTH_PAGES; p++)
        t->version[p] = 1;
    support_on_end(truth_free, t);
    t->origin = origin_start_with(&(struct origin_options){.script = script, .arg = t, .forgets = true});
    support_on_end(stop_clients, t);
    return t;
}

struct origin *truth_origin(struct truth *t)
{
    return t->origin;
}
