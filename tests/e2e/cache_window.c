/* cache_window.c: several clients read a response that turns out too large to be stored. One that takes no
 * more is left behind: the others finish, and it goes on with a fetch of its own, or is cut. */
#include "tests/support/millpond.h"

#define BYTES (8 * MB)  /* far more than sockets and the window take */
#define SLOW  (16 * KB) /* receive buffer */
#define ASK   "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define TAG   "ETag: \"v1\"\r\n"
#define DATED "Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n"
#define PLAIN "Content-Type: text/plain\r\n"

/* What an instance that is asked once more does. */
enum then {
    THEN_WHOLE,
    THEN_RANGE, /* serves the range it is asked for */
    THEN_LATE_RANGE,
    THEN_SHORT,
    THEN_NO_RANGE,
    THEN_BUSY,
    THEN_CUT, /* the rest, but not all of it */
};

struct app {
    struct gate *start;
    const char *fields, *later_fields;
    enum then then;
    char *first, *later; /* bodies */
    bool announces, later_announces;
    _Atomic unsigned asked;
};

static void send_announced(struct origin_conn *c, const char *fields, const char *body)
{
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n%sContent-Length: %lu\r\n\r\n", fields,
                BYTES);
    origin_send_bytes(c, body, BYTES);
}

/* Holds most of the memory while its gate is shut. */
static void hog_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    char *body = calloc(1, 8 * MB);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %lu\r\n\r\n", 8 * MB);
    origin_send_bytes(c, body, 8 * MB - 1);
    gate_pass(arg);
    origin_send_bytes(c, body, 1);
    free(body);
}

static void send_whole(struct origin_conn *c, const char *fields, const char *body, size_t bytes)
{
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n%sTransfer-Encoding: chunked\r\n\r\n",
                fields);
    for (size_t at = 0; at < bytes; at += 64 * KB) {
        if (!origin_send_chunk(c, body + at, MIN(64 * KB, bytes - at)))
            return;
    }
    origin_send_chunk(c, NULL, 0);
}

static void send_range(struct origin_conn *c, const struct message *request, const struct app *a)
{
    const char *range = message_field(request, "Range");
    size_t from = range == NULL ? 0 : strtoull(range + strlen("bytes="), NULL, 10);
    from += a->then == THEN_LATE_RANGE;
    origin_send(c,
                "HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes %zu-%lu/%lu\r\n"
                "Content-Length: %lu\r\n\r\n",
                a->later_fields, from, BYTES - 1, BYTES, BYTES - from);
    origin_send_bytes(c, a->later + from, BYTES - from - (a->then == THEN_CUT));
    if (a->then == THEN_CUT)
        origin_reset(c);
}

static void app_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct app *a = arg;
    if (a->asked++ == 0) {
        gate_pass(a->start);
        if (a->announces)
            send_announced(c, a->fields, a->first);
        else
            send_whole(c, a->fields, a->first, BYTES);
        return;
    }
    switch (a->then) {
    case THEN_WHOLE:
    case THEN_SHORT:
        if (a->later_announces) {
            send_announced(c, a->later_fields, a->later);
            return;
        }
        send_whole(c, a->later_fields, a->later, a->then == THEN_WHOLE ? BYTES : 1000);
        return;
    case THEN_RANGE:
    case THEN_LATE_RANGE:
    case THEN_CUT:
        send_range(c, request, a);
        return;
    case THEN_NO_RANGE:
        origin_send(c, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n");
        return;
    case THEN_BUSY:
        origin_send(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        return;
    }
}

static char *document(void)
{
    char *body = malloc(BYTES + 1);
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + (i * 31 + i / 4099) % 23);
    body[BYTES] = '\0';
    support_on_end(free, body);
    return body;
}

static struct app *app_new(const char *fields, enum then then)
{
    struct app *a = calloc(1, sizeof(*a));
    support_on_end(free, a);
    a->start = gate_new();
    a->fields = a->later_fields = fields;
    a->then = then;
    a->first = a->later = document();
    return a;
}

static struct millpond *before(struct origin *o, unsigned workers)
{
    return millpond_start(.main = textf("workers = %u", workers),
                          .cache = "max_object_size = 1M\nmemory_size = 16M",
                          .rest = textf("%sretries = 0\n", pool_lines("app", 1, o)));
}

static void read_all(struct client *c, struct message *r, const char *body)
{
    wire_read_body(&c->wire, r);
    expect_end(r, MESSAGE_COMPLETE);
    assert_int_equal(r->body_len, BYTES);
    assert_memory_equal(r->body, body, BYTES);
}

/* `slow` and a quick client share a fetch, which `slow` leads or joins. The quick one has read to the end,
 * the slow one just its head, when this returns. */
static struct message *leave_behind(struct millpond *m, struct app *a, struct client *slow, bool leads,
                                    const char *ask)
{
    struct client *quick = client_open(m->port);
    client_send(leads ? slow : quick, "%s", leads ? ask : ASK);
    gate_wait_arrived(a->start, 1);
    client_send(leads ? quick : slow, "%s", leads ? ASK : ask);
    millpond_wait_figure(m, "followers_now", 1);
    gate_open(a->start);
    read_all(quick, client_read_head(quick), a->first);
    struct message *r = client_read_head(slow);
    assert_int_equal(r->status, 200);
    millpond_wait_figure(m, "cache_left_behind", 1);
    assert_int_equal(a->asked, 1); /* nothing is fetched for who does not read */
    client_close(quick);
    return r;
}

static void expect_cut(struct millpond *m, struct client *slow, struct message *r, const char *body,
                       const char *close, const char *error)
{
    wire_read_body(&slow->wire, r);
    EXPECT(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET, "%s", message_end_name(r->end));
    EXPECT(r->body_len < BYTES && memcmp(r->body, body, r->body_len) == 0, "two versions in one body");
    json_t *line = millpond_access_line(m, textf("\"close\":\"%s\"", close));
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), error);
    client_close_all();
    millpond_wait_idle(m);
}

/* ---- it goes on ---- */

static const struct {
    const char *fields;
    enum then then;
    bool ranged;
} same_rows[] = {
    {PLAIN TAG, THEN_RANGE, true}, {DATED, THEN_RANGE, true},
    {PLAIN TAG, THEN_WHOLE, true}, /* the instance knows no ranges */
    {PLAIN, THEN_WHOLE, false},    {"ETag: W/\"v1\"\r\n", THEN_WHOLE, false},
};

static void goes_on(unsigned workers)
{
    for (unsigned i = 0; i < ARRAY_LEN(same_rows); i++) {
        struct app *a = app_new(same_rows[i].fields, same_rows[i].then);
        struct origin *o = origin_start(app_script, a);
        struct millpond *m = before(o, workers);
        struct client *slow = client_open_rcvbuf(m->port, SLOW);
        struct message *r = leave_behind(m, a, slow, i % 2 == workers % 2, ASK);
        read_all(slow, r, a->first);
        assert_int_equal(origin_requests(o), 2);
        const struct message *again = origin_request(o, 1);
        assert_int_equal(message_field(again, "Range") != NULL, same_rows[i].ranged);
        assert_int_equal(message_field(again, "If-Range") != NULL, same_rows[i].ranged);
        client_send(slow, "%s", ASK); /* and may ask again */
        client_read_head(slow);
        millpond_wait_figure(m, "requests", 2);
        assert_int_equal(millpond_figure(m, "objects"), 0);
        client_close_all();
        millpond_wait_idle(m);
        millpond_stop(m);
        origin_stop(o);
    }
}

static void slow_reader_goes_on_alone_on_one_worker(void **state)
{
    UNUSED(state);
    goes_on(1);
}

static void slow_reader_goes_on_alone_on_any_worker(void **state)
{
    UNUSED(state);
    goes_on(4);
}

/* A new version that begins like the old one, as far as it went out, is given whole. */
static void what_differs_later_is_of_one_version(void **state)
{
    UNUSED(state);
    struct app *a = app_new(PLAIN, THEN_WHOLE);
    a->later = document();
    a->later[BYTES - 1] = '!';
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = before(o, 2);
    struct client *slow = client_open_rcvbuf(m->port, SLOW);
    read_all(slow, leave_behind(m, a, slow, true, ASK), a->later);
    millpond_stop(m);
}

static void all_but_the_quickest_go_on_alone(void **state)
{
    UNUSED(state);
    struct client *slow[5];
    struct app *a = app_new(PLAIN, THEN_WHOLE);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = before(o, 2);
    struct message *heads[ARRAY_LEN(slow)];
    for (unsigned i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = client_open_rcvbuf(m->port, SLOW);
        client_send(slow[i], ASK);
        if (i == 0)
            gate_wait_arrived(a->start, 1);
    }
    struct client *quick = client_open(m->port);
    client_send(quick, ASK);
    millpond_wait_figure(m, "followers_now", ARRAY_LEN(slow));
    gate_open(a->start);
    read_all(quick, client_read_head(quick), a->first);
    for (unsigned i = 0; i < ARRAY_LEN(slow); i++)
        heads[i] = client_read_head(slow[i]);
    millpond_wait_figure(m, "cache_left_behind", ARRAY_LEN(slow));
    client_reset(slow[0]); /* also at this point */
    for (unsigned i = 1; i < ARRAY_LEN(slow); i++)
        read_all(slow[i], heads[i], a->first);
    client_close_all();
    millpond_wait_idle(m);
    assert_int_equal(origin_requests(o), ARRAY_LEN(slow));
    millpond_stop(m);
}

/* Where memory is short, a body of announced length is read through a window as well. */
static void announced_length_is_kept(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 3; i++) {
        struct app *a = app_new(PLAIN TAG, i == 0 ? THEN_RANGE : THEN_WHOLE);
        a->announces = true;
        a->later_announces = i < 2;
        struct gate *hold = gate_new();
        struct origin *o = origin_start(app_script, a), *hog = origin_start(hog_script, hold);
        struct millpond *m = millpond_start(
                .cache = "max_object_size = 64M\nmemory_size = 12M",
                .rest =
                    textf("%s%s[route hog]\npath = /hog\npool = hog\n[route app]\npath = /*\npool = app\n",
                          pool_lines("app", 1, o), pool_lines("hog", 1, hog)));
        struct client *hogs = client_open(m->port), *slow = client_open_rcvbuf(m->port, SLOW);
        client_send(hogs, "GET /hog HTTP/1.1\r\nHost: test\r\n\r\n");
        gate_wait_arrived(hold, 1);
        client_close(hogs); /* it is going to be stored: the fetch goes on */
        millpond_wait_figure(m, "followers_now", 0);
        struct message *r = leave_behind(m, a, slow, i == 0, ASK);
        assert_int_equal(r->framing, FRAMING_LENGTH);
        gate_open(hold);
        if (i < 2)
            read_all(slow, r, a->first);
        else
            expect_cut(m, slow, r, a->first, "left_behind", "changed");
        millpond_stop(m);
        origin_stop(o);
        origin_stop(hog);
    }
}

/* ---- it cannot ---- */

static void slow_reader_of_what_changed_is_cut(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *later_fields;
        enum then then;
        const char *error;
        bool other_byte;
    } rows[] = {
        {PLAIN, PLAIN, THEN_WHOLE, "changed", true},
        {PLAIN, PLAIN, THEN_SHORT, "changed", false},
        {PLAIN, "Content-Type: text/html\r\n", THEN_WHOLE, "changed", false},
        {PLAIN, PLAIN "Content-Encoding: gzip\r\n", THEN_WHOLE, "changed", false},
        {TAG, "ETag: \"v2\"\r\n", THEN_WHOLE, "changed", false},
        {TAG, "ETag: \"v2\"\r\n", THEN_RANGE, "changed", false},
        {TAG, TAG, THEN_LATE_RANGE, "changed", false},
        {TAG, TAG, THEN_NO_RANGE, "changed", false},
        {TAG, TAG "Content-Encoding: gzip\r\n", THEN_RANGE, "changed", false},
        {PLAIN, TAG, THEN_RANGE, "changed", false}, /* of what was never asked for in part */
        {TAG, TAG, THEN_BUSY, "error_status", false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a = app_new(rows[i].fields, rows[i].then);
        a->later_fields = rows[i].later_fields;
        if (rows[i].other_byte)
            (a->later = document())[100] = '!';
        struct origin *o = origin_start(app_script, a);
        struct millpond *m = before(o, 2);
        struct client *slow = client_open_rcvbuf(m->port, SLOW);
        struct message *r = leave_behind(m, a, slow, i % 2 == 0, ASK);
        expect_cut(m, slow, r, a->first, "left_behind", rows[i].error);
        assert_int_equal(origin_requests(o), 2);
        millpond_stop(m);
        origin_stop(o);
    }
}

static void slow_reader_is_cut_with_the_second_response(void **state)
{
    UNUSED(state);
    struct app *a = app_new(TAG, THEN_CUT);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = before(o, 2);
    struct client *slow = client_open_rcvbuf(m->port, SLOW);
    struct message *r = leave_behind(m, a, slow, true, ASK);
    expect_cut(m, slow, r, a->first, "upstream_cut", "cut_short");
    millpond_stop(m);
}

static void slow_reader_is_cut_when_the_instance_is_gone(void **state)
{
    UNUSED(state);
    /* To a client of HTTP/1.0 the end of the connection is the end of the body. */
    static const char *const asks[] = {ASK, "GET /p HTTP/1.0\r\nHost: test\r\n\r\n"};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(asks); i++) {
        struct app *a = app_new(PLAIN, THEN_WHOLE);
        struct origin *o = origin_start(app_script, a);
        struct millpond *m = before(o, 2);
        struct client *slow = client_open_rcvbuf(m->port, SLOW);
        struct message *r = leave_behind(m, a, slow, i % 2 == 0, asks[i / 2]);
        origin_stop(o);
        expect_cut(m, slow, r, a->first, "left_behind", "connect_refused");
        millpond_stop(m);
    }
}

static void slow_reader_that_reads_no_more_ends_as_ever(void **state)
{
    UNUSED(state);
    struct app *a = app_new(PLAIN, THEN_WHOLE);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m =
        millpond_start(.listen = "write_timeout = 2s", .cache = "max_object_size = 1M\nmemory_size = 16M",
                       .rest = pool_lines("app", 1, o));
    struct client *slow = client_open_rcvbuf(m->port, SLOW);
    leave_behind(m, a, slow, true, ASK);
    millpond_access_line(m, "\"close\":\"write_timeout\"");
    assert_int_equal(origin_requests(o), 1);
    millpond_wait_figure(m, "client_connections", 0);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(slow_reader_goes_on_alone_on_one_worker),
        E2E_TEST(slow_reader_goes_on_alone_on_any_worker),
        E2E_TEST(what_differs_later_is_of_one_version),
        E2E_TEST(all_but_the_quickest_go_on_alone),
        E2E_TEST(announced_length_is_kept),
        E2E_TEST(slow_reader_of_what_changed_is_cut),
        E2E_TEST(slow_reader_is_cut_with_the_second_response),
        E2E_TEST(slow_reader_is_cut_when_the_instance_is_gone),
        E2E_TEST(slow_reader_that_reads_no_more_ends_as_ever),
    };
    return E2E_RUN("cache_window", tests);
}
