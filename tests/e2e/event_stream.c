/* event_stream.c: streams of events (Server-Sent Events): each event passes when it is sent, nothing is
 * stored or shared, nobody waits for somebody else's, and a stream ends when either side leaves. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define ASK "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"

struct stream {
    struct gate *head, *event; /* one pass for each; NULL: at once */
    const char *fields;
    bool chunked;
    unsigned events; /* then it ends */
};

/* "data: 0", "data: 1", ... */
static void stream_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const struct stream *s = arg;
    UNUSED(request);
    if (s->head != NULL)
        gate_pass(s->head);
    bool ok = origin_send(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s%s\r\n", s->fields,
                          s->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    for (unsigned i = 0; ok && i < s->events; i++) {
        if (!gate_pass(s->event))
            return;
        const char event[] = {'d', 'a', 't', 'a', ':', ' ', (char)('0' + i % 10), '\n', '\n'};
        ok = s->chunked ? origin_send_chunk(c, event, sizeof(event))
                        : origin_send_bytes(c, event, sizeof(event));
    }
    if (s->chunked && ok)
        origin_send_chunk(c, "", 0);
    else
        origin_close(c);
}

static struct origin *stream_origin(struct stream *s)
{
    s->event = gate_new();
    return origin_start_with(&(struct origin_options){.script = stream_script, .arg = s});
}

/* What comes next is this, chunked or not. */
static void expect_piece(struct client *c, const char *text, bool chunked)
{
    char *wanted = chunked ? textf("%zx\r\n%s\r\n", strlen(text), text) : textf("%s", text);
    const char *got = client_wait_bytes(c, strlen(wanted));
    EXPECT(memcmp(got, wanted, strlen(wanted)) == 0, "%.*s", (int)c->wire.len, got);
    wire_take(&c->wire, strlen(wanted));
}

static void events_pass_one_by_one(const char *fields, bool chunked, const char *version)
{
    static struct stream s; /* threads may outlive a test that fails */
    s = (struct stream){.fields = fields, .chunked = chunked, .events = 5};
    struct origin *o = stream_origin(&s);
    struct millpond *m = millpond_before(o, "[route all]\nttl = 1h\n");
    const bool chunked_out = strcmp(version, "1.1") == 0;
    for (unsigned round = 0; round < 2; round++) { /* the second would be a hit */
        struct client *c = client_open(m->port);
        client_send(c, "GET /events HTTP/%s\r\nHost: test\r\n%s\r\n", version,
                    round == 0 ? "" : "Accept: text/event-stream\r\n");
        struct message *r = client_read_head(c); /* before there is an event */
        assert_int_equal(r->status, 200);
        expect_field(r, "Content-Type", "text/event-stream");
        expect_no_field(r, "Content-Length");
        for (unsigned i = 0; i < s.events; i++) {
            assert_true(client_is_silent(c));
            gate_let(s.event, 1);
            expect_piece(c, textf("data: %u\n\n", i), chunked_out);
        }
        if (chunked_out)
            assert_memory_equal(client_wait_bytes(c, 5), "0\r\n\r\n", 5);
        else
            client_expect_closed(c);
        client_close(c);
    }
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_figure(m, "cache_stored"), 0);
    millpond_wait_access(m, "\"no_store\":\"event_stream\"", 1);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(o); /* its threads read the script */
}

static void events_pass_at_once(void **state)
{
    UNUSED(state);
    events_pass_one_by_one("Cache-Control: no-cache\r\n", true, "1.1");
    events_pass_one_by_one("Cache-Control: public, max-age=600\r\n", true, "1.1");
    events_pass_one_by_one("", false, "1.1"); /* the end of the connection is its end */
    events_pass_one_by_one("", true, "1.0");
}

static void events_pass_at_once_over_tls(void **state)
{
    UNUSED(state);
    static struct stream s; /* threads may outlive a test that fails */
    s = (struct stream){.fields = "", .chunked = true, .events = 3};
    struct origin *o = stream_origin(&s);
    struct millpond *m =
        millpond_start(.listen = tls_cert_lines(tls_cert_make("cert")), .rest = pool_lines("app", 1, o));
    struct tls_client *c = tls_client_open(m->port);
    assert_true(c->ok && tls_client_send(c, ASK, strlen(ASK)));
    expect_in(tls_client_read(c), "text/event-stream");
    for (unsigned i = 0; i < s.events; i++) {
        gate_let(s.event, 1);
        assert_string_equal(tls_client_wait_bytes(c, 14), textf("9\r\ndata: %u\n\n\r\n", i));
    }
    tls_client_close(c);
    millpond_stop(m);
}

/* Each in a frame of its own, by the time it was sent. */
static void events_pass_at_once_over_http2(void **state)
{
    UNUSED(state);
    static struct stream s; /* threads may outlive a test that fails */
    s = (struct stream){.fields = "Cache-Control: public, max-age=600\r\n", .chunked = true, .events = 3};
    struct origin *o = stream_origin(&s);
    struct millpond *m = millpond_start(.listen = "protocols = h2, http/1.1, h2c\n",
                                        .rest = textf("%s[route all]\nttl = 1h\n", pool_lines("app", 1, o)));
    struct h2_client *c = h2_open(m->port);
    for (uint32_t id = 1; id <= 3; id += 2) { /* the second would be a hit */
        h2_get(c, id, "/events");
        expect_in(h2_wait_head(c, id)->head, "content-type: text/event-stream\n");
        for (unsigned i = 0; i < s.events; i++) {
            h2_sync(c);
            assert_int_equal(h2_answer(c, id)->body_len, 9 * i);
            gate_let(s.event, 1);
            h2_wait_body(c, id, 9 * (i + 1));
        }
        h2_expect(c, id, 200, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    }
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_figure(m, "cache_stored"), 0);
    millpond_stop(m);
    origin_stop(o);
}

/* Some servers send the head with the first event, which may be a long time coming. */
static void nobody_waits_for_another_stream(void **state)
{
    UNUSED(state);
    static struct stream s; /* threads may outlive a test that fails */
    s = (struct stream){.head = gate_new(), .fields = "", .chunked = true, .events = 1};
    struct origin *o = stream_origin(&s);
    struct millpond *m = millpond_start(.cache = "lock_timeout = 1h",
                                        .rest = textf("%s[route all]\nttl = 1h\n", pool_lines("app", 1, o)));
    struct client *c[4];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], ASK);
    }
    gate_wait_arrived(s.head, ARRAY_LEN(c)); /* all of them were asked for */
    gate_open(s.head);
    gate_open(s.event);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        struct message *r = client_read(c[i]);
        expect_status(r, 200);
        expect_body(r, "data: 0\n\n");
        client_close(c[i]);
    }
    millpond_stop(m);
}

static void stream_ends_when_its_client_leaves(void **state)
{
    UNUSED(state);
    static struct stream s; /* threads may outlive a test that fails */
    s = (struct stream){.fields = "", .chunked = true, .events = 10};
    struct origin *o = stream_origin(&s);
    struct millpond *m = millpond_before(o, "[route all]\nttl = 1h\n");
    struct client *c[3];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], i == 0 ? "GET /events HTTP/1.1\r\nHost: test\r\n\r\n" : ASK);
        assert_int_equal(client_read_head(c[i])->status, 200);
    }
    gate_wait_arrived(s.event, ARRAY_LEN(c));
    client_close(c[0]);
    client_reset(c[1]);
    client_half_close(c[2]);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_wait_figure(m, "upstream_connections", 0);
    gate_open(s.event);
    origin_wait_open(o, 0);
    millpond_wait_idle(m);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(events_pass_at_once),
        E2E_TEST(events_pass_at_once_over_tls),
        E2E_TEST(events_pass_at_once_over_http2),
        E2E_TEST(nobody_waits_for_another_stream),
        E2E_TEST(stream_ends_when_its_client_leaves),
    };
    return E2E_RUN("event_stream", tests);
}
