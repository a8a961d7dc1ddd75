/* chaos.c: see chaos.h. Clients are threads with one connection each, as in load.c; the book is one array by
 * the requests' numbers, under one mutex. There is one for all tests of a program, one after the other, so
 * that a script that is late finds it there. */
#include "tests/support/chaos.h"

#include <poll.h>
#include <pthread.h>

#define CLIENTS_EACH   2
#define CLIENTS        (CHAOS_POLICIES * CLIENTS_EACH)
#define PAUSE_MS       1 /* between requests: the machine is left to those who are tested */
#define VISIT_REQUESTS 6 /* then it is somebody else who comes */
#define HASH_VALUES    16
#define FIRST_ANSWERS  6

static const struct {
    const char *name, *lines;
} policies[CHAOS_POLICIES] = {
    {"round_robin", "balance = round_robin\n"}, {"least_connections", "balance = least_connections\n"},
    {"two_choices", "balance = two_choices\n"}, {"hash", "balance = hash\nhash_on = header:X-Visitor\n"},
    {"sticky", "sticky_cookie = srv\n"},
};

enum outcome { UNDER_WAY, WELL, FAILED };

struct entry {
    uint8_t policy, outcome, end; /* enum outcome, enum message_end */
    bool is_post, is_ill;         /* an instance that was ill took it */
    uint8_t times;                /* how often instances took it */
    short status;
};

struct visitor {
    struct chaos *ch;
    pthread_t thread;
    unsigned number, policy;
    struct wire wire;
    char cookie[256];
    unsigned requests; /* of this visit */
    uint64_t done;     /* under mtx */
};

struct chaos {
    struct millpond *m;
    struct visitor visitors[CLIENTS];
    bool joined;
    unsigned forgotten; /* entries below it are not judged */
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool stop;
    struct entry *entries; /* by number; the first is none */
    unsigned count, cap;
};

struct millpond *chaos_millpond(const struct chaos *ch)
{
    return ch->m;
}

/* ---- clients ---- */

static unsigned book_open(struct visitor *v, bool is_post)
{
    struct chaos *ch = v->ch;
    pthread_mutex_lock(&ch->mtx);
    if (ch->count == ch->cap) {
        ch->cap = ch->cap * 2 + 4096;
        ch->entries = realloc(ch->entries, ch->cap * sizeof *ch->entries);
        if (ch->entries == NULL)
            abort();
    }
    ch->entries[ch->count] = (struct entry){.policy = (uint8_t)v->policy, .is_post = is_post};
    unsigned number = ch->count++;
    pthread_mutex_unlock(&ch->mtx);
    return number;
}

/* true when the load goes on. */
static bool book_close(struct visitor *v, unsigned number, const struct message *m)
{
    struct chaos *ch = v->ch;
    pthread_mutex_lock(&ch->mtx);
    struct entry *e = &ch->entries[number];
    e->end = (uint8_t)m->end;
    e->status = (short)m->status;
    e->outcome = m->end == MESSAGE_COMPLETE && m->status == 200 ? WELL : FAILED;
    v->done++;
    pthread_cond_broadcast(&ch->changed);
    bool go_on = !ch->stop;
    pthread_mutex_unlock(&ch->mtx);
    return go_on;
}

static void send_request(struct visitor *v, unsigned number, bool is_post)
{
    char request[1024];
    const char *body = is_post && number % 4 < 2 ? "one of each, please" : "";
    int n = snprintf(request, sizeof request, "%s /%s/%s/%u HTTP/1.1\r\nHost: test\r\nX-Visitor: %u\r\n%s",
                     is_post ? "POST" : "GET", policies[v->policy].name, is_post ? "post" : "get", number,
                     number / 2 % HASH_VALUES, v->cookie);
    if (is_post)
        n += snprintf(request + n, sizeof request - (size_t)n, "Content-Length: %zu\r\n", strlen(body));
    n += snprintf(request + n, sizeof request - (size_t)n, "\r\n%s", body);
    wire_send(&v->wire, request, (size_t)n);
}

static void keep_cookie(struct visitor *v, const struct message *m)
{
    const char *set = message_field(m, "Set-Cookie");
    if (set != NULL)
        snprintf(v->cookie, sizeof v->cookie, "Cookie: %.*s\r\n", (int)strcspn(set, ";"), set);
    if (++v->requests < VISIT_REQUESTS)
        return;
    v->requests = 0;
    v->cookie[0] = '\0';
}

static void *visitor_main(void *arg)
{
    struct visitor *v = arg;
    bool is_post = v->number % 2 == 1;
    for (bool go_on = true; go_on; is_post = !is_post) {
        if (v->wire.fd < 0)
            wire_init(&v->wire, wire_connect(v->ch->m->port, 0));
        const unsigned number = book_open(v, is_post);
        send_request(v, number, is_post);
        struct message *m = wire_read_head(&v->wire, true, false);
        wire_read_body(&v->wire, m);
        keep_cookie(v, m);
        const char *connection = message_field(m, "Connection");
        if (m->end != MESSAGE_COMPLETE || (connection != NULL && strcmp(connection, "close") == 0))
            wire_free(&v->wire);
        go_on = book_close(v, number, m);
        message_free(m);
        poll(NULL, 0, PAUSE_MS);
    }
    wire_free(&v->wire);
    return NULL;
}

/* ---- start, wait, stop ---- */

static char *pools(const struct chaos_options *o)
{
    char *text = "";
    for (unsigned p = 0; p < CHAOS_POLICIES; p++) {
        const char *name = policies[p].name;
        text = textf("%s[pool %s]\n%shealth_path = /health\n%s", text, name, policies[p].lines,
                     o->lines != NULL ? o->lines : "");
        for (unsigned i = 0; i < CHAOS_SERVERS; i++)
            text = textf("%sserver = %s name=%s-%c\n", text,
                         o->servers[i] != NULL ? o->servers[i] : textf("127.0.0.1:%d", o->ports[i]), name,
                         'a' + (int)i);
        text = textf("%s[route %s]\npath = /%s/*\npool = %s\n", text, name, name, name);
    }
    return text;
}

char *chaos_quick_lines(void)
{
    return textf("connect_timeout = 6s\nresponse_timeout = 6s\nretry_budget = 100%%\n"
                 "health_interval = 50ms\nhealth_timeout = 2s\nhealth_fall = 3\nhealth_rise = 1\n"
                 "eject_errors = 3\neject_time = 500ms\n");
}

static void chaos_end(void *arg)
{
    chaos_stop(arg);
}

struct chaos *chaos_start_(const struct chaos_options *o)
{
    static struct chaos the;
    struct chaos *ch = &the;
    if (ch->count == 0) {
        pthread_mutex_init(&ch->mtx, NULL);
        cond_init_mono(&ch->changed);
        ch->cap = 4096;
        ch->entries = calloc(ch->cap, sizeof *ch->entries);
        if (ch->entries == NULL)
            abort();
    }
    ch->count = ch->forgotten = 1;
    ch->stop = false;
    ch->m = millpond_start_(&(struct millpond_options){.cache = "store = off", .rest = pools(o)});
    ch->joined = true;
    support_on_end(chaos_end, ch);
    for (char x[] = "a"; x[0] < 'a' + CHAOS_SERVERS; x[0]++)
        chaos_wait_state_(ch, x, "up");
    chaos_go(ch);
    chaos_wait_(ch, FIRST_ANSWERS);
    return ch;
}

void chaos_go(struct chaos *ch)
{
    ch->joined = ch->stop = false;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct visitor *v = &ch->visitors[i];
        *v = (struct visitor){.ch = ch, .number = i / CHAOS_POLICIES, .policy = i % CHAOS_POLICIES};
        wire_init(&v->wire, -1);
        if (pthread_create(&v->thread, NULL, visitor_main, v) != 0)
            abort();
    }
}

void chaos_wait_(struct chaos *ch, unsigned n)
{
    uint64_t want[CLIENTS];
    mono_ms_t deadline = clock_mono_ms() + 4 * support_wait_ms();
    bool in_time = true;
    pthread_mutex_lock(&ch->mtx);
    for (unsigned i = 0; i < CLIENTS; i++)
        want[i] = ch->visitors[i].done + 1 + n; /* one is under way */
    for (unsigned i = 0; i < CLIENTS && in_time;)
        if (ch->visitors[i].done >= want[i])
            i++;
        else
            in_time = cond_wait_until(&ch->changed, &ch->mtx, deadline);
    pthread_mutex_unlock(&ch->mtx);
    if (!in_time)
        support_fail("the clients do not come on");
}

unsigned chaos_failed(struct chaos *ch)
{
    unsigned failed = 0;
    pthread_mutex_lock(&ch->mtx);
    for (unsigned i = ch->forgotten; i < ch->count; i++)
        failed += ch->entries[i].outcome == FAILED;
    pthread_mutex_unlock(&ch->mtx);
    return failed;
}

void chaos_wait_state_(struct chaos *ch, const char *x, const char *state)
{
    for (unsigned p = 0; p < CHAOS_POLICIES; p++)
        millpond_wait_state_(ch->m, textf("%s-%s", policies[p].name, x), state);
}

void chaos_stop(struct chaos *ch)
{
    pthread_mutex_lock(&ch->mtx);
    ch->stop = true;
    pthread_mutex_unlock(&ch->mtx);
    for (unsigned i = 0; i < CLIENTS && !ch->joined; i++)
        pthread_join(ch->visitors[i].thread, NULL);
    ch->joined = true;
}

/* ---- the book ---- */

static void note(struct chaos *ch, unsigned number, bool is_ill)
{
    pthread_mutex_lock(&ch->mtx);
    if (number > 0 && number < ch->count) {
        ch->entries[number].times++;
        ch->entries[number].is_ill |= is_ill;
    }
    pthread_mutex_unlock(&ch->mtx);
}

void chaos_note(struct chaos *ch, const char *target, bool is_ill)
{
    const char *slash = strrchr(target, '/');
    if (slash != NULL)
        note(ch, (unsigned)strtoul(slash + 1, NULL, 10), is_ill);
}

void chaos_note_output(struct chaos *ch, const char *text)
{
    for (const char *p = text; (p = strstr(p, "order ")) != NULL; p++)
        note(ch, (unsigned)strtoul(p + strlen("order "), NULL, 10), false);
}

void chaos_forget(struct chaos *ch)
{
    pthread_mutex_lock(&ch->mtx);
    ch->forgotten = ch->count;
    pthread_mutex_unlock(&ch->mtx);
}

/* ---- what is right ---- */

static const char *target_of(const struct chaos *ch, unsigned number)
{
    const struct entry *e = &ch->entries[number];
    return textf("/%s/%s/%u", policies[e->policy].name, e->is_post ? "post" : "get", number);
}

/* The access log's line of a request, without its end. */
static const char *access_line(struct chaos *ch, unsigned number)
{
    char *mark = textf("\"target\":\"%s\"", target_of(ch, number));
    char *log = capture_wait_(&ch->m->proc->out, mark, 1);
    char *at = strstr(log, mark);
    at[strcspn(at, "\n")] = '\0';
    return at;
}

static _Noreturn void not_right(struct chaos *ch, unsigned number, const char *why)
{
    const struct entry *e = &ch->entries[number];
    support_fail("%s %s: %s; its client got %d (%s), instances took it %u times%s; %s",
                 e->is_post ? "POST" : "GET", target_of(ch, number), why, e->status,
                 message_end_name((enum message_end)e->end), e->times, e->is_ill ? ", an ill one, too" : "",
                 access_line(ch, number));
}

/* For each request that is judged: `number` and `e`. */
#define EACH_ENTRY(ch, number, e)                                                                            \
    for (unsigned number = (ch)->forgotten; number < (ch)->count; number++)                                  \
        for (const struct entry *e = &(ch)->entries[number], *once_ = e; once_ != NULL; once_ = NULL)

static void expect_well(struct chaos *ch, bool posts)
{
    EACH_ENTRY(ch, number, e)
    {
        if (e->is_post == posts && e->outcome != WELL)
            not_right(ch, number, "it failed");
    }
}

void chaos_expect_gets_well_(struct chaos *ch)
{
    expect_well(ch, false);
}

void chaos_expect_posts_well_(struct chaos *ch)
{
    expect_well(ch, true);
}

void chaos_expect_posts_(struct chaos *ch, const char *x, const char *errors)
{
    EACH_ENTRY(ch, number, e)
    {
        if (!e->is_post || e->outcome == WELL)
            continue;
        if (e->end != MESSAGE_COMPLETE || (e->status != 502 && e->status != 504))
            not_right(ch, number, "it failed in another way");
        const char *line = access_line(ch, number);
        if (strstr(line, textf("\"instance\":\"%s-%s\"", policies[e->policy].name, x)) == NULL)
            not_right(ch, number, "it failed at another instance");
        const char *error = strstr(line, "\"fetch_error\":\"");
        error = error != NULL ? error + strlen("\"fetch_error\":\"") : "";
        if (strstr(errors, textf(" %.*s ", (int)strcspn(error, "\""), error)) == NULL)
            not_right(ch, number, "it failed for another reason");
    }
}

void chaos_expect_once_(struct chaos *ch)
{
    EACH_ENTRY(ch, number, e)
    {
        if (e->is_post && e->times > 1)
            not_right(ch, number, "it was sent to instances more than once");
        if (e->is_post && e->outcome == WELL && e->times == 0)
            not_right(ch, number, "it was answered, but no instance took it");
    }
}

void chaos_expect_failed_is_ill_(struct chaos *ch, bool gets, bool posts)
{
    unsigned ill = 0;
    EACH_ENTRY(ch, number, e)
    {
        if (e->is_post ? !posts : !gets)
            continue;
        ill += e->is_ill;
        if (e->is_ill != (e->outcome == FAILED))
            not_right(ch, number, e->is_ill ? "an ill instance took it, and it did not fail" : "it failed");
    }
    if (ill == 0)
        support_fail("nothing was proved: no request came to an instance that was ill");
}

unsigned chaos_expect_errors_(struct chaos *ch)
{
    unsigned failed = 0;
    EACH_ENTRY(ch, number, e)
    {
        bool told = e->end == MESSAGE_COMPLETE && e->status >= 502 && e->status <= 504;
        if (e->outcome != WELL && !told)
            not_right(ch, number, "it failed in another way");
        failed += e->outcome != WELL;
    }
    return failed;
}

void chaos_expect_cut_(struct chaos *ch)
{
    EACH_ENTRY(ch, number, e)
    {
        if (e->outcome != WELL && e->end != MESSAGE_CUT && e->end != MESSAGE_RESET)
            not_right(ch, number, "it failed in another way");
    }
}
