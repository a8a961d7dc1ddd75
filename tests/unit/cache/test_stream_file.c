/* test_stream_file.c: the file of pending events: what it holds after each way to end. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/stream_file.h"
#include "tests/unit/cache/fixture.h"

static char folder[64], path[96];

struct seen {
    unsigned count;
    struct cache_stream_origin by[16];
    char payload[16][32];
};

static void on_event(void *arg, struct cache_stream_origin by, slice_t payload)
{
    struct seen *s = arg;
    assert_true(s->count < ARRAY_LEN(s->by) && payload.len < sizeof s->payload[0]);
    s->by[s->count] = by;
    memcpy(s->payload[s->count], payload.ptr, payload.len);
    s->payload[s->count++][payload.len] = '\0';
}

static enum cache_stream_file_state open_file(struct cache_stream_file *f, struct seen *s)
{
    memset(s, 0, sizeof *s);
    return cache_stream_file_open(f, path, on_event, s);
}

static struct cache_stream_origin nth(uint64_t number)
{
    return (struct cache_stream_origin){9, number};
}

static char *put(char *at, uint64_t number, const char *payload)
{
    return cache_stream_file_put_event(at, nth(number), slice_str(payload));
}

/* "one", "two" and "three" as 1 to 3, of which 1 is done. */
static size_t make_three(void)
{
    struct cache_stream_file f;
    struct seen s;
    char records[512], *at = put(records, 1, "one");
    unlink(path);
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
    assert_int_equal(s.count, 0);
    assert_true(cache_stream_file_rewrite(&f, slice_make(records, (size_t)(at - records))));
    at = put(records, 2, "two");
    at = cache_stream_file_put_done(at, nth(1));
    at = put(at, 3, "three");
    assert_true(cache_stream_file_append(&f, slice_make(records, (size_t)(at - records)), true));
    const size_t bytes = f.bytes;
    cache_stream_file_close(&f);
    return bytes;
}

static void expect(const struct seen *s, unsigned count, const char *first, const char *second)
{
    assert_int_equal(s->count, count);
    if (count > 0)
        assert_string_equal(s->payload[0], first);
    if (count > 1)
        assert_string_equal(s->payload[1], second);
}

static void test_what_is_not_done_is_pending(void **state)
{
    UNUSED(state);
    struct cache_stream_file f;
    struct seen s;
    struct stat st;
    make_three();
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
    expect(&s, 2, "two", "three");
    assert_true(cache_stream_origin_eq(s.by[1], nth(3)));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(cache_stream_file_is_clear(&f));
    assert_true(cache_stream_file_clear(&f) && cache_stream_file_is_clear(&f));
    cache_stream_file_close(&f);
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
    expect(&s, 0, NULL, NULL);
    cache_stream_file_close(&f);
}

static void test_a_torn_end_is_ignored(void **state)
{
    UNUSED(state);
    struct cache_stream_file f;
    struct seen s;
    const size_t bytes = make_three(), last = bytes - CACHE_STREAM_FILE_RECORD - 5;
    for (size_t cut = last; cut < bytes; cut++) {
        make_three();
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
        expect(&s, 1, "two", NULL);
        cache_stream_file_close(&f);
    }
    for (unsigned from_payload = 0; from_payload < 2; from_payload++) { /* a power cut: zeros */
        make_three();
        assert_int_equal(truncate(path, (off_t)(last + from_payload * CACHE_STREAM_FILE_RECORD)), 0);
        assert_int_equal(truncate(path, (off_t)bytes + 500), 0);
        assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
        expect(&s, 1, "two", NULL);
        cache_stream_file_close(&f);
    }
}

static void test_any_changed_byte_is_damage(void **state)
{
    UNUSED(state);
    struct cache_stream_file f;
    struct seen s;
    const size_t bytes = make_three();
    for (size_t i = 0; i < bytes; i++) {
        char byte = 0;
        make_three();
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)i) == 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
        close(fd);
        if (open_file(&f, &s) != CACHE_STREAM_FILE_DAMAGED)
            fail_msg("byte %zu of %zu was not missed", i, bytes);
        cache_stream_file_close(&f);
    }
}

static void test_what_is_no_such_file(void **state)
{
    UNUSED(state);
    struct cache_stream_file f, other;
    struct seen s;
    static const struct {
        const char *text;
        size_t bytes;
        enum cache_stream_file_state state;
    } files[] = {
        {"", 0, CACHE_STREAM_FILE_READ},
        {"Mlp", 3, CACHE_STREAM_FILE_READ},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, CACHE_STREAM_FILE_READ},
        {"hello", 5, CACHE_STREAM_FILE_DAMAGED},
        {"MlpQ\2\0\0\0\0\0\0\0\0\0\0\0", 16, CACHE_STREAM_FILE_DAMAGED},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, files[i].text, files[i].bytes), files[i].bytes);
        close(fd);
        assert_int_equal(open_file(&f, &s), files[i].state);
        expect(&s, 0, NULL, NULL);
        cache_stream_file_close(&f);
    }
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_DAMAGED);
    assert_int_equal(open_file(&other, &s), CACHE_STREAM_FILE_REFUSED); /* held by f */
    assert_int_equal(errno, EWOULDBLOCK);
    assert_true(cache_stream_file_rewrite(&f, SLICE_EMPTY)); /* and still when it is another file */
    assert_int_equal(open_file(&other, &s), CACHE_STREAM_FILE_REFUSED);
    cache_stream_file_close(&f);
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_REFUSED);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_REFUSED);
    rmdir(path);
}

static void test_a_rewrite_that_fails_leaves_the_file(void **state)
{
    UNUSED(state);
    struct cache_stream_file f;
    struct seen s;
    char aside[110];
    make_three();
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
    snprintf(aside, sizeof aside, "%s.new", path);
    assert_int_equal(mkdir(aside, 0700), 0);
    assert_false(cache_stream_file_rewrite(&f, SLICE_EMPTY));
    rmdir(aside);
    cache_stream_file_close(&f);
    assert_int_equal(open_file(&f, &s), CACHE_STREAM_FILE_READ);
    expect(&s, 2, "two", "three");
    cache_stream_file_close(&f);
}

static int setup(void **state)
{
    UNUSED(state);
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/millpond-file-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/queue", folder);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_done_is_pending),
        cmocka_unit_test(test_a_torn_end_is_ignored),
        cmocka_unit_test(test_any_changed_byte_is_damage),
        cmocka_unit_test(test_what_is_no_such_file),
        cmocka_unit_test(test_a_rewrite_that_fails_leaves_the_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
