/* accounting.c: every request is counted once under its verdict, and every one but hits (and what never
 * reached the cache) once under the reason why its response was or was not stored; so all figures add up,
 * exactly. */
#include "core/outcome.h"
#include "tests/support/millpond.h"

#define GOOD "Cache-Control: max-age=600\r\n"

struct script {
    struct gate *body, *head;
    _Atomic unsigned number;
};

static bool is(const struct message *request, const char *path)
{
    return strncmp(request->target, path, strlen(path)) == 0;
}

static void script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct script *s = arg;
    unsigned n = ++s->number;
    if (is(request, "/held"))
        gate_pass(s->head);
    if (is(request, "/held-reset")) {
        origin_reset(c);
    } else if (is(request, "/cut") || is(request, "/gated-cut")) {
        origin_send(c, "HTTP/1.1 200 OK\r\n" GOOD "Content-Length: 100\r\n\r\npart");
        if (is(request, "/gated-cut"))
            gate_pass(s->body);
        origin_close(c);
    } else if (is(request, "/gated")) {
        origin_send(c, "HTTP/1.1 200 OK\r\n" GOOD "Content-Length: 4\r\n\r\n");
        gate_pass(s->body);
        origin_send(c, "body");
    } else if (is(request, "/etag") && message_field(request, "If-None-Match") != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=0\r\n\r\n");
    } else if (is(request, "/etag")) {
        origin_respond(c, 200, "ETag: \"1\"\r\nCache-Control: max-age=0\r\n", "body");
    } else if (is(request, "/new")) {
        origin_respond(c, 200, textf("ETag: \"%u\"\r\nCache-Control: max-age=0\r\n", n), "body");
    } else if (is(request, "/swr")) {
        origin_respond(c, 200, "Cache-Control: max-age=0, stale-while-revalidate=600\r\n", "body");
    } else if (is(request, "/cookie")) {
        origin_respond(c, 200, GOOD "Set-Cookie: a=1\r\n", "body");
    } else {
        origin_respond(c, 200, GOOD, "body");
    }
}

/* ---- the figures ---- */

static uint64_t counted[VERDICT_COUNT][NO_STORE_SAID_COUNT], requests[VERDICT_COUNT];

static bool label_is(const char *line, const char *label, const char *value)
{
    return strstr(line, textf("%s=\"%s\"", label, value)) != NULL;
}

static unsigned verdict_of(const char *line)
{
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        if (label_is(line, "cache", outcome_verdict_name((enum cache_verdict)v)))
            return v;
    EXPECT(false, "no verdict: %s", line);
    return 0;
}

static unsigned reason_of(const char *line)
{
    for (unsigned r = 0; r < NO_STORE_SAID_COUNT; r++)
        if (label_is(line, "reason", outcome_no_store_name((enum no_store_reason)r)))
            return r;
    EXPECT(false, "no reason: %s", line);
    return 0;
}

static void read_figures(struct millpond *m)
{
    struct message *page = millpond_admin(m, "GET", "/metrics");
    expect_status(page, 200);
    memset(counted, 0, sizeof counted);
    memset(requests, 0, sizeof requests);
    for (char *line = strtok(page->body, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const char *value = strrchr(line, ' ');
        uint64_t n = strtoull(value != NULL ? value : "", NULL, 10);
        if (strncmp(line, "millpond_http_requests_total{", 29) == 0)
            requests[verdict_of(line)] += n;
        else if (strncmp(line, "millpond_http_request_reasons_total{", 36) == 0)
            counted[verdict_of(line)][reason_of(line)] += n;
    }
}

static uint64_t sum_of_reasons(unsigned verdict)
{
    uint64_t sum = 0;
    for (unsigned r = 0; r < NO_STORE_SAID_COUNT; r++)
        sum += counted[verdict][r];
    return sum;
}

/* Verdict by verdict and in all, on the metrics page, in the status and in the access log. */
static void expect_sums(struct millpond *m)
{
    uint64_t all = 0, not_stored = 0, said = 0;
    for (unsigned v = 0; v < VERDICT_COUNT; v++) {
        const char *name = outcome_verdict_name((enum cache_verdict)v);
        uint64_t want = v == VERDICT_HIT || v == VERDICT_NONE ? 0 : requests[v];
        EXPECT(sum_of_reasons(v) == want, "%s: %llu reasons for %llu requests", name,
               (unsigned long long)sum_of_reasons(v), (unsigned long long)want);
        all += requests[v];
        not_stored += sum_of_reasons(v) - counted[v][NO_STORE_STORED];
    }
    assert_int_equal(all, millpond_figure(m, "requests"));
    json_t *status = millpond_status(m), *total = json_find(status, "no_store"), *route, *count;
    const char *reason;
    size_t i;
    json_object_foreach(total, reason, count)
    {
        said += (uint64_t)json_integer_value(count);
    }
    assert_int_equal(said, not_stored);
    said = 0;
    json_array_foreach(json_object_get(status, "routes"), i, route)
    {
        json_object_foreach(json_object_get(route, "verdicts"), reason, count)
        {
            said += (uint64_t)json_integer_value(count);
        }
    }
    assert_int_equal(said, all);
}

/* ---- a bit of everything ---- */

static struct client *start(struct millpond *m, const char *target)
{
    struct client *c = client_open(m->port);
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
    return c;
}

static void plain_requests(struct millpond *m)
{
    for (int i = 0; i < 3; i++)
        client_get(m->port, "/page", "");
    client_get(m->port, "/page", "Range: bytes=0-1\r\n");
    client_get(m->port, "/page", "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n");
    client_ask(m->port, "HEAD", "/page", "", "");
    client_ask(m->port, "HEAD", "/head", "", "");
    client_get(m->port, "/range", "Range: bytes=1-2\r\n");
    client_ask(m->port, "POST", "/post", "", "x=1");
    client_get(m->port, "/cookie", "");
    client_get(m->port, "/cookie", "");
    client_get(m->port, "/off/page", "");
    client_get(m->port, "/bypass/page", "Cookie: s=1\r\n");
    client_get(m->port, "/obey/none", "Cache-Control: only-if-cached\r\n");
    client_get(m->port, "/obey/secret", "Cache-Control: no-store\r\n");
    client_get(m->port, "/obey/page", "");
    client_get(m->port, "/obey/page", "Cache-Control: no-cache\r\n");
    for (int i = 0; i < 2; i++) {
        client_get(m->port, "/etag", "");
        client_get(m->port, "/new", "");
    }
    client_get(m->port, "/cut", "");
    client_get(m->port, "/dead", "");
    client_get(m->port, "/redirect", "");
    client_raw(m->port, "GET / HTTP/1.1\r\n\r\n");
}

static void stale_requests(struct millpond *m)
{
    client_get(m->port, "/swr", "");
    client_get(m->port, "/swr", "");
    millpond_wait_figure(m, "cache_refreshes", 1);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
}

static void shared_requests(struct millpond *m, struct script *s)
{
    static const char *const targets[] = {"/gated", "/gated-cut"};
    struct client *c[4];
    struct message *r[4];
    for (size_t i = 0; i < 4; i++) {
        c[i] = start(m, targets[i / 2]);
        r[i] = client_read_head(c[i]);
    }
    gate_open(s->body);
    for (size_t i = 0; i < 4; i++)
        wire_read_body(&c[i]->wire, r[i]);
}

/* A leader and one who waits for him: their fetch fails; or both leave. */
static void failing_requests(struct millpond *m, struct script *s)
{
    struct client *c[4];
    for (size_t i = 0; i < 4; i++) {
        c[i] = start(m, i < 2 ? "/held-reset" : "/held-left");
        gate_wait_arrived(s->head, 1 + (unsigned)i / 2);
        if (i % 2 == 1)
            millpond_wait_figure(m, "followers_now", 1 + (int64_t)i / 2);
    }
    client_reset(c[3]);
    millpond_wait_figure(m, "followers_now", 1);
    client_reset(c[2]);
    gate_open(s->head);
    client_read(c[0]);
    client_read(c[1]);
}

static void figures_add_up_exactly(void **state)
{
    UNUSED(state);
    struct script s = {.body = gate_new(), .head = gate_new()};
    struct origin *o = origin_start(script, &s);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "%sretries = 0\n[pool dead]\nserver = 127.0.0.1:%d\nhealth_check = off\n"
                           "[route off]\npath = /off/*\ncache = off\n[route bypass]\npath = /bypass/*\n"
                           "cache = bypass_if=cookie:s\n[route obey]\npath = /obey/*\n"
                           "ignore_client_cache_control = no\n[route dead]\npath = /dead\npool = dead\n"
                           "[route redirect]\npath = /redirect\nredirect = 302 http://test/\n[route all]\n",
                           pool_lines("app", 1, o), origin_refusing_port()));
    plain_requests(m);
    stale_requests(m);
    shared_requests(m, &s);
    failing_requests(m, &s);
    client_close_all();
    millpond_wait_idle(m);
    read_figures(m);
    expect_sums(m);

    static const struct {
        enum cache_verdict verdict;
        enum no_store_reason reason;
        uint64_t count;
    } want[] = {
        {VERDICT_MISS, NO_STORE_STORED, 7}, /* page range obey/page etag new swr gated */
        {VERDICT_MISS, NO_STORE_METHOD, 1},
        {VERDICT_MISS, NO_STORE_SET_COOKIE, 1},
        {VERDICT_MISS, NO_STORE_REMEMBERED + NO_STORE_SET_COOKIE, 1},
        {VERDICT_MISS, NO_STORE_ONLY_IF_CACHED, 1},
        {VERDICT_MISS, NO_STORE_REQUEST_NO_STORE, 1},
        {VERDICT_MISS, NO_STORE_INCOMPLETE, 2},   /* cut, gated-cut */
        {VERDICT_MISS, NO_STORE_FETCH_FAILED, 2}, /* dead, held-reset */
        {VERDICT_MISS, NO_STORE_ABANDONED, 1},    /* held-left */
        {VERDICT_PASS, NO_STORE_METHOD, 1},
        {VERDICT_PASS, NO_STORE_CACHE_OFF, 1},
        {VERDICT_PASS, NO_STORE_BYPASS_RULE, 1},
        {VERDICT_REFRESHED, NO_STORE_STORED, 1},
        {VERDICT_REVALIDATED, NO_STORE_STORED, 1},
        {VERDICT_EXPIRED, NO_STORE_STORED, 1},
        {VERDICT_STALE, NO_STORE_STORED, 1},
        {VERDICT_COLLAPSED, NO_STORE_STORED, 1},
        {VERDICT_COLLAPSED, NO_STORE_INCOMPLETE, 1},
        {VERDICT_COLLAPSED, NO_STORE_FETCH_FAILED, 1},
        {VERDICT_COLLAPSED, NO_STORE_ABANDONED, 1},
    };
    uint64_t listed = 0, found = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        uint64_t n = counted[want[i].verdict][want[i].reason];
        EXPECT(n == want[i].count, "%s, %s: %llu instead of %llu", outcome_verdict_name(want[i].verdict),
               outcome_no_store_name(want[i].reason), (unsigned long long)n,
               (unsigned long long)want[i].count);
        listed += want[i].count;
    }
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        found += sum_of_reasons(v);
    assert_int_equal(found, listed); /* and no other */
    assert_int_equal(requests[VERDICT_HIT], 5);
    /* What was stored was stored: those of requests, and of the fetch in the background. */
    assert_int_equal(millpond_figure(m, "cache_stored"), 7 + 1 + 1 + 1);

    struct proc_result r = millpond_cli(m, "status", NULL);
    EXPECT(strstr(r.out, "NOT STORED BECAUSE") != NULL && strstr(r.out, "cache_off 1\n") != NULL, "%s",
           r.out);
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {E2E_TEST(figures_add_up_exactly)};
    return E2E_RUN("accounting", tests);
}
