/* support.h: what every end-to-end test stands on: its own directory, texts that live as long as the test,
 * things to undo at its end, and failing with the line of the test that asked.
 *
 * Only the test's own thread may call anything that fails a test (cmocka jumps out of it); the threads of
 * origins, captures and loads never do, they record what went wrong and the test's thread asks. Nothing here
 * sleeps: every wait is for an event and ends in failure after support_wait_ms. */
#ifndef TESTS_SUPPORT_SUPPORT_H
#define TESTS_SUPPORT_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base.h"
#include "core/clock.h"

/* Fixture of each test: a fresh directory, SIGPIPE ignored, descriptors up to the hard limit; the teardown
 * undoes what support_on_end was told, last first, and removes the directory. */
int support_setup(void **state);
int support_teardown(void **state);
#define E2E_TEST(f) cmocka_unit_test_setup_teardown(f, support_setup, support_teardown)
/* Runs an array of E2E_TEST; TEST=pattern in the environment picks some (cmocka's wildcards * and ?). */
#define E2E_RUN(name, tests)                                                                                 \
    (cmocka_set_test_filter(getenv("TEST")), cmocka_run_group_tests_name(name, tests, NULL, NULL))

/* The longest any single event may take before that is a failure: 10 s, three times that under a sanitizer.
 */
int support_wait_ms(void);
/* The program under test was built with a sanitizer, says SAN, or this binary was. */
bool support_sanitized(void);

const char *support_dir(void); /* the running test's directory */

/* Formatted text, valid until the test ends. Test thread. */
char *textf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* `n` times `c`, valid until the test ends. */
char *text_repeat(char c, size_t n);
/* Calls fn(arg) when the test ends, whether it passed or not; last registered first. */
void support_on_end(void (*fn)(void *arg), void *arg);

/* The next failure is reported at this place. The macros over the helpers call it. */
void support_at(const char *file, int line);
#define SUPPORT_AT support_at(__FILE__, __LINE__)
_Noreturn void support_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
#define FAIL(...)         (SUPPORT_AT, support_fail(__VA_ARGS__))
#define EXPECT(cond, ...) ((cond) ? (void)0 : FAIL(__VA_ARGS__))

/* `haystack` contains `needle`, or does not; the failure shows both. */
#define expect_in(haystack, needle)     (SUPPORT_AT, support_expect_in(haystack, needle, true))
#define expect_not_in(haystack, needle) (SUPPORT_AT, support_expect_in(haystack, needle, false))
void support_expect_in(const char *haystack, const char *needle, bool wanted);

/* Files of the test's directory. support_path formats the path; write replaces the content at once (rename).
 */
char *support_path(const char *name);
void support_write_file(const char *path, const char *content);
char *support_read_file(const char *path); /* "" when it does not exist; valid until the test ends */
/* Waits (inotify) until the file holds `needle` at least `times` times and returns its content. */
#define file_wait(path, needle, times) (SUPPORT_AT, support_file_wait(path, needle, times))
char *support_file_wait(const char *path, const char *needle, unsigned times);
unsigned support_count(const char *haystack, const char *needle);

#endif
