/* test_tls_tickets.c: files of keys, and which key seals and opens tickets. What clients see is in
 * tests/e2e/tls_tickets.c. */
#include "core/tls_tickets.h"

#include <openssl/evp.h>

#include "tests/support/tls.h"

/* Line n of a file: 80 bytes, all of them n. */
static char *key_line(unsigned n)
{
    unsigned char raw[80], text[120];
    memset(raw, (int)n, sizeof raw);
    EVP_EncodeBlock(text, raw, sizeof raw);
    return textf("%s\n", (char *)text);
}

static bool read_text(struct tls_ticket_keys *k, const char *text, char err[512])
{
    char *path = support_path("keys");
    support_write_file(path, text);
    bool ok = tls_ticket_keys_read(k, path, err, 512);
    if (!ok)
        assert_int_equal(k->count, 0);
    return ok;
}

static void test_files(void **state)
{
    struct tls_ticket_keys k;
    char err[512], *nine = "";
    UNUSED(state);
    assert_true(read_text(&k, textf("# newest first\n%s\r\n\n%s", key_line(1), key_line(2)), err));
    assert_int_equal(k.count, 2);
    assert_int_equal(k.items[0].name[0], 1);
    assert_int_equal(k.items[0].mac[31], 1);
    assert_int_equal(k.items[1].cipher[31], 2);
    for (unsigned i = 1; i <= 9; i++)
        nine = textf("%s%s", nine, key_line(i));
    char *short_one = textf("%.100s\n", key_line(1)), *odd = key_line(1), *longer = textf("A%s", key_line(1));
    odd[50] = '!';
    const struct {
        const char *text, *why;
    } bad[] = {
        {"", "has no key; write one by"},
        {"# none\n", "has no key"},
        {nine, "line 9 of "},
        {short_one, "line 1 of "},
        {longer, "is no key of 80 bytes"},
        {odd, "is no key of 80 bytes"},
        {textf("%s%s", key_line(3), key_line(3)), "line 2 of "},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(read_text(&k, bad[i].text, err));
        expect_in(err, bad[i].why);
        expect_not_in(err, "AQEB"); /* nothing of a key */
    }
    assert_false(tls_ticket_keys_read(&k, support_path("absent"), err, sizeof err));
    expect_in(err, "absent cannot be read");
}

static void test_rotation(void **state)
{
    struct tls_tickets t;
    struct tls_ticket_key first, second;
    UNUSED(state);
    assert_true(tls_tickets_init(&t));
    first = t.keys.items[0];
    tls_tickets_rotate(&t);
    second = t.keys.items[0];
    assert_memory_not_equal(&first, &second, sizeof first);
    assert_memory_equal(&first, &t.keys.items[1], sizeof first);
    tls_tickets_rotate(&t);
    assert_int_equal(t.keys.count, 3);
    tls_tickets_rotate(&t);
    assert_int_equal(t.keys.count, 3);
    assert_memory_equal(&second, &t.keys.items[2], sizeof second);
    tls_tickets_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, support_setup, support_teardown),
        cmocka_unit_test_setup_teardown(test_rotation, support_setup, support_teardown),
    };
    return cmocka_run_group_tests_name("core/tls_tickets", tests, NULL, NULL);
}
