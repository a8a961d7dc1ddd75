/* cache_tags.c: tags of stored responses: who sees the fields, how a group is invalidated (RFC 9875), what
 * cannot be stored because of them. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define LONG "Cache-Control: max-age=600\r\n"
#define TAGS "Surrogate-Key: s1 s2\r\nCache-Tag: t1, t2\r\nxkey: x\r\nCache-Groups: \"g\"\r\n"

#define expect_page(m, target, body)                                                                         \
    (SUPPORT_AT, expect_body(client_ask_((m)->port, "GET", target, "", ""), body))

static void expect_hidden(const struct message *r)
{
    expect_no_field(r, "Surrogate-Key");
    expect_no_field(r, "Cache-Tag");
    expect_no_field(r, "xkey");
    expect_field(r, "Cache-Groups", "\"g\"");
}

static void expect_shown(const struct message *r)
{
    expect_field(r, "Surrogate-Key", "s1 s2");
    expect_field_in(r, "Cache-Tag", "t1");
    expect_field_in(r, "Cache-Tag", "t2");
    expect_field(r, "xkey", "x");
    expect_field(r, "Cache-Groups", "\"g\"");
    assert_int_equal(message_field_count(r, "Surrogate-Key"), 1);
}

static void tag_fields_are_not_for_clients(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/stored", .fields = LONG TAGS},
        {.path = "/relayed", .fields = "Cache-Control: no-store\r\n" TAGS},
        {.path = "/part", .fields = "Cache-Control: max-age=600, private=\"x-user\"\r\n" TAGS},
        {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    static const char *const paths[] = {"/stored", "/relayed", "/part"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        expect_shown(client_get(m->port, paths[i], "Fastly-Debug: 1\r\n")); /* fetched */
        expect_hidden(client_get(m->port, paths[i], ""));
        expect_shown(client_get(m->port, paths[i], "Fastly-Debug: 1\r\n")); /* a hit, where it is stored */
    }
    expect_body(client_get(m->port, "/stored", "Fastly-Debug: 1\r\n"), "/stored#1");
    millpond_stop(m);
}

static void tag_fields_are_for_allowed_addresses(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG TAGS}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_start(.cache = "purge_from = 10.0.0.0/8", .rest = pool_lines("app", 1, o));
    expect_hidden(client_get(m->port, "/p", "Fastly-Debug: 1\r\n"));
    expect_hidden(client_get(m->port, "/p", "Fastly-Debug: 1\r\n"));
    millpond_stop(m);
}

static void unsafe_methods_invalidate_groups(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/a", .fields = LONG "Cache-Groups: \"one\", \"both parts\"\r\n"},
        {.path = "/b", .fields = LONG "Cache-Groups: \"two\", \"both parts\"\r\n"},
        {.path = "/safe", .fields = "Cache-Group-Invalidation: \"one\"\r\n"},
        {.path = "/one", .fields = "Cache-Group-Invalidation: \"one\"\r\n", .status = 404},
        {.path = "/both", .fields = "Cache-Group-Invalidation: \"x\", \"both parts\";p\r\n"},
        {.path = "/broken", .fields = "Cache-Group-Invalidation: \"one\", two\r\n"},
        {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_page(m, "/a", "/a#1");
    expect_page(m, "/b", "/b#1");
    client_get(m->port, "/safe", "");
    client_ask(m->port, "POST", "/broken", "", "");
    expect_page(m, "/a", "/a#1");
    client_raw(m->port, "POST /one HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n");
    expect_page(m, "/a", "/a#1"); /* another origin's group of that name */
    client_ask(m->port, "POST", "/one", "", "");
    expect_page(m, "/a", "/a#2");
    expect_page(m, "/b", "/b#1");
    struct message *r = client_ask(m->port, "DELETE", "/both", "", "");
    expect_field_in(r, "Cache-Group-Invalidation", "both parts"); /* end to end */
    expect_page(m, "/a", "/a#3");
    expect_page(m, "/b", "/b#2");
    millpond_stop(m);
}

static void a_group_reaches_a_fetch_under_way(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct page pages[] = {{.path = "/a", .fields = LONG "Cache-Groups: \"g\"\r\n", .gate = g},
                           {.path = "/post", .fields = "Cache-Group-Invalidation: \"g\"\r\n"},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    struct client *before = client_open(m->port);
    client_send(before, "GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *old = client_read_head(before);
    gate_wait_arrived(g, 1);
    client_ask(m->port, "POST", "/post", "", "");
    struct client *after = client_open(m->port);
    client_send(after, "GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 2);
    gate_open(g);
    wire_read_body(&before->wire, old);
    expect_body(old, "/a#1");
    expect_body(client_read(after), "/a#2");
    expect_page(m, "/a", "/a#2");
    millpond_stop(m);
}

/* A route's tags are tags like others; a group is the origin, # and its name. */
static void routes_add_tags(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/a/1", .fields = LONG},
                           {.path = "/b/1", .fields = LONG},
                           {.path = "/post", .fields = "Cache-Group-Invalidation: \"of-route\"\r\n"},
                           {0}};
    struct millpond *m =
        millpond_before(origin_start(pages_script, pages),
                        "[route a]\npath = /a/*\ntags = other, http://test#of-route\n[route rest]\n");
    expect_page(m, "/a/1", "/a/1#1");
    expect_page(m, "/b/1", "/b/1#1");
    client_ask(m->port, "POST", "/post", "", "");
    expect_page(m, "/a/1", "/a/1#2");
    expect_page(m, "/b/1", "/b/1#1");
    millpond_stop(m);
}

/* What a 304 does not say stays as it was. */
static void a_304_updates_tags_like_fields(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/a", .fields = "Cache-Control: max-age=0\r\n" TAGS, .etag = "\"v\""},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_page(m, "/a", "/a#1");
    pages[0].fields = "Cache-Control: max-age=0\r\nCache-Tag: t3\r\n";
    struct message *r = client_get(m->port, "/a", "Fastly-Debug: 1\r\n");
    expect_body(r, "/a#1");
    expect_field(r, "Surrogate-Key", "s1 s2");
    expect_field(r, "Cache-Tag", "t3");
    expect_field(r, "xkey", "x");
    expect_field(r, "Cache-Groups", "\"g\"");
    millpond_stop(m);
}

static void too_many_tags_are_not_stored(void **state)
{
    UNUSED(state);
    char *fields = malloc(8192);
    assert_non_null(fields);
    strcpy(fields, LONG "Cache-Tag: ");
    for (int i = 0; i < 1025; i++)
        strcat(fields, "a,");
    strcat(fields, "\r\n");
    struct page pages[] = {{.path = "/a", .fields = fields}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    struct message *r = client_get(m->port, "/a", "");
    expect_field_in(r, "Cache-Status", "detail=tags_too_large");
    expect_no_field(r, "Cache-Tag");
    expect_page(m, "/a", "/a#2");
    millpond_stop(m);
    free(fields);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(tag_fields_are_not_for_clients),
        E2E_TEST(tag_fields_are_for_allowed_addresses),
        E2E_TEST(unsafe_methods_invalidate_groups),
        E2E_TEST(a_group_reaches_a_fetch_under_way),
        E2E_TEST(routes_add_tags),
        E2E_TEST(a_304_updates_tags_like_fields),
        E2E_TEST(too_many_tags_are_not_stored),
    };
    return E2E_RUN("cache_tags", tests);
}
