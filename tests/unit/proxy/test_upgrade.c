/* test_upgrade.c: which protocols are passed on, and which answers take one of them up. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "core/h1_parse.h"
#include "proxy/upgrade.h"

static struct http_field fields[20];

static struct http_head parsed(const char *text, bool response)
{
    struct http_head head = {.fields = fields};
    struct h1_parser p = {0};
    const struct h1_limits limits = {8192, 1024, ARRAY_LEN(fields)};
    enum h1_status st = response ? h1_parse_response(&p, text, strlen(text), &head, &limits)
                                 : h1_parse_request(&p, text, strlen(text), &head, &limits);
    if (st != H1_DONE)
        fail_msg("%s", text);
    return head;
}

static void test_offer(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *offer;
    } rows[] = {
        {"Connection: upgrade\r\nUpgrade: websocket\r\n", "websocket"},
        {"Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n", "WebSocket"},
        {"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: a/1.0,b , ,c\r\n", "a/1.0, b, c"},
        {"Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", "a, b"},
        {"Upgrade: websocket\r\n", ""},
        {"Connection: close\r\nUpgrade: websocket\r\n", ""},
        {"Connection: upgrades\r\nUpgrade: websocket\r\n", ""},
        {"Connection: upgrade\r\n", ""},
        {"Connection: upgrade\r\nUpgrade:\r\n", ""},
        {"Connection: upgrade\r\nUpgrade: h2c\r\n", ""},
        {"Connection: upgrade\r\nUpgrade: H2C/1\r\n", ""},
        {"Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", ""},
        {"Connection: upgrade\r\nUpgrade: hTTp/1.1, TLS/1.3, h2, h3, https\r\n", ""},
        {"Connection: upgrade\r\nUpgrade: h2c, websocket\r\n", "websocket"},
        {"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", "websocket"},
        {"Connection: upgrade\r\nUpgrade: h2cx, xh2c\r\n", "h2cx, xh2c"},
        {"Connection: upgrade\r\nUpgrade: a b, \"h2c\", \"x\", a/, /1, a/b/c, ok\r\n", "ok"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024], list[UPGRADE_OFFER_MAX];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", rows[i].fields);
        struct http_head head = parsed(text, false);
        slice_t offer = slice_make(list, upgrade_offer(&head, list));
        if (!slice_eq(offer, slice_str(rows[i].offer)))
            fail_msg("%s gave %.*s", rows[i].fields, (int)offer.len, offer.ptr);
        head.version_minor = 0;
        assert_int_equal(upgrade_offer(&head, list), 0);
    }
}

/* What does not fit is left out, and what follows it may still fit. */
static void test_long_lists(void **state)
{
    UNUSED(state);
    char text[1024], list[UPGRADE_OFFER_MAX], a[254], b[300];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[sizeof a - 1] = b[sizeof b - 1] = '\0';
    snprintf(text, sizeof text,
             "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: %s, %s, c, d\r\n\r\n", b, a);
    struct http_head head = parsed(text, false);
    assert_int_equal(upgrade_offer(&head, list), UPGRADE_OFFER_MAX);
    assert_memory_equal(list + 253, ", c", 3);
}

static void test_accepted(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *offer, *accepted;
    } rows[] = {
        {"Upgrade: websocket\r\n", "websocket", "websocket"},
        {"Upgrade: WebSocket\r\n", "a, websocket", "WebSocket"},
        {"Upgrade: a/1\r\n", "a/1, b", "a/1"},
        {"Upgrade: a\r\n", "a/1", ""},
        {"Upgrade: h2c\r\n", "websocket", ""},
        {"Upgrade: websocket, h2c\r\n", "websocket", ""},
        {"Upgrade: h2c\r\nUpgrade: websocket\r\n", "websocket", ""},
        {"Upgrade: websocket\r\nUpgrade: websocket\r\n", "websocket", ""},
        {"Upgrade:\r\n", "websocket", ""},
        {"Connection: upgrade\r\n", "websocket", ""},
        {"Upgrade: web\r\n", "websocket", ""},
        {"Upgrade: websocket\r\n", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", rows[i].fields);
        struct http_head head = parsed(text, true);
        slice_t accepted = upgrade_accepted(&head, slice_str(rows[i].offer));
        if (!slice_eq(accepted, slice_str(rows[i].accepted)))
            fail_msg("%s of %s gave %.*s", rows[i].fields, rows[i].offer, (int)accepted.len, accepted.ptr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offer),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_accepted),
    };
    return cmocka_run_group_tests_name("proxy/upgrade", tests, NULL, NULL);
}
