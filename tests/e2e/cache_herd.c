/* cache_herd.c: many clients, one object: it can be hit the moment anybody has its last byte, and when it
 * comes to its end, they do not all notice. */
#include <poll.h>
#include <sys/socket.h>

#include "tests/support/millpond.h"

/* ---- visible at once ---- */

#define SIDES  8 /* connections, hence on both workers: that one has all of them happens once in 128 runs */
#define ROUNDS 400

struct body {
    const char *fields;
    size_t bytes;
    bool chunked, to_close;
    char *text;
};

static void body_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const struct body *b = arg;
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n");
    if (b->chunked)
        origin_send(c, "Transfer-Encoding: chunked\r\n\r\n");
    else if (b->to_close)
        origin_send(c, "Connection: close\r\n\r\n");
    else
        origin_send(c, "Content-Length: %zu\r\n\r\n", b->bytes);
    if (b->chunked) {
        if (b->bytes > 0)
            origin_send_chunk(c, b->text, b->bytes);
        origin_send_chunk(c, NULL, 0);
    } else {
        origin_send_bytes(c, b->text, b->bytes);
    }
    if (b->to_close)
        origin_close(c);
}

static void ask_for(struct client *c, unsigned round)
{
    client_send(c, "GET /%u HTTP/1.1\r\nHost: test\r\n\r\n", round);
}

/* In each round two connections ask for something new at once, so that one of them leads and one follows; who
 * has his answer first is not known, so each in turn is the one that is read and makes a third one ask. */
static void last_byte_means_hit(struct body *b)
{
    b->text = text_repeat('v', b->bytes);
    struct origin *o = origin_start(body_script, b);
    struct millpond *m = millpond_start(.main = "workers = 2", .rest = pool_lines("app", 1, o));
    struct client *side[SIDES];
    for (unsigned i = 0; i < SIDES; i++)
        side[i] = client_open(m->port);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct client *first = side[round % SIDES], *second = side[(round / SIDES + round + 1) % SIDES];
        struct client *next = side[(round + 5) % SIDES], *after = side[(round + 6) % SIDES];
        if (second == first || next == second || after == second)
            second = side[(round + 7) % SIDES];
        ask_for(first, round);
        ask_for(second, round);
        assert_int_equal(client_read(first)->body_len, b->bytes);
        ask_for(next, round);
        ask_for(after, round);
        expect_field_in(client_read(next), "Cache-Status", "hit");
        expect_field_in(client_read(after), "Cache-Status", "hit");
        assert_int_equal(client_read(second)->body_len, b->bytes);
        client_send(next, "HEAD /%u HTTP/1.1\r\nHost: test\r\n\r\n", round);
        expect_field_in(client_read_no_body(next), "Cache-Status", "hit");
    }
    assert_int_equal(origin_requests(o), ROUNDS);
    millpond_stop(m);
}

/* Static: the threads of an origin outlive the function that started it. */
static void last_byte_of_any_length_means_hit(void **state)
{
    UNUSED(state);
    static struct body bodies[] = {
        {.bytes = 0}, {.bytes = 1}, {.bytes = 1000}, {.bytes = 20000}, {.bytes = 300000}};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        last_byte_means_hit(&bodies[i]);
}

static void last_chunk_means_hit(void **state)
{
    UNUSED(state);
    static struct body bodies[] = {
        {.chunked = true}, {.chunked = true, .bytes = 1000}, {.chunked = true, .bytes = 300000}};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        last_byte_means_hit(&bodies[i]);
}

static void end_of_the_connection_means_hit(void **state)
{
    UNUSED(state);
    static struct body body = {.bytes = 1000, .to_close = true};
    last_byte_means_hit(&body);
}

/* ---- first bytes ---- */

#define ASK  "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define HERD 1000

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    char body[1001];
    memset(body, 'h', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: max-age=600\r\n", body);
}

/* When the kernel had the first byte of the answer for this client, however late it is read. */
static int64_t first_byte_ns(struct client *c)
{
    char byte, control[128];
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct pollfd p = {.fd = c->wire.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, support_wait_ms()), 1);
    assert_int_equal(recvmsg(c->wire.fd, &msg, 0), 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    assert_true(h != NULL && h->cmsg_type == SO_TIMESTAMPNS);
    struct timespec t;
    memcpy(&t, CMSG_DATA(h), sizeof(t));
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* One request; how far apart the first bytes are is up to the machine, and only told. */
static void cold_herd_gets_its_first_bytes_together(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m = millpond_start(.main = "workers = 2", .rest = pool_lines("app", 1, o));
    static struct client *herd[HERD];
    static int64_t behind_ns[HERD];
    for (int i = 0, on = 1; i < HERD; i++) {
        herd[i] = client_open(m->port);
        assert_int_equal(setsockopt(herd[i]->wire.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)), 0);
        client_send(herd[i], ASK);
        if (i == 0)
            millpond_wait_figure(m, "flights_now", 1);
    }
    millpond_wait_figure(m, "followers_now", HERD - 1);
    gate_open(g);
    for (int i = HERD - 1; i >= 0; i--) /* the last ones first: reading takes time from those who write */
        behind_ns[i] = first_byte_ns(herd[i]);
    for (int i = HERD - 1; i >= 0; i--)
        behind_ns[i] -= behind_ns[0];
    qsort(behind_ns, HERD, sizeof(*behind_ns), by_value);
    print_message("%d clients, %u request; first byte behind the leader's: first %.2f ms, median %.2f ms, "
                  "p99 %.2f ms, last %.2f ms\n",
                  HERD, origin_requests(o), (double)behind_ns[0] / 1e6, (double)behind_ns[HERD / 2] / 1e6,
                  (double)behind_ns[HERD * 99 / 100] / 1e6, (double)behind_ns[HERD - 1] / 1e6);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

/* ---- at the end of freshness ---- */

#define ONE_SECOND "Cache-Control: max-age=600\r\nAge: 599\r\n"
#define WORK_MS    25 /* what the application takes for an answer; the kept time is then 31 ms */

struct page {
    const char *fields;
    struct gate *gate; /* before the second answer and those after it; NULL: none */
    _Atomic unsigned served;
};

static void page_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct page *p = arg;
    UNUSED(request);
    unsigned n = ++p->served;
    poll(NULL, 0, WORK_MS);
    if (n > 1 && p->gate != NULL)
        gate_pass(p->gate);
    char body[32];
    snprintf(body, sizeof(body), "page#%u", n);
    origin_respond(c, 200, p->fields, body);
}

/* Should the test be held up for long, the page expires as ever, is fetched, and the next second is tried. */
static void page_in_use_is_renewed_before_it_expires(void **state)
{
    UNUSED(state);
    static struct page p = {.fields = ONE_SECOND};
    struct origin *o = origin_start(page_script, &p);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    unsigned hits = 0;
    do {
        client_send(c, ASK);
        struct message *r = client_read(c);
        expect_status(r, 200);
        hits += strstr(message_field(r, "Cache-Status"), "millpond; hit; ttl=") != NULL;
    } while (hits % 64 != 0 || millpond_figure(m, "cache_early_refreshes") == 0);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    EXPECT(hits > 64, "%u hits", hits);
    assert_int_equal(millpond_figure(m, "cache_stale"), 0);
    assert_true(millpond_figure(m, "cache_refreshes") < p.served);
    millpond_stop(m);
}

static void page_expires_where_that_is_off(void **state)
{
    UNUSED(state);
    static const char *const sections[] = {"[cache]\nearly_refresh = no\n",
                                           "[route r]\nearly_refresh = no\n"};
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        static struct page pages[ARRAY_LEN(sections)];
        struct page *p = &pages[i];
        p->fields = ONE_SECOND;
        struct origin *o = origin_start(page_script, p);
        struct millpond *m = millpond_before(o, sections[i]);
        struct client *c = client_open(m->port);
        struct message *r;
        do {
            client_send(c, ASK);
            r = client_read(c);
        } while (p->served < 2);
        expect_field_in(r, "Cache-Status", "fwd=stale");
        assert_int_equal(millpond_figure(m, "cache_refreshes"), 0);
        millpond_stop(m);
    }
}

static int ttl_of(struct message *r)
{
    const char *ttl = strstr(message_field(r, "Cache-Status"), "hit; ttl=");
    EXPECT(ttl != NULL, "%s", message_field(r, "Cache-Status"));
    return atoi(ttl + strlen("hit; ttl="));
}

static void what_is_stored_together_expires_apart(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\nAge: 200\r\n"
                                          "Content-Length: 2\r\n\r\nok");
    struct millpond *m = millpond_before(o, "[route a]\npath = /a/*\nttl_jitter = 50%\n[route b]\n");
    int least = 1000, most = 0;
    for (unsigned i = 0; i < 100; i++) {
        const char *path = textf("/a/%u", i);
        client_get(m->port, path, "");
        struct message *r = client_get(m->port, path, "");
        expect_field(r, "Cache-Control", "max-age=1000");
        EXPECT(atoi(message_field(r, "Age")) - 200 < 60, "Age: %s", message_field(r, "Age"));
        least = MIN(least, ttl_of(r));
        most = MAX(most, ttl_of(r));
    }
    EXPECT(least >= 340 && least < 500 && most > 700 && most <= 800, "%d to %d", least, most);
    client_get(m->port, "/b", "");
    EXPECT(ttl_of(client_get(m->port, "/b", "")) >= 740, "a route without it");
    millpond_stop(m);
}

static int64_t shard_takes(struct millpond *m)
{
    json_t *locks = json_object_get(millpond_status(m), "locks");
    return json_integer_value(json_object_get(json_object_get(locks, "cache_shard"), "takes"));
}

/* Each worker looks once a second whether the fetch under way has ended. */
static void stale_hits_take_no_lock(void **state)
{
    UNUSED(state);
    static struct page p = {.fields = "Cache-Control: max-age=0, stale-while-revalidate=600\r\nAge: 5\r\n"};
    p.gate = gate_new();
    struct origin *o = origin_start(page_script, &p);
    struct millpond *m = millpond_before(o, "");
    client_get(m->port, "/p", "");
    struct client *c = client_open(m->port);
    mono_ms_t since = clock_mono_ms();
    int64_t first = shard_takes(m), second = shard_takes(m);
    for (unsigned i = 0; i < 2000; i++) {
        client_send(c, ASK);
        expect_field_in(client_read(c), "Cache-Status", "detail=stale_while_revalidate");
    }
    int64_t takes = shard_takes(m) - second - (second - first);
    int64_t seconds = (clock_mono_ms() - since) / 1000;
    EXPECT(takes < 20 + 10 * seconds, "2000 stale hits took the lock %d times", (int)takes);
    assert_int_equal(origin_requests(o), 2);
    gate_open(p.gate);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(last_byte_of_any_length_means_hit),        E2E_TEST(last_chunk_means_hit),
        E2E_TEST(end_of_the_connection_means_hit),          E2E_TEST(cold_herd_gets_its_first_bytes_together),
        E2E_TEST(page_in_use_is_renewed_before_it_expires), E2E_TEST(page_expires_where_that_is_off),
        E2E_TEST(what_is_stored_together_expires_apart),    E2E_TEST(stale_hits_take_no_lock),
    };
    return E2E_RUN("cache_herd", tests);
}
