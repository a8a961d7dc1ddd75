/* streaming.c: bodies of any size pass in bounded memory (promise 5). A slow peer is one that stops taking
 * bytes until the test lets it go on; that everybody behind it has stopped too is seen from the sender, whose
 * socket has no room any more. Then the gigabyte moves at full speed. Sanitizers have their own ideas of
 * memory, and are slow: under them the bodies are smaller and memory is not judged. */
#include <sys/socket.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define MEMORY_LIMIT (20 * MB)

static uint64_t big_bytes(void)
{
    return support_sanitized() ? 2 * wire_room_max() : 1024 * MB;
}

static void expect_small(struct millpond *m, uint64_t limit)
{
    uint64_t highest = millpond_memory(m, "VmHWM");
    EXPECT(support_sanitized() || highest < limit, "memory rose to %llu KB",
           (unsigned long long)(highest / KB));
}

struct source {
    struct gate *begin; /* of held_source_script */
    struct gate *stuck; /* arrived: no room, sent_bytes says how far it came; it goes on when opened */
    _Atomic uint64_t sent_bytes;
    uint64_t bytes;
    const char *fields;
    bool chunked;
};

static struct source *source_new(uint64_t bytes, const char *fields, bool chunked)
{
    struct source *s = calloc(1, sizeof(*s));
    s->stuck = gate_new();
    s->bytes = bytes;
    s->fields = fields;
    s->chunked = chunked;
    support_on_end(free, s);
    return s;
}

/* One chunk is enough: the framing is what differs, not the number of size lines. */
static void source_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct source *s = arg;
    UNUSED(request);
    if (s->chunked)
        origin_send(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%llx\r\n", s->fields,
                    (unsigned long long)s->bytes);
    else
        origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %llu\r\n\r\n", s->fields,
                    (unsigned long long)s->bytes);
    s->sent_bytes = wire_send_while_room(c->wire.fd, s->bytes);
    gate_pass(s->stuck);
    static const char zeros[64 * 1024];
    while (s->sent_bytes < s->bytes) {
        size_t n = (size_t)MIN(sizeof(zeros), s->bytes - s->sent_bytes);
        if (!origin_send_bytes(c, zeros, n))
            return;
        s->sent_bytes += n;
    }
    if (s->chunked)
        origin_send(c, "\r\n0\r\n\r\n");
}

static void download_through_a_slow_reader(const char *fields, bool chunked, const char *cache,
                                           uint64_t read_ahead)
{
    struct source *s = source_new(big_bytes(), fields, chunked);
    struct origin *o = origin_start_with(
        &(struct origin_options){.script = source_script, .arg = s, .sndbuf_bytes = 64 * 1024});
    struct millpond *m = millpond_start(.cache = cache, .rest = pool_lines("app", 1, o));
    struct client *c = client_open_rcvbuf(m->port, 32 * 1024);
    client_send(c, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read_head(c);
    assert_int_equal(r->status, 200);
    gate_wait_arrived(s->stuck, 1);
    uint64_t at = s->sent_bytes;
    EXPECT(at < read_ahead + wire_room_max(), "%llu KB were taken for a client that reads nothing",
           (unsigned long long)(at / KB));
    expect_small(m, MEMORY_LIMIT + read_ahead);
    gate_open(s->stuck);
    if (r->framing == FRAMING_LENGTH) {
        assert_int_equal(wire_discard(&c->wire, s->bytes), s->bytes);
    } else {
        uint64_t got = 0;
        for (char line[32]; wire_take_line(&c->wire, line, sizeof(line)) && strtoull(line, NULL, 16) > 0;) {
            uint64_t n = strtoull(line, NULL, 16);
            got += wire_discard(&c->wire, n);
            wire_discard(&c->wire, 2);
        }
        assert_int_equal(got, s->bytes);
    }
    expect_small(m, MEMORY_LIMIT + read_ahead);
    millpond_stop(m);
}

static void gigabyte_down_stays_small(void **state)
{
    UNUSED(state);
    download_through_a_slow_reader("", false, "", 0);
}

static void chunked_gigabyte_down_stays_small(void **state)
{
    UNUSED(state);
    download_through_a_slow_reader("", true, "", 0);
}

static void storable_but_too_large_stays_small(void **state)
{
    UNUSED(state);
    download_through_a_slow_reader("Cache-Control: max-age=60\r\n", false, "max_object_size = 4M", 0);
}

static void storable_of_unknown_length_reads_one_limit_ahead(void **state)
{
    UNUSED(state);
    download_through_a_slow_reader("Cache-Control: max-age=60\r\n", true, "max_object_size = 4M", 4 * MB);
}

static void sink_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct source *s = arg;
    gate_pass(s->stuck); /* takes nothing of the body until the test says so */
    uint64_t got = 0;
    if (request->framing == FRAMING_LENGTH)
        got = wire_discard(&c->wire, request->length);
    for (char line[32];
         request->framing == FRAMING_CHUNKED && wire_take_line(&c->wire, line, sizeof(line));) {
        uint64_t n = strtoull(line, NULL, 16);
        got += wire_discard(&c->wire, n);
        wire_discard(&c->wire, 2);
        if (n == 0)
            break;
    }
    char body[32];
    snprintf(body, sizeof(body), "%llu", (unsigned long long)got);
    origin_respond(c, 200, "", body);
}

static void upload_through_a_slow_instance(bool chunked)
{
    struct source *s = source_new(big_bytes(), "", chunked);
    struct origin *o = origin_start_with(&(struct origin_options){
        .script = sink_script, .arg = s, .head_only = true, .rcvbuf_bytes = 32 * 1024});
    struct millpond *m = millpond_start(.listen = "max_body_size = 2G", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    int sndbuf = 64 * 1024;
    setsockopt(c->wire.fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
    if (chunked)
        client_send(c, "PUT /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n%llx\r\n",
                    (unsigned long long)s->bytes);
    else
        client_send(c, "PUT /up HTTP/1.1\r\nHost: test\r\nContent-Length: %llu\r\n\r\n",
                    (unsigned long long)s->bytes);
    gate_wait_arrived(s->stuck, 1);
    uint64_t sent = wire_send_while_room(c->wire.fd, s->bytes);
    EXPECT(sent < wire_room_max(), "%llu KB were taken for an instance that reads nothing",
           (unsigned long long)(sent / KB));
    expect_small(m, MEMORY_LIMIT);
    gate_open(s->stuck);
    static const char zeros[64 * 1024];
    while (sent < s->bytes) {
        size_t n = (size_t)MIN(sizeof(zeros), s->bytes - sent);
        assert_true(client_send_bytes(c, zeros, n));
        sent += n;
    }
    if (chunked)
        client_send(c, "\r\n0\r\n\r\n");
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_body(r, textf("%llu", (unsigned long long)s->bytes));
    expect_small(m, MEMORY_LIMIT);
    millpond_stop(m);
    origin_stop(o);
}

static void held_source_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct source *s = arg;
    gate_pass(s->begin);
    source_script(c, request, s);
}

static void unwanted_rest_is_not_fetched(void **state)
{
    UNUSED(state);
    struct source *s = source_new(big_bytes(), "Cache-Control: max-age=60\r\n", true);
    s->begin = gate_new();
    struct origin *o = origin_start_with(
        &(struct origin_options){.script = held_source_script, .arg = s, .sndbuf_bytes = 64 * 1024});
    struct millpond *m = millpond_start(.cache = "max_object_size = 1M", .rest = pool_lines("app", 1, o));
    struct client *first = client_open_rcvbuf(m->port, 32 * 1024),
                  *second = client_open_rcvbuf(m->port, 32 * 1024);
    client_send(first, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(s->begin, 1);
    client_send(second, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "followers_now", 1);
    gate_open(s->begin);
    assert_int_equal(client_read_head(first)->status, 200);
    assert_int_equal(client_read_head(second)->status, 200);
    gate_wait_arrived(s->stuck, 1); /* beyond what would be stored, and these two do not read */
    client_close(first);
    millpond_wait_figure(m, "client_connections", 1);
    client_close(second); /* the fetch was the other's */
    gate_open(s->stuck);
    origin_wait_open(o, 0);
    EXPECT(s->sent_bytes < s->bytes, "all of it was fetched for nobody");
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_stop(m);
}

static void gigabyte_up_stays_small(void **state)
{
    UNUSED(state);
    upload_through_a_slow_instance(false);
}

static void chunked_gigabyte_up_stays_small(void **state)
{
    UNUSED(state);
    upload_through_a_slow_instance(true);
}

static void slow_instance_is_not_blamed_on_the_client(void **state)
{
    UNUSED(state);
    struct source *s = source_new(big_bytes(), "", false);
    struct origin *o = origin_start_with(&(struct origin_options){
        .script = sink_script, .arg = s, .head_only = true, .rcvbuf_bytes = 32 * 1024});
    struct millpond *m =
        millpond_start(.listen = "max_body_size = 2G\nbody_timeout = 50ms",
                       .rest = textf("%sresponse_timeout = 600ms\n", pool_lines("app", 1, o)));
    struct client *c = client_open(m->port);
    client_send(c, "PUT /up HTTP/1.1\r\nHost: test\r\nContent-Length: %llu\r\n\r\n",
                (unsigned long long)s->bytes);
    gate_wait_arrived(s->stuck, 1);
    wire_send_while_room(c->wire.fd, s->bytes);
    expect_status(client_read(c), 504);
    assert_string_equal(json_string_value(json_find(millpond_access_line(m, "/up"), "fetch_error")),
                        "response_timeout");
    gate_open(s->stuck);
    millpond_stop(m);
    origin_stop(o);
}

static void early_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    origin_close(c);
    origin_wait_peer_close(c);
}

static void answer_before_the_body_is_read_reaches_the_client(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_with(&(struct origin_options){.script = early_script, .head_only = true});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 50000000\r\n\r\n%s",
                text_repeat('u', 100000));
    struct message *r = client_read(c);
    expect_status(r, 413);
    expect_body(r, "big");
    client_expect_closed(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void bytes_pass_as_they_come(void **state)
{
    UNUSED(state);
    struct source *s = source_new(3, "", false);
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = sink_script, .arg = s, .head_only = true});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n");
    gate_wait_arrived(s->stuck, 1); /* the head went ahead of the body */
    client_send(c, "a");
    gate_open(s->stuck);
    client_send(c, "bc");
    expect_body(client_read(c), "3");
    millpond_stop(m);
    origin_stop(o);
}

/* Three writes per answer: an instance whose head comes by itself, as Python's http.server sends it. */
static void two_pieces_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4\r\n\r\n");
    origin_send(c, "bo");
    origin_send(c, "dy");
}

static void heads_and_bodies_may_come_apart(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(two_pieces_script, NULL);
    struct millpond *m = millpond_before(o, "");
    struct load *l = load_start(m->port, 16, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    load_wait(l, 3000);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%llu of %llu answered well; %s",
           (unsigned long long)r.by_class[2], (unsigned long long)r.answered, r.first_problem);
    millpond_stop(m);
}

/* A head whose first piece was kept aside, an end that came with the second, and the connection goes on. */
static void apart_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\n");
    gate_pass(arg);
    origin_send(c, "Cache-Control: no-store\r\nContent-Length: 2\r\n\r\nok");
}

static void head_in_pieces_leaves_nothing_for_the_next(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(apart_script, g);
    struct millpond *m = millpond_start(.main = "workers = 1", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    for (unsigned i = 0; i < 3; i++) {
        int64_t before = millpond_figure(m, "upstream_received_bytes");
        client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        millpond_wait_figure(m, "upstream_received_bytes", before + 17);
        gate_let(g, 1);
        expect_body(client_read(c), "ok");
    }
    assert_int_equal(origin_connections(o), 1);
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

static void reset_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    const char *fields = strcmp(request->target, "/stored") == 0 ? "max-age=60" : "no-store";
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: %s\r\nContent-Length: 100\r\n\r\nbegin", fields);
    origin_reset(c);
}

/* Nothing else happens on the connection then: whoever misses it waits for response_timeout. */
static void reset_right_behind_the_bytes_is_seen(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(reset_script, NULL);
    struct millpond *m = millpond_before(o, "retries = 0\nresponse_timeout = 1h\n");
    for (unsigned i = 0; i < 40; i++) {
        struct message *r = client_get(m->port, i % 2 ? "/stored" : "/relayed", "");
        EXPECT(r->end != MESSAGE_TIMEOUT && (r->end != MESSAGE_COMPLETE || r->status == 502), "%s",
               message_end_name(r->end)); /* the reset may also have taken the bytes with it */
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(gigabyte_down_stays_small),
        E2E_TEST(chunked_gigabyte_down_stays_small),
        E2E_TEST(storable_but_too_large_stays_small),
        E2E_TEST(storable_of_unknown_length_reads_one_limit_ahead),
        E2E_TEST(unwanted_rest_is_not_fetched),
        E2E_TEST(gigabyte_up_stays_small),
        E2E_TEST(chunked_gigabyte_up_stays_small),
        E2E_TEST(slow_instance_is_not_blamed_on_the_client),
        E2E_TEST(answer_before_the_body_is_read_reaches_the_client),
        E2E_TEST(bytes_pass_as_they_come),
        E2E_TEST(heads_and_bodies_may_come_apart),
        E2E_TEST(reset_right_behind_the_bytes_is_seen),
        E2E_TEST(head_in_pieces_leaves_nothing_for_the_next),
    };
    return E2E_RUN("streaming", tests);
}
