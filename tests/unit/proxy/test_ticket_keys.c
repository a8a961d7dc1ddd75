/* test_ticket_keys.c: when the file of ticket keys is read, and when it is not. That nodes share what it
 * holds is e2e/tls_tickets. */
#include "proxy/ticket_keys.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/millpond-ticket-keys-XXXXXX";
static struct ticket_keys keys;
static struct tls_tickets tickets;
static struct config *config;

static void write_key(unsigned n)
{
    unsigned char raw[80], text[120];
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    memset(raw, (int)n, sizeof raw);
    EVP_EncodeBlock(text, raw, sizeof raw);
    fprintf(f, "%s\n", (char *)text);
    fclose(f);
}

static unsigned key_in_use(void)
{
    return tickets.keys.items[0].name[0];
}

static int start(void **state)
{
    char ini[256], err[512];
    struct config_problems problems = {0};
    UNUSED(state);
    write_key(1);
    snprintf(ini, sizeof ini, "[millpond]\ntls_ticket_keys = %s\n[pool app]\nserver = 127.0.0.1:9\n", path);
    config = config_load_text("t.ini", ini, strlen(ini), &problems);
    assert_non_null(config);
    config_problems_free(&problems);
    assert_true(tls_tickets_init(&tickets));
    assert_true(ticket_keys_prepare(&keys, config, err, sizeof err));
    ticket_keys_commit(&keys, config, &tickets);
    return 0;
}

static int end(void **state)
{
    UNUSED(state);
    ticket_keys_end(&keys);
    tls_tickets_destroy(&tickets);
    config_unref(config);
    return 0;
}

static void look(unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        ticket_keys_look(&keys, config, &tickets);
}

/* What is put there by hand stays as long as nobody reads the file. */
static void test_a_file_that_stays_is_read_once(void **state)
{
    UNUSED(state);
    assert_int_equal(key_in_use(), 1);
    tickets.keys.items[0].name[0] = 77;
    look(5);
    assert_int_equal(key_in_use(), 77);
}

static void test_a_file_that_changed_is_read_once_it_stays(void **state)
{
    UNUSED(state);
    write_key(2);
    look(1);
    assert_int_equal(key_in_use(), 1);
    look(1);
    assert_int_equal(key_in_use(), 2);
    tickets.keys.items[0].name[0] = 77;
    look(5);
    assert_int_equal(key_in_use(), 77);
}

/* A configuration that was read and did not come into force leaves what is in use, and does not hide that the
 * file has changed. */
static void test_what_is_prepared_only_is_not_taken_for_read(void **state)
{
    char err[512];
    UNUSED(state);
    write_key(3);
    assert_true(ticket_keys_prepare(&keys, config, err, sizeof err));
    assert_int_equal(key_in_use(), 1);
    look(2);
    assert_int_equal(key_in_use(), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file_that_stays_is_read_once, start, end),
        cmocka_unit_test_setup_teardown(test_a_file_that_changed_is_read_once_it_stays, start, end),
        cmocka_unit_test_setup_teardown(test_what_is_prepared_only_is_not_taken_for_read, start, end),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests_name("proxy/ticket_keys", tests, NULL, NULL);
    unlink(path);
    return failed;
}
