/* cache_herd.c: many clients, one object: it can be hit the moment anybody has its last byte, and when it
 * comes to its end, they do not all notice. */
#include "tests/support/millpond.h"

/* ---- visible at once
 * --------------------------------------------------------------------------------------------- */

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

static void last_byte_of_any_length_means_hit(void **state)
{
    UNUSED(state);
    static const size_t sizes[] = {0, 1, 1000, 20000, 300000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        last_byte_means_hit(&(struct body){.bytes = sizes[i]});
}

static void last_chunk_means_hit(void **state)
{
    UNUSED(state);
    static const size_t sizes[] = {0, 1000, 300000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        last_byte_means_hit(&(struct body){.bytes = sizes[i], .chunked = true});
}

static void end_of_the_connection_means_hit(void **state)
{
    UNUSED(state);
    last_byte_means_hit(&(struct body){.bytes = 1000, .to_close = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(last_byte_of_any_length_means_hit),
        E2E_TEST(last_chunk_means_hit),
        E2E_TEST(end_of_the_connection_means_hit),
    };
    return E2E_RUN("cache_herd", tests);
}
