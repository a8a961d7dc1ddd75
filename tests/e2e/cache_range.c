/* cache_range.c: ranges of what is stored, or is being stored (RFC 9110 section 14). The origin tells a
 * request with Range from one without: stored bodies are always whole. */
#include "tests/support/millpond.h"

#define LONG   "Cache-Control: max-age=600\r\n"
#define PLAIN  LONG "Content-Type: text/plain\r\n"
#define TAGGED PLAIN "ETag: \"v1\"\r\n"
#define DATED  PLAIN "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n"
#define DIGITS "0123456789"
#define HALF   5
#define GET    "GET /p HTTP/1.1\r\nHost: test\r\n"
#define BIG    (3 * 1024 * 1024)

/* Sends `body`, the second half behind the gate when there is one. With `ranges` it answers a Range by
 * itself, with a fixed 206. */
struct doc {
    const char *fields, *body;
    size_t bytes;
    struct gate *gate;
    bool chunked, ranges, confirms, cut;
};

static void send_body(struct origin_conn *c, const struct doc *d, size_t from, size_t to)
{
    if (d->chunked)
        origin_send_chunk(c, d->body + from, to - from);
    else
        origin_send_bytes(c, d->body + from, to - from);
}

static void doc_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const struct doc *d = arg;
    size_t half = d->gate != NULL ? HALF : 0;
    if (d->confirms && message_field(request, "If-None-Match") != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s\r\n", d->fields);
        return;
    }
    if (d->ranges && message_field(request, "Range") != NULL) {
        origin_send(c,
                    "HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes 2-4/%zu\r\n"
                    "Content-Length: 3\r\n\r\n%.3s",
                    d->fields, d->bytes, d->body + 2);
        return;
    }
    if (d->chunked)
        origin_send(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n", d->fields);
    else
        origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", d->fields, d->bytes);
    if (half > 0) {
        send_body(c, d, 0, half);
        gate_pass(d->gate);
    }
    if (d->cut) {
        origin_close(c);
        return;
    }
    send_body(c, d, half, d->bytes);
    if (d->chunked)
        origin_send_chunk(c, NULL, 0);
}

/* Outlives its origin. */
static struct doc *doc_new(const char *fields)
{
    struct doc *d = calloc(1, sizeof(*d));
    *d = (struct doc){.fields = fields, .body = DIGITS, .bytes = strlen(DIGITS)};
    support_on_end(free, d);
    return d;
}

static struct millpond *start(const char *fields, struct origin **origin)
{
    struct origin *o = origin_start(doc_script, doc_new(fields));
    if (origin != NULL)
        *origin = o;
    return millpond_before_(o, "");
}

static struct message *ask_range(struct millpond *m, const char *range, const char *fields)
{
    return client_ask_(m->port, "GET", "/p", textf("Range: %s\r\n%s", range, fields), "");
}

static void expect_part(struct message *r, const char *content_range, const char *body)
{
    message_expect_status(r, 206);
    message_expect_field(r, "Content-Range", content_range, false);
    message_expect_field(r, "Content-Length", textf("%zu", strlen(body)), false);
    message_expect_body(r, body);
}
#define EXPECT_PART(r, content_range, body) (SUPPORT_AT, expect_part(r, content_range, body))

static void expect_whole(struct message *r)
{
    message_expect_status(r, 200);
    message_expect_no_field(r, "Content-Range");
    message_expect_body(r, DIGITS);
}
#define EXPECT_WHOLE(r) (SUPPORT_AT, expect_whole(r))

/* ---- of what is stored ---- */

static void single_ranges_come_from_the_cache(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = start(PLAIN "Content-Digest: x\r\nRepr-Digest: y\r\n", &o);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct message *r = ask_range(m, "bytes=2-4", "");
    EXPECT_PART(r, "bytes 2-4/10", "234");
    assert_string_equal(r->start_line, "HTTP/1.1 206 Partial Content");
    expect_field_in(r, "Cache-Status", "hit");
    expect_field(r, "Content-Type", "text/plain");
    expect_field(r, "Repr-Digest", "y");
    expect_no_field(r, "Content-Digest");
    expect_no_field(r, "Accept-Ranges");
    assert_non_null(message_field(r, "Age"));
    assert_int_equal(
        json_integer_value(json_find(millpond_access_line(m, "\"status\":206"), "response_bytes")),
        strlen(r->head) + 2 + 3);
    EXPECT_PART(ask_range(m, "bytes=7-", ""), "bytes 7-9/10", "789");
    EXPECT_PART(ask_range(m, "bytes=-1", ""), "bytes 9-9/10", "9");
    EXPECT_PART(ask_range(m, "bytes=0-99", ""), "bytes 0-9/10", DIGITS);
    EXPECT_PART(ask_range(m, "bytes=0-1,2-3", ""), "bytes 0-3/10", "0123");
    EXPECT_WHOLE(ask_range(m, "bytes=4-2", ""));
    EXPECT_WHOLE(ask_range(m, "lines=1-2", ""));
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", "Range: bytes=3-4\r\n"));
    EXPECT_WHOLE(ask_range(m, "bytes=0-,0-,0-,0-", ""));
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void several_ranges_come_in_parts(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = start(PLAIN, &o);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct message *r = ask_range(m, "bytes=-1, 0-1, 4-5", "");
    expect_status(r, 206);
    expect_no_field(r, "Content-Range");
    assert_int_equal(message_field_count(r, "Content-Type"), 1);
    const char *type = message_field(r, "Content-Type"), *mark = "multipart/byteranges; boundary=";
    assert_memory_equal(type, mark, strlen(mark));
    const char *b = type + strlen(mark);
    const char *part = "\r\n--%s\r\nContent-Type: text/plain\r\nContent-Range: bytes %s/10\r\n\r\n%s";
    const char *first = textf(part, b, "9-9", "9"), *second = textf(part, b, "0-1", "01");
    expect_body(r, textf("%s%s%s\r\n--%s--\r\n", first, second, textf(part, b, "4-5", "45"), b));
    assert_string_not_equal(
        b, strrchr(message_field(ask_range(m, "bytes=0-0,9-9", ""), "Content-Type"), '=') + 1);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void range_beyond_the_end_is_416(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = start(PLAIN, &o);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct client *c = client_open(m->port);
    client_send(c, GET "Range: bytes=10-\r\n\r\n" GET "Range: bytes=-2\r\n\r\n");
    struct message *r = client_read(c);
    expect_status(r, 416);
    expect_field(r, "Content-Range", "bytes */10");
    expect_no_field(r, "ETag");
    EXPECT_PART(client_read(c), "bytes 8-9/10", "89");
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void conditions_come_before_the_range(void **state)
{
    UNUSED(state);
    struct millpond *m = start(TAGGED, NULL);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct client *c = client_open(m->port);
    client_send(c, GET "Range: bytes=1-2\r\nIf-None-Match: \"v1\"\r\n\r\n");
    struct message *r = client_read(c);
    expect_status(r, 304);
    expect_no_field(r, "Content-Range");
    client_send(c, GET "Range: bytes=10-\r\nIf-None-Match: \"v1\"\r\n\r\n");
    expect_status(client_read(c), 304);
    EXPECT_PART(ask_range(m, "bytes=1-2", "If-None-Match: \"v0\"\r\n"), "bytes 1-2/10", "12");
    EXPECT_PART(ask_range(m, "bytes=1-2", "If-Match: \"v1\"\r\n"), "bytes 1-2/10", "12");
    expect_status(ask_range(m, "bytes=1-2", "If-Match: \"v0\"\r\n"), 412);
    expect_status(ask_range(m, "bytes=10-", "If-Match: \"v0\"\r\n"), 412);
    EXPECT_PART(ask_range(m, "bytes=1-2", "If-Range: \"v1\"\r\n"), "bytes 1-2/10", "12");
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", "If-Range: \"v0\"\r\n"));
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", "If-Range: W/\"v1\"\r\n"));
    EXPECT_WHOLE(ask_range(m, "bytes=10-", "If-Range: \"v0\"\r\n"));
    millpond_stop(m);
}

static void if_range_takes_the_exact_date(void **state)
{
    UNUSED(state);
    struct millpond *m = start(DATED, NULL);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    EXPECT_PART(ask_range(m, "bytes=1-2", "If-Range: Thu, 01 Jan 2015 00:00:00 GMT\r\n"), "bytes 1-2/10",
                "12");
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", "If-Range: Thu, 01 Jan 2015 00:00:01 GMT\r\n"));
    millpond_stop(m);
}

static void head_and_other_statuses_know_no_range(void **state)
{
    UNUSED(state);
    struct millpond *m = start(PLAIN, NULL);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\n\r\n");
    struct message *r = client_read_no_body(c);
    expect_status(r, 200);
    expect_field(r, "Content-Length", "10");
    expect_no_field(r, "Content-Range");
    millpond_stop(m);
    struct origin *gone =
        origin_start_fixed("HTTP/1.1 404 Not Found\r\n" LONG "Content-Length: 4\r\n\r\ngone");
    m = millpond_before(gone, "");
    for (int i = 0; i < 2; i++) {
        r = ask_range(m, "bytes=1-2", "");
        expect_status(r, 404);
        expect_body(r, "gone");
    }
    assert_int_equal(origin_requests(gone), 1);
    millpond_stop(m);
}

static void instance_may_rule_ranges_out(void **state)
{
    UNUSED(state);
    struct millpond *m = start(PLAIN "Accept-Ranges: none\r\n", NULL);
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", ""));
    EXPECT_WHOLE(ask_range(m, "bytes=1-2", ""));
    millpond_stop(m);
}

static void ranges_are_pipelined_with_the_rest(void **state)
{
    UNUSED(state);
    struct millpond *m = start(PLAIN, NULL);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct client *c = client_open(m->port);
    client_send(c, GET "\r\n" GET "Range: bytes=1-2\r\n\r\n" GET "\r\n" GET "Range: bytes=0-0,9-9\r\n\r\n" GET
                       "Range: bytes=3-4\r\n\r\n" GET "\r\n");
    EXPECT_WHOLE(client_read(c));
    EXPECT_PART(client_read(c), "bytes 1-2/10", "12");
    EXPECT_WHOLE(client_read(c));
    expect_status(client_read(c), 206);
    EXPECT_PART(client_read(c), "bytes 3-4/10", "34");
    EXPECT_WHOLE(client_read(c));
    millpond_stop(m);
}

static void http_1_0_clients_get_ranges(void **state)
{
    UNUSED(state);
    struct millpond *m = start(PLAIN, NULL);
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.0\r\nHost: test\r\nRange: bytes=1-2\r\n\r\n");
    EXPECT_PART(client_read(c), "bytes 1-2/10", "12");
    client_expect_closed(c);
    millpond_stop(m);
}

static void route_edits_apply_to_a_part(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(doc_script, doc_new(PLAIN "X-App: 1\r\n"));
    struct millpond *m =
        millpond_start(.rest = textf("%s[route all]\npool = app\nset_response_header = X-Set: 2\n"
                                     "remove_response_header = X-App\n",
                                     pool_lines("app", 1, o)));
    expect_body(client_get(m->port, "/p", ""), DIGITS);
    struct message *r = ask_range(m, "bytes=1-2", "");
    EXPECT_PART(r, "bytes 1-2/10", "12");
    expect_field(r, "X-Set", "2");
    expect_no_field(r, "X-App");
    expect_status(ask_range(m, "bytes=0-0,9-9", ""), 206);
    millpond_stop(m);
    m = millpond_start(.rest = textf("%s[route all]\npool = app\nset_response_header = Content-Type: a/b\n",
                                     pool_lines("app", 1, o)));
    EXPECT_WHOLE(ask_range(m, "bytes=0-0,9-9", "")); /* its type would not be multipart */
    expect_field(ask_range(m, "bytes=0-0", ""), "Content-Type", "a/b");
    millpond_stop(m);
}

/* ---- of large bodies ---- */

static struct doc *big_doc(const char *fields)
{
    struct doc *d = doc_new(fields);
    char *body = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        body[i] = (char)('a' + i % 23 + (i >> 16) % 3);
    support_on_end(free, body);
    d->body = body;
    d->bytes = BIG;
    return d;
}

static void large_ranges_are_the_right_bytes(void **state)
{
    UNUSED(state);
    static const struct {
        size_t start, end;
    } parts[] = {{0, 1}, {1, 300000}, {65535, 65537}, {100000, BIG - 1}, {BIG - 200000, BIG}, {0, BIG}};
    struct doc *d = big_doc(PLAIN);
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t bytes = parts[i].end - parts[i].start;
        struct message *r = ask_range(m, textf("bytes=%zu-%zu", parts[i].start, parts[i].end - 1), "");
        expect_status(r, 206);
        assert_int_equal(r->body_len, bytes);
        assert_memory_equal(r->body, d->body + parts[i].start, bytes);
    }
    struct message *r = ask_range(m, textf("bytes=2000000-2999999,10-1000000"), "");
    expect_status(r, 206);
    assert_true(r->body_len > 1999991 && r->body_len < 2000500);
    const char *second = memmem(r->body, r->body_len, "bytes 10-1000000/", 17);
    assert_non_null(second);
    assert_memory_equal(strstr(second, "\r\n\r\n") + 4, d->body + 10, 999991);
    assert_memory_equal(strstr(r->body, "Content-Range") +
                            strlen("Content-Range: bytes 2000000-2999999/3145728\r\n\r\n"),
                        d->body + 2000000, 1000000);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void slow_client_and_one_that_leaves(void **state)
{
    UNUSED(state);
    struct doc *d = big_doc(PLAIN);
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    expect_status(client_get(m->port, "/p", ""), 200);
    struct client *slow = client_open_rcvbuf(m->port, 4096), *leaving = client_open_rcvbuf(m->port, 4096);
    const char *ask = GET "Range: bytes=1-3000000,3000010-3100000\r\n\r\n";
    client_send(slow, "%s", ask);
    client_send(leaving, "%s", ask);
    client_read_head(leaving);
    struct message *r = client_read_head(slow);
    client_reset(leaving);
    millpond_wait_figure(m, "client_connections", 1);
    millpond_purge(m, url_of("/p")); /* what is being sent is held */
    wire_read_body(&slow->wire, r);
    expect_end(r, MESSAGE_COMPLETE);
    assert_memory_equal(strstr(r->body, "\r\n\r\n") + 4, d->body + 1, 3000000);
    client_close(slow);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- of what is not stored yet ---- */

static void miss_fetches_the_whole_and_gives_the_range(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = start(TAGGED, &o);
    struct message *r = ask_range(m, "bytes=2-4", "If-Range: \"v1\"\r\n");
    EXPECT_PART(r, "bytes 2-4/10", "234");
    expect_field_in(r, "Cache-Status", "stored");
    expect_no_field(origin_request(o, 0), "Range");
    expect_no_field(origin_request(o, 0), "If-Range");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void range_is_served_while_it_is_filled(void **state)
{
    UNUSED(state);
    struct doc *d = doc_new(PLAIN);
    d->gate = gate_new();
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    struct client *leader = client_open(m->port), *late = client_open(m->port);
    client_send(leader, GET "Range: bytes=0-3\r\n\r\n"); /* answered although the rest is not there */
    EXPECT_PART(client_read(leader), "bytes 0-3/10", "0123");
    EXPECT_PART(ask_range(m, "bytes=1-2", ""), "bytes 1-2/10", "12");
    struct message *several = ask_range(m, "bytes=0-0,2-2", "");
    expect_status(several, 206);
    expect_status(ask_range(m, "bytes=10-", ""), 416);
    client_send(late, GET "Range: bytes=3-7\r\n\r\n");
    struct message *r = client_read_head(late);
    client_wait_bytes(late, 2);
    struct client *last = client_open(m->port), *backwards = client_open(m->port);
    client_send(last, GET "Range: bytes=-1\r\n\r\n");
    struct message *last_head = client_read_head(last);
    client_send(backwards, GET "Range: bytes=6-7,0-0\r\n\r\n"); /* a window never moves back */
    struct message *backwards_head = client_read_head(backwards);
    client_send(leader, GET "Range: bytes=1-1\r\n\r\n"); /* the leader's connection is free again */
    EXPECT_PART(client_read(leader), "bytes 1-1/10", "1");
    gate_open(d->gate);
    wire_read_body(&late->wire, r);
    EXPECT_PART(r, "bytes 3-7/10", "34567");
    wire_read_body(&last->wire, last_head);
    EXPECT_PART(last_head, "bytes 9-9/10", "9");
    wire_read_body(&backwards->wire, backwards_head);
    EXPECT_WHOLE(backwards_head);
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 1);
    millpond_wait_figure(m, "followers_now", 0);
    millpond_stop(m);
    origin_stop(o);
}

static void unknown_length_is_answered_whole(void **state)
{
    UNUSED(state);
    struct doc *d = doc_new(PLAIN);
    d->gate = gate_new();
    d->chunked = true;
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, GET "Range: bytes=2-4\r\n\r\n");
    struct message *r = client_read_head(c);
    gate_open(d->gate);
    wire_read_body(&c->wire, r);
    EXPECT_WHOLE(r);
    EXPECT_PART(ask_range(m, "bytes=2-4", ""), "bytes 2-4/10", "234"); /* stored: its length is known */
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void stale_range_is_revalidated(void **state)
{
    UNUSED(state);
    struct doc *d = doc_new("Cache-Control: no-cache\r\nETag: \"v1\"\r\n");
    d->confirms = true;
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    EXPECT_PART(ask_range(m, "bytes=2-4", ""), "bytes 2-4/10", "234");
    struct message *r = ask_range(m, "bytes=3-4", "");
    EXPECT_PART(r, "bytes 3-4/10", "34");
    expect_field_in(r, "Cache-Status", "fwd-status=304");
    expect_no_field(origin_request(o, 1), "Range");
    millpond_stop(m);
}

static void range_of_the_unstorable_goes_to_the_instance(void **state)
{
    UNUSED(state);
    struct doc *d = doc_new("Cache-Control: private\r\nAccept-Ranges: bytes\r\n");
    d->ranges = true;
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 3; i++) {
        client_send(c, GET "Range: bytes=2-4\r\nIf-Range: \"v1\"\r\n\r\n");
        EXPECT_PART(client_read(c), "bytes 2-4/10", "234");
    }
    assert_int_equal(origin_requests(o), 4); /* whole once, then the range each time */
    expect_no_field(origin_request(o, 0), "Range");
    for (unsigned i = 1; i < 4; i++) {
        expect_field(origin_request(o, i), "Range", "bytes=2-4");
        expect_field(origin_request(o, i), "If-Range", "\"v1\"");
    }
    client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void too_large_to_store_is_not_fetched_whole(void **state)
{
    UNUSED(state);
    struct doc *d = big_doc(PLAIN "Accept-Ranges: bytes\r\n");
    d->ranges = true;
    struct origin *o = origin_start(doc_script, d);
    struct millpond *m = millpond_start(.cache = "max_object_size = 1M\n", .rest = pool_lines("app", 1, o));
    EXPECT_PART(ask_range(m, "bytes=2-4", ""), textf("bytes 2-4/%d", BIG), textf("%.3s", d->body + 2));
    EXPECT_PART(ask_range(m, "bytes=2-4", ""), textf("bytes 2-4/%d", BIG), textf("%.3s", d->body + 2));
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

static void unstorable_without_ranges_is_answered_whole(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = start("Cache-Control: private\r\n", &o);
    EXPECT_WHOLE(ask_range(m, "bytes=2-4", ""));
    EXPECT_WHOLE(ask_range(m, "bytes=2-4", ""));
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void cut_in_a_range_is_seen(void **state)
{
    UNUSED(state);
    struct doc *d = doc_new(PLAIN);
    d->gate = gate_new();
    d->cut = true;
    gate_open(d->gate);
    struct millpond *m = millpond_before(origin_start(doc_script, d), "");
    struct client *c = client_open(m->port);
    client_send(c, GET "Range: bytes=3-7\r\n\r\n");
    struct message *r = client_read(c);
    assert_int_equal(r->status, 206);
    assert_true(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET);
    expect_body(r, "34");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(single_ranges_come_from_the_cache),
        E2E_TEST(several_ranges_come_in_parts),
        E2E_TEST(range_beyond_the_end_is_416),
        E2E_TEST(conditions_come_before_the_range),
        E2E_TEST(if_range_takes_the_exact_date),
        E2E_TEST(head_and_other_statuses_know_no_range),
        E2E_TEST(instance_may_rule_ranges_out),
        E2E_TEST(ranges_are_pipelined_with_the_rest),
        E2E_TEST(http_1_0_clients_get_ranges),
        E2E_TEST(route_edits_apply_to_a_part),
        E2E_TEST(large_ranges_are_the_right_bytes),
        E2E_TEST(slow_client_and_one_that_leaves),
        E2E_TEST(miss_fetches_the_whole_and_gives_the_range),
        E2E_TEST(range_is_served_while_it_is_filled),
        E2E_TEST(unknown_length_is_answered_whole),
        E2E_TEST(stale_range_is_revalidated),
        E2E_TEST(range_of_the_unstorable_goes_to_the_instance),
        E2E_TEST(too_large_to_store_is_not_fetched_whole),
        E2E_TEST(unstorable_without_ranges_is_answered_whole),
        E2E_TEST(cut_in_a_range_is_seen),
    };
    return E2E_RUN("cache_range", tests);
}
