/* truth_watch.c: reads the status of the nodes over and over, and believes it: what a node's purges have
 * reached, by the same rule as `purge --wait` (admin/client_wait.c). Each look begins a wait for all that the
 * node had acknowledged just before it; the last few are kept, so that what is said late is tested too. */
#include "tests/support/truth_inner.h"

#include <poll.h>

#define WATCHER_PAUSE_MS 2

static const char status_request[] = "GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                     "Authorization: Bearer " MILLPOND_TOKEN "\r\n\r\n";

static bool id_parse(const json_t *text, unsigned long long *ms, unsigned long long *seq)
{
    return json_is_string(text) && sscanf(json_string_value(text), "%llu-%llu", ms, seq) == 2;
}

static bool has_applied(const struct truth_claim *cl, const json_t *node)
{
    unsigned long long ms, seq;
    return json_is_true(json_object_get(node, "follows")) &&
           id_parse(json_object_get(node, "applied"), &ms, &seq) &&
           (ms > cl->ms || (ms == cl->ms && seq >= cl->seq));
}

/* The node of that name; TRUTH_NODES: not known yet. */
static unsigned node_named_locked(const struct truth *t, const char *name)
{
    unsigned i = 0;
    while (i < TRUTH_NODES && strcmp(t->nodes[i].name, name) != 0)
        i++;
    return i;
}

static void believe_locked(struct truth *t, const struct truth_claim *cl, const char *name)
{
    const unsigned i = node_named_locked(t, name);
    bool rises = false;
    for (unsigned p = 0; i < TRUTH_NODES && p < TRUTH_PAGES; p++) {
        unsigned *floor = &t->nodes[i].floor.version[p];
        rises = rises || *floor < cl->due.version[p];
        *floor = MAX(*floor, cl->due.version[p]);
    }
    t->figures.claims += rises;
}

/* As client_wait_look: a node without a report of its own says nothing of others. */
static bool is_told(const struct truth_claim *cl, const json_t *purges)
{
    size_t k;
    const json_t *node;
    json_array_foreach(json_object_get(purges, "nodes"), k, node)
    {
        if (json_equal(json_object_get(node, "name"), json_object_get(purges, "node")))
            return has_applied(cl, node);
    }
    return false;
}

static void look_at_claim_locked(struct truth *t, struct truth_claim *cl, const json_t *purges)
{
    size_t k;
    const json_t *node;
    if (!cl->is_known && json_is_true(json_object_get(purges, "follows")) &&
        json_integer_value(json_object_get(purges, "pending")) == 0)
        cl->is_known = id_parse(json_object_get(purges, "cursor"), &cl->ms, &cl->seq);
    if (!cl->is_known || !is_told(cl, purges))
        return;
    json_array_foreach(json_object_get(purges, "nodes"), k, node)
    {
        if (has_applied(cl, node))
            believe_locked(t, cl, json_string_value(json_object_get(node, "name")));
    }
}

static void look_locked(struct truth *t, unsigned i, const struct truth_floors *before, const json_t *purges)
{
    struct truth_node *n = &t->nodes[i];
    const char *name = json_string_value(json_object_get(purges, "node"));
    if (name == NULL)
        return;
    snprintf(n->name, sizeof n->name, "%s", name);
    n->claims[n->claimed++ % TRUTH_WAITS] = (struct truth_claim){.due = *before};
    for (unsigned k = 0; k < MIN(n->claimed, TRUTH_WAITS); k++)
        look_at_claim_locked(t, &n->claims[k], purges);
}

static void watch(struct truth_client *c, unsigned i)
{
    struct truth *t = c->t;
    pthread_mutex_lock(&t->mtx);
    const struct truth_floors before = t->nodes[i].own;
    pthread_mutex_unlock(&t->mtx);
    const mono_ms_t since_ms = clock_mono_ms();
    struct message *m = truth_ask(c, i, status_request);
    if (truth_book(c, i, status_request, m, since_ms)) {
        json_t *status = json_loads(m->body, 0, NULL);
        pthread_mutex_lock(&t->mtx);
        look_locked(t, i, &before, json_object_get(status, "purges"));
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->mtx);
        json_decref(status);
    }
    message_free(m);
}

void *truth_watcher_main(void *arg)
{
    struct truth_client *c = arg;
    for (unsigned i = 0; truth_goes_on(c->t); i = (i + 1) % TRUTH_NODES) {
        if (!truth_enter(c, i, true)) {
            poll(NULL, 0, WATCHER_PAUSE_MS);
            continue;
        }
        watch(c, i);
        truth_leave(c, i);
        poll(NULL, 0, WATCHER_PAUSE_MS);
    }
    return NULL;
}
