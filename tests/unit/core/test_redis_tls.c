/* test_redis_tls.c: authorities that can be loaded, and what is said of those that cannot. */
#include "core/redis_tls.h"

#include "tests/support/redis.h"

static void expect_refused(const char *ca, const char *part)
{
    char err[256] = "";
    assert_null(redis_tls_new(ca, err, sizeof err));
    expect_in(err, ca);
    expect_in(err, part);
    expect_in(err, "; ");
}

static void loads_authorities(void **state)
{
    UNUSED(state);
    char err[256] = "";
    struct ssl_ctx_st *tls = redis_tls_new(redis_tls_file(), err, sizeof err);
    assert_non_null(tls);
    redis_tls_free(tls);
    tls = redis_tls_new("", err, sizeof err);
    assert_non_null(tls);
    redis_tls_free(tls);
    redis_tls_free(NULL);
}

static void refuses_what_is_none(void **state)
{
    UNUSED(state);
    char *text = support_path("text.pem"), *empty = support_path("empty.pem");
    redis_tls_file();
    support_write_file(text, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    support_write_file(empty, "");
    expect_refused(support_path("none.pem"), "cannot be read: No such file or directory");
    expect_refused(support_dir(), "has no certificate");
    expect_refused(text, "has no certificate");
    expect_refused(empty, "has no certificate");
    expect_refused(redis_tls_key_file(), "has no certificate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(loads_authorities),
        E2E_TEST(refuses_what_is_none),
    };
    return E2E_RUN("core/redis_tls", tests);
}
