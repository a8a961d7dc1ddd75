/* test_outcome.c: the names operators grep for are unique, well formed, and have their sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/outcome.h"

static void assert_name(const char *name, const char *text)
{
    assert_true(strlen(name) > 0 && strlen(name) <= 31);
    assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(name));
    assert_true(strlen(text) > 5);
}

#define CHECK_TABLE(fn, type, count)                                                                         \
    static void test_##fn(void **state)                                                                      \
    {                                                                                                        \
        (void)state;                                                                                         \
        for (int i = 0; i < (count); i++) {                                                                  \
            assert_name(outcome_##fn##_name((enum type)i), outcome_##fn##_text((enum type)i));               \
            for (int k = 0; k < i; k++)                                                                      \
                assert_string_not_equal(outcome_##fn##_name((enum type)i),                                   \
                                        outcome_##fn##_name((enum type)k));                                  \
        }                                                                                                    \
    }
CHECK_TABLE(verdict, cache_verdict, VERDICT_COUNT)
CHECK_TABLE(no_store, no_store_reason, NO_STORE_SAID_COUNT)
CHECK_TABLE(close, close_reason, CLOSE_COUNT)
CHECK_TABLE(fetch, fetch_error, FETCH_ERROR_COUNT)
CHECK_TABLE(purge_kind, purge_kind, PURGE_KIND_COUNT)
CHECK_TABLE(purge_source, purge_source, PURGE_SOURCE_COUNT)
CHECK_TABLE(rate_limit, rate_outcome, RATE_OUTCOME_COUNT)
CHECK_TABLE(remote_load, remote_load, REMOTE_LOAD_COUNT)
CHECK_TABLE(remote_save, remote_save, REMOTE_SAVE_COUNT)

/* Enum and table come from one place, but the order must stay: zero is the neutral value that code tests for.
 */
static void test_neutral_values(void **state)
{
    (void)state;
    assert_string_equal(outcome_verdict_name((enum cache_verdict)0), "none");
    assert_string_equal(outcome_no_store_name((enum no_store_reason)0), "stored");
    assert_string_equal(outcome_close_name((enum close_reason)0), "open");
    assert_string_equal(outcome_fetch_name((enum fetch_error)0), "none");
    assert_string_equal(outcome_verdict_name(VERDICT_PASS), "pass");
    assert_string_equal(outcome_close_name(CLOSE_NO_MEMORY), "no_memory");
}

static void test_fetch_statuses(void **state)
{
    (void)state;
    for (int i = 0; i < FETCH_ERROR_COUNT; i++) {
        unsigned status = outcome_fetch_status((enum fetch_error)i);
        assert_true(status == 0 || (status >= 502 && status <= 504));
    }
    assert_int_equal(outcome_fetch_status(FETCH_CONNECT_TIMEOUT), 504);
    assert_int_equal(outcome_fetch_status(FETCH_NO_INSTANCE), 503);
    assert_int_equal(outcome_fetch_status(FETCH_CONNECT_REFUSED), 502);
    assert_int_equal(outcome_fetch_status(FETCH_CANCELLED), 0);
}

static char docs_page[65536];

static void assert_in_docs(const char *name, const char *text)
{
    char row[512];
    snprintf(row, sizeof row, "\n| `%s` | %s |\n", name, text);
    if (strstr(docs_page, row) == NULL)
        fail_msg("docs/logging.md should have the row%s", row);
}

static void read_docs(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    docs_page[fread(docs_page, 1, sizeof docs_page - 1, f)] = '\0';
    fclose(f);
}

static void test_purges_in_docs(void **state)
{
    (void)state;
    read_docs("docs/purging.md");
    for (int i = 1; i < PURGE_KIND_COUNT; i++) {
        char row[64];
        snprintf(row, sizeof row, "\n| `%s` | ", outcome_purge_kind_name((enum purge_kind)i));
        if (strstr(docs_page, row) == NULL)
            fail_msg("docs/purging.md should have a row for %s", row);
    }
    for (int i = 1; i < PURGE_SOURCE_COUNT; i++)
        assert_in_docs(outcome_purge_source_name((enum purge_source)i),
                       outcome_purge_source_text((enum purge_source)i));
}

static void test_remote_in_docs(void **state)
{
    (void)state;
    read_docs("docs/metrics.md");
    for (int i = 1; i < REMOTE_LOAD_COUNT; i++)
        assert_in_docs(outcome_remote_load_name((enum remote_load)i),
                       outcome_remote_load_text((enum remote_load)i));
    for (int i = 1; i < REMOTE_SAVE_COUNT; i++)
        assert_in_docs(outcome_remote_save_name((enum remote_save)i),
                       outcome_remote_save_text((enum remote_save)i));
}

static void test_rate_limits_in_docs(void **state)
{
    (void)state;
    read_docs("docs/rate-limits.md");
    for (int i = 1; i < RATE_OUTCOME_COUNT; i++)
        assert_in_docs(outcome_rate_limit_name((enum rate_outcome)i),
                       outcome_rate_limit_text((enum rate_outcome)i));
}

static void test_basic_auth_in_docs(void **state)
{
    (void)state;
    read_docs("docs/basic-auth.md");
    for (int i = 1; i < AUTH_OUTCOME_COUNT; i++)
        assert_in_docs(outcome_basic_auth_name((enum auth_outcome)i),
                       outcome_basic_auth_text((enum auth_outcome)i));
}

static void test_docs_in_step(void **state)
{
    (void)state;
    read_docs("docs/logging.md");
    for (int i = 0; i < VERDICT_COUNT; i++)
        assert_in_docs(outcome_verdict_name((enum cache_verdict)i),
                       outcome_verdict_text((enum cache_verdict)i));
    for (int i = 0; i < NO_STORE_COUNT; i++)
        assert_in_docs(outcome_no_store_name((enum no_store_reason)i),
                       outcome_no_store_text((enum no_store_reason)i));
    for (int i = 0; i < CLOSE_COUNT; i++)
        assert_in_docs(outcome_close_name((enum close_reason)i), outcome_close_text((enum close_reason)i));
    for (int i = 0; i < FETCH_ERROR_COUNT; i++)
        assert_in_docs(outcome_fetch_name((enum fetch_error)i), outcome_fetch_text((enum fetch_error)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdict),        cmocka_unit_test(test_no_store),
        cmocka_unit_test(test_close),          cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_neutral_values), cmocka_unit_test(test_fetch_statuses),
        cmocka_unit_test(test_docs_in_step),   cmocka_unit_test(test_basic_auth_in_docs),
        cmocka_unit_test(test_purges_in_docs), cmocka_unit_test(test_purge_kind),
        cmocka_unit_test(test_purge_source),   cmocka_unit_test(test_remote_in_docs),
        cmocka_unit_test(test_remote_load),    cmocka_unit_test(test_remote_save),
        cmocka_unit_test(test_rate_limit),     cmocka_unit_test(test_rate_limits_in_docs),
    };
    return cmocka_run_group_tests_name("core/outcome", tests, NULL, NULL);
}
