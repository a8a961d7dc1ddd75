/* test_load.c: the smallest file and all its defaults, odd bytes, and the life of a snapshot. */
#include "config_test.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static void check_default_pool(const struct config_pool *p)
{
    assert_string_equal(p->name, "app");
    assert_int_equal(p->server_count, 2);
    assert_string_equal(p->servers[0].name, "127.0.0.1:3001");
    assert_int_equal(p->servers[0].weight, 1);
    assert_false(p->servers[0].backup);
    assert_int_equal(p->health, CONFIG_HEALTH_HTTP);
    assert_string_equal(p->health_path, "/");
    assert_string_equal(p->health_host, "");
    assert_int_equal(p->health_status_count, 1);
    assert_true(p->health_status[0].from == 200 && p->health_status[0].to == 399);
    assert_true(p->health_interval_ms == 2000 && p->health_timeout_ms == 1000);
    assert_true(p->health_rise == 2 && p->health_fall == 3);
    assert_true(p->connect_timeout_ms == 3000 && p->response_timeout_ms == 60000 &&
                p->idle_timeout_ms == 30000);
    assert_true(p->retries == 2 && p->retry_budget_percent == 20 && p->max_idle == 128);
    assert_int_equal(p->retry_on, 31);
}

static void check_default_listen(const struct config_listen *l)
{
    char text[NET_ADDR_TEXT];
    assert_string_equal(l->name, "default");
    assert_null(l->origin.file);
    assert_int_equal(l->address_count, 1);
    assert_string_equal(net_addr_format(&l->addresses[0], text).ptr, "0.0.0.0:8080");
    assert_true(l->header_timeout_ms == 10000 && l->body_timeout_ms == 30000 && l->idle_timeout_ms == 60000 &&
                l->write_timeout_ms == 30000);
    assert_int_equal(l->min_rate_bytes_s, 240);
    assert_true(l->max_header_bytes == 32768 && l->max_headers == 100 && l->max_target_bytes == 8192);
    assert_int_equal(l->max_body_bytes, 64 << 20);
    assert_true(l->max_requests_per_connection == 0 && l->max_connections_per_ip == 0);
}

static void test_smallest_file(void **state)
{
    cpu_set_t cpus;
    UNUSED(state);
    struct config *c = load_ok("[pool app]\nserver = 127.0.0.1:3001\nserver = 127.0.0.1:3002\n");
    assert_int_equal(c->generation, 1);
    assert_string_equal(c->path, "t.ini");
    sched_getaffinity(0, sizeof cpus, &cpus);
    assert_int_equal(c->main.workers, CPU_COUNT(&cpus));
    assert_string_equal(c->main.user, "");
    assert_string_equal(c->main.group, "");
    assert_int_equal(c->main.shutdown_timeout_ms, 30000);
    assert_int_equal(c->main.max_connections, 10000);
    assert_int_equal(c->main.trusted_proxies.count, 0);
    assert_string_equal(c->main.server_header, "millpond");
    assert_int_equal(c->log.level, CONFIG_LOG_INFO);
    assert_string_equal(c->log.file, "stderr");
    assert_string_equal(c->log.access, "off");
    assert_string_equal(c->log.access_format, "json");
    assert_int_equal(c->log.slow_request_ms, 1000);
    assert_int_equal(c->listen_count, 1);
    check_default_listen(&c->listens[0]);
    assert_int_equal(c->pool_count, 1);
    check_default_pool(&c->pools[0]);
    assert_int_equal(c->cache.store, CONFIG_STORE_MEMORY);
    assert_int_equal(c->cache.memory_bytes, 256 << 20);
    assert_int_equal(c->cache.max_object_bytes, 64 << 20);
    assert_int_equal(c->cache.default_ttl_ms, 0);
    assert_int_equal(c->cache.heuristic_percent, 10);
    assert_int_equal(c->cache.heuristic_max_ms, 86400000);
    assert_int_equal(c->cache.lock_timeout_ms, 10000);
    assert_int_equal(c->cache.max_waiters, 10000);
    assert_int_equal(c->cache.purge_from.count, 2);
    assert_true(c->cache.cache_status);
    assert_int_equal(c->route_count, 1);
    assert_string_equal(c->routes[0].name, "default");
    assert_int_equal(c->routes[0].pool, 0);
    assert_int_equal(c->routes[0].max_object_bytes, 64 << 20);
    assert_int_equal(c->admin.address.len, 0);
    assert_int_equal(c->admin.socket_mode, 0660);
    assert_string_equal(c->admin.token, "");
    assert_false(c->admin.read_open || c->admin.metrics_open);
    assert_int_equal(c->admin.allowed_hosts.count, 3);
    config_unref(c);
}

static void test_sample_configuration_loads_cleanly(void **state)
{
    struct config_problems p;
    UNUSED(state);
    struct config *c = config_load("packaging/millpond.ini", &p);
    if (p.count > 0)
        print_problems(&p);
    assert_int_equal(p.count, 0);
    assert_non_null(c);
    assert_int_equal(c->route_count, 3);
    config_problems_free(&p);
    config_unref(c);
}

/* What the sample shows as comments are options, too. */
static void test_sample_configuration_comments_are_options(void **state)
{
    char line[512], *text = NULL;
    size_t bytes = 0, uncommented = 0;
    FILE *in = fopen("packaging/millpond.ini", "r"), *out = open_memstream(&text, &bytes);
    UNUSED(state);
    assert_true(in != NULL && out != NULL);
    while (fgets(line, sizeof line, in) != NULL) {
        bool option = line[0] == ';' && line[1] != ' ' && strchr(line, '=') != NULL;
        bool include = strncmp(line, ";include", 8) == 0;
        fputs(option && !include ? line + 1 : line, out);
        uncommented += option;
    }
    fclose(in);
    fclose(out);
    assert_true(uncommented > 20);
    config_unref(load_ok(text));
    free(text);
}

static void test_byte_order_mark_and_crlf(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok("\xEF\xBB\xBF[pool app]\r\nserver = 127.0.0.1:3001\r\n\r\n[log]\r\nlevel = warn ; why\r\n");
    assert_int_equal(c->log.level, CONFIG_LOG_WARN);
    assert_string_equal(c->pools[0].servers[0].name, "127.0.0.1:3001");
    config_unref(c);
}

static void test_nul_byte(void **state)
{
    static const char text[] = APP "[log]\nlevel = in\0fo\n";
    UNUSED(state);
    expect_errors(text, sizeof text - 1, 1, "t.ini:4: the line contains a NUL byte");
}

static void test_size_limit(void **state)
{
    size_t limit = 1 << 20;
    char *text = malloc(limit + 1);
    UNUSED(state);
    memset(text, '\n', limit + 1);
    memcpy(text, APP, strlen(APP));
    struct config_problems p;
    struct config *c = config_load_text("t.ini", text, limit, &p);
    assert_non_null(c);
    config_unref(c);
    config_problems_free(&p);
    assert_null(config_load_text("t.ini", text, limit + 1, &p));
    assert_true(count_containing(&p, "larger than 1M") == 1);
    config_problems_free(&p);
    free(text);
}

static void *unref_in_thread(void *arg)
{
    config_unref(arg);
    return NULL;
}

static void test_references(void **state)
{
    pthread_t threads[4];
    UNUSED(state);
    struct config *c = load_ok(APP);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_ptr_equal(config_ref(c), c);
    assert_int_equal(atomic_load(&c->refs), 5);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, unref_in_thread, c), 0);
    config_unref(c); /* whichever is last frees it: a sanitizer tells when that goes wrong */
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}

static void test_snapshot_owns_its_texts(void **state)
{
    char *text = strdup("[pool app]\nserver = a.example:1 name=z\n"), *name = strdup("t.ini");
    struct config_problems p;
    UNUSED(state);
    struct config *c = config_load_text(name, text, strlen(text), &p);
    memset(text, 'x', strlen(text));
    memset(name, 'x', strlen(name));
    free(text);
    free(name);
    config_problems_free(&p);
    assert_string_equal(c->path, "t.ini");
    assert_string_equal(c->pools[0].servers[0].origin.file, "t.ini");
    assert_string_equal(c->pools[0].servers[0].name, "z");
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_file),
        cmocka_unit_test(test_sample_configuration_loads_cleanly),
        cmocka_unit_test(test_sample_configuration_comments_are_options),
        cmocka_unit_test(test_byte_order_mark_and_crlf),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_snapshot_owns_its_texts),
    };
    return cmocka_run_group_tests_name("config/load", tests, NULL, NULL);
}
