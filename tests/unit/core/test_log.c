/* test_log.c: lines arrive whole and in order, and nothing the output does reaches the producer.
 *
 * Waits with poll(2) on what is being waited for, never with a sleep. Each test starts and stops its own
 * writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/log_sink.h"

#define GIVE_UP_MS 10000 /* whatever comes about at all has come about by then */

static char dir[64], error_path[128], access_path[128], fifo_path[128];
static struct log_ring *ring;

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/millpond-log-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(error_path, sizeof error_path, "%s/error.log", dir);
    snprintf(access_path, sizeof access_path, "%s/access.log", dir);
    snprintf(fifo_path, sizeof fifo_path, "%s/fifo", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    log_stop();
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void start(const char *error, const char *access)
{
    char err[512] = "";
    struct log_settings s = {LOG_LEVEL_INFO, error, access};
    if (!log_start(&s, err, sizeof err))
        fail_msg("%s", err);
}

/* The text of a file; the caller frees it. */
static char *file_text(const char *path)
{
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return strdup("");
    char *text = NULL;
    size_t used = 0, got;
    do {
        text = realloc(text, used + 65537);
        assert_non_null(text);
        got = fread(text + used, 1, 65536, f);
        used += got;
    } while (got > 0);
    text[used] = '\0';
    fclose(f);
    return text;
}

/* An empty needle asks whether the file exists. */
static unsigned count_of(const char *path, const char *needle)
{
    if (needle[0] == '\0')
        return access(path, F_OK) == 0;
    char *text = file_text(path);
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, needle)) != NULL; p += strlen(needle))
        n++;
    free(text);
    return n;
}

/* Waits until `path` holds `needle`. */
static void await_text(const char *path, const char *needle)
{
    int fd = inotify_init1(IN_CLOEXEC);
    assert_true(fd >= 0 && inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE) >= 0);
    mono_ms_t until_ms = clock_mono_ms() + GIVE_UP_MS;
    while (count_of(path, needle) == 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        mono_ms_t left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0)
            fail_msg("%s never held \"%s\"", path, needle);
        char events[4096];
        assert_true(read(fd, events, sizeof events) > 0);
    }
    close(fd);
}

static bool put_line(enum log_channel channel, const char *text)
{
    size_t n = strlen(text);
    char *to = log_ring_reserve(ring, channel, n + 100);
    if (to == NULL)
        return false;
    memcpy(to, text, n);
    log_ring_commit(ring, n);
    return true;
}

static unsigned put_numbered(unsigned from, unsigned to)
{
    unsigned put = 0;
    for (unsigned i = from; i < to; i++) {
        char line[64];
        snprintf(line, sizeof line, "line %u of the access log\n", i);
        put += put_line(LOG_CHANNEL_ACCESS, line);
        if (i % 16 == 0)
            log_ring_flush(ring);
    }
    log_ring_flush(ring);
    return put;
}

/* ---- lines and levels ---- */

static void test_levels_format_and_escapes(void **state)
{
    (void)state;
    start(error_path, "off");
    ring = log_ring_attach(64 * KB);
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_debug("not this one");
    log_error("evil \r\n2026-01-01T00:00:00.000Z error forged \x1b[31m \x7f \xc2\x9b tab\t");
    log_info("%s", "plain \xc3\xa9 text");
    struct log_settings s = {LOG_LEVEL_DEBUG, error_path, "off"};
    char err[100];
    assert_true(log_change(&s, err, sizeof err));
    log_debug("now this one");
    s.level = LOG_LEVEL_ERROR;
    assert_true(log_change(&s, err, sizeof err));
    log_warn("not a warning any more");
    log_ring_detach(ring);
    log_stop();
    char *text = file_text(error_path);
    assert_non_null(strstr(
        text,
        "Z error evil \\x0d\\x0a2026-01-01T00:00:00.000Z error forged \\x1b[31m \\x7f \xc2\\x9b tab\\x09\n"));
    assert_non_null(strstr(text, "Z info plain \xc3\xa9 text\n"));
    assert_non_null(strstr(text, "Z debug now this one\n"));
    assert_null(strstr(text, "not "));
    assert_int_equal(text[4], '-');
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[23], 'Z');
    free(text);
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    start(error_path, "off");
    char *long_text = malloc(100001);
    memset(long_text, 1, 100000); /* and every byte of it grows fourfold */
    long_text[100000] = '\0';
    log_warn("%s", long_text);
    memset(long_text, 'a', 100000);
    log_warn("%s", long_text);
    free(long_text);
    log_stop();
    char *text = file_text(error_path);
    assert_true(strlen(text) < 8192);
    assert_non_null(strstr(text, "a...\n"));
    free(text);
}

static void *ringless_thread(void *arg)
{
    (void)arg;
    log_info("from a thread without a ring");
    return NULL;
}

static void test_thread_without_ring(void **state)
{
    (void)state;
    start(error_path, "off");
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, ringless_thread, NULL), 0);
    pthread_join(t, NULL);
    ring = log_ring_attach(4096);
    char *to =
        log_ring_reserve(ring, LOG_CHANNEL_ACCESS, 10); /* logging in the middle of a line is allowed */
    assert_non_null(to);
    log_info("in the middle");
    log_ring_commit(ring, 0);
    await_text(error_path, "in the middle\n"); /* and arrives without a stop */
    assert_int_equal(count_of(error_path, "from a thread without a ring\n"), 1);
    log_ring_detach(ring);
}

static void test_repeated_lines_are_summarised(void **state)
{
    (void)state;
    start(error_path, "off");
    for (int i = 0; i < 1000; i++)
        log_warn("the same trouble, number %d", i);
    log_warn("another place is not held back");
    log_stop();
    unsigned lines = count_of(error_path, "the same trouble, number"), held_back = 0, windows = 0;
    char *text = file_text(error_path);
    for (const char *p = text; (p = strstr(p, "... ")) != NULL; p += 4) {
        held_back += (unsigned)strtoul(p + 4, NULL, 10);
        windows++;
    }
    free(text);
    lines -= windows; /* a summary holds the format */
    assert_true(windows >= 1 && lines >= LOG_BURST && lines <= LOG_BURST * (windows + 1));
    assert_int_equal(lines + held_back, 1000);
    assert_int_equal(count_of(error_path, "another place"), 1);
}

static void test_summary_comes_without_another_line(void **state)
{
    (void)state;
    start(error_path, "off");
    for (int i = 0; i < LOG_BURST * 3; i++)
        log_warn("a burst and then silence");
    await_text(error_path, "more like this: a burst");
    for (int i = 0; i < LOG_BURST * 3; i++)
        log_warn("disk %-5s is 100%% full, %.1f%s of %lld%c at %zu%*d", "sda", 1.0, "GB", 2LL, 'x', (size_t)3,
                 4, 5);
    await_text(error_path, "more like this: disk ... is 100% full, ... of ... at ...\n");
}

/* ---- outputs in trouble ---- */

static void test_order_and_wake_up(void **state)
{
    (void)state;
    start(error_path, access_path);
    ring = log_ring_attach(MB);
    assert_int_equal(put_numbered(0, 5000), 5000);
    await_text(access_path, "line 4999 of"); /* woken by the flush alone */
    assert_true(put_line(LOG_CHANNEL_ACCESS, "one more after the sleep\n"));
    log_ring_flush(ring);
    await_text(access_path, "one more");
    log_ring_detach(ring);
    log_stop();
    FILE *f = fopen(access_path, "r");
    assert_non_null(f);
    for (unsigned i = 0, n; i < 5000; i++) {
        assert_int_equal(fscanf(f, "line %u of the access log\n", &n), 1);
        assert_int_equal(n, i);
    }
    fclose(f);
}

/* The producer ends although nobody ever reads, the error log goes on and says so, and log_stop waits for
 * nobody.
 */
static void test_blocked_pipe_blocks_nobody(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(fifo_path, 0600), 0);
    start(error_path, fifo_path);
    uint64_t dropped_before = log_lines_dropped();
    ring = log_ring_attach(64 * KB);
    put_numbered(0, 100000); /* some 3 MB against a pipe of 64 KB */
    log_info("the error log is alive");
    await_text(error_path, "the error log is alive");
    mono_ms_t until_ms = clock_mono_ms() + 5000;
    while (count_of(error_path, "is not read fast enough") == 0 && clock_mono_ms() < until_ms) {
        put_numbered(0, 1000);
        sched_yield();
    }
    await_text(error_path, "is not read fast enough");
    assert_true(log_lines_dropped() > dropped_before);
    mono_ms_t stop_ms = clock_mono_ms();
    log_ring_detach(ring);
    log_stop();
    assert_in_range(clock_mono_ms() - stop_ms, 0, GIVE_UP_MS);
    assert_int_equal(count_of(error_path, "is not read fast enough"), 1);
}

/* A reader that comes back gets whole lines, and the log tells how many it missed. */
static void test_pipe_recovers(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(fifo_path, 0600), 0);
    start(error_path, fifo_path);
    ring = log_ring_attach(64 * KB);
    mono_ms_t until_ms = clock_mono_ms() + 5000;
    do {
        put_numbered(0, 5000);
        sched_yield();
    } while (count_of(error_path, "is not read fast enough") == 0 && clock_mono_ms() < until_ms);
    int fd = open(fifo_path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    char tail = '\n';
    while (count_of(error_path, "is written again") == 0) {
        static char chunk[65536];
        put_numbered(
            0, 1); /* all that was put before may have been dropped by now: recovery shows in a new line */
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) > 0) {
            ssize_t n = read(fd, chunk, sizeof chunk);
            assert_true(n > 0);
            if (tail == '\n') /* a piece begins with a line's begin after a line's end */
                assert_memory_equal(chunk, "line ", 5);
            tail = chunk[n - 1];
        }
        assert_true(clock_mono_ms() < until_ms + 5000);
    }
    assert_int_equal(count_of(error_path, " 0 lines were lost"), 0);
    close(fd);
    log_ring_detach(ring);
    log_stop();
}

static void test_full_disk(void **state)
{
    (void)state;
    start(error_path, "/dev/full");
    uint64_t dropped_before = log_lines_dropped();
    ring = log_ring_attach(MB);
    unsigned put = put_numbered(0, 20000);
    log_ring_flush(ring);
    await_text(error_path, "No space left on device");
    /* The disk has room again: the same sink by another name. Lines that were kept come out. */
    struct log_settings s = {LOG_LEVEL_INFO, error_path, access_path};
    char err[200];
    assert_true(log_change(&s, err, sizeof err));
    await_text(error_path, "is written again");
    log_ring_detach(ring);
    log_stop();
    assert_int_equal(count_of(error_path, "No space left on device"), 1);
    unsigned written = count_of(access_path, "of the access log\n");
    assert_true(written > 0);
    assert_int_equal(log_lines_dropped() - dropped_before, 20000 - written);
    assert_true(put >= written);
}

/* With the error log itself on a full disk nothing is left to say, but everything goes on. */
static void test_full_disk_for_everything(void **state)
{
    (void)state;
    start("/dev/full", "/dev/full");
    uint64_t dropped_before = log_lines_dropped();
    ring = log_ring_attach(64 * KB);
    put_numbered(0, 50000);
    log_error("nobody will read this");
    log_ring_detach(ring);
    mono_ms_t stop_ms = clock_mono_ms();
    log_stop();
    assert_in_range(clock_mono_ms() - stop_ms, 0, GIVE_UP_MS);
    assert_true(log_lines_dropped() - dropped_before >= 50000);
}

/* A stdout that is a pipe without reader: SIGPIPE must not kill, lines are counted. */
static void test_reader_gone(void **state)
{
    (void)state;
    int pipe_fds[2], stdout_kept = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(dup2(pipe_fds[1], STDOUT_FILENO) >= 0);
    close(pipe_fds[1]);
    start(error_path, "stdout");
    assert_true(dup2(stdout_kept, STDOUT_FILENO) >= 0);
    close(stdout_kept);
    ring = log_ring_attach(64 * KB);
    put_line(LOG_CHANNEL_ACCESS, "this one is read\n");
    log_ring_flush(ring);
    char line[100] = "";
    assert_true(read(pipe_fds[0], line, sizeof line - 1) > 0);
    assert_string_equal(line, "this one is read\n");
    close(pipe_fds[0]);
    put_line(LOG_CHANNEL_ACCESS, "this one is not\n");
    log_ring_flush(ring);
    await_text(error_path, "Broken pipe");
    log_ring_detach(ring);
    log_stop();
}

/* The flags of a stdout shared with other processes stay as they were. */
static void test_stdout_flags_untouched(void **state)
{
    (void)state;
    int pipe_fds[2], stdout_kept = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(dup2(pipe_fds[1], STDOUT_FILENO) >= 0);
    start(error_path, "stdout");
    assert_true(dup2(stdout_kept, STDOUT_FILENO) >= 0);
    close(stdout_kept);
    assert_int_equal(fcntl(pipe_fds[1], F_GETFL) & O_NONBLOCK, 0);
    log_stop();
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* ---- files ---- */

static void test_reopen_after_rename(void **state)
{
    (void)state;
    char old_path[160];
    snprintf(old_path, sizeof old_path, "%s.1", access_path);
    start(error_path, access_path);
    ring = log_ring_attach(64 * KB);
    put_line(LOG_CHANNEL_ACCESS, "before\n");
    log_ring_flush(ring);
    await_text(access_path, "before\n");
    assert_int_equal(rename(access_path, old_path), 0);
    put_line(LOG_CHANNEL_ACCESS, "between\n");
    log_ring_flush(ring);
    await_text(old_path, "between\n");
    log_reopen();
    await_text(access_path, ""); /* it exists again */
    put_line(LOG_CHANNEL_ACCESS, "after\n");
    log_ring_flush(ring);
    log_ring_detach(ring);
    log_stop();
    char *old_text = file_text(old_path), *new_text = file_text(access_path);
    assert_string_equal(old_text, "before\nbetween\n");
    assert_string_equal(new_text, "after\n");
    free(old_text);
    free(new_text);
}

static void test_reopen_that_fails_keeps_the_file(void **state)
{
    (void)state;
    char sub_dir[128], path[256], moved[160];
    snprintf(sub_dir, sizeof sub_dir, "%s/sub", dir);
    snprintf(path, sizeof path, "%s/a.log", sub_dir);
    assert_int_equal(mkdir(sub_dir, 0700), 0);
    start(error_path, path);
    ring = log_ring_attach(64 * KB);
    snprintf(moved, sizeof moved, "%s/moved", dir);
    assert_int_equal(rename(sub_dir, moved), 0);
    log_reopen();
    put_line(LOG_CHANNEL_ACCESS, "still here\n");
    log_ring_detach(ring);
    log_stop();
    snprintf(path, sizeof path, "%s/a.log", moved);
    assert_int_equal(count_of(path, "still here\n"), 1);
    assert_int_equal(count_of(error_path, "the old file is used further"), 1);
}

static void test_start_and_change_that_fail(void **state)
{
    (void)state;
    char err[512], bad[160];
    snprintf(bad, sizeof bad, "%s/no/such/dir/x.log", dir);
    struct log_settings s = {LOG_LEVEL_INFO, error_path, bad};
    assert_false(log_start(&s, err, sizeof err));
    assert_non_null(strstr(err, bad));
    start(error_path, access_path);
    s.level = LOG_LEVEL_DEBUG;
    assert_false(log_change(&s, err, sizeof err));
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_info("the old one still works");
    s = (struct log_settings){LOG_LEVEL_INFO, error_path, "off"};
    assert_true(log_change(&s, err, sizeof err));
    log_stop();
    assert_int_equal(count_of(error_path, "the old one still works"), 1);
}

static void test_syslog(void **state)
{
    (void)state;
    char socket_path[100], got[300] = "";
    snprintf(socket_path, sizeof socket_path, "%.60s/devlog", dir);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, socket_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    log_syslog_path = socket_path;
    start("syslog", "off");
    log_warn("to the system's log");
    log_error("and another");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(recv(fd, got, sizeof got - 1, 0) > 0);
    char want[100];
    snprintf(want, sizeof want, "<28>millpond[%d]: warn to the system's log", (int)getpid());
    assert_string_equal(got, want);
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(recv(fd, got, sizeof got - 1, 0) > 0);
    assert_non_null(strstr(got, "<27>"));
    close(fd); /* the daemon goes away */
    log_warn("nobody listens");
    mono_ms_t stop_ms = clock_mono_ms();
    log_stop();
    assert_in_range(clock_mono_ms() - stop_ms, 0, GIVE_UP_MS);
    log_syslog_path = "/dev/log";
}

/* Rings of threads that come and go are freed, with their last lines written. */
static void *short_thread(void *arg)
{
    (void)arg;
    struct log_ring *r = log_ring_attach(4096);
    log_info("a short life");
    log_ring_detach(r);
    return NULL;
}

static void test_many_short_threads(void **state)
{
    (void)state;
    start(error_path, "off");
    for (int i = 0; i < 1000; i++) { /* more than there are places for rings */
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, short_thread, NULL), 0);
        pthread_join(t, NULL);
    }
    log_stop();
    char *text = file_text(error_path);
    assert_non_null(strstr(text, "a short life"));
    free(text);
}

static void test_ring_left_after_stop(void **state)
{
    (void)state;
    start(error_path, access_path);
    ring = log_ring_attach(4096);
    log_stop();
    uint64_t dropped_before = log_lines_dropped();
    assert_true(put_line(LOG_CHANNEL_ACCESS, "too late\n"));
    log_ring_flush(ring);
    log_ring_detach(ring);
    assert_int_equal(log_lines_dropped(), dropped_before + 1);
}

#define LOG_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_levels_format_and_escapes),
        LOG_TEST(test_long_line_is_cut),
        LOG_TEST(test_thread_without_ring),
        LOG_TEST(test_repeated_lines_are_summarised),
        LOG_TEST(test_summary_comes_without_another_line),
        LOG_TEST(test_order_and_wake_up),
        LOG_TEST(test_blocked_pipe_blocks_nobody),
        LOG_TEST(test_pipe_recovers),
        LOG_TEST(test_full_disk),
        LOG_TEST(test_full_disk_for_everything),
        LOG_TEST(test_reader_gone),
        LOG_TEST(test_stdout_flags_untouched),
        LOG_TEST(test_reopen_after_rename),
        LOG_TEST(test_reopen_that_fails_keeps_the_file),
        LOG_TEST(test_start_and_change_that_fail),
        LOG_TEST(test_syslog),
        LOG_TEST(test_many_short_threads),
        LOG_TEST(test_ring_left_after_stop),
    };
    return cmocka_run_group_tests_name("core/log", tests, NULL, NULL);
}
