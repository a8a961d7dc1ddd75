/* cache_partial_odd.c: stored parts and instances that answer ranges wrongly; purges, errors and crowds while
 * a part is being completed. What goes well is in cache_partial.c. */
#include "tests/support/site.h"

/* The missing 0-6 comes otherwise than it must: nothing is mixed, the whole is asked for. */
static void a_rest_that_does_not_fit_is_not_used(void **state)
{
    UNUSED(state);
    static const char *const rests[] = {
        PART_OF(TYPED "ETag: \"v2\"\r\n", "bytes 0-6/10", "7", "abcdefg"), /* ignores If-Range */
        PART_OF(TYPED, "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(TYPED "ETag: W/\"v1\"\r\n", "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(TAGGED V1, "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(TAGGED, "bytes 0-5/10", "6", "abcdef"),
        PART_OF(TAGGED, "bytes 0-7/10", "8", "abcdefgh"), /* overlaps */
        PART_OF(TAGGED, "bytes 1-7/10", "7", "abcdefg"),
        PART_OF(TAGGED, "bytes 0-6/11", "7", "abcdefg"),
        PART_OF(TAGGED, "bytes 0-6/*", "7", "abcdefg"),
        PART_OF(TAGGED, "bytes 6-0/10", "7", "abcdefg"),
        PART_OF(TAGGED, "0-6/10", "7", "abcdefg"),
        PART_OF(TAGGED, "bytes 0-6/10", "6", "abcdef"),
        PART_OF(TAGGED, "bytes 0-6/10", "8", "abcdefgh"),
        PART_OF(TAGGED "Content-Range: bytes 0-6/10\r\n", "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(LONG V1 "Cache-Control: private=\"x\"\r\nX: 1\r\n", "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(V1 "Cache-Control: no-store\r\n", "bytes 0-6/10", "7", "abcdefg"),
        PART_OF(TAGGED "Set-Cookie: a=1\r\n", "bytes 0-6/10", "7", "abcdefg"),
        "HTTP/1.1 206 Partial Content\r\n" LONG V1 "Content-Length: 7\r\n\r\nabcdefg",
        "HTTP/1.1 206 Partial Content\r\n" LONG V1 "Content-Type: multipart/byteranges; boundary=b\r\n"
        "Content-Length: 7\r\n\r\nabcdefg",
        "HTTP/1.1 206 Partial Content\r\n" TAGGED "Content-Range: bytes 0-6/10\r\n"
        "Transfer-Encoding: chunked\r\n\r\n9\r\nabcdefghi\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n" TAGGED "\r\n",
        "HTTP/1.1 416 Range Not Satisfiable\r\n" LONG "Content-Range: bytes */5\r\nContent-Length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rests); i++) {
        struct origin *o;
        struct site *s = site_new(TAGGED);
        s->raw[1] = rests[i];
        struct millpond *m = site_start(s, &o);
        EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        EXPECT_ASKED(o, 1, "bytes=0-6", "\"v1\"");
        EXPECT_ASKED(o, 2, NULL, NULL);
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        assert_int_equal(origin_requests(o), 3);
        client_close_all();
        millpond_wait_idle(m);
        millpond_stop(m);
    }
}

static void a_new_version_replaces_the_part(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TYPED "ETag: \"v2\"\r\n"); /* and If-Range does not hold */
    s->raw[0] = PART_OF(TAGGED, "bytes 7-9/10", "3", "xyz");
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "xyz");
    EXPECT_PART(site_ask(m, "bytes=5-8", ""), "bytes 5-8/10", "5678");
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

/* What answers a far range and says nothing certain is passed on, and neither stored nor held against the
 * key. */
static void an_uncertain_part_is_passed_on(void **state)
{
    UNUSED(state);
    static const struct {
        const char *raw;
        int status;
    } rows[] = {
        {PART_OF(TAGGED, "bytes 7-9/*", "3", "789"), 206},
        {PART_OF(TAGGED, "bytes 7-9/9", "3", "789"), 206},
        {PART_OF(TAGGED, "bytes 9-7/10", "3", "789"), 206},
        {PART_OF(TAGGED, "lines 7-9/10", "3", "789"), 206},
        {PART_OF(TAGGED "Content-Range: bytes 0-2/10\r\n", "bytes 7-9/10", "3", "789"), 206},
        {"HTTP/1.1 206 Partial Content\r\n" TAGGED "Content-Length: 3\r\n\r\n789", 206},
        {"HTTP/1.1 206 Partial Content\r\n" LONG V1 "Content-Type: multipart/byteranges; boundary=b\r\n"
         "Content-Length: 3\r\n\r\n789",
         206},
        {"HTTP/1.1 206 Partial Content\r\n" TAGGED "Content-Range: bytes 7-9/10\r\n"
         "Transfer-Encoding: chunked\r\n\r\n3\r\n789\r\n0\r\n\r\n",
         206},
        {"HTTP/1.1 416 Range Not Satisfiable\r\n" LONG
         "Content-Range: bytes */10\r\nContent-Length: 3\r\n\r\nno!",
         416},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct origin *o;
        struct site *s = site_new(TAGGED);
        s->raw[0] = s->raw[1] = rows[i].raw;
        struct millpond *m = site_start(s, &o);
        for (unsigned n = 0; n < 2; n++) {
            expect_status(site_ask(m, "bytes=-3", ""), rows[i].status);
            EXPECT_ASKED(o, n, "bytes=-3", NULL);
        }
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        assert_int_equal(origin_requests(o), 3);
        millpond_stop(m);
    }
}

static void a_part_of_another_length_answers_the_same_range_only(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = PART_OF(TAGGED, "bytes 4-9/10", "5", "01234");
    struct millpond *m = site_start(s, &o);
    for (int i = 0; i < 2; i++)
        EXPECT_PART(site_ask(m, "bytes=-5", ""), "bytes 4-9/10", "01234");
    expect_no_field(client_raw(m->port, "GET /p HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                                        "Range: bytes=-5\r\nIf-None-Match: \"v1\"\r\n\r\n"),
                    "Range");
    assert_int_equal(origin_requests(o), 1);
    EXPECT_PART(site_ask(m, "bytes=6-8", ""), "bytes 6-8/10", "678");
    EXPECT_ASKED(o, 1, NULL, NULL);
    millpond_stop(m);
}

static void what_may_not_be_shared_is_not(void **state)
{
    UNUSED(state);
    static const char *const fields[] = {"Cache-Control: private\r\n", "Cache-Control: no-store\r\n",
                                         TAGGED "Set-Cookie: a=1\r\n", TAGGED "Vary: *\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct origin *o;
        struct millpond *m = site_start(site_new(fields[i]), &o);
        for (unsigned n = 0; n < 2; n++) {
            EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
            EXPECT_ASKED(o, n, "bytes=-3", NULL);
        }
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        assert_int_equal(origin_requests(o), 3);
        millpond_stop(m);
    }
}

static void cut_short_is_not_stored(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->cut_at = 0;
    struct millpond *m = site_start(s, &o);
    struct message *r = site_ask(m, "bytes=-3", "");
    assert_true(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);

    s = site_new(TAGGED);
    s->cut_at = 1;
    m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    r = client_get(m->port, "/p", "");
    assert_true(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET);
    expect_body(r, "0");
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789"); /* the part is still good */
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    EXPECT_ASKED(o, 2, "bytes=0-6", "\"v1\"");
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

static void others_wait_for_the_part_and_then_for_the_rest(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->gate_at = 0;
    struct millpond *m = site_start(s, &o);
    struct client *first = client_open(m->port), *same = client_open(m->port), *wholes[8];
    client_send(first, "GET /p HTTP/1.1\r\nHost: test\r\nRange: bytes=-3\r\n\r\n");
    gate_wait_arrived(s->gate, 1);
    client_send(same, "GET /p HTTP/1.1\r\nHost: test\r\nRange: bytes=7-8\r\n\r\n");
    client_read_head(same); /* at once, from what is being stored */
    for (size_t i = 0; i < ARRAY_LEN(wholes); i++) {
        wholes[i] = client_open(m->port);
        client_send(wholes[i], "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    millpond_wait_figure(m, "followers_now", 2 + ARRAY_LEN(wholes));
    gate_open(s->gate);
    EXPECT_PART(client_read(first), "bytes 7-9/10", "789");
    for (size_t i = 0; i < ARRAY_LEN(wholes); i++)
        EXPECT_WHOLE(client_read(wholes[i]));
    assert_int_equal(origin_requests(o), 2);
    EXPECT_ASKED(o, 1, "bytes=0-6", "\"v1\"");
    millpond_wait_figure(m, "followers_now", 0);
    millpond_stop(m);
}

static void a_purge_takes_the_part_and_what_is_made_of_it(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = PART_OF(TAGGED, "bytes 7-9/10", "3", "old");
    s->gate_at = 1;
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "old");
    millpond_purge(m, url_of("/p"));
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\nRange: bytes=-3\r\n\r\n");
    gate_wait_arrived(s->gate, 1); /* 7 is out, 8 and 9 are not */
    EXPECT_ASKED(o, 1, "bytes=-3", NULL);
    millpond_purge(m, url_of("/p"));
    gate_open(s->gate);
    EXPECT_PART(client_read(c), "bytes 7-9/10", "789");
    EXPECT_WHOLE(client_get(m->port, "/p", "")); /* was not stored */
    EXPECT_ASKED(o, 2, NULL, NULL);
    millpond_stop(m);

    s = site_new(TAGGED);
    s->raw[0] = PART_OF(TAGGED, "bytes 7-9/10", "3", "old");
    s->gate_at = 1;
    m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "old");
    c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(s->gate, 1); /* the rest is on its way, to be joined with the old part */
    millpond_purge(m, url_of("/p"));
    EXPECT_WHOLE(client_get(m->port, "/p", "")); /* asks anew, for all of it */
    EXPECT_ASKED(o, 2, NULL, NULL);
    gate_open(s->gate);
    expect_body(client_read(c), "0123456old"); /* it asked before the purge */
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

/* The tags came with the part; the rest says nothing of them. */
static void the_tags_of_a_part_hold_for_the_whole(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = PART_OF(TAGGED "Surrogate-Key: news\r\n", "bytes 7-9/10", "3", "789");
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    EXPECT_ASKED(o, 1, "bytes=0-6", "\"v1\"");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_cli(m, "purge", "--tag", "news", NULL).exit_code, 0);
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

/* What the part said to us alone holds for the whole, and no client gets it. */
static void fields_for_us_stay_with_a_part(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new("Cache-Control: max-age=0\r\n" V1); /* the rest does not repeat it */
    s->raw[0] = PART_OF("Cache-Control: max-age=0\r\nMillpond-Cache-Control: max-age=600\r\n" V1,
                        "bytes 7-9/10", "3", "789");
    struct millpond *m = site_start(s, &o);
    for (int i = 0; i < 2; i++) {
        struct message *r = site_ask(m, "bytes=-3", "");
        EXPECT_PART(r, "bytes 7-9/10", "789");
        expect_no_field(r, "Millpond-Cache-Control");
    }
    assert_int_equal(origin_requests(o), 1);
    for (int i = 0; i < 2; i++) {
        struct message *r = client_get(m->port, "/p", "");
        EXPECT_WHOLE(r);
        expect_no_field(r, "Millpond-Cache-Control");
    }
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

struct late_site {
    struct site *site;
    struct gate *before_head;
};

static void late_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const struct late_site *l = arg;
    if (message_field(request, "If-Range") != NULL)
        gate_pass(l->before_head);
    site_script(c, request, l->site);
}

static void a_part_purged_before_its_rest_comes_is_not_joined(void **state)
{
    UNUSED(state);
    struct late_site l = {site_new(TAGGED), gate_new()};
    l.site->raw[0] = PART_OF(TAGGED, "bytes 7-9/10", "3", "old");
    struct origin *o = origin_start(late_script, &l);
    struct millpond *m = millpond_before(o, "");
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "old");
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(l.before_head, 1);
    millpond_purge(m, url_of("/p"));
    gate_open(l.before_head);
    EXPECT_WHOLE(client_read(c));
    EXPECT_ASKED(o, 2, NULL, NULL);
    millpond_stop(m);
    origin_stop(o);
}

static void an_error_is_not_answered_by_a_part_that_does_not_do(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new("Cache-Control: max-age=0, stale-if-error=600\r\n" V1);
    s->raw[1] = s->raw[2] = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    expect_status(client_get(m->port, "/p", ""), 500);
    EXPECT_PART(site_ask(m, "bytes=8-", ""), "bytes 8-9/10", "89");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    EXPECT_ASKED(o, 3, "bytes=0-6", "\"v1\"");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_rest_that_does_not_fit_is_not_used),
        E2E_TEST(a_new_version_replaces_the_part),
        E2E_TEST(an_uncertain_part_is_passed_on),
        E2E_TEST(a_part_of_another_length_answers_the_same_range_only),
        E2E_TEST(what_may_not_be_shared_is_not),
        E2E_TEST(cut_short_is_not_stored),
        E2E_TEST(others_wait_for_the_part_and_then_for_the_rest),
        E2E_TEST(a_purge_takes_the_part_and_what_is_made_of_it),
        E2E_TEST(the_tags_of_a_part_hold_for_the_whole),
        E2E_TEST(fields_for_us_stay_with_a_part),
        E2E_TEST(a_part_purged_before_its_rest_comes_is_not_joined),
        E2E_TEST(an_error_is_not_answered_by_a_part_that_does_not_do),
    };
    return E2E_RUN("cache_partial_odd", tests);
}
