/* test_basic_auth.c: what is taken for user and password, and what is not. */
#include "core/basic_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/evp.h>

static char buf[BASIC_AUTH_BYTES];
static slice_t user, password;

static bool reads(const char *value)
{
    return basic_auth_read(slice_str(value), buf, &user, &password);
}

static void expect(const char *value, const char *want_user, const char *want_password)
{
    assert_true(reads(value));
    assert_int_equal(user.len, strlen(want_user));
    assert_memory_equal(user.ptr, want_user, user.len);
    assert_string_equal(password.ptr, want_password);
    assert_int_equal(password.len, strlen(want_password));
}

static void test_good(void **state)
{
    (void)state;
    expect("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"); /* RFC 7617 section 2 */
    expect("Basic dGVzdDoxMjPCow==", "test", "123\xc2\xa3");                /* section 2.1 */
    expect("bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame");
    expect("Basic YTpiOmM=", "a", "b:c");
    expect("Basic Og==", "", "");
    expect("Basic YTo=", "a", "");
}

static void test_bad(void **state)
{
    static const char *const values[] = {"",
                                         "Basic",
                                         "Basic ",
                                         "BasicYTo=",
                                         "Bearer YTo=",
                                         "Basic YTo==",
                                         "Basic YTo=x",
                                         "Basic YTo-",
                                         "Basic Y",
                                         "Basic YQ==",
                                         "Basic Y To=",
                                         "Basic YTo= YT",
                                         "Basic ====",
                                         "Basic =",
                                         "Basic YToB",
                                         "Basic YTp/",
                                         "Basic AGE6Yg==",
                                         "Basic YTpiAA=="};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (reads(values[i]))
            fail_msg("%s was taken", values[i]);
    }
}

static void make(size_t user_bytes, size_t password_bytes, char *value)
{
    char plain[1024];
    memset(plain, 'u', user_bytes);
    plain[user_bytes] = ':';
    memset(plain + user_bytes + 1, 'p', password_bytes);
    strcpy(value, "Basic ");
    EVP_EncodeBlock((unsigned char *)value + 6, (unsigned char *)plain,
                    (int)(user_bytes + password_bytes + 1));
}

static void test_lengths(void **state)
{
    char value[2048];
    (void)state;
    make(BASIC_AUTH_USER_MAX, BASIC_AUTH_PASSWORD_MAX, value);
    assert_true(reads(value));
    assert_int_equal(user.len, BASIC_AUTH_USER_MAX);
    assert_int_equal(password.len, BASIC_AUTH_PASSWORD_MAX);
    make(BASIC_AUTH_USER_MAX + 1, 1, value);
    assert_false(reads(value));
    make(1, BASIC_AUTH_PASSWORD_MAX + 1, value);
    assert_false(reads(value));
    make(400, 400, value);
    assert_false(reads(value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests_name("basic_auth", tests, NULL, NULL);
}
