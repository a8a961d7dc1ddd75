/* cache_validation.c: what confirms a stored response and what does not: 304s, answers to HEAD (RFC 9111
 * section 4.3), reloads of what is immutable (RFC 8246); and fields that go no further than to us. */
#include <stdatomic.h>

#include "tests/support/millpond.h"

#define OBEY  "[route all]\nignore_client_cache_control = no\n"
#define STALE "Cache-Control: max-age=600\r\nAge: 700\r\n"
#define LONG  "Cache-Control: max-age=600\r\n"
/* A body of one byte. */
#define OK(fields, body)  "HTTP/1.1 200 OK\r\n" fields "Content-Length: 1\r\n\r\n" body
#define OK_HEAD(fields)   "HTTP/1.1 200 OK\r\n" fields "\r\n"
#define UNCHANGED(fields) "HTTP/1.1 304 Not Modified\r\n" fields "\r\n"

/* Raw answers, given one after the other; the table ends with NULL. */
struct answers {
    const char *const *raw;
    _Atomic unsigned next;
};

static void answers_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct answers *a = arg;
    UNUSED(request);
    const char *raw = a->raw[a->next];
    if (raw == NULL)
        raw = "HTTP/1.1 500 Nothing left\r\nContent-Length: 0\r\n\r\n";
    else
        a->next++;
    origin_send_bytes(c, raw, strlen(raw));
}

struct fix {
    struct answers answers;
    struct origin *origin;
    struct millpond *m;
};

static void start(struct fix *f, const char *sections, const char *const *raw)
{
    f->answers.raw = raw;
    atomic_init(&f->answers.next, 0);
    f->origin = origin_start(answers_script, &f->answers);
    f->m = millpond_before(f->origin, sections);
}

static struct message *head_of(struct fix *f, const char *fields)
{
    struct client *c = client_open(f->m->port);
    client_send(c, "HEAD / HTTP/1.1\r\nHost: test\r\n%s\r\n", fields);
    return client_read_no_body(c);
}

static void expect_get(struct fix *f, const char *fields, const char *body, const char *status)
{
    struct message *r = client_get(f->m->port, "/", fields);
    expect_status(r, 200);
    expect_body(r, body);
    expect_field_in(r, "Cache-Status", status);
}

static void head_confirms_what_is_stored(void **state)
{
    static const struct {
        const char *stored, *head;
        bool confirms;
    } rows[] = {
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "ETag: \"a\"\r\n"), true},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "ETag: \"a\"\r\nContent-Length: 1\r\n"), true},
        {"ETag: \"a\"\r\n", UNCHANGED(LONG "ETag: \"a\"\r\n"), true},
        {"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
         OK_HEAD(LONG "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\n"), true},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "ETag: \"b\"\r\n"), false},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "ETag: W/\"a\"\r\n"), false},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "ETag: \"a\"\r\nContent-Length: 2\r\n"), false},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG), false},
        {"ETag: \"a\"\r\n", OK_HEAD(LONG "Content-Length: 1\r\n"), false},
        {"ETag: \"a\"\r\n", "HTTP/1.1 410 Gone\r\n" LONG "ETag: \"a\"\r\n\r\n", false},
        {"ETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
         OK_HEAD(LONG "ETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:38 GMT\r\n"), false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *stored =
            textf("HTTP/1.1 200 OK\r\n" STALE "%sContent-Length: 1\r\n\r\n1", rows[i].stored);
        const char *const raw[] = {stored, rows[i].head, OK(LONG, "2"), NULL};
        struct fix f;
        start(&f, "", raw);
        expect_get(&f, "", "1", "stored");
        struct message *h = head_of(&f, "");
        struct message *r = client_get(f.m->port, "/", "");
        EXPECT(strcmp(r->body, rows[i].confirms ? "1" : "2") == 0, "row %zu: %s", i, r->body);
        expect_field_in(r, "Cache-Status", rows[i].confirms ? "hit" : "fwd=stale; stored");
        expect_field_in(h, "Cache-Status",
                        rows[i].confirms ? "fwd=stale; fwd-status=" : "fwd=stale; detail=method");
        if (rows[i].confirms)
            expect_field(h, "Content-Length", "1");
        millpond_stop(f.m);
    }
}

/* One that the client's own directive let through to the instance. */
static void head_that_denies_what_is_fresh_ends_it(void **state)
{
    static const char *const raw[] = {OK(LONG "ETag: \"a\"\r\n", "1"), OK_HEAD("ETag: \"b\"\r\n"),
                                      OK(LONG "ETag: \"b\"\r\n", "2"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, OBEY, raw);
    expect_get(&f, "", "1", "stored");
    expect_field_in(head_of(&f, ""), "Cache-Status", "hit");
    struct message *h = head_of(&f, "Cache-Control: no-cache\r\n");
    expect_field(h, "ETag", "\"b\"");
    expect_get(&f, "", "2", "fwd=uri-miss; stored");
    assert_string_equal(message_field(origin_request(f.origin, 1), "If-None-Match"), "\"a\"");
    millpond_stop(f.m);
}

/* A HEAD that nothing came of leaves no trace: the next GET is stored. */
static void head_does_not_keep_a_page_from_being_stored(void **state)
{
    static const char *const raw[] = {OK_HEAD(LONG), OK(LONG, "1"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_field(head_of(&f, ""), "Cache-Status", "millpond; fwd=uri-miss; detail=method");
    expect_get(&f, "", "1", "fwd=uri-miss; stored");
    expect_get(&f, "", "1", "hit");
    millpond_stop(f.m);
}

#define DATED "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

/* An instance that compares dates only may say so of something else (RFC 9111 section 4.3.4). */
static void other_etag_in_a_304_by_date_confirms_nothing(void **state)
{
    static const char *const raw[] = {OK(STALE DATED "ETag: \"a\"\r\n", "1"),
                                      UNCHANGED(LONG "ETag: \"b\"\r\n"), OK(LONG "ETag: \"b\"\r\n", "2"),
                                      NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_get(&f, "", "1", "stored");
    expect_get(&f, "", "2", "fwd=stale; stored");
    assert_null(message_field(origin_request(f.origin, 2), "If-None-Match"));
    expect_get(&f, "", "2", "hit");
    millpond_stop(f.m);
}

/* The second HEAD is asked without conditions, so nothing is left for it to confirm. */
static void other_etag_in_a_304_to_head_confirms_nothing(void **state)
{
    static const char *const raw[] = {OK(STALE DATED "ETag: \"a\"\r\n", "1"),
                                      UNCHANGED(LONG "ETag: \"b\"\r\n"), OK_HEAD(LONG "ETag: \"b\"\r\n"),
                                      OK(LONG "ETag: \"b\"\r\n", "2"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_get(&f, "", "1", "stored");
    expect_field(head_of(&f, ""), "ETag", "\"b\"");
    expect_get(&f, "", "2", "fwd=stale; stored");
    millpond_stop(f.m);
    static const char *const fresh[] = {OK(LONG DATED "ETag: \"a\"\r\n", "1"),
                                        UNCHANGED(LONG "ETag: \"b\"\r\n"), OK_HEAD(LONG), OK(LONG, "2"),
                                        NULL};
    start(&f, OBEY, fresh);
    expect_get(&f, "", "1", "stored");
    head_of(&f, "Cache-Control: no-cache\r\n");
    expect_get(&f, "", "2", "fwd=uri-miss; stored");
    millpond_stop(f.m);
}

static void other_etag_in_a_304_by_tag_is_not_looked_at(void **state)
{
    static const char *const raw[] = {OK(STALE "ETag: \"a\"\r\n", "1"), UNCHANGED(LONG "ETag: \"b\"\r\n"),
                                      NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_get(&f, "", "1", "stored");
    expect_get(&f, "", "1", "fwd=stale; fwd-status=304");
    struct message *r = client_get(f.m->port, "/", "");
    expect_field_in(r, "Cache-Status", "hit");
    expect_field(r, "ETag", "\"a\"");
    millpond_stop(f.m);
}

static void second_304_in_a_row_is_an_error(void **state)
{
    static const char *const raw[] = {OK(STALE DATED "ETag: \"a\"\r\n", "1"), UNCHANGED("ETag: \"b\"\r\n"),
                                      UNCHANGED("ETag: \"b\"\r\n"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "retries = 0\n[route all]\nstale_if_error = 0\n", raw);
    expect_get(&f, "", "1", "stored");
    expect_status(client_get(f.m->port, "/", ""), 502);
    millpond_stop(f.m);
}

static void private_304_takes_the_page_out(void **state)
{
    static const char *const raw[] = {OK(STALE "ETag: \"a\"\r\n", "1"),
                                      UNCHANGED("Cache-Control: private\r\nETag: \"a\"\r\n"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "[route all]\nstale_if_error = 1h\n", raw);
    expect_get(&f, "", "1", "stored");
    expect_get(&f, "", "1", "fwd=stale; fwd-status=304");
    expect_status(client_get(f.m->port, "/", ""), 500); /* not the page in its place */
    millpond_stop(f.m);
}

/* Of either side, a list in no-cache="..." or private="..." keeps fields of the other out. */
static void lists_of_fields_hold_for_304s(void **state)
{
    static const char *const raw[] = {
        OK("Cache-Control: max-age=600, private=\"X-Mine\"\r\nAge: 700\r\nETag: \"a\"\r\nX-Mine: 1\r\nX-All: "
           "1\r\n",
           "1"),
        UNCHANGED("Age: 700\r\nX-Mine: 2\r\nX-New: 2\r\n"),
        UNCHANGED("Cache-Control: max-age=600, no-cache=\"X-All\"\r\nX-Mine: 3\r\n"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    struct message *r = client_get(f.m->port, "/", "");
    expect_field(r, "X-Mine", "1"); /* meant for this client */
    r = client_get(f.m->port, "/", "");
    expect_field_in(r, "Cache-Status", "fwd-status=304");
    expect_no_field(r, "X-Mine");
    expect_field(r, "X-All", "1");
    expect_field(r, "X-New", "2");
    client_get(f.m->port, "/", "");
    r = client_get(f.m->port, "/", "");
    expect_field_in(r, "Cache-Status", "hit");
    expect_no_field(r, "X-All");
    expect_field(r, "X-New", "2");
    expect_field(r, "X-Mine", "3"); /* the list that named it is gone */
    millpond_stop(f.m);
}

static void reload_of_what_is_immutable_is_a_hit(void **state)
{
    static const char *const raw[] = {OK("Cache-Control: max-age=600, immutable\r\nETag: \"a\"\r\n", "1"),
                                      UNCHANGED("Cache-Control: max-age=600\r\nETag: \"a\"\r\n"),
                                      UNCHANGED("Cache-Control: max-age=600, immutable\r\nAge: 700\r\n"),
                                      UNCHANGED("Cache-Control: max-age=600, immutable\r\nAge: 700\r\n"),
                                      NULL};
    struct fix f;
    UNUSED(state);
    start(&f, OBEY, raw);
    expect_get(&f, "", "1", "stored");
    expect_get(&f, "Cache-Control: max-age=0\r\n", "1", "millpond; hit");
    expect_get(&f, "Cache-Control: no-cache\r\n", "1", "fwd=request; fwd-status=304"); /* said on purpose */
    expect_get(&f, "Cache-Control: max-age=0\r\n", "1",
               "fwd=request; fwd-status=304"); /* no longer immutable */
    expect_get(&f, "Cache-Control: max-age=0\r\n", "1", "fwd=stale; fwd-status=304"); /* no longer fresh */
    assert_int_equal(origin_requests(f.origin), 4);
    millpond_stop(f.m);
}

static void fields_for_us_go_no_further(void **state)
{
    static const char *const raw[] = {
        OK("Surrogate-Control: max-age=600, content=\"ESI/1.0\"\r\nCache-Control: no-store\r\nX-A: 1\r\n"
           "CDN-Cache-Control: &\r\n",
           "1"),
        /* its length comes last: it is stored as a copy of its own size */
        "HTTP/1.1 200 OK\r\nMillpond-Cache-Control: max-age=1, stale-while-revalidate=6000\r\n"
        "Surrogate-Control: no-store\r\nAge: 700\r\nETag: \"a\"\r\nX-A: 1\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"
        "1\r\n2\r\n0\r\n\r\n",
        UNCHANGED("Age: 700\r\nX-B: 1\r\n"), OK("Surrogate-Control: no-store\r\n", "3"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    for (int i = 0; i < 2; i++) {
        struct message *r = client_get(f.m->port, "/", "");
        expect_body(r, "1");
        expect_field_in(r, "Cache-Status", i == 0 ? "stored" : "hit; ttl=");
        expect_no_field(r, "Surrogate-Control");
        expect_field(r, "Cache-Control", "no-store"); /* for browsers */
        expect_field(r, "CDN-Cache-Control", "&");    /* for caches on the way there, RFC 9213 section 3.1 */
        expect_field(r, "X-A", "1");
    }
    millpond_purge(f.m, url_of("/"));
    for (int i = 0; i < 3; i++) { /* stored stale; confirmed in the background; that too is stale */
        struct message *r = client_get(f.m->port, "/", "");
        expect_body(r, "2");
        expect_field_in(r, "Cache-Status", i == 0 ? "stored" : "detail=stale_while_revalidate");
        expect_no_field(r, "Millpond-Cache-Control");
        expect_no_field(r, "Surrogate-Control");
        expect_field(r, "X-A", "1");
        millpond_wait_idle(f.m);
    }
    millpond_stop(f.m);
}

static void relayed_response_hides_them_too(void **state)
{
    static const char *const raw[] = {
        OK("Surrogate-Control: no-store\r\nMillpond-Cache-Control: private\r\nX-A: 1\r\n", "1"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    struct message *r = client_get(f.m->port, "/", "");
    expect_field_in(r, "Cache-Status", "detail=private");
    expect_no_field(r, "Surrogate-Control");
    expect_no_field(r, "Millpond-Cache-Control");
    expect_field(r, "X-A", "1");
    millpond_stop(f.m);
}

static void browsers_are_told_browser_ttl(void **state)
{
    static const char *const raw[] = {
        OK("Cache-Control: public, max-age=600, s-maxage=60\r\nAge: 50\r\nETag: \"a\"\r\n"
           "Expires: Sun, 06 Nov 1994 08:49:37 GMT\r\nPragma: x\r\n",
           "1"),
        OK("Cache-Control: no-cache\r\nCDN-Cache-Control: max-age=600\r\n", "2"),
        OK("Cache-Control: no-store\r\nExpires: 0\r\n", "3"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "[route all]\nbrowser_ttl = 1h\n", raw);
    for (int i = 0; i < 3; i++) {
        struct message *r = client_get(f.m->port, "/", i == 2 ? "If-None-Match: \"a\"\r\n" : "");
        const char *age = message_field(r, "Age"), *said = message_field(r, "Cache-Control");
        assert_non_null(said);
        assert_int_equal(message_field_count(r, "Cache-Control"), 1);
        assert_int_equal(atol(said + strlen("max-age=")) - atol(age != NULL ? age : "50"), 3600);
        expect_in(said, ", public");
        expect_not_in(said, "s-maxage");
        expect_no_field(r, "Expires");
        expect_no_field(r, "Pragma");
    }
    millpond_purge(f.m, url_of("/"));
    for (int i = 0; i < 2; i++)
        expect_field(client_get(f.m->port, "/", ""), "Cache-Control", "no-cache");
    millpond_purge(f.m, url_of("/"));
    expect_field(client_get(f.m->port, "/", ""), "Expires", "0");
    millpond_stop(f.m);
}

/* The URL's responses begin to vary by another field: nothing that was chosen by the first is used again. */
static void new_vary_names_end_the_old_variants(void **state)
{
    static const char *const raw[] = {OK(LONG "Vary: X-A\r\n", "1"), OK(LONG "Vary: X-B\r\n", "2"),
                                      OK(LONG "Vary: X-B\r\n", "3"), OK(LONG, "4"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_get(&f, "X-A: 1\r\nX-B: 1\r\n", "1", "fwd=uri-miss; stored");
    expect_get(&f, "X-A: 1\r\n", "1", "hit");
    expect_get(&f, "X-A: 2\r\nX-B: 2\r\n", "2", "fwd=vary-miss; stored");
    expect_get(&f, "X-A: 1\r\nX-B: 1\r\n", "3", "fwd=vary-miss; stored"); /* not 1 */
    expect_get(&f, "X-A: 1\r\nX-B: 2\r\n", "2", "hit");
    expect_get(&f, "X-B: 3\r\n", "4", "fwd=vary-miss; stored");
    expect_get(&f, "X-A: 1\r\nX-B: 2\r\n", "4", "hit"); /* without Vary it is for all */
    millpond_stop(f.m);
}

static void key_is_told_to_who_may_purge(void **state)
{
    static const char *const raw[] = {OK(LONG, "1"), NULL};
    struct fix f;
    UNUSED(state);
    start(&f, "", raw);
    expect_get(&f, "Cache-Status: ?1\r\n", "1", "fwd=uri-miss; stored; key=\"http://test/\"");
    expect_get(&f, "Cache-Status: ?1\r\n", "1", "; key=\"http://test/\"");
    assert_null(strstr(message_field(client_get(f.m->port, "/", ""), "Cache-Status"), "key"));
    millpond_stop(f.m);
    f.m = millpond_start(.cache = "purge_from = none\n", .rest = textf("%s", pool_lines("app", 1, f.origin)));
    struct message *r = client_get(f.m->port, "/", "Cache-Status: ?1\r\n");
    assert_null(strstr(message_field(r, "Cache-Status"), "key"));
    millpond_stop(f.m);
}

#define PAIRS 150

/* "v1" and "v2" stand at the same place of heads that are as long. */
static void tagged(struct origin_conn *c, const struct message *request, void *arg)
{
    const bool hit = strcmp(request->target, "/hit") == 0;
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nETag: \"v%d\"\r\nCache-Control: %s\r\nContent-Length: %5d\r\n\r\n%*s",
                strncmp(request->target, "/p", 2) == 0 ? 2 : 1, hit ? "max-age=60" : "no-store; a",
                hit ? 60000 : 3, hit ? 60000 : 3, "new");
}

/* A response whose turn has not come, since its client is full, is judged by its own head then. The one that
 * waits is behind a hit that is not out. */
static void conditions_wait_with_their_response(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(tagged, NULL);
    struct millpond *m =
        millpond_start(.main = "workers = 1\n", .rest = textf("%s[route all]\n", pool_lines("app", 1, o)));
    expect_status(client_get(m->port, "/hit", ""), 200);
    struct client *c = client_open_rcvbuf(m->port, 4096);
    for (unsigned i = 0; i < PAIRS; i++)
        client_send(c,
                    "GET /hit HTTP/1.1\r\nHost: test\r\n\r\n"
                    "GET /p?%u HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"v1\"\r\n\r\n",
                    i);
    unsigned before;
    do {
        before = origin_requests(o);
        for (unsigned i = 0; i < 20; i++)
            expect_body(client_get(m->port, "/q", ""), "new");
    } while (origin_requests(o) > before + 20);
    EXPECT(before < PAIRS * 4, "%u requests: it was never full", before);
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(client_read(c)->body_len, 60000);
        struct message *r = client_read(c);
        expect_status(r, 200);
        expect_body(r, "new");
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(head_confirms_what_is_stored),
        E2E_TEST(head_that_denies_what_is_fresh_ends_it),
        E2E_TEST(head_does_not_keep_a_page_from_being_stored),
        E2E_TEST(other_etag_in_a_304_by_date_confirms_nothing),
        E2E_TEST(other_etag_in_a_304_to_head_confirms_nothing),
        E2E_TEST(other_etag_in_a_304_by_tag_is_not_looked_at),
        E2E_TEST(second_304_in_a_row_is_an_error),
        E2E_TEST(private_304_takes_the_page_out),
        E2E_TEST(lists_of_fields_hold_for_304s),
        E2E_TEST(reload_of_what_is_immutable_is_a_hit),
        E2E_TEST(fields_for_us_go_no_further),
        E2E_TEST(relayed_response_hides_them_too),
        E2E_TEST(browsers_are_told_browser_ttl),
        E2E_TEST(new_vary_names_end_the_old_variants),
        E2E_TEST(key_is_told_to_who_may_purge),
        E2E_TEST(conditions_wait_with_their_response),
    };
    return E2E_RUN("cache_validation", tests);
}
