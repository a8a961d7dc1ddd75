/* test_tls_names.c: which certificates answer for which name. */
#include "core/tls_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct tls_names names;

static void add(const char *text, enum tls_key_kind kind, unsigned certificate)
{
    assert_true(tls_names_add(&names, text, kind, certificate));
}

/* Certificates of this name's choice: by RSA and by EC. */
static void expect(const char *host, int rsa, int ec)
{
    const struct tls_choice *c = &names.choices[tls_names_find(&names, slice_str(host))];
    assert_int_equal(c->by_kind[TLS_KEY_RSA], rsa);
    assert_int_equal(c->by_kind[TLS_KEY_EC], ec);
    assert_int_equal(c->by_kind[TLS_KEY_ED25519], -1);
}

static int teardown(void **state)
{
    UNUSED(state);
    tls_names_free(&names);
    return 0;
}

static void exact_names_go_before_wildcards(void **state)
{
    UNUSED(state);
    add("first.test", TLS_KEY_EC, 0);
    add("*.b.test", TLS_KEY_EC, 1);
    add("www.b.test", TLS_KEY_EC, 2);
    add("www.b.test", TLS_KEY_EC, 3);
    assert_true(tls_names_finish(&names, TLS_KEY_EC));
    expect("www.b.test", -1, 2);
    expect("WWW.B.Test", -1, 2);
    expect("www.b.test.", -1, 2);
    expect("x.b.test", -1, 1);
    expect("first.test", -1, 0);
}

static void others_get_the_first(void **state)
{
    UNUSED(state);
    add("first.test", TLS_KEY_EC, 0);
    add("*.b.test", TLS_KEY_EC, 1);
    assert_true(tls_names_finish(&names, TLS_KEY_EC));
    const char *others[] = {"", ".", "b.test", "a.x.b.test", "*.b.test", "test", "other", ".b.test.x"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(tls_names_find(&names, slice_str(others[i])), 0);
    char text[400];
    memset(text, 'a', sizeof text);
    assert_int_equal(tls_names_find(&names, slice_make(text, sizeof text)), 0);
    expect("", -1, 0);
}

static void a_name_has_one_certificate_of_each_kind(void **state)
{
    UNUSED(state);
    add("a.test", TLS_KEY_RSA, 0);
    add("both.test", TLS_KEY_RSA, 0);
    add("both.test", TLS_KEY_EC, 1);
    add("*.wild.test", TLS_KEY_EC, 1);
    add("x.wild.test", TLS_KEY_RSA, 2);
    assert_true(tls_names_finish(&names, TLS_KEY_RSA));
    expect("a.test", 0, -1);
    expect("both.test", 0, 1);
    expect("x.wild.test", 2, 1);
    expect("y.wild.test", -1, 1);
    expect("elsewhere", 0, -1);
}

/* The default is what the first name of the first certificate gets. */
static void the_default_has_all_kinds(void **state)
{
    UNUSED(state);
    add("a.test", TLS_KEY_RSA, 0);
    add("a.test", TLS_KEY_EC, 1);
    assert_true(tls_names_finish(&names, TLS_KEY_RSA));
    expect("", 0, 1);
    assert_int_equal(names.choice_count, 1);
}

static void a_certificate_without_names_is_a_default(void **state)
{
    UNUSED(state);
    add("b.test", TLS_KEY_EC, 1);
    assert_true(tls_names_finish(&names, TLS_KEY_RSA));
    expect("", 0, -1);
    expect("b.test", -1, 1);
    tls_names_free(&names);
    assert_true(tls_names_finish(&names, TLS_KEY_EC));
    expect("any", -1, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        T(exact_names_go_before_wildcards),          T(others_get_the_first),
        T(a_name_has_one_certificate_of_each_kind),  T(the_default_has_all_kinds),
        T(a_certificate_without_names_is_a_default),
    };
    return cmocka_run_group_tests_name("core/tls_names", tests, NULL, NULL);
}
