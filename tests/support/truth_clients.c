/* truth_clients.c: who reads and who changes pages; see truth.h. Each is a thread with one connection to each
 * node. */
#include "tests/support/truth_inner.h"

#include <poll.h>

#define READER_PAUSE_MS 1
#define PURGER_PAUSE_MS 60 /* at most */
#define REQUEST_BYTES   512

static const char *const languages[] = {"de", "en", "fr"};

/* Goes on to another node when this one is closed; a node that answers. */
static unsigned enter_some(struct truth_client *c)
{
    unsigned i = truth_pick(c, TRUTH_NODES);
    while (!truth_enter(c, i, false)) {
        if (!truth_goes_on(c->t))
            return TRUTH_NODES;
        i = (i + 1) % TRUTH_NODES;
    }
    return i;
}

/* ---- readers ---- */

struct question {
    unsigned page;
    char target[64];
    const char *language; /* "-" = none */
    char request[REQUEST_BYTES];
};

static void question_make(struct truth_client *c, struct question *q)
{
    q->page = truth_pick(c, TRUTH_PAGES);
    const enum truth_kind kind = truth_kind_of(q->page);
    const unsigned group = truth_group_of(q->page);
    if (kind == LARGE && truth_pick(c, 4) > 0) /* they cost more than all others */
        q->page -= LARGE;
    q->language = kind == VARIES ? languages[truth_pick(c, ARRAY_LEN(languages))] : "-";
    snprintf(q->target, sizeof q->target, kind == QUERIES ? "/%u/%u?q=%u" : "/%u/%u", group, q->page,
             truth_pick(c, 4));
    snprintf(q->request, sizeof q->request, "GET %s HTTP/1.1\r\nHost: test\r\nAccept-Language: %s\r\n\r\n",
             q->target, q->language);
}

/* The version, or 0 when the answer is not to this question, or not of one piece. */
static unsigned version_in(const struct question *q, const struct message *m)
{
    unsigned version = 0;
    char line[128];
    const size_t n = strlen(q->target);
    if (strncmp(m->body, q->target, n) != 0 || sscanf(m->body + n, " %u", &version) != 1)
        return 0;
    const size_t bytes = (size_t)snprintf(line, sizeof line, "%s %u %s\n", q->target, version, q->language);
    if (m->body_len % bytes != 0 || strncmp(m->body, line, bytes) != 0 ||
        memcmp(m->body, m->body + bytes, m->body_len - bytes) != 0)
        return 0;
    return version;
}

static void count_source(struct truth *t, const struct message *m)
{
    const char *status = message_field(m, "Cache-Status");
    const bool hit = status != NULL && strstr(status, "; hit") != NULL;
    const bool redis = hit && strstr(status, "detail=redis") != NULL;
    pthread_mutex_lock(&t->mtx);
    t->figures.answers++;
    t->figures.from_redis += redis;
    t->figures.hits += hit && !redis;
    pthread_mutex_unlock(&t->mtx);
}

static void read_one(struct truth_client *c, unsigned i)
{
    struct truth *t = c->t;
    struct question q;
    question_make(c, &q);
    pthread_mutex_lock(&t->mtx);
    const unsigned floor = t->nodes[i].floor.version[q.page];
    pthread_mutex_unlock(&t->mtx);
    const mono_ms_t since_ms = clock_mono_ms();
    struct message *m = truth_ask(c, i, q.request);
    if (truth_book(c, i, q.request, m, since_ms)) {
        const unsigned version = version_in(&q, m);
        count_source(t, m);
        if (version == 0 || version < floor || version > t->version[q.page])
            truth_note_old(t, i, q.request, m, floor);
    }
    message_free(m);
}

void *truth_reader_main(void *arg)
{
    struct truth_client *c = arg;
    while (truth_goes_on(c->t)) {
        const unsigned i = enter_some(c);
        if (i == TRUTH_NODES)
            break;
        read_one(c, i);
        truth_leave(c, i);
        poll(NULL, 0, READER_PAUSE_MS);
    }
    return NULL;
}

/* ---- purgers ---- */

/* What is to be purged, and which version of each page is due then; 0 = not concerned. */
struct change {
    char request[REQUEST_BYTES];
    struct truth_floors due;
};

static void raise_versions(struct truth *t, struct change *ch, unsigned page, bool group)
{
    for (unsigned p = 0; p < TRUTH_PAGES; p++) {
        if (group ? truth_group_of(p) == truth_group_of(page) : p == page)
            ch->due.version[p] = ++t->version[p];
    }
}

static void change_put(struct change *ch, const char *target, const char *fields)
{
    snprintf(ch->request, sizeof ch->request, "PURGE %s HTTP/1.1\r\nHost: test\r\n%s\r\n", target, fields);
}

/* The ways to purge; pages with renewal stay as they are when the purge is soft. */
static void change_make(struct truth_client *c, struct change *ch)
{
    const unsigned page = truth_pick(c, TRUTH_PAGES), group = truth_group_of(page);
    const enum truth_kind kind = truth_kind_of(page);
    char target[64], fields[128];
    snprintf(target, sizeof target, "/%u/%u", group, page);
    *ch = (struct change){.due = {{0}}};
    switch (truth_pick(c, 16)) {
    case 0:
        raise_versions(c->t, ch, page, true);
        snprintf(fields, sizeof fields, "Surrogate-Key: group-%u\r\n", group);
        change_put(ch, "/", fields);
        return;
    case 1:
        raise_versions(c->t, ch, page, true);
        snprintf(target, sizeof target, "/%u/", group);
        change_put(ch, target, "Millpond-Purge: prefix\r\n");
        return;
    case 2:
    case 3:
    case 4:
        raise_versions(c->t, ch, page, false);
        snprintf(fields, sizeof fields, "%s: page-%u\r\n", kind == RENEWED ? "xkey-purge" : "xkey-softpurge",
                 page);
        change_put(ch, "/", fields);
        return;
    case 5:
    case 6: /* the application raises the version by itself */
        if (kind == QUERIES)
            break;
        snprintf(ch->request, sizeof ch->request,
                 "POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", target);
        ch->due.version[page] = 1;
        return;
    default:
        break;
    }
    raise_versions(c->t, ch, page, false);
    change_put(ch, target, kind == QUERIES ? "Millpond-Purge: any-query\r\n" : "");
}

static void note_purged(struct truth *t, unsigned i, const struct change *ch, const struct message *m)
{
    unsigned posted = 0;
    if (strncmp(ch->request, "POST", 4) == 0)
        sscanf(m->body, "%*s %u", &posted);
    pthread_mutex_lock(&t->mtx);
    struct truth_node *n = &t->nodes[i];
    for (unsigned p = 0; p < TRUTH_PAGES; p++) {
        const unsigned due = ch->due.version[p] != 0 && posted != 0 ? posted : ch->due.version[p];
        n->own.version[p] = MAX(n->own.version[p], due);
        n->floor.version[p] = MAX(n->floor.version[p], due);
    }
    t->figures.purges++;
    pthread_mutex_unlock(&t->mtx);
}

static void change_one(struct truth_client *c, unsigned i)
{
    struct change ch;
    change_make(c, &ch);
    const mono_ms_t since_ms = clock_mono_ms();
    struct message *m = truth_ask(c, i, ch.request);
    if (truth_book(c, i, ch.request, m, since_ms))
        note_purged(c->t, i, &ch, m);
    message_free(m);
}

/* Not while all pause. */
static bool purger_goes_on(struct truth_client *c)
{
    struct truth *t = c->t;
    pthread_mutex_lock(&t->mtx);
    c->is_idle = true;
    pthread_cond_broadcast(&t->changed);
    while (t->is_paused && !t->stop)
        pthread_cond_wait(&t->changed, &t->mtx);
    c->is_idle = t->stop;
    const bool go_on = !t->stop;
    pthread_mutex_unlock(&t->mtx);
    return go_on;
}

void *truth_purger_main(void *arg)
{
    struct truth_client *c = arg;
    while (purger_goes_on(c)) {
        const unsigned i = enter_some(c);
        if (i == TRUTH_NODES)
            break;
        change_one(c, i);
        truth_leave(c, i);
        poll(NULL, 0, 1 + (int)truth_pick(c, PURGER_PAUSE_MS));
    }
    return NULL;
}
