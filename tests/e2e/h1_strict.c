/* h1_strict.c: messages that two parsers could read differently are refused, and nothing of a refused request
 * reaches an instance (RFC 9112 sections 2 to 7 and 11.2). Limits of [listen], and what becomes of responses
 * that break framing or end too early (promise 3). */
#include "tests/support/millpond.h"

struct refusal {
    const char *name, *bytes;
    int status; /* 0: 400 or 505 */
};

static bool status_fits(const struct refusal *f, int status)
{
    return f->status == status || (f->status == 0 && (status == 400 || status == 505));
}

#define H   "Host: test\r\n"
#define END "\r\n"

/* Each is followed on the same connection by a request for /smuggled, which must never be seen. */
static const struct refusal refusals[] = {
    {"CL and TE", "POST / HTTP/1.1\r\n" H "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
     400},
    {"TE and CL", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
     400},
    {"CL differs", "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
    {"CL list differs", "POST / HTTP/1.1\r\n" H "Content-Length: 1, 2\r\n\r\nab", 400},
    {"CL list repeats", "POST / HTTP/1.1\r\n" H "Content-Length: 2, 2\r\n\r\nab", 400},
    {"CL twice", "POST / HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400},
    {"CL negative", "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400},
    {"CL plus", "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\na", 400},
    {"CL hex", "POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\na", 400},
    {"CL empty", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
    {"CL overflow", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\na", 400},
    {"CL with text", "POST / HTTP/1.1\r\n" H "Content-Length: 1 x\r\n\r\na", 400},
    {"CL decimal point", "POST / HTTP/1.1\r\n" H "Content-Length: 1.0\r\n\r\na", 400},
    {"TE unknown", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"TE gzip, chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"TE identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 501},
    {"TE chunked twice", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
    {"TE in two lines",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"TE in 1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"TE space before colon", "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
    {"TE vertical tab",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n0\r\n\r\n",
     400},
    {"TE folded", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
    {"CL space before colon", "POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello", 400},
    {"field folded", "GET / HTTP/1.1\r\n" H "X-A: 1\r\n 2\r\n\r\n", 400},
    {"first field indented", "GET / HTTP/1.1\r\n X-A: 1\r\n" H "\r\n", 400},
    {"bare LF ends lines", "GET / HTTP/1.1\nHost: test\n\n", 400},
    {"bare LF in head", "GET / HTTP/1.1\r\n" H "X-A: 1\nX-B: 2\r\n\r\n", 400},
    {"bare CR in value", "GET / HTTP/1.1\r\n" H "X-A: 1\rX-B: 2\r\n\r\n", 400},
    {"bare CR in request line", "GET /\r HTTP/1.1\r\n" H "\r\n", 400},
    {"field without colon", "GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n", 400},
    {"empty field name", "GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400},
    {"bad field name", "GET / HTTP/1.1\r\n" H "X(A): x\r\n\r\n", 400},
    {"control in value",
     "GET / HTTP/1.1\r\n" H "X-A: a\x01"
     "b\r\n\r\n",
     400},
    {"delete in value", "GET / HTTP/1.1\r\n" H "X-A: a\x7f\r\n\r\n", 400},
    {"no Host", "GET / HTTP/1.1\r\nX-A: 1\r\n\r\n", 400},
    {"two Hosts", "GET / HTTP/1.1\r\n" H "Host: other\r\n\r\n", 400},
    {"equal Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", 400},
    {"bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"Host with user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400},
    {"Host bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
    {"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
    {"target with space", "GET /a b HTTP/1.1\r\n" H "\r\n", 400},
    {"target with control", "GET /a\x02 HTTP/1.1\r\n" H "\r\n", 400},
    {"target with fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 400},
    {"target high byte", "GET /\xff HTTP/1.1\r\n" H "\r\n", 400},
    {"relative target", "GET a HTTP/1.1\r\n" H "\r\n", 400},
    {"star without OPTIONS", "GET * HTTP/1.1\r\n" H "\r\n", 400},
    {"other scheme", "GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400},
    {"user in authority", "GET http://u:p@a/ HTTP/1.1\r\n" H "\r\n", 400},
    {"authority for GET", "GET test:80 HTTP/1.1\r\n" H "\r\n", 400},
    {"no version", "GET /\r\n" H "\r\n", 400},
    {"bad version", "GET / HTTP/1.x\r\n" H "\r\n", 400},
    {"lower-case version", "GET / http/1.1\r\n" H "\r\n", 400},
    {"version 2.0", "GET / HTTP/2.0\r\n" H "\r\n", 505},
    {"version 0.9", "GET / HTTP/0.9\r\n" H "\r\n", 505},
    {"version 1.10", "GET / HTTP/1.10\r\n" H "\r\n", 400},
    {"two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 400},
    {"tab for space", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400},
    {"space before method", " GET / HTTP/1.1\r\n" H "\r\n", 400},
    {"space after version", "GET / HTTP/1.1 \r\n" H "\r\n", 400},
    {"bad method", "G@T / HTTP/1.1\r\n" H "\r\n", 400},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
    {"TLS hello", "\x16\x03\x01\x02\x01\x01\xfc\x03\x03\r\n\r\n", 400},
};

static void malformed_requests_are_refused_alone(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    struct millpond *m = millpond_before(o, "[cache]\nstore = off\n");
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *f = &refusals[i];
        struct client *c = client_open(m->port);
        client_send(c, "%sGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n", f->bytes);
        struct message *r = client_read(c);
        bool closed = r->end == MESSAGE_COMPLETE && client_read(c)->end != MESSAGE_COMPLETE &&
                      c->wire.len == 0 && (c->wire.closed || c->wire.reset);
        if (!status_fits(f, r->status) || !closed) {
            print_error("%s: expected %d and close, got %s %d, %s\n", f->name, f->status,
                        message_end_name(r->end), r->status, closed ? "closed" : "not closed");
            wrong++;
        }
        client_close(c);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(origin_connections(o), 0);
    assert_int_equal(millpond_figure(m, "bad_requests"), ARRAY_LEN(refusals));
    millpond_stop(m);
}

/* Refused after the head was good: the instance may have seen a request, but never a complete one. */
static const struct refusal broken_bodies[] = {
    {"chunk size text", "zz\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk size empty", "\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk size negative", "-1\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk size 0x", "0x5\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk size overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk size space", "5 5\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk bare LF", "5\nhello\n0\n\n", 400},
    {"chunk data too long", "3\r\nhello\r\n0\r\n\r\n", 400},
    {"chunk extension with control", "5;a=\x01\r\nhello\r\n0\r\n\r\n", 400},
    {"trailer malformed", "5\r\nhello\r\n0\r\nno colon\r\n\r\n", 400},
    {"trailer folded", "5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n", 400},
};

static void count_complete_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 200, "", "hi");
}

static void broken_chunks_never_make_a_whole_request(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(count_complete_script, NULL);
    struct millpond *m = millpond_before(o, "[cache]\nstore = off\n");
    for (size_t i = 0; i < ARRAY_LEN(broken_bodies); i++) {
        const struct refusal *f = &broken_bodies[i];
        struct client *c = client_open(m->port);
        client_send(c,
                    "POST /%zu HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n%s"
                    "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
                    i, f->bytes);
        struct message *r = client_read(c);
        EXPECT(r->status == f->status, "%s: expected %d, got %s %d", f->name, f->status,
               message_end_name(r->end), r->status);
        client_expect_closed(c);
    }
    origin_wait_open(o, 0);
    for (unsigned i = 0; i < origin_requests(o); i++)
        EXPECT(origin_request(o, i)->end != MESSAGE_COMPLETE, "a whole request arrived: %s",
               origin_request(o, i)->head);
    millpond_stop(m);
}

static void what_is_lawful_is_accepted(void **state)
{
    UNUSED(state);
    static const char *const good[] = {
        "\r\nGET /1 HTTP/1.1\r\n" H END,
        "POST /2 HTTP/1.1\r\n" H "Content-Length: 002\r\n\r\nab",
        "POST /3 HTTP/1.1\r\n" H
        "Transfer-Encoding: CHUNKED\r\n\r\n0002;a=\"q\\\"\"\r\nab\r\n000\r\nX-T: v\r\n\r\n",
        "GET /4 HTTP/1.1\r\nhOsT:test:8080\t\r\nX-Empty:\r\nX-High: \xc3\xa4\r\n" END,
        "GET /5?a={}|^%zz HTTP/1.1\r\nHost: [::1]:80\r\n" END,
        "GET /6 HTTP/1.0\r\n" END,
        "M-SEARCH /8 HTTP/1.1\r\n" H END,
    };
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    struct millpond *m = millpond_before(o, "[cache]\nstore = off\n");
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        expect_body(client_raw(m->port, good[i]), "hi");
    assert_int_equal(origin_requests(o), ARRAY_LEN(good));
    expect_body(origin_request(o, 1), "ab");
    expect_field(origin_request(o, 1), "Content-Length", "2"); /* RFC 9110 section 8.6 */
    millpond_stop(m);
}

static void limits_of_listen_hold(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    struct millpond *m =
        millpond_start(.listen =
                           "max_header_size = 4K\nmax_headers = 20\nmax_target = 1K\nmax_body_size = 10K",
                       .cache = "store = off", .rest = pool_lines("app", 1, o));
    expect_status(client_get(m->port, textf("/%s", text_repeat('a', 1000)), ""), 200);
    expect_status(client_get(m->port, textf("/%s", text_repeat('a', 1024)), ""), 414);
    expect_status(client_get(m->port, "/", textf("X-A: %s\r\n", text_repeat('b', 3900))), 200);
    expect_status(client_get(m->port, "/", textf("X-A: %s\r\n", text_repeat('b', 4096))), 431);
    expect_status(client_get(m->port, "/", textf("X-A: %s\r\n", text_repeat('b', 1000000))), 431);
    char *fields = textf("%s", "");
    for (int i = 0; i < 19; i++)
        fields = textf("%sX-%d: 1\r\n", fields, i);
    expect_status(client_get(m->port, "/", fields), 200);
    expect_status(client_get(m->port, "/", textf("%sX-20: 1\r\n", fields)), 431);
    expect_status(client_ask(m->port, "POST", "/", "", text_repeat('c', 10240)), 200);
    unsigned before = origin_requests(o);
    expect_status(client_ask(m->port, "POST", "/", "", text_repeat('c', 10241)), 413);
    assert_int_equal(origin_requests(o), before);
    struct client *c = client_open(m->port); /* chunked: known only on the way */
    client_send(c,
                "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: "
                "chunked\r\n\r\n2000\r\n%s\r\n2000\r\n%s\r\n0\r\n\r\n",
                text_repeat('d', 0x2000), text_repeat('d', 0x2000));
    expect_status(client_read(c), 413);
    client_expect_closed(c);
    c = client_open(m->port); /* refused before the body is sent */
    client_send(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n");
    expect_status(client_read(c), 413);
    client_expect_closed(c);
    millpond_stop(m);
}

static void slow_senders_are_cut_off(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    struct millpond *m =
        millpond_start(.listen = "header_timeout = 300ms\nbody_timeout = 300ms\nidle_timeout = 400ms",
                       .cache = "store = off", .rest = pool_lines("app", 1, o));
    struct client *idle = client_open(m->port);
    struct client *head = client_open(m->port);
    struct client *body = client_open(m->port);
    struct client *kept = client_open(m->port);
    client_send(head, "GET / HTTP/1.1\r\nHost: te");
    client_send(body, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345");
    client_send(kept, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(kept), "hi");
    expect_status(client_read(head), 408);
    client_expect_closed(head);
    expect_status(client_read(body), 408);
    client_expect_closed(body);
    client_expect_closed(idle); /* without a word: no request was begun */
    client_expect_closed(kept);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* What an instance says that is not HTTP; the client gets 502. */
static const struct refusal bad_answers[] = {
    {"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 502},
    {"bad version", "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502},
    {"bad status", "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nhi", 502},
    {"status too short", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi", 502},
    {"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502},
    {"CL differs", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", 502},
    {"CL bad", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi", 502},
    {"TE unknown", "HTTP/1.1 200 OK\r\nTransfer-Encoding: zip\r\n\r\nhi", 502},
    {"folded", "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nhi", 502},
    {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 502},
    {"space before colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", 502},
    {"control in value", "HTTP/1.1 200 OK\r\nX-A: \x01\r\nContent-Length: 2\r\n\r\nhi", 502},
    {"head cut", "HTTP/1.1 200 OK\r\nContent-Le", 502},
    {"nothing", "", 502},
    {"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502},
};

static void bad_answer_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_send(c, "%s", bad_answers[atoi(request->target + 1)].bytes);
    origin_close(c);
}

static void answers_that_break_framing_are_a_502(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(bad_answer_script, NULL);
    struct millpond *m = millpond_before(o, "retries = 0\n");
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad_answers); i++) {
        struct message *r = client_get(m->port, textf("/%zu", i), "");
        if (r->status != 502 || r->end != MESSAGE_COMPLETE) {
            print_error("%s: expected 502, got %s %d\n", bad_answers[i].name, message_end_name(r->end),
                        r->status);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    millpond_stop(m);
}

#define FRESH "Cache-Control: max-age=600\r\n"
static const struct refusal cut_answers[] = {
    {"length", "HTTP/1.1 200 OK\r\n" FRESH "Content-Length: 100\r\n\r\nonly this", 0},
    {"chunk", "HTTP/1.1 200 OK\r\n" FRESH "Transfer-Encoding: chunked\r\n\r\n20\r\nonly this", 0},
    {"between chunks", "HTTP/1.1 200 OK\r\n" FRESH "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n", 0},
    {"before trailers end",
     "HTTP/1.1 200 OK\r\n" FRESH "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n", 0},
    {"bad chunk", "HTTP/1.1 200 OK\r\n" FRESH "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
     0},
};

static void cut_answer_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct gate *g = arg;
    origin_send(c, "%s", cut_answers[atoi(request->target + 1)].bytes);
    gate_pass(g); /* until the client has the first bytes: the status is out and cannot be taken back */
    if (strchr(request->target, 'r') != NULL)
        origin_reset(c);
    else
        origin_close(c);
}

static void answers_cut_short_are_cut_and_never_stored(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(cut_answer_script, g);
    struct millpond *m = millpond_before(o, "");
    for (size_t i = 0; i < 2 * ARRAY_LEN(cut_answers); i++) {
        const struct refusal *f = &cut_answers[i / 2];
        for (int again = 0; again < 2; again++) {
            struct client *c = client_open(m->port);
            client_send(c, "GET /%zu%s HTTP/1.1\r\nHost: test\r\n\r\n", i / 2, i % 2 == 1 ? "r" : "");
            struct message *r = client_read_head(c);
            assert_int_equal(r->status, 200);
            client_wait_bytes(c, 9);
            gate_let(g, 1);
            wire_read_body(&c->wire, r);
            EXPECT(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET, "%s: the cut response ended %s", f->name,
                   message_end_name(r->end));
            assert_true(r->framing == FRAMING_LENGTH || r->framing == FRAMING_CHUNKED);
        }
    }
    assert_int_equal(origin_requests(o), 4 * ARRAY_LEN(cut_answers)); /* none came from the cache */
    assert_int_equal(millpond_figure(m, "cache_stored"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void until_close_reset_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\n" FRESH "\r\nonly this");
    gate_pass(arg);
    origin_reset(c);
}

static void reset_of_a_close_delimited_answer_is_a_cut(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(until_close_reset_script, g);
    struct millpond *m = millpond_before(o, "");
    for (unsigned i = 0; i < 2; i++) {
        struct client *c = client_open(m->port);
        client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        struct message *r = client_read_head(c);
        client_wait_bytes(c, 9);
        gate_let(g, 1);
        wire_read_body(&c->wire, r);
        assert_int_not_equal(r->end, MESSAGE_COMPLETE);
        assert_int_equal(origin_requests(o), i + 1);
    }
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(malformed_requests_are_refused_alone),
        E2E_TEST(broken_chunks_never_make_a_whole_request),
        E2E_TEST(what_is_lawful_is_accepted),
        E2E_TEST(limits_of_listen_hold),
        E2E_TEST(slow_senders_are_cut_off),
        E2E_TEST(answers_that_break_framing_are_a_502),
        E2E_TEST(answers_cut_short_are_cut_and_never_stored),
        E2E_TEST(reset_of_a_close_delimited_answer_is_a_cut),
    };
    return E2E_RUN("h1_strict", tests);
}
