/* early_hints.c: 103 (Early Hints): passed on from instances, left out where the route says so, bounded, and
 * made of the links of stored responses that have become too old. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define PRELOAD "</a.css>; rel=preload; as=style"
#define HINTS   "HTTP/1.1 103 Early Hints\r\nLink: " PRELOAD "\r\nSet-Cookie: a=1\r\nSurrogate-Key: k\r\n\r\n"
#define PAGE    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: no-store\r\n\r\npage"

static struct millpond *start(struct origin *o, const char *sections)
{
    return millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                          .rest = textf("%s%s", pool_lines("app", 1, o), sections));
}

/* All that came by HTTP/1.1, until the end of the connection. */
static char *raw_get(int port, const char *version)
{
    struct client *c = client_open(port);
    client_send(c, "GET /p HTTP/%s\r\nHost: test\r\nConnection: close\r\n\r\n", version);
    while (wire_more(&c->wire, support_wait_ms()))
        continue;
    return textf("%.*s", (int)c->wire.len, c->wire.buf);
}

/* The head up to the final status, of an answer by HTTP/2. */
static char *interim_of(struct h2_client *c, uint32_t id)
{
    const char *head = h2_answer(c, id)->head, *final = strstr(head, ":status: 200");
    EXPECT(final != NULL, "%s", head);
    return textf("%.*s", (int)(final - head), head);
}

static void what_instances_say_is_passed_on(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed(HINTS PAGE);
    struct millpond *m = start(o, "");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "page");
    assert_string_equal(interim_of(c, 1), ":status: 103\nlink: " PRELOAD "\n");
    char *all = raw_get(m->port, "1.1");
    EXPECT(strncmp(all, "HTTP/1.1 103 Early Hints\r\nLink: " PRELOAD "\r\n\r\nHTTP/1.1 200 OK\r\n", 70) == 0,
           "%s", all);
    expect_not_in(raw_get(m->port, "1.0"), "103");
    assert_int_equal(millpond_figure(m, "early_hints"), 2);
    millpond_stop(m);
}

static void routes_may_leave_it_out(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 102 Processing\r\nX-Own: 1\r\n\r\n" HINTS PAGE);
    struct millpond *m = start(o, "[route all]\nearly_hints = off\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "page");
    assert_string_equal(interim_of(c, 1), ":status: 102\nx-own: 1\n");
    expect_not_in(raw_get(m->port, "1.1"), "103");
    assert_int_equal(millpond_figure(m, "early_hints"), 0);
    millpond_stop(m);
}

static char *repeated(const char *text, unsigned times)
{
    char *all = "";
    for (unsigned i = 0; i < times; i++)
        all = textf("%s%s", all, text);
    return all;
}

static void number_and_bytes_are_bounded(void **state)
{
    UNUSED(state);
    const char *big = textf("HTTP/1.1 103 Early Hints\r\nLink: <%s>\r\n\r\n", text_repeat('x', 20000));
    const struct {
        const char *answer;
        int status;
    } rows[] = {
        {textf("%s%s", repeated(HINTS, 16), PAGE), 200},
        {textf("%s%s", repeated(HINTS, 17), PAGE), 502},
        {textf("%s%s", repeated(big, 3), PAGE), 200},
        {textf("%s%s", repeated(big, 4), PAGE), 502},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct millpond *m = start(origin_start_fixed(rows[i].answer), "retries = 0\n");
        expect_in(raw_get(m->port, "1.1"), textf("HTTP/1.1 %d ", rows[i].status));
        millpond_stop(m);
    }
}

/* ---- learned ---- */

struct linked {
    const char *fields; /* of each answer */
    struct gate *gate;  /* passed before each but the first */
};

static void linked_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct linked *l = arg;
    if (l->gate != NULL && c->number + c->served > 1)
        gate_pass(l->gate);
    if (message_field(request, "If-None-Match") != NULL)
        origin_send(c, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=0\r\n\r\n");
    else
        origin_respond(c, 200, l->fields, "page");
}

#define LEARN "[route all]\nearly_hints = learn\n"
#define STALE "Cache-Control: max-age=0\r\nETag: \"a\"\r\n"
#define LINKED                                                                                               \
    STALE "Link: " PRELOAD ", </next>; rel=next\r\nLink: <https://c.test>; rel=\"x preconnect\"\r\n"

static struct linked linked; /* threads may outlive a test that fails */

static struct millpond *start_linked(const char *fields, const char *sections, struct gate *gate)
{
    linked = (struct linked){fields, gate};
    return start(origin_start(linked_script, &linked), sections);
}

static void get_twice(struct h2_client *c)
{
    for (uint32_t id = 1; id < 5; id += 2) {
        h2_get(c, id, "/p");
        h2_expect(c, id, 200, "page");
    }
}

/* While the instance thinks. */
static void links_of_what_is_stored_are_said_at_once(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m = start_linked(LINKED, LEARN, g);
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "page");
    assert_string_equal(interim_of(c, 1), ""); /* there was nothing to learn from */
    h2_get(c, 3, "/p");
    while (h2_answer(c, 3)->interim == 0)
        EXPECT(h2_read(c), "no 103 comes");
    assert_int_equal(h2_answer(c, 3)->status, 0);
    h2_get(c, 5, "/p"); /* who waits for that fetch is told, too */
    while (h2_answer(c, 5)->interim == 0)
        EXPECT(h2_read(c), "no 103 comes");
    gate_open(g);
    for (uint32_t id = 3; id < 7; id += 2) {
        h2_expect(c, id, 200, "page");
        assert_string_equal(interim_of(c, id), ":status: 103\nlink: " PRELOAD
                                               "\nlink: <https://c.test>; rel=\"x preconnect\"\n");
    }
    assert_int_equal(millpond_figure(m, "early_hints_learned"), 2);
    expect_not_in(raw_get(m->port, "1.1"), "103"); /* nobody of HTTP/1.1 asked for it */
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 7, ":method", "HEAD", ":scheme", "http", ":authority", "test",
               ":path", "/p");
    h2_expect(c, 7, 200, NULL);
    assert_string_equal(interim_of(c, 7), "");
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void nothing_is_learned_where_nothing_may_be(void **state)
{
    UNUSED(state);
    static const struct {
        const char *what, *fields, *sections;
    } rows[] = {
        {"not asked for", LINKED, ""},
        {"no such links", STALE "Link: </next>; rel=next\r\nLink: spoilt; rel=preload\r\n", LEARN},
        {"no-cache", "Cache-Control: no-cache, max-age=60\r\nETag: \"a\"\r\nLink: " PRELOAD "\r\n", LEARN},
        {"no-cache by other words",
         "Cache-Control: max-age=0, must-revalidate\r\nETag: \"a\"\r\nLink: " PRELOAD "\r\n", LEARN},
        {"fresh", "Cache-Control: max-age=60\r\nLink: " PRELOAD "\r\n", LEARN},
        {"not stored", "Cache-Control: no-store\r\nLink: " PRELOAD "\r\n", LEARN},
        {"private", "Cache-Control: private, max-age=0\r\nETag: \"a\"\r\nLink: " PRELOAD "\r\n", LEARN},
        {"taken out", LINKED, LEARN "remove_response_header = Link\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct millpond *m = start_linked(rows[i].fields, rows[i].sections, NULL);
        struct h2_client *c = h2_open(m->port);
        get_twice(c);
        EXPECT(strcmp(interim_of(c, 3), "") == 0, "%s: %s", rows[i].what, h2_answer(c, 3)->head);
        assert_int_equal(millpond_figure(m, "early_hints_learned"), 0);
        millpond_stop(m);
    }
}

/* What is stored because the ini file says so is not for requests with credentials, and neither are its
 * hints; nor is another variant, or what was purged. */
static void what_is_for_others_gives_no_hints(void **state)
{
    UNUSED(state);
    struct millpond *m = start_linked("ETag: \"a\"\r\nVary: Accept-Language\r\nLink: " PRELOAD "\r\n",
                                      LEARN "ttl = 1h\nignore_client_cache_control = no\n", NULL);
    struct h2_client *c = h2_open(m->port);
    uint32_t id = 1;
    const char *const asks[][2] = {{"x-none", "1"},
                                   {"x-none", "1"},
                                   {"authorization", "Basic eDp5"},
                                   {"cookie", "session=me"},
                                   {"accept-language", "de"}};
    for (size_t i = 0; i < ARRAY_LEN(asks); i++, id += 2) {
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, id, H2_GET("/p"), "cache-control", "no-cache", asks[i][0],
                   asks[i][1]);
        h2_expect(c, id, 200, "page");
        EXPECT((h2_answer(c, id)->interim == 103) == (i == 1), "%s: %s", asks[i][0], h2_answer(c, id)->head);
    }
    assert_int_equal(millpond_cli(m, "purge", "--all", NULL).exit_code, 0);
    h2_get(c, id, "/p");
    h2_expect(c, id, 200, "page");
    assert_string_equal(interim_of(c, id), "");
    assert_int_equal(millpond_figure(m, "early_hints_learned"), 1);
    millpond_stop(m);
}

/* Links that do not fit are left out, whole. */
static void learned_bytes_are_bounded(void **state)
{
    UNUSED(state);
    char *fields = STALE;
    for (unsigned i = 0; i < 60; i++)
        fields = textf("%sLink: </%u%s>; rel=preload\r\n", fields, i, text_repeat('x', 200));
    struct millpond *m = start_linked(fields, LEARN, NULL);
    struct h2_client *c = h2_open(m->port);
    get_twice(c);
    char *interim = interim_of(c, 3);
    EXPECT(strlen(interim) > 3000 && strlen(interim) <= 4096, "%zu bytes", strlen(interim));
    expect_in(interim, textf("link: </0%s>; rel=preload\n", text_repeat('x', 200)));
    assert_string_equal(interim + strlen(interim) - strlen("; rel=preload\n"), "; rel=preload\n");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_instances_say_is_passed_on),
        E2E_TEST(routes_may_leave_it_out),
        E2E_TEST(number_and_bytes_are_bounded),
        E2E_TEST(links_of_what_is_stored_are_said_at_once),
        E2E_TEST(nothing_is_learned_where_nothing_may_be),
        E2E_TEST(what_is_for_others_gives_no_hints),
        E2E_TEST(learned_bytes_are_bounded),
    };
    return E2E_RUN("e2e/early_hints", tests);
}
