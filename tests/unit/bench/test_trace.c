/* test_trace.c: the simulator of hit ratios: its reference policies on traces worked out by hand, the reading
 * of lists, and that made-up traces come out the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/trace/policy.h"
#include "core/hash.h"

/* Reads `text` through a file of its own; "" or the error with the file's name cut off. */
static const char *read_text(struct trace *t, const char *text)
{
    static char error[1024];
    const char *dir = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/millpond-trace-XXXXXX", dir != NULL ? dir : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    bool ok = trace_read(t, path, error, sizeof error);
    unlink(path);
    return ok ? "" : error + strlen(path);
}

/* How many of the requests, a letter each, hit in a cache of `objects`. */
static unsigned hits(const struct trace_policy *p, const char *letters, unsigned objects)
{
    char text[256] = "";
    for (const char *c = letters; *c != '\0'; c++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%c\n", *c);
    struct trace t;
    assert_string_equal(read_text(&t, text), "");
    double ratio = trace_run(p, &t, objects * 1024).objects;
    unsigned count = (unsigned)(ratio * (double)t.request_count + 0.5);
    trace_free(&t);
    return count;
}

static void test_policies_by_hand(void **state)
{
    UNUSED(state);
    assert_int_equal(hits(&trace_policy_lru, "abacaba", 2), 3);
    assert_int_equal(hits(&trace_policy_fifo, "abacaba", 2), 2);
    assert_int_equal(hits(&trace_policy_belady, "abacaba", 2), 4);
    assert_int_equal(hits(&trace_policy_lru, "ababcacad", 2), 4);
    assert_int_equal(hits(&trace_policy_fifo, "ababcacad", 2), 4);
    assert_int_equal(hits(&trace_policy_belady, "ababcacad", 2), 5);
    assert_int_equal(hits(&trace_policy_lru, "abcabcabc", 2), 0);
    assert_int_equal(hits(&trace_policy_belady, "abcabcabc", 2), 4);
    assert_int_equal(hits(&trace_policy_millpond, "abcabcabc", 3), 6);
    assert_int_equal(hits(&trace_policy_millpond, "aaaa", 0), 0);
}

static void test_a_list_of_keys_and_sizes(void **state)
{
    UNUSED(state);
    struct trace t;
    assert_string_equal(read_text(&t, "# key size\n/a 5000\n\n/b\t100\r\n/a 7\n  /c\n/a"), "");
    static const uint32_t requests[] = {0, 1, 0, 2, 0}, bytes[] = {5000, TRACE_BYTES_MIN, 1024};
    assert_int_equal(t.request_count, ARRAY_LEN(requests));
    assert_memory_equal(t.requests, requests, sizeof requests);
    assert_int_equal(t.key_count, ARRAY_LEN(bytes));
    assert_memory_equal(t.bytes, bytes, sizeof bytes);
    assert_int_equal(t.footprint_bytes, 5000 + TRACE_BYTES_MIN + 1024);
    assert_false(t.even);
    struct trace_hit_ratio all = trace_run(&trace_policy_lru, &t, t.footprint_bytes);
    assert_true(all.objects == 2.0 / 5 && all.bytes == 10000.0 / (15000 + TRACE_BYTES_MIN + 1024));
    trace_free(&t);
}

static void test_many_keys_keep_their_numbers(void **state)
{
    UNUSED(state);
    enum { KEYS = 5000 };
    static char text[KEYS * 24];
    size_t at = 0;
    for (unsigned i = 0; i < 2 * KEYS; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "/%u\n", i % KEYS);
    struct trace t;
    assert_string_equal(read_text(&t, text), "");
    assert_int_equal(t.key_count, KEYS);
    for (unsigned i = 0; i < 2 * KEYS; i++)
        assert_int_equal(t.requests[i], i % KEYS);
    trace_free(&t);
}

static void test_bad_lists_are_refused_by_line(void **state)
{
    UNUSED(state);
    struct trace t;
    const char *form = "the size is not a whole number of bytes (a line is: key, or key and size)";
    char expected[128];
    snprintf(expected, sizeof expected, ":2: %s", form);
    assert_string_equal(read_text(&t, "/a 1\n/b 1x\n"), expected);
    assert_string_equal(read_text(&t, "/a 1\n/b -1\n"), expected);
    assert_string_equal(read_text(&t, "#\n/b 1 1\n"), expected);
    assert_string_equal(read_text(&t, "/a 4294967296\n"), ":1: the size is over 4 GB");
    assert_string_equal(read_text(&t, "# nothing\n"), ": no requests in it");
    char error[128];
    assert_false(trace_read(&t, "/nonexistent/list", error, sizeof error));
    assert_string_equal(error, "/nonexistent/list: No such file or directory");
}

static void test_made_up_traces_repeat(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < trace_pattern_count; i++) {
        struct trace a = trace_make(trace_patterns[i].name, 5000, 1);
        struct trace b = trace_make(trace_patterns[i].name, 5000, 1);
        assert_int_equal(a.key_count, b.key_count);
        assert_memory_equal(a.requests, b.requests, 5000 * sizeof *a.requests);
        assert_memory_equal(a.bytes, b.bytes, a.key_count * sizeof *a.bytes);
        trace_free(&a);
        trace_free(&b);
    }
}

int main(void)
{
    hash_seed_fixed(7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_by_hand),
        cmocka_unit_test(test_a_list_of_keys_and_sizes),
        cmocka_unit_test(test_many_keys_keep_their_numbers),
        cmocka_unit_test(test_bad_lists_are_refused_by_line),
        cmocka_unit_test(test_made_up_traces_repeat),
    };
    return cmocka_run_group_tests_name("bench/trace", tests, NULL, NULL);
}
