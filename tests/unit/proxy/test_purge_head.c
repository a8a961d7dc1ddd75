/* test_purge_head.c: what PURGE and BAN requests in the dialects of several caches ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/text.h"
#include "proxy/purge_head.h"
#include "tests/unit/cache/text_head.h"

struct row {
    enum http_method method;
    const char *host, *target, *fields;
    const char *want; /* "kind text" each with ';', a '~' in front when soft; NULL: refused */
};

static void put_items(struct text *t, const struct cache_purge_request *r)
{
    for (size_t i = 0; i < r->count; i++) {
        text_put(t, slice_str(r->soft ? "~" : ""));
        text_put(t, slice_str(outcome_purge_kind_name(cache_purge_kind_of(r->items[i].kind))));
        text_put(t, slice_str(r->items[i].text.len > 0 ? " " : ""));
        text_put(t, r->items[i].text);
        text_put_char(t, ';');
    }
    text_put_char(t, '\0');
}

static void expect_row(const struct row *row)
{
    struct arena arena;
    struct cache_purge_request r;
    struct text_head head;
    const slice_t own_key = SLICE_LIT("http://own/key?q");
    char got[1024];
    arena_init(&arena, NULL, 0, 64 * KB);
    cache_purge_request_init(&r, &arena);
    text_head_request(&head, row->method, row->fields);
    const char *mark = strchr(row->target, '?');
    const struct purge_head in = {
        .request = &head.head,
        .host = slice_str(row->host),
        .path = slice_make(row->target, mark != NULL ? (size_t)(mark - row->target) : strlen(row->target)),
        .query = slice_str(mark != NULL ? mark + 1 : NULL),
        .keys = &own_key,
        .key_count = 1};
    bool ok = purge_head_read(&in, &r);
    struct text t = text_make(got, sizeof got);
    put_items(&t, &r);
    if (ok != (row->want != NULL) || (ok && strcmp(got, row->want) != 0))
        fail_msg("%s %s: %s %s", row->target, row->fields, ok ? "took" : "refused", ok ? got : r.problem);
    assert_true(ok || (r.problem != NULL && r.hint != NULL));
    assert_true(ok == (r.count > 0) || !ok);
    text_head_free(&head);
    arena_reset(&arena);
}

#define EXPECT_ROWS(rows)                                                                                    \
    do {                                                                                                     \
        for (size_t i_ = 0; i_ < ARRAY_LEN(rows); i_++)                                                      \
            expect_row(&(rows)[i_]);                                                                         \
    } while (0)

static void test_urls(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {HTTP_PURGE, "a", "/p?x", "", "url http://own/key?q;"},
        {HTTP_BAN, "a", "/p", "Accept: */*\nX-Other: 1", "url http://own/key?q;"},
        {HTTP_PURGE, "a", "/p", "Fastly-Soft-Purge: 1", "~url http://own/key?q;"},
        {HTTP_PURGE, "a", "/p", "Fastly-Soft-Purge: 0", "url http://own/key?q;"},
        {HTTP_PURGE, "a", "/p", "millpond-purge: Any-Query, soft", "~url_any_query http://own/key;"},
        {HTTP_PURGE, "A:80", "/n%7e?x", "Millpond-Purge: prefix", "prefix http://a/n~?x;"},
        {HTTP_PURGE, "A:8080", "/n", "Millpond-Purge: host", "host a:8080;"},
        {HTTP_PURGE, "a", "/", "Millpond-Purge: all", "all;"},
        {HTTP_PURGE, "a", "/", "Millpond-Purge: everything", NULL},
        {HTTP_PURGE, "a", "/", "Millpond-Purge: all, host", NULL},
        {HTTP_PURGE, "", "/", "Millpond-Purge: host", NULL},
        {HTTP_PURGEKEYS, "a", "/", "", NULL},
    };
    EXPECT_ROWS(rows);
}

static void test_tags(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {HTTP_PURGE, "a", "/", "Surrogate-Key: a b,c", "tag a;tag b,c;"},
        {HTTP_PURGE, "a", "/", "Cache-Tag: a, b,c", "tag a;tag b;tag c;"},
        {HTTP_PURGE, "a", "/", "xkey: a\nxkey: b c", "tag a;tag b;tag c;"},
        {HTTP_PURGE, "a", "/", "xkey-purge: a b", "tag a;tag b;"},
        {HTTP_BAN, "a", "/", "xkey-purge: a", "tag a;"},
        {HTTP_PURGEKEYS, "a", "/", "XKey-SoftPurge: a", "~tag a;"},
        {HTTP_PURGE, "a", "/*", "Surrogate-Key: a\nFastly-Soft-Purge: 1", "~tag a;"},
        {HTTP_PURGE, "a", "/", "Surrogate-Key: a\nMillpond-Purge: soft", "~tag a;"},
        {HTTP_PURGE, "a", "/", "Surrogate-Key:", NULL},
        {HTTP_PURGE, "a", "/", "Surrogate-Key: a\nCache-Tag:", NULL},
        {HTTP_PURGE, "a", "/", "Surrogate-Key: a\nMillpond-Purge: host", NULL},
        {HTTP_PURGE, "a", "/", "Surrogate-Key: a\nX-Url: /x", NULL},
        {HTTP_BAN, "a", "/", "Cache-Tags: node:1|node:2", NULL},
        {HTTP_BAN, "a", "/", "X-Cache-Tags: (a|b)(,.+)?$", NULL},
        {HTTP_PURGE, "a", "/", "X-Magento-Tags-Pattern: ((^|,)cat_p_1(,|$))", NULL},
    };
    EXPECT_ROWS(rows);
}

static void test_targets_with_wildcards(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {HTTP_PURGE, "a", "/*", "", "prefix http://a/;"},
        {HTTP_PURGE, "a", "/.*", "", "prefix http://a/;"},
        {HTTP_BAN, "A", "/news/*", "", "prefix http://a/news/;"},
        {HTTP_BAN, "a", "/news/.*", "", "prefix http://a/news/;"},
        {HTTP_BAN, "a", "/*.png", "", "glob http://a/*.png;"},
        {HTTP_BAN, "a", "/p?x=*", "", "prefix http://a/p?x=;"},
        {HTTP_BAN, "a", "/*?x=*", "Millpond-Purge: soft", "~glob http://a/*?x=*;"},
        {HTTP_PURGE, "a", "/x%2A", "", "url http://own/key?q;"},
        {HTTP_PURGE, "", "/*", "", NULL},
    };
    EXPECT_ROWS(rows);
}

static void test_regular_expressions(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {HTTP_PURGE, "a", "/.*", "X-Purge-Method: regex", "host a;"},
        {HTTP_PURGE, "a", "/page/.*", "X-Purge-Method: regex",
         "glob http://a/page/*;glob http://a/*/page/*;"},
        {HTTP_PURGE, "a", "/page/", "X-Purge-Method: default", "url http://own/key?q;"},
        {HTTP_PURGE, "a", "/page/", "X-Purge-Method: exact", "url http://own/key?q;"},
        {HTTP_BAN, "a", "/", "X-Invalidate-Pattern: ^/product/", "glob http://a/product/*;"},
        {HTTP_BAN, "a", "/", "X-Invalidate-Pattern: ^/product/[1-3]", NULL},
        {HTTP_BAN, "a", "/", "X-Ban-Url: ^/images/.*\nX-Ban-Host: www.b.example",
         "glob http://www.b.example/images/*;"},
        {HTTP_BAN, "a", "/", "X-Host: .*\nX-Url: .*\\.png$\nX-Content-Type: .*", "glob http://*/*.png;"},
        {HTTP_BAN, "a", "/", "X-Host: .*\nX-Url: .*\nX-Content-Type: .*", "all;"},
        {HTTP_BAN, "a", "/", "X-Host: ^b\\.example$\nX-Url: .*\nX-Content-Type: .*", "host b.example;"},
        {HTTP_BAN, "a", "/", "X-Host: b.example", "host b.example;"},
        {HTTP_BAN, "a", "/", "X-Host: ^(a|b)$\nX-Url: /x", NULL},
        {HTTP_BAN, "a", "/", "X-Url: /x\nX-Content-Type: image/.*", NULL},
        {HTTP_BAN, "a", "/", "X-Url: /x\nX-Url: /y", NULL},
        {HTTP_BAN, "a", "/", "X-Url: ^news", NULL},
        {HTTP_BAN, "a", "/", "X-Url: .html$", "glob http://a?html;glob http://a/*?html;"},
        {HTTP_PURGE, "a", "/p", "X-Host: b.example",
         "url http://own/key?q;"}, /* of no purge, so left alone */
    };
    EXPECT_ROWS(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_targets_with_wildcards),
        cmocka_unit_test(test_regular_expressions),
    };
    return cmocka_run_group_tests_name("proxy/purge_head", tests, NULL, NULL);
}
