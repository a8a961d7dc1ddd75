/* test_build_key.c: the key_ options of [route] and the list of campaign parameters. */
#include "config_test.h"

static bool has_param(const struct config_key *k, const char *text, bool prefix)
{
    for (size_t i = 0; i < k->param_count; i++) {
        if (strcmp(k->params[i].text, text) == 0 && k->params[i].prefix == prefix)
            return k->params[i].len == strlen(text);
    }
    return false;
}

static void test_defaults(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "[route r]\n");
    const struct config_key *k = &c->routes[0].key;
    assert_int_equal(k->query, CONFIG_QUERY_ALL);
    assert_true(k->sort && !k->device);
    assert_int_equal(k->param_count + k->headers.count + k->cookies.count + k->languages.count, 0);
    config_unref(c);
}

static void test_members(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok(APP "[route a]\nkey_query = only: a ,b*,filter[x]\nkey_sort = no\nkey_headers = X-A, b\n"
                    "key_headers = C\nkey_cookies = One, one\nkey_device = yes\nkey_language = en, pt-BR\n"
                    "[route b]\nkey_query=except:x\n[route c]\nkey_query = none\n"
                    "[route d]\nkey_query = only: campaign\n");
    const struct config_key *k = &c->routes[0].key;
    assert_int_equal(k->query, CONFIG_QUERY_ONLY);
    assert_int_equal(k->param_count, 3);
    assert_true(has_param(k, "a", false) && has_param(k, "b", true) && has_param(k, "filter[x]", false));
    assert_false(k->sort);
    assert_true(k->device);
    assert_int_equal(k->headers.count, 3);
    assert_string_equal(k->headers.items[0], "x-a");
    assert_string_equal(k->headers.items[2], "c");
    assert_int_equal(k->cookies.count, 2);
    assert_string_equal(k->cookies.items[0], "One");
    assert_int_equal(k->languages.count, 2);
    assert_string_equal(k->languages.items[1], "pt-BR");
    assert_int_equal(c->routes[1].key.query, CONFIG_QUERY_EXCEPT);
    assert_true(c->routes[1].key.param_count == 1 && c->routes[1].key.sort);
    assert_int_equal(c->routes[2].key.query, CONFIG_QUERY_NONE);
    k = &c->routes[3].key;
    assert_true(k->param_count == 1 && has_param(k, "campaign", false)); /* a name like any other */
    config_unref(c);
}

static void test_campaign(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "[route r]\nkey_query = except: sid, campaign\n");
    const struct config_key *k = &c->routes[0].key;
    static const char *const names[] = {"gclid", "fbclid", "mc_cid", "_ga", "msclkid", "gbraid", "sid"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_true(has_param(k, names[i], false));
    assert_true(has_param(k, "utm_", true));
    assert_false(has_param(k, "campaign", false));
    config_unref(c);
    assert_true(config_is_campaign_param(SLICE_LIT("utm_source")));
    assert_true(config_is_campaign_param(SLICE_LIT("srsltid")));
    assert_false(config_is_campaign_param(SLICE_LIT("pk_other"))); /* only what is listed is left out */
    assert_false(config_is_campaign_param(SLICE_LIT("GCLID")));
    assert_false(config_is_campaign_param(SLICE_LIT("sid")));
}

/* docs/cache-keys.md lists what the word stands for. */
static void test_campaign_docs_in_step(void **state)
{
    UNUSED(state);
    static char docs[64 * 1024];
    FILE *f = fopen("docs/cache-keys.md", "r");
    assert_non_null(f);
    docs[fread(docs, 1, sizeof docs - 1, f)] = '\0';
    fclose(f);
    struct config *c = load_ok(APP "[route r]\nkey_query = except: campaign\n");
    const struct config_key *k = &c->routes[0].key;
    for (size_t i = 0; i < k->param_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "`%s%s`", k->params[i].text, k->params[i].prefix ? "*" : "");
        if (strstr(docs, name) == NULL)
            fail_msg("docs/cache-keys.md does not list %s", name);
    }
    config_unref(c);
}

static void test_wrong_params(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"except: a b", "only: a,,b", "except: *",   "only: a*b", "only:",
                                      "except: a&b", "only: a=1",  "except: a;b", "only: a,"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[256];
        snprintf(text, sizeof text, APP "[route r]\nkey_query = %s\n", bad[i]);
        expect_error(text, "is no name of a parameter");
    }
    static const char *const wrong[] = {"all: a", "none:", "some", "only", "except", "All"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[256];
        snprintf(text, sizeof text, APP "[route r]\nkey_query = %s\n", wrong[i]);
        expect_error(text, "is no choice of parameters");
    }
}

static void test_limits(void **state)
{
    UNUSED(state);
    char text[1024];
    size_t n = (size_t)snprintf(text, sizeof text, APP "[route r]\nkey_headers = x");
    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, ", x%d", i);
    snprintf(text + n, sizeof text - n, "\n");
    expect_error(text, "more than 16");
    expect_error(APP "[route r]\nkey_headers = a, A\n", "is there twice");
    expect_error(APP "[route r]\nkey_language = abcdefghi\n", "is no language");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_members),
        cmocka_unit_test(test_campaign),     cmocka_unit_test(test_campaign_docs_in_step),
        cmocka_unit_test(test_wrong_params), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("config/build_key", tests, NULL, NULL);
}
