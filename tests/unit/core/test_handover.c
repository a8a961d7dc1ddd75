/* test_handover.c: messages between two processes: what is written is read, what is none is refused, and
 * descriptors arrive or are closed. */
#include "core/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void test_round_trip(void **state)
{
    UNUSED(state);
    static const struct handover rows[] = {
        {HANDOVER_HELLO, {SLICE_LIT("0.1.0"), SLICE_LIT("123")}},
        {HANDOVER_LISTEN, {SLICE_LIT("web"), SLICE_LIT("127.0.0.1:80")}},
        {HANDOVER_ADMIN, {SLICE_LIT("unix:/run/admin.sock")}},
        {HANDOVER_TICKETS, {SLICE_LIT("any\nbytes\0at all")}},
        {HANDOVER_SERVER,
         {SLICE_LIT("app"), SLICE_LIT("a"), SLICE_LIT("new"), SLICE_LIT("10.0.0.1:80 name=a")}},
        {HANDOVER_SERVER, {SLICE_LIT("app"), SLICE_LIT("a"), SLICE_LIT("file"), {"", 0}}},
        {HANDOVER_END, {{"", 0}}},
        {HANDOVER_FAILED, {SLICE_LIT("one\ntwo\n")}},
    };
    char bytes[HANDOVER_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct handover back;
        size_t n = handover_write(bytes, &rows[i]);
        assert_true(n > 0);
        assert_true(handover_parse(slice_make(bytes, n), &back));
        assert_int_equal(back.kind, rows[i].kind);
        for (size_t k = 0; k < HANDOVER_TEXTS; k++)
            assert_true(back.text[k].len == rows[i].text[k].len &&
                        (back.text[k].len == 0 || slice_eq(back.text[k], rows[i].text[k])));
    }
}

static void test_what_is_none(void **state)
{
    UNUSED(state);
    struct handover m;
    assert_false(handover_parse(SLICE_LIT(""), &m));
    assert_false(handover_parse(SLICE_LIT("\n"), &m));
    assert_false(handover_parse(SLICE_LIT("listen"), &m));
    assert_false(handover_parse(SLICE_LIT("listen\nweb"), &m));
    assert_true(handover_parse(SLICE_LIT("listen\n\n"), &m));
    assert_int_equal(m.text[0].len + m.text[1].len, 0);
    /* A newer version has more to say. */
    assert_true(handover_parse(SLICE_LIT("cache\nand so on"), &m));
    assert_int_equal(m.kind, HANDOVER_UNKNOWN);
    assert_true(handover_parse(SLICE_LIT("go\nbut slowly"), &m));
    assert_int_equal(m.kind, HANDOVER_GO);
}

static void test_what_cannot_be_written(void **state)
{
    UNUSED(state);
    char bytes[HANDOVER_BYTES], *large = malloc(HANDOVER_BYTES);
    assert_non_null(large);
    memset(large, 'x', HANDOVER_BYTES);
    const struct handover rows[] = {
        {HANDOVER_UNKNOWN, {{"", 0}}},
        {HANDOVER_LISTEN, {SLICE_LIT("we\nb"), SLICE_LIT("127.0.0.1:80")}},
        {HANDOVER_FAILED, {{large, HANDOVER_BYTES}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(handover_write(bytes, &rows[i]), 0);
    assert_false(handover_send(-1, &rows[1], NULL, 0));
    assert_int_equal(errno, EMSGSIZE);
    free(large);
}

static void test_descriptors_arrive(void **state)
{
    UNUSED(state);
    int ends[2], fds[HANDOVER_FDS], many[HANDOVER_FDS];
    size_t count;
    char bytes[HANDOVER_BYTES];
    struct handover m;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(handover_receive(ends[1], bytes, &m, fds, &count), -1);
    assert_int_equal(errno, EAGAIN);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = ends[0];
    const struct handover h = {HANDOVER_LISTEN, {SLICE_LIT("web"), SLICE_LIT("127.0.0.1:80")}};
    assert_true(handover_send(ends[0], &h, many, ARRAY_LEN(many)));
    assert_true(handover_say(ends[0], HANDOVER_FAILED, SLICE_LIT("why")));
    assert_int_equal(handover_receive(ends[1], bytes, &m, fds, &count), 1);
    assert_int_equal(m.kind, HANDOVER_LISTEN);
    assert_int_equal(count, ARRAY_LEN(many));
    assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    handover_close(fds, count);
    assert_int_equal(handover_receive(ends[1], bytes, &m, fds, &count), 1);
    assert_true(m.kind == HANDOVER_FAILED && slice_eq(m.text[0], SLICE_LIT("why")));
    assert_int_equal(count, 0);
    /* One that is no message brings none. */
    assert_int_equal(send(ends[0], "listen", 6, 0), 6);
    assert_int_equal(handover_receive(ends[1], bytes, &m, fds, &count), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(count, 0);
    close(ends[0]);
    assert_int_equal(handover_receive(ends[1], bytes, &m, fds, &count), 0);
    assert_false(handover_say(ends[1], HANDOVER_READY, SLICE_LIT("1")));
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_what_cannot_be_written),
        cmocka_unit_test(test_descriptors_arrive),
    };
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
