/* cache_interplay.c: what goes wrong only where two features of the cache meet. Each has its own tests
 * elsewhere. */
#include "tests/support/pages.h"
#include "tests/support/site.h"

#define expect_page(m, target, fields, body) (SUPPORT_AT, expect_page_(m, target, fields, body))
static struct message *expect_page_(struct millpond *m, const char *target, const char *fields,
                                    const char *body)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_body(r, body);
    return r;
}

/* ---- tags ---- */

/* Answers that share a write are all right, whatever lines a client is shown. */
static void pipelined_answers_show_their_own_tags(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/a", .fields = LONG "Surrogate-Key: tag-of-a\r\n"},
                           {.path = "/b", .fields = LONG "Surrogate-Key: tag-of-b\r\n"},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_page(m, "/a", "", "/a#1");
    expect_page(m, "/b", "", "/b#1");
    struct client *c = client_open(m->port);
    const char *get = "GET %s HTTP/1.1\r\nHost: test\r\nFastly-Debug: 1\r\n\r\n";
    client_send(c, "%s%s%s", textf(get, "/a"), textf(get, "/b"), textf(get, "/a"));
    expect_field(client_read(c), "Surrogate-Key", "tag-of-a");
    expect_field(client_read(c), "Surrogate-Key", "tag-of-b");
    expect_field(client_read(c), "Surrogate-Key", "tag-of-a");
    millpond_stop(m);
}

/* The bytes come from two responses, and a purge of the tag of either concerns them. */
static void a_completed_part_has_the_tags_of_both(void **state)
{
    UNUSED(state);
    static const char *const tags[] = {"old", "new", "http://test#g", "http://test#h"};
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        struct origin *o;
        struct site *s = site_new(TAGGED);
        s->raw[0] =
            PART_OF(TAGGED "Surrogate-Key: old\r\nCache-Groups: \"g\"\r\n", "bytes 7-9/10", "3", "789");
        s->part_fields = TAGGED "Surrogate-Key: new\r\nCache-Groups: \"h\"\r\n";
        struct millpond *m = site_start(s, &o);
        EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        assert_int_equal(origin_requests(o), 2);

        assert_int_equal(millpond_cli(m, "purge", "--tag", tags[i], NULL).exit_code, 0);
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        assert_int_equal(origin_requests(o), 3);
        millpond_stop(m);
    }
}

/* A new version has its own tags only. */
static void a_new_version_of_a_part_has_its_own_tags(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TYPED "ETag: \"v2\"\r\n");
    s->raw[0] = PART_OF(TAGGED "Surrogate-Key: old\r\n", "bytes 7-9/10", "3", "xyz");
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "xyz");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    struct message *r = client_get(m->port, "/p", "Fastly-Debug: 1\r\n");
    EXPECT_WHOLE(r);
    expect_no_field(r, "Surrogate-Key");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

/* ---- parts ---- */

/* The line by which an odd part is kept never leaves, also beside a cookie. */
static void confirmed_odd_part_keeps_its_line_to_itself(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new("Cache-Control: no-cache\r\n" V1 "Set-Cookie: a=1\r\n");
    s->raw[0] = PART_OF("Cache-Control: no-cache\r\n" V1, "bytes 4-9/10", "5", "01234");
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-5", ""), "bytes 4-9/10", "01234");
    struct message *r = site_ask(m, "bytes=-5", "");
    expect_field(r, "Set-Cookie", "a=1");
    EXPECT_PART(r, "bytes 4-9/10", "01234");
    expect_field(origin_request(o, 1), "If-None-Match", "\"v1\"");
    millpond_stop(m);
}

static void parts_of_two_codings_are_not_joined(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = PART_OF(TAGGED "Content-Encoding: gzip\r\n", "bytes 7-9/10", "3", "xyz");
    s->raw[1] = PART_OF(TAGGED "Content-Encoding: br\r\n", "bytes 0-6/10", "7", "abcdefg");
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "xyz");
    struct message *r = client_get(m->port, "/p", "");
    EXPECT_WHOLE(r);
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

/* ---- HEAD ---- */

/* What a HEAD brings is shared, so it is asked for as the key has it. */
static void head_that_may_confirm_asks_by_the_keys_host(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=0\r\n", .etag = "\"v\""}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    expect_page(m, "/p", "", "/p#1");
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: TEST.\r\n\r\n");
    expect_status(client_read_no_body(c), 200);
    expect_field(origin_request(o, 1), "If-None-Match", "\"v\"");
    expect_field(origin_request(o, 1), "Host", "test");
    millpond_stop(m);
}

/* ---- what the key says and the instance does not see ---- */

/* A field that a client takes back by naming it in Connection is not there: not for the instance, and so not
 * for the choice of variant, key and route either. */
static void fields_named_by_connection_count_as_absent(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/vary", .fields = LONG "Vary: X-Lang\r\n", .vary_on = "X-Lang"},
                           {.path = "/agent", .fields = LONG "Vary: User-Agent\r\n", .vary_on = "User-Agent"},
                           {.path = "/key", .fields = LONG, .vary_on = "X-Lang"},
                           {.path = "/route", .fields = LONG, .vary_on = "X-Lang"},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages),
                                         "[route key]\npath = /key\nkey_headers = X-Lang\n"
                                         "[route beta]\npath = /route\nheader = X-Lang: de\n"
                                         "[route rest]\n");
    for (struct page *p = pages; p->path != NULL; p++) {
        const char *name = p->vary_on;
        expect_page(m, p->path, textf("%s: de\r\nConnection: %s\r\n", name, name),
                    textf("%s#1 none", p->path));
        expect_page(m, p->path, textf("%s: de\r\n", name), textf("%s#2 de", p->path));
        expect_page(m, p->path, "", textf("%s#1 none", p->path));
        expect_page(m, p->path, textf("%s: de\r\nConnection: keep-alive, %s\r\n", name, name),
                    textf("%s#1 none", p->path));
        expect_page(m, p->path, textf("%s: de\r\n", name), textf("%s#2 de", p->path));
    }
    millpond_stop(m);
}

/* What one application reads as the end of a cookie is part of its value for another. */
static void a_quote_hides_no_keyed_cookie(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG, .vary_on = "Cookie"}, {0}};
    struct millpond *m =
        millpond_before(origin_start(pages_script, pages), "[route r]\nkey_cookies = theme\n");
    expect_page(m, "/p", "Cookie: x=\"; theme=dark\r\n", "/p#1 x=\"; theme=dark");
    expect_page(m, "/p", "", "/p#2 none");
    expect_page(m, "/p", "Cookie: theme=dark\r\n", "/p#3 theme=dark");
    millpond_stop(m);
}

/* ---- keys and the leak guard ---- */

static void a_keyed_cookie_is_accounted_for(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "", .vary_on = "Cookie"}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages),
                                         "[route r]\nttl = 1h\nkey_cookies = theme, font\n");
    expect_page(m, "/p", "Cookie: theme=dark\r\n", "/p#1 theme=dark");
    expect_field_in(expect_page(m, "/p", "Cookie: theme=dark\r\n", "/p#1 theme=dark"), "Cache-Status", "hit");
    expect_page(m, "/p", "Cookie: theme=light\r\n", "/p#2 theme=light");
    expect_page(m, "/p", "Cookie: theme=dark; font=1\r\n", "/p#3 theme=dark; font=1");
    expect_page(m, "/p", "", "/p#4 none");
    expect_page(m, "/p", "Cookie: theme=dark; sid=1\r\n", "/p#5 theme=dark; sid=1");
    expect_page(m, "/p", "Cookie: theme=dark\r\nCookie: sid=1\r\n", "/p#6 theme=dark");
    expect_page(m, "/p", "Cookie: theme=\"dark; sid=1\r\n", "/p#7 theme=\"dark; sid=1");
    expect_page(m, "/p", "Cookie: Theme=dark\r\n", "/p#8 Theme=dark");
    expect_page(m, "/p", "Cookie: theme=dark\r\nAuthorization: x\r\n", "/p#9 theme=dark");
    expect_page(m, "/p", "Cookie: theme=dark\r\n", "/p#1 theme=dark");
    expect_page(m, "/p", "", "/p#4 none");
    millpond_stop(m);
}

/* An application may read these parameters as the same one, and take the first or the last of them. */
static void parameters_that_may_be_one_keep_their_order(void **state)
{
    UNUSED(state);
    static const char *const pairs[][2] = {{"/p?a=3&b=1;a=2", "/p?b=1;a=2&a=3"},
                                           {"/p?a=&a[]=1", "/p?a[]=1&a="},
                                           {"/p?a.b=1&a_b=2", "/p?a_b=2&a.b=1"},
                                           {"/p?A=1&a=2", "/p?a=2&A=1"}};
    struct page pages[] = {{.path = "/p", .fields = LONG}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        expect_page(m, pairs[i][0], "", textf("/p#%u", 2 * i + 1));
        expect_page(m, pairs[i][1], "", textf("/p#%u", 2 * i + 2));
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(pipelined_answers_show_their_own_tags),
        E2E_TEST(a_completed_part_has_the_tags_of_both),
        E2E_TEST(a_new_version_of_a_part_has_its_own_tags),
        E2E_TEST(confirmed_odd_part_keeps_its_line_to_itself),
        E2E_TEST(parts_of_two_codings_are_not_joined),
        E2E_TEST(head_that_may_confirm_asks_by_the_keys_host),
        E2E_TEST(fields_named_by_connection_count_as_absent),
        E2E_TEST(a_quote_hides_no_keyed_cookie),
        E2E_TEST(a_keyed_cookie_is_accounted_for),
        E2E_TEST(parameters_that_may_be_one_keep_their_order),
    };
    return E2E_RUN("cache_interplay", tests);
}
