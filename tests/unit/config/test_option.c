/* test_option.c: the table against the ini reference, and guesses at misspelt words. */
#include "config_test.h"

/* Every key and default of the reference, section by section. */
static const struct {
    enum option_section section;
    const char *key, *def;
} reference[] = {
#define M OPTION_MILLPOND
    {M, "workers", "auto"},
    {M, "user", ""},
    {M, "group", ""},
    {M, "runtime_dir", "/run/millpond"},
    {M, "state_dir", "/var/lib/millpond"},
    {M, "shutdown_timeout", "30s"},
    {M, "upgrade_timeout", "30s"},
    {M, "max_connections", "10000"},
    {M, "trusted_proxies", ""},
    {M, "server_header", "millpond"},
    {M, "tls_ticket_keys", ""},
    {M, "include", ""},
#define L OPTION_LOG
    {L, "level", "info"},
    {L, "file", "stderr"},
    {L, "access", "off"},
    {L, "access_format", "json"},
    {L, "slow_request", "1s"},
#define N OPTION_LISTEN
    {N, "address", "0.0.0.0:8080"},
    {N, "tls_certificate", ""},
    {N, "tls_key", ""},
    {N, "tls_min_version", "1.2"},
    {N, "tls_ciphers", "intermediate"},
    {N, "tls_groups", "intermediate"},
    {N, "tls_client_ca", ""},
    {N, "tls_client_verify", "off"},
    {N, "tls_ocsp", ""},
    {N, "hsts", "off"},
    {N, "protocols", "h2, http/1.1"},
    {N, "proxy_protocol", "off"},
    {N, "redirect_to_https", "no"},
    {N, "acme_webroot", ""},
    {N, "header_timeout", "10s"},
    {N, "body_timeout", "30s"},
    {N, "idle_timeout", "60s"},
    {N, "write_timeout", "30s"},
    {N, "min_rate", "240/s"},
    {N, "max_header_size", "32K"},
    {N, "max_headers", "100"},
    {N, "max_target", "8K"},
    {N, "max_body_size", "64M"},
    {N, "max_requests_per_connection", "0"},
    {N, "max_connections_per_ip", "0"},
    {N, "h2_max_streams", "128"},
    {N, "h2_max_resets", "200/m"},
#define P OPTION_POOL
    {P, "server", ""},
    {P, "balance", "round_robin"},
    {P, "hash_on", ""},
    {P, "sticky_cookie", ""},
    {P, "resolver", ""},
    {P, "health_check", "http"},
    {P, "health_path", "/"},
    {P, "health_host", ""},
    {P, "health_status", "200-399"},
    {P, "health_body", ""},
    {P, "health_interval", "2s"},
    {P, "health_timeout", "1s"},
    {P, "health_rise", "2"},
    {P, "health_fall", "3"},
    {P, "eject_errors", "5"},
    {P, "eject_time", "10s"},
    {P, "eject_max", "50%"},
    {P, "slow_start", "0"},
    {P, "connect_timeout", "3s"},
    {P, "response_timeout", "60s"},
    {P, "idle_timeout", "30s"},
    {P, "retries", "2"},
    {P, "retry_budget", "20%"},
    {P, "retry_on", "connect, reset, 502, 503, 504"},
    {P, "max_idle", "128"},
    {P, "queue", "1000"},
    {P, "queue_timeout", "5s"},
    {P, "queue_target", "0"},
    {P, "tls", "off"},
    {P, "tls_verify", "yes"},
    {P, "tls_ca", ""},
    {P, "tls_certificate", ""},
    {P, "tls_key", ""},
    {P, "tls_sni", ""},
    {P, "protocol", "http/1.1"},
    {P, "send_proxy_protocol", "off"},
#define C OPTION_CACHE
    {C, "store", "memory"},
    {C, "memory_size", "256M"},
    {C, "max_object_size", "64M"},
    {C, "default_ttl", "0"},
    {C, "heuristic", "10% up to 1d"},
    {C, "stale_while_revalidate", "0"},
    {C, "stale_if_error", "1h"},
    {C, "early_refresh", "yes"},
    {C, "lock_timeout", "10s"},
    {C, "max_waiters", "10000"},
    {C, "max_variants", "64"},
    {C, "purge_from", "127.0.0.1, ::1"},
    {C, "cache_status", "yes"},
#define R OPTION_REDIS
    {R, "url", "redis://127.0.0.1:6379/0"},
    {R, "mode", "standalone"},
    {R, "username", ""},
    {R, "password", ""},
    {R, "sentinel_name", ""},
    {R, "tls_ca", ""},
    {R, "prefix", "millpond:"},
    {R, "timeout", "50ms"},
    {R, "connections", "2"},
    {R, "max_object_size", "1M"},
    {R, "compress", "off"},
    {R, "stream_length", "100000"},
    {R, "channel", "millpond:purge"},
#define T OPTION_ROUTE
    {T, "host", ""},
    {T, "path", ""},
    {T, "method", ""},
    {T, "header", ""},
    {T, "pool", "the first"},
    {T, "root", ""},
    {T, "redirect", ""},
    {T, "respond", ""},
    {T, "cache", "on"},
    {T, "ttl", ""},
    {T, "ttl_404", ""},
    {T, "ttl_5xx", ""},
    {T, "min_ttl", ""},
    {T, "max_ttl", ""},
    {T, "browser_ttl", ""},
    {T, "stale_while_revalidate", "of [cache]"},
    {T, "stale_if_error", "of [cache]"},
    {T, "early_refresh", "of [cache]"},
    {T, "ttl_jitter", "0%"},
    {T, "keep_assets", "0"},
    {T, "max_object_size", "of [cache]"},
    {T, "key_query", "all"},
    {T, "key_sort", "yes"},
    {T, "no_vary_search", "yes"},
    {T, "key_headers", ""},
    {T, "key_cookies", ""},
    {T, "key_device", "no"},
    {T, "key_language", ""},
    {T, "ignore_client_cache_control", "yes"},
    {T, "ignore_set_cookie", "no"},
    {T, "remove_cookies", ""},
    {T, "keep_request_header", ""},
    {T, "deception_guard", "yes"},
    {T, "compress", "off"},
    {T, "tags", ""},
    {T, "rate_limit", ""},
    {T, "allow", ""},
    {T, "deny", ""},
    {T, "basic_auth", ""},
    {T, "set_request_header", ""},
    {T, "set_response_header", ""},
    {T, "remove_request_header", ""},
    {T, "remove_response_header", ""},
    {T, "split", ""},
    {T, "split_max_errors", "5%"},
    {T, "split_max_latency", "100%"},
    {T, "split_samples", "100"},
    {T, "mirror", ""},
    {T, "calm_page", ""},
    {T, "websocket", "yes"},
    {T, "early_hints", "pass"},
    {T, "tunnel_timeout", "1h"},
    {T, "timeout", "0"},
    {T, "retry_idempotency_key", "no"},
    {T, "hedge", "off"},
    {T, "slice", "off"},
#define A OPTION_ADMIN
    {A, "socket", "runtime_dir/admin.sock"},
    {A, "socket_mode", "0660"},
    {A, "address", "off"},
    {A, "token", "generated in state_dir"},
    {A, "read", "token"},
    {A, "metrics", "token"},
    {A, "allowed_hosts", "localhost, 127.0.0.1, [::1], the address"},
};

static void test_defaults_are_those_of_the_reference(void **state)
{
    UNUSED(state);
    assert_int_equal(option_count, ARRAY_LEN(reference));
    for (size_t i = 0; i < ARRAY_LEN(reference); i++) {
        const struct config_option *o = option_find(reference[i].section, slice_str(reference[i].key));
        if (o == NULL || strcmp(o->default_text, reference[i].def) != 0)
            fail_msg("%s: %s instead of %s", reference[i].key, o == NULL ? "no row" : o->default_text,
                     reference[i].def);
    }
}

static void test_rows_are_whole(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < option_count; i++) {
        const struct config_option *o = &option_table[i];
        assert_ptr_equal(option_find(o->section, slice_str(o->key)), o); /* no key twice */
        size_t len = strlen(o->help);
        assert_true(len > 10 && o->help[len - 1] == '.');
        assert_true(o->min <= o->max || o->max == 0);
        assert_true(!(o->flags & OPTION_COMMAS) || (o->flags & OPTION_LIST));
        size_t backticks = 0;
        for (const char *p = o->help; *p != '\0'; p++)
            backticks += *p == '`';
        assert_int_equal(backticks % 2, 0);
    }
    for (int t = 0; t < OPTION_TYPE_COUNT; t++)
        assert_non_null(option_type_words((enum option_type)t));
}

static void test_find(void **state)
{
    enum option_section s;
    UNUSED(state);
    assert_null(option_find(OPTION_POOL, SLICE_LIT("Server")));
    assert_null(option_find(OPTION_CACHE, SLICE_LIT("server")));
    assert_true(option_section_find(SLICE_LIT("pool"), &s) && s == OPTION_POOL);
    assert_false(option_section_find(SLICE_LIT("pools"), &s));
    assert_int_equal(option_word_index("a bb c", SLICE_LIT("bb")), 1);
    assert_int_equal(option_word_index("a bb c", SLICE_LIT("b")), -1);
    assert_int_equal(option_word_index("a bb c", SLICE_LIT("")), -1);
    assert_int_equal(option_word_index(NULL, SLICE_LIT("a")), -1);
}

static const char *guess(const char *word, const char *words, char *buf)
{
    struct option_guess g = {.word = slice_str(word)};
    option_guess_offer_words(&g, words, buf, 64);
    return g.best == NULL ? "-" : g.best;
}

static void test_guess(void **state)
{
    char buf[64];
    static const char keys[] = "server balance health_check health_path retries retry_on";
    UNUSED(state);
    assert_string_equal(guess("servr", keys, buf), "server");
    assert_string_equal(guess("sevrer", keys, buf), "server");  /* neighbours swapped */
    assert_string_equal(guess("SERVER", keys, buf), "server");  /* case */
    assert_string_equal(guess("servers", keys, buf), "server"); /* one too many */
    assert_string_equal(guess("retry", keys, buf), "retry_on"); /* the beginning */
    assert_string_equal(guess("health_pth", keys, buf), "health_path");
    assert_string_equal(guess("colour", keys, buf), "-");
    assert_string_equal(guess("", keys, buf), "-");
    assert_string_equal(guess("b", "c d", buf), "-");
    assert_string_equal(guess("server", "sever servers server", buf),
                        "server"); /* the nearest, not the first */
    assert_string_equal(guess("a_word_that_is_longer_than_any_option_could_ever_reach", keys, buf), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_the_reference),
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_guess),
    };
    return cmocka_run_group_tests_name("config/option", tests, NULL, NULL);
}
