/* test_build.c: every option takes a good value into its member and refuses bad ones with line and advice. */
#include "config_test.h"

/* One option: a good value, up to three bad ones, and what is said of the first. [section] is begun
 * on line 3, the key stands on line 4 (after APP; in [pool] behind its server). */
struct option_case {
    enum option_section section;
    const char *key, *good, *bad[3], *part;
};

#define M         OPTION_MILLPOND
#define L         OPTION_LOG
#define N         OPTION_LISTEN
#define P         OPTION_POOL
#define C         OPTION_CACHE
#define R         OPTION_REDIS
#define T         OPTION_ROUTE
#define A         OPTION_ADMIN
#define FIFTY_ONE "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define TOO_LONG  FIFTY_ONE FIFTY_ONE FIFTY_ONE FIFTY_ONE

static const struct option_case cases[] = {
    {M, "workers", "3", {"many", "0", "1025"}, "write one, or auto"},
    {M, "user", "www-data", {""}, "there is no value"},
    {M, "group", "www-data", {""}, "there is no value"},
    {M, "runtime_dir", "/tmp/r", {"here", ""}, "write one with a slash"},
    {M, "state_dir", "/tmp/s", {"here", ""}, "write one with a slash"},
    {M, "shutdown_timeout", "5s", {"5", "2d", "x"}, "has no unit"},
    {M, "upgrade_timeout", "5s", {"5", "11m", "x"}, "has no unit"},
    {M, "max_connections", "5", {"0", "1k", "-1"}, "write a value from 1 to 10000000"},
    {M, "trusted_proxies", "10.0.0.0/8, unix", {"10.0.0.0/99", "a", "10.0.0.1,,::1"}, "is not a network"},
    {M, "server_header", "pond", {""}, "there is no value"},
    {M, "tls_ticket_keys", "/k.txt", {"k.txt", ""}, "write one with a slash"},
    {L, "level", "debug", {"debugg", "Info", ""}, "did you mean \"debug\"?"},
    {L, "file", "/tmp/x.log", {"stder", "file", ""}, "did you mean \"stderr\"?"},
    {L, "access", "stdout", {"stdot", "file", ""}, "did you mean \"stdout\"?"},
    {L,
     "access_format",
     "%{status} %{path}",
     {"jsn", "$status", ""},
     "write json, combined or a template with %{field}"},
    {L, "slow_request", "0", {"1", "-1s", "2d"}, "has no unit"},
    {N, "address", "127.0.0.1:1, [::1]:1", {"8080", "localhost:80", ""}, "write a colon before the port"},
    {N, "header_timeout", "1ms", {"0", "10", "2d"}, "from 1ms to 1d"},
    {N, "body_timeout", "1s", {"0", "10", "2d"}, "from 1ms to 1d"},
    {N, "idle_timeout", "2s", {"0", "10", "2d"}, "from 1ms to 1d"},
    {N, "write_timeout", "3s", {"0", "10", "2d"}, "from 1ms to 1d"},
    {N, "min_rate", "1K/s", {"240", "x", ""}, "write an amount per second"},
    {N, "max_header_size", "64K", {"1023", "2M", "64KB"}, "from 1K to 1M"},
    {N, "max_headers", "10", {"0", "1001", "x"}, "from 1 to 1000"},
    {N, "max_target", "4K", {"63", "2M", "x"}, "from 64 to 1M"},
    {N, "max_body_size", "1G", {"0", "x", "9999T"}, "from 1 to 1024T"},
    {N, "max_requests_per_connection", "7", {"x", "-1", "3000000000"}, "is not a number"},
    {N, "max_connections_per_ip", "8", {"x", "-1", "3000000000"}, "is not a number"},
    {N, "tls_certificate", "/c.pem\ntls_key = /k.pem", {"c.pem", ""}, "write one with a slash"},
    {N, "tls_key", "/k.pem\ntls_certificate = /c.pem", {"k.pem", ""}, "write one with a slash"},
    {N, "tls_min_version", "1.3", {"1.1", "TLSv1.3", ""}, "did you mean \"1.2\"?"},
    {N, "protocols", "h2c, http/1.1", {"h3", "http/1.0", ""}, "write any of h2, http/1.1 and h2c"},
    {N, "h2_max_streams", "7", {"0", "x", ""}, "from 1 to"},
    {N, "h2_max_resets", "10/s", {"0/s", "5", "5/d"}, "write"},
    {N, "tls_ciphers", "TLS_AES_128_GCM_SHA256", {""}, "there is no value"},
    {N, "tls_groups", "X25519:P-256", {""}, "there is no value"},
    {N, "tls_client_ca", "/ca.pem", {"ca.pem", ""}, "write one with a slash"},
    {N,
     "tls_client_verify",
     "optional\ntls_client_ca = /ca.pem",
     {"on", ""},
     "write one of: off, optional, required"},
    {N, "tls_ocsp", "/a.der\ntls_ocsp = /b.der", {"a.der", ""}, "write one with a slash"},
    {N, "hsts", "subdomains", {"yes", ""}, "write one of: off, on, subdomains, preload"},
    {N, "proxy_protocol", "off", {"yes", "v1", ""}, "write one of: off, required"},
    {N, "redirect_to_https", "yes", {"maybe", "1", ""}, "write yes, no"},
    {N, "acme_webroot", "/var/www", {"www", ""}, "write one with a slash"},
    {P, "server", "[::1]:80 weight=5", {"app", "a:1 weight=1001", "a:1 b:2"}, "has no port"},
    {P, "tls", "yes", {"1", "v2", ""}, "write yes, no"},
    {P, "tls_verify", "no", {"1", "off-ish", ""}, "write yes, no"},
    {P, "tls_ca", "/ca.pem", {"ca.pem", ""}, "write one with a slash"},
    {P, "tls_certificate", "/a.pem\ntls_key = /a.pem\ntls = on", {"a.pem", ""}, "write one with a slash"},
    {P, "tls_key", "/a.pem\ntls_certificate = /a.pem\ntls = on", {"a.pem", ""}, "write one with a slash"},
    {P, "tls_sni", "app.example", {"a b", "http://a", ""}, "is not a host"},
    {P, "resolver", "10.0.0.2:53", {"ns.example", "10.0.0.2:0"}, "is no name server"},
    {P, "send_proxy_protocol", "v2", {"yes", "3", ""}, "write one of: off, v1, v2"},
    {P, "protocol", "h2", {"2", "spdy", ""}, "write one of: http/1.1, h2"},
    {P, "balance", "two_choices", {"random", "robin", ""}, "write one of: round_robin, least_connections"},
    {P, "hash_on", "header:X-User", {"ip", "header:", "cookie:a b"}, "write client_ip, path, header:NAME"},
    {P, "sticky_cookie", "server", {"a b", "all", "srv*"}, "is no name of a cookie"},
    {P, "health_check", "tcp", {"https", "yes", ""}, "did you mean \"http\"?"},
    {P, "health_path", "/up?x=1", {"up", "/a b", ""}, "begin it with a slash"},
    {P, "health_host", "app.example:80", {"a b", "http://a", ""}, "is not a host"},
    {P, "health_status", "200, 300-302", {"2xx", "99", "300-200"}, "is not a status code or range"},
    {P, "health_body", "\"state\": \"up\"", {TOO_LONG, ""}, "200"},
    {P, "health_interval", "10ms", {"9ms", "5", "2d"}, "from 10ms to 1d"},
    {P, "health_timeout", "4s", {"0", "5", "2d"}, "from 1ms to 1d"},
    {P, "health_rise", "5", {"0", "101", "x"}, "from 1 to 100"},
    {P, "health_fall", "6", {"0", "101", "x"}, "from 1 to 100"},
    {P, "eject_errors", "0", {"1001", "-1", "x"}, "from 0 to 1000"},
    {P, "eject_time", "1m", {"0", "10", "2d"}, "from 1ms to 1d"},
    {P, "eject_max", "100%", {"50", "101%", "x%"}, "a percent sign"},
    {P, "slow_start", "0", {"2d", "30", "x"}, "from 0 to 1d"},
    {P, "connect_timeout", "1s", {"0", "1", "2d"}, "from 1ms to 1d"},
    {P, "response_timeout", "2s", {"0", "1", "2d"}, "from 1ms to 1d"},
    {P, "idle_timeout", "0", {"1", "x", "2d"}, "has no unit"},
    {P, "retries", "0", {"101", "-1", "x"}, "from 0 to 100"},
    {P, "retry_budget", "0%", {"20", "101%", "x%"}, "a percent sign"},
    {P, "retry_on", "connect, 503", {"timeout", "500", "off, 502"}, "write any of connect"},
    {P, "queue", "0", {"x", "1000001", "-1"}, "is not a number"},
    {P, "queue_timeout", "1ms", {"0", "5", "2d"}, "from 1ms to 1d"},
    {P, "queue_target", "100ms", {"2d", "5", "x"}, "from 0 to 1d"},
    {P, "max_idle", "0", {"x", "1000001", "-1"}, "is not a number"},
    {C, "store", "off", {"disk", "none", ""}, "write one of: off, memory, tiered, redis"},
    {C, "memory_size", "1M", {"1023K", "x", "64MB"}, "from 1M to 1024T"},
    {C, "max_object_size", "1", {"0", "x", "64MB"}, "from 1 to 1024T"},
    {C, "default_ttl", "1d", {"60", "3651d", "x"}, "has no unit"},
    {C, "heuristic", "off", {"10%", "10", "200% up to 1d"}, "such as 10% up to 1d, or off"},
    {C, "stale_while_revalidate", "30s", {"10", "3651d", "x"}, "has no unit"},
    {C, "stale_if_error", "0", {"10", "3651d", "x"}, "has no unit"},
    {C, "early_refresh", "no", {"maybe", "1", ""}, "write yes, no"},
    {C, "lock_timeout", "0", {"10", "2d", "x"}, "has no unit"},
    {C, "max_waiters", "0", {"x", "-1", "10000001"}, "is not a number"},
    {C, "max_variants", "2", {"1", "257", "x"}, "from 2 to 256"},
    {C, "purge_from", "none", {"all", "none, ::1", ""}, "is not a network"},
    {C, "cache_status", "off", {"maybe", "1", ""}, "write yes, no"},
    {R,
     "url",
     "redis://u:p@redis.example:1/2",
     {"127.0.0.1:6379", "redis://a:0", "unix:x"},
     "begins with neither"},
    {R, "mode", "cluster", {"clustr", "single", ""}, "did you mean \"cluster\"?"},
    {R, "username", "app\npassword = x", {""}, "there is no value"},
    {R, "password", "secret", {""}, "there is no value"},
    {R, "sentinel_name", "main", {"my main", "\xc3\xa4", ""}, "has a blank, a brace"},
    {R, "tls_ca", "/ca.pem\nurl = rediss://a", {"ca.pem", ""}, "write one with a slash"},
    {R, "prefix", "a/b:", {"a{b}", "a b", ""}, "has a blank, a brace"},
    {R, "timeout", "1ms", {"0", "50", "2m"}, "from 1ms to 1m"},
    {R, "connections", "16", {"0", "17", "2 per worker"}, "from 1 to 16"},
    {R, "max_object_size", "64K", {"0", "x", "1MB"}, "from 1 to 1024T"},
    {R, "compress", "zstd", {"gzip", "brotli", ""}, "write one of: off, zstd"},
    {R, "stream_length", "1000", {"0", "x", "-1"}, "from 1 to 2147483647"},
    {R, "channel", "purges", {"a b", "{a}", ""}, "has a blank, a brace"},
    {T, "host", "a.example, *.b.example", {"*", "a:80", ""}, "is not a host pattern"},
    {T, "path", "/a, /b/*, *.css", {"a", "/b*", ""}, "does not begin with a slash"},
    {T, "method", "GET, PURGE", {"get", "G ET", ""}, "write it as in GET"},
    {T, "header", "X-Beta: 1", {"X Beta: 1", ": 1", ""}, "is not a field name"},
    {T, "pool", "app", {"ap", "other", ""}, "did you mean \"app\"?"},
    {T,
     "redirect",
     "301 https://a.example$uri",
     {"https://a", "301 a", "301 https://a/$path"},
     "no status of a redirect"},
    {T, "respond", "503 Back soon", {"Back soon", "100 x", "600"}, "is no status code"},
    {T,
     "cache",
     "bypass_if=cookie:a, header:B",
     {"maybe", "bypass_if=x:y", "bypass_if=cookie:"},
     "neither on nor off"},
    {T, "ttl", "1h", {"1", "3651d", "x"}, "has no unit"},
    {T, "ttl_404", "0", {"1", "3651d", "x"}, "has no unit"},
    {T, "ttl_5xx", "2h", {"1", "3651d", "x"}, "has no unit"},
    {T, "min_ttl", "3h", {"1", "3651d", "x"}, "has no unit"},
    {T, "max_ttl", "4h", {"1", "3651d", "x"}, "has no unit"},
    {T, "browser_ttl", "0", {"1", "3651d", "x"}, "has no unit"},
    {T, "stale_while_revalidate", "5s", {"1", "3651d", "x"}, "has no unit"},
    {T, "stale_if_error", "0", {"1", "3651d", "x"}, "has no unit"},
    {T, "early_refresh", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "keep_assets", "7d", {"1", "3651d", "x"}, "has no unit"},
    {T, "ttl_jitter", "10%", {"10", "91%", "x%"}, "a percent sign"},
    {T, "max_object_size", "1K", {"0", "x", "1KB"}, "from 1 to 1024T"},
    {T, "slice", "1M", {"on", "63K", "65M"}, ""},
    {T, "compress", "zstd, br, gzip", {"gzip, gzip", "off, gzip", "gzip, off"}, "; "},
    {T, "compress", "off", {"deflate", "brotli", "on"}, "write off, or any of zstd, br and gzip"},
    {T, "key_query", "except: utm_*, campaign, a", {"some", "only", "all: a"}, "is no choice of parameters"},
    {T, "key_sort", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "no_vary_search", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "root", "/srv", {"srv", ""}, "write one with a slash"},
    {T, "basic_auth", "/users", {"users", ""}, "write one with a slash"},
    {T, "calm_page", "/calm.html", {"calm.html", ""}, "write one with a slash"},
    {T, "websocket", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "early_hints", "learn", {"yes", "push", ""}, "write one of: off, pass, learn"},
    {T, "tunnel_timeout", "2h", {"0", "2d", "5"}, ""},
    {T, "timeout", "10s", {"10", "2d", "x"}, "has no unit"},
    {T, "retry_idempotency_key", "yes", {"maybe", "1", ""}, "write yes, no"},
    {T, "hedge", "p95", {"p99", "0", "2d"}, "write off, p95 or a duration"},
    {T, "key_headers", "X-A, x-b", {"X A", "X-A, x-a", ""}, "is not a field name"},
    {T, "key_cookies", "a, A", {"a b", "a, a", "a;"}, "is no name of a cookie"},
    {T, "key_device", "yes", {"maybe", "1", ""}, "write yes, no"},
    {T, "key_language", "en, pt-BR", {"e_n", "en, en", "en-"}, "is no language"},
    {T, "ignore_client_cache_control", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "ignore_set_cookie", "yes", {"maybe", "1", ""}, "write yes, no"},
    {T, "remove_cookies", "_ga*, sid", {"a=b", "*ga", ""}, "is no name of a cookie"},
    {T, "keep_request_header", "X-Host, Forwarded", {"X Host", "a:b", ""}, "is not a field name"},
    {T, "deception_guard", "no", {"maybe", "1", ""}, "write yes, no"},
    {T, "tags", "a, b:c/d", {"a b", "caf\xc3\xa9", ""}, "contains a blank"},
    {T,
     "rate_limit",
     "50/s burst=100 by=header:X-Key",
     {"50", "50/s burst=x", "50/s by=me"},
     "is no rate; begin with one, such as 50/s"},
    {T,
     "split",
     "app=1 b=1\n[pool b]\nserver = a:2",
     {"app=1", "app", "app=1 by=me"},
     "is no pool with a weight"},
    {T, "mirror", "app", {"ap", "a b", ""}, "did you mean \"app\"?"},
    {T, "split_max_errors", "1%", {"1", "101%", "x%"}, "a percent sign"},
    {T, "split_max_latency", "1000%", {"1", "10001%", "x%"}, "a percent sign"},
    {T, "split_samples", "20", {"19", "1000001", "x"}, "from 20 to 1000000"},
    {T, "allow", "10.0.0.0/8", {"a", "10.0.0.0/33", ""}, "is not a network"},
    {T, "deny", "::/0", {"a", "::/129", ""}, "is not a network"},
    {T, "set_request_header", "X-A: $client_ip, b", {"X-A", "X A: b", "X-A: $ip"}, "write Name: value"},
    {T,
     "set_response_header",
     "X-A: $request_id",
     {"X-A", "Content-Length: 5", "X-A: $uri"},
     "write Name: value"},
    {T, "remove_request_header", "Cookie, X-B", {"a b", "Transfer-Encoding", ""}, "is not a field name"},
    {T, "remove_response_header", "Server", {"a:b", "connection", ""}, "is not a field name"},
    {A, "socket", "/tmp/a.sock", {"a.sock", ""}, "write one with a slash"},
    {A, "socket_mode", "600", {"999", "rw", "01777"}, "three octal digits"},
    {A, "address", "127.0.0.1:1", {"8081", "localhost:1", ""}, "write a colon before the port"},
    {A, "token", "0123456789", {"short", ""}, "write 8 to 256"},
    {A, "read", "open", {"opn", "yes", ""}, "did you mean \"open\"?"},
    {A, "metrics", "open", {"opn", "yes", ""}, "did you mean \"open\"?"},
    {A, "allowed_hosts", "a.example, [::1]", {"a:80", "*", ""}, "write the host alone"},
};

static void case_text(const struct option_case *c, const char *value, char *buf, size_t bytes)
{
    const struct option_section_info *s = &option_sections[c->section];
    if (c->section == OPTION_POOL)
        snprintf(buf, bytes, "\n[pool app]\nserver = 127.0.0.1:3001\n%s = %s\n", c->key, value);
    else
        snprintf(buf, bytes, APP "[%s%s]\n%s = %s\n", s->name, s->named ? " x" : "", c->key, value);
}

static void test_every_option_has_a_case(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < option_count; i++) {
        bool found = option_table[i].type == OPTION_INCLUDE; /* test_include.c */
        for (size_t j = 0; j < ARRAY_LEN(cases) && !found; j++)
            found =
                cases[j].section == option_table[i].section && strcmp(cases[j].key, option_table[i].key) == 0;
        if (!found)
            fail_msg("no case for %s", option_table[i].key);
    }
}

static void test_good_values(void **state)
{
    char text[512];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        case_text(&cases[i], cases[i].good, text, sizeof text);
        config_unref(load_ok(text));
    }
}

static void test_bad_values(void **state)
{
    char text[512], place[128];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct option_section_info *s = &option_sections[cases[i].section];
        const char *name = cases[i].section == OPTION_POOL ? " app" : s->named ? " x" : "";
        snprintf(place, sizeof place, "t.ini:4: [%s%s] %s: ", s->name, name, cases[i].key);
        for (size_t j = 0; j < ARRAY_LEN(cases[i].bad) && cases[i].bad[j] != NULL; j++) {
            case_text(&cases[i], cases[i].bad[j], text, sizeof text);
            expect_error(text, place);
            if (j == 0)
                expect_error(text, cases[i].part);
        }
    }
}

static void test_everything_at_once(void **state)
{
    struct config_problems p;
    char text[64 * 1024];
    size_t len = 0, bad = 0;
    UNUSED(state);
    len += (size_t)snprintf(text, sizeof text, APP);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct option_section_info *s = &option_sections[cases[i].section];
        if (i == 0 || cases[i].section != cases[i - 1].section)
            len += (size_t)snprintf(text + len, sizeof text - len, "[%s%s]\n", s->name, s->named ? " x" : "");
        len += (size_t)snprintf(text + len, sizeof text - len, "%s = %s\n", cases[i].key, cases[i].bad[0]);
        bad++;
    }
    struct config *c = config_load_text("t.ini", text, len, &p);
    assert_null(c);
    /* Every value is complained about, in the order of the lines, and nothing else is. */
    bad += 4; /* pool, split, root, redirect and respond exclude each other, too */
    if (p.errors != bad || p.count != bad)
        print_problems(&p);
    assert_int_equal(p.errors, bad);
    assert_int_equal(p.count, bad);
    int line = 0;
    for (size_t i = 0; i < p.count; i++) {
        int at = atoi(p.items[i].text + strlen("t.ini:"));
        assert_true(at >= line);
        line = at;
    }
    config_problems_free(&p);
}

static void test_millpond_and_log_members(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok(APP "[millpond]\nworkers = 3\nuser = u\ngroup = g\nruntime_dir = /r\nstate_dir = /s\n"
                    "shutdown_timeout = 5s\nmax_connections = 7\ntrusted_proxies = 10.0.0.0/8\n"
                    "trusted_proxies = ::1, unix\nserver_header = off\n"
                    "[log]\nlevel = warn\nfile = syslog\naccess = /a\naccess_format = combined\n"
                    "slow_request = 250ms\n");
    assert_int_equal(c->main.workers, 3);
    assert_string_equal(c->main.user, "u");
    assert_string_equal(c->main.group, "g");
    assert_string_equal(c->main.runtime_dir, "/r");
    assert_string_equal(c->main.state_dir, "/s");
    assert_int_equal(c->main.shutdown_timeout_ms, 5000);
    assert_int_equal(c->main.max_connections, 7);
    assert_int_equal(c->main.trusted_proxies.count, 3);
    assert_int_equal(c->main.trusted_proxies.items[0].bits, 104);
    assert_int_equal(c->main.trusted_proxies.items[1].bits, 128);
    assert_true(c->main.trusted_proxies.items[2].is_unix);
    assert_string_equal(c->main.server_header, "");
    assert_int_equal(c->log.level, CONFIG_LOG_WARN);
    assert_string_equal(c->log.file, "syslog");
    assert_string_equal(c->log.access, "/a");
    assert_string_equal(c->log.access_format, "combined");
    assert_int_equal(c->log.slow_request_ms, 250);
    config_unref(c);
}

static void test_listen_members(void **state)
{
    char text[NET_ADDR_TEXT];
    UNUSED(state);
    struct config *c =
        load_ok("\n[listen a]\naddress = 127.0.0.1:1, :2\naddress = unix:/x\nheader_timeout = 1s\n"
                "body_timeout = 2s\nidle_timeout = 3s\nwrite_timeout = 4s\nmin_rate = 0\n"
                "max_header_size = 16K\nmax_target = 2K\nmax_body_size = 3M\nmax_headers = 5\n"
                "max_requests_per_connection = 6\nmax_connections_per_ip = 7\nproxy_protocol = required\n" APP
                "[millpond]\ntrusted_proxies = ::1\n");
    const struct config_listen *l = &c->listens[0];
    assert_int_equal(c->listen_count, 1);
    assert_string_equal(l->name, "a");
    assert_string_equal(l->origin.file, "t.ini");
    assert_int_equal(l->origin.line, 2);
    assert_int_equal(l->address_count, 3);
    assert_string_equal(net_addr_format(&l->addresses[1], text).ptr, "[::]:2");
    assert_string_equal(net_addr_format(&l->addresses[2], text).ptr, "unix:/x");
    assert_int_equal(l->header_timeout_ms, 1000);
    assert_int_equal(l->body_timeout_ms, 2000);
    assert_int_equal(l->idle_timeout_ms, 3000);
    assert_int_equal(l->write_timeout_ms, 4000);
    assert_int_equal(l->min_rate_bytes_s, 0);
    assert_int_equal(l->max_header_bytes, 16384);
    assert_int_equal(l->max_target_bytes, 2048);
    assert_int_equal(l->max_body_bytes, 3 << 20);
    assert_int_equal(l->max_headers, 5);
    assert_int_equal(l->max_requests_per_connection, 6);
    assert_int_equal(l->max_connections_per_ip, 7);
    assert_true(l->proxy_protocol);
    config_unref(c);
}

static void test_cache_and_admin_members(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok(APP "[cache]\nstore = off\nmemory_size = 2M\nmax_object_size = 1M\ndefault_ttl = 1m\n"
                    "heuristic = 20% up to 2h\nlock_timeout = 1s\nmax_waiters = 4\npurge_from = ::1\n"
                    "cache_status = no\n"
                    "[admin]\nsocket = /x.sock\nsocket_mode = 0600\naddress = 127.0.0.1:9\n"
                    "token = abcdefgh\nread = open\nmetrics = open\nallowed_hosts = A.example\n");
    assert_int_equal(c->cache.store, CONFIG_STORE_OFF);
    assert_int_equal(c->cache.memory_bytes, 2 << 20);
    assert_int_equal(c->cache.max_object_bytes, 1 << 20);
    assert_int_equal(c->cache.default_ttl_ms, 60000);
    assert_int_equal(c->cache.heuristic_percent, 20);
    assert_int_equal(c->cache.heuristic_max_ms, 7200000);
    assert_int_equal(c->cache.lock_timeout_ms, 1000);
    assert_int_equal(c->cache.max_waiters, 4);
    assert_int_equal(c->cache.purge_from.count, 1);
    assert_false(c->cache.cache_status);
    assert_string_equal(c->admin.socket, "/x.sock");
    assert_int_equal(c->admin.socket_mode, 0600);
    assert_int_equal(net_addr_port(&c->admin.address), 9);
    assert_string_equal(c->admin.token, "abcdefgh");
    assert_true(c->admin.read_open && c->admin.metrics_open);
    assert_int_equal(c->admin.allowed_hosts.count, 1);
    assert_string_equal(c->admin.allowed_hosts.items[0], "a.example");
    config_unref(c);
}

static void test_secret_is_not_in_messages(void **state)
{
    struct config_problems p;
    static const char text[] = APP "[admin]\ntoken = s3cr3t\n";
    UNUSED(state);
    assert_null(config_load_text("t.ini", text, sizeof text - 1, &p));
    assert_int_equal(count_containing(&p, "s3cr3t"), 0);
    config_problems_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_has_a_case),
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_millpond_and_log_members),
        cmocka_unit_test(test_listen_members),
        cmocka_unit_test(test_cache_and_admin_members),
        cmocka_unit_test(test_secret_is_not_in_messages),
    };
    return cmocka_run_group_tests_name("config/build", tests, NULL, NULL);
}
