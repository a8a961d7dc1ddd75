/* test_body_memory.c: pages that a socket still holds never change, and freed ones go back to the system. */
#include "cache/body_memory.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cache/fixture.h"

#define PIECE (40 * KB)

static void *filled(size_t bytes, int with)
{
    char *p = body_memory_alloc(bytes);
    assert_non_null(p);
    memset(p, with, bytes);
    return p;
}

/* False, and the test has nothing to show, in builds that have ordinary memory only. */
static bool is_sendable(void)
{
    off_t at;
    char *p = filled(BODY_MEMORY_LEAST, 'x');
    bool yes = cache_body_file(p, &at) >= 0;
    body_memory_free(p);
#ifdef MILLPOND_JEMALLOC
    assert_true(yes);
#endif
    return yes;
}

static void test_a_piece_is_sent_from_its_file(void **state)
{
    UNUSED(state);
    off_t at;
    char seen[PIECE], local = 0;
    assert_int_equal(cache_body_file(&local, &at), -1);
    char *small = filled(BODY_MEMORY_LEAST - 1, 's');
    assert_int_equal(cache_body_file(small, &at), -1);
    body_memory_free(small);
    if (!is_sendable())
        return;
    char *p = filled(PIECE, 'p');
    p[PIECE - 1] = 'e';
    int file = cache_body_file(p + 1, &at);
    assert_int_equal(pread(file, seen, PIECE - 1, at), PIECE - 1);
    assert_memory_equal(seen, p + 1, PIECE - 1);
    body_memory_free(p);
}

static void test_what_a_socket_holds_does_not_change(void **state)
{
    UNUSED(state);
    int pair[2];
    off_t at;
    char seen[PIECE];
    if (!is_sendable())
        return;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    char *p = filled(PIECE, 'a');
    int file = cache_body_file(p, &at);
    assert_int_equal(sendfile(pair[0], file, &at, PIECE), PIECE);
    body_memory_free(p);
    for (int i = 0; i < 64; i++) { /* whoever gets the place next */
        char *next = filled(PIECE, 'b');
        body_memory_free(next);
    }
    for (size_t got = 0; got < PIECE;) {
        ssize_t n = read(pair[1], seen + got, PIECE - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    for (size_t i = 0; i < PIECE; i++)
        assert_int_equal(seen[i], 'a');
    close(pair[0]);
    close(pair[1]);
}

static void test_freed_pages_go_back(void **state)
{
    UNUSED(state);
    struct stat before, full, after;
    off_t at;
    if (!is_sendable())
        return;
    char *piece[32];
    int file = -1;
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        piece[i] = body_memory_alloc(1 * MB);
        file = cache_body_file(piece[i], &at);
        if (i == 0)
            assert_int_equal(fstat(file, &before), 0);
        memset(piece[i], 'x', 1 * MB);
    }
    assert_int_equal(fstat(file, &full), 0);
    assert_true(full.st_blocks - before.st_blocks >= (blkcnt_t)(ARRAY_LEN(piece) * MB / 512));
    for (size_t i = 0; i < ARRAY_LEN(piece); i++)
        body_memory_free(piece[i]);
    assert_int_equal(fstat(file, &after), 0);
    assert_true(after.st_blocks - before.st_blocks <=
                (blkcnt_t)(2 * MB / 512)); /* what the arena keeps on itself */
}

/* So that who allocates and who frees do not meet at the locks of one arena. */
static void test_neighbours_in_time_lie_far_apart(void **state)
{
    UNUSED(state);
    char *piece[4];
    off_t at[4];
    if (!is_sendable())
        return;
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        piece[i] = filled(64 * KB, 'n');
        assert_true(cache_body_file(piece[i], &at[i]) >= 0);
        for (size_t k = 0; k < i; k++)
            assert_true(MAX(at[i], at[k]) - MIN(at[i], at[k]) >= (off_t)(512 * MB));
    }
    for (size_t i = 0; i < ARRAY_LEN(piece); i++)
        body_memory_free(piece[i]);
}

static void test_a_shrunk_piece_keeps_its_neighbours(void **state)
{
    UNUSED(state);
    char *piece[16], *in_the_gaps[64];
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        piece[i] = filled(64 * KB, 'k');
        assert_true(body_memory_shrink(piece[i], 64 * KB, 64 * KB) > 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        body_memory_free(piece[i]);
        piece[i] = body_memory_alloc(1 * MB);
        memset(piece[i], 'l', 40 * KB);
        size_t now = body_memory_shrink(piece[i], 1 * MB, 40 * KB);
        assert_true(now >= 40 * KB && now <= cache_memory_rounded(1 * MB));
    }
    for (size_t i = 0; i < ARRAY_LEN(in_the_gaps); i++)
        in_the_gaps[i] = filled(PIECE, 'g');
    for (size_t i = 0; i < ARRAY_LEN(piece); i++)
        body_memory_free(piece[i]);
    for (size_t i = 0; i < ARRAY_LEN(in_the_gaps); i++) {
        assert_int_equal(in_the_gaps[i][0], 'g');
        assert_int_equal(in_the_gaps[i][PIECE - 1], 'g');
        body_memory_free(in_the_gaps[i]);
    }
}

static void test_without_memory(void **state)
{
    UNUSED(state);
    cache_memory_fail_after(0);
    assert_null(body_memory_alloc(1 * MB));
    assert_null(body_memory_alloc(100));
    cache_memory_fail_after(-1);
    body_memory_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_piece_is_sent_from_its_file),
        cmocka_unit_test(test_what_a_socket_holds_does_not_change),
        cmocka_unit_test(test_freed_pages_go_back),
        cmocka_unit_test(test_neighbours_in_time_lie_far_apart),
        cmocka_unit_test(test_a_shrunk_piece_keeps_its_neighbours),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
