/* test_htpasswd.c: which lines are users, what is said of others, and whose password it is. */
#include "core/htpasswd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <crypt.h>

#define BCRYPT "$2y$04$abcdefghijklmnopqrstuuK1S1Nfo4OQ3gDJgEeyL8xjoTQ1Qf5D."
#define APR1   "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"

static char said[4096];

static void say(void *arg, unsigned line, const char *what)
{
    size_t n = strlen(said);
    (void)arg;
    snprintf(said + n, sizeof said - n, "%u: %s\n", line, what);
}

static struct htpasswd *parse(const char *text)
{
    said[0] = '\0';
    return htpasswd_parse(slice_str(text), say, NULL);
}

static void expect_wrong(const char *text, const char *want)
{
    struct htpasswd *h = parse(text);
    assert_null(h);
    if (strstr(said, want) == NULL)
        fail_msg("\"%s\" instead of \"%s\"", said, want);
}

static void test_users(void **state)
{
    (void)state;
    struct htpasswd *h =
        parse("# a comment\n\n  \nbob:" BCRYPT "\r\nalice:" APR1 ":a comment\n carl:" APR1 "\t\n"
              "Z\xc3\xbc:" APR1);
    assert_string_equal(said, "");
    assert_non_null(h);
    assert_int_equal(h->count, 4);
    assert_string_equal(htpasswd_find(h, SLICE_LIT("bob"))->hash, BCRYPT);
    assert_string_equal(htpasswd_find(h, SLICE_LIT("alice"))->hash, APR1);
    assert_string_equal(htpasswd_find(h, SLICE_LIT("carl"))->hash, APR1);
    assert_non_null(htpasswd_find(h, SLICE_LIT("Z\xc3\xbc")));
    assert_null(htpasswd_find(h, SLICE_LIT("Bob")));
    assert_null(htpasswd_find(h, SLICE_LIT("bo")));
    assert_null(htpasswd_find(h, SLICE_LIT("bobb")));
    assert_null(htpasswd_find(h, SLICE_LIT("")));
    const struct htpasswd_user *in = htpasswd_stand_in(h, SLICE_LIT("nobody"));
    assert_non_null(in);
    assert_ptr_equal(in, htpasswd_stand_in(h, SLICE_LIT("nobody")));
    htpasswd_free(h);
    h = parse("");
    assert_int_equal(h->count, 0);
    assert_null(htpasswd_find(h, SLICE_LIT("a")));
    assert_null(htpasswd_stand_in(h, SLICE_LIT("a")));
    htpasswd_free(h);
    htpasswd_free(NULL);
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    expect_wrong("bob\n", "1: there is no user on this line");
    expect_wrong("\n:" APR1 "\n", "2: there is no user on this line");
    expect_wrong("b\x01:" APR1 "\n", "1: there is no user on this line");
    expect_wrong("bob:\n", "1: \"bob\" has no password");
    expect_wrong("bob:secret\n", "1: \"bob\" has no hash that is known");
    expect_wrong("bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "1: \"bob\" has a {SHA} hash");
    expect_wrong("bob:rqXexS6ZhobKA\n", "no hash that is known");
    expect_wrong("bob:$1$salt$qJH7.N4xYta3aEG/dfqo/0\n", "no hash that is known");
    expect_wrong("bob:$2y$04$short\n", "no whole bcrypt hash");
    expect_wrong("bob:$2y$03$abcdefghijklmnopqrstuuK1S1Nfo4OQ3gDJgEeyL8xjoTQ1Qf5D.\n",
                 "no whole bcrypt hash");
    expect_wrong("bob:$2y$16$abcdefghijklmnopqrstuuK1S1Nfo4OQ3gDJgEeyL8xjoTQ1Qf5D.\n", "takes too long");
    expect_wrong("bob:$apr1$abcdefghi$h9FWgUz3n9YxylKLlR5SQ/\n", "no whole apr1 hash");
    expect_wrong("bob:$apr1$abc\n", "no whole apr1 hash");
    expect_wrong("bob:$5$salt$short\n", "no whole SHA-crypt hash");
    expect_wrong("bob:$6$rounds=x$salt$short\n", "no whole SHA-crypt hash");
    expect_wrong("bob:$y$j9T$salt$short\n", "no whole yescrypt hash");
    expect_wrong("a:" APR1 "\nb:" APR1 "\na:" BCRYPT "\n", "3: \"a\" stands on line 1 already");
    expect_wrong("a:x\nb:" APR1 "\nc:y\n", "3: \"c\"");
    expect_wrong("a:x\nb:" APR1 "\nc:y\n", "1: \"a\"");
    expect_wrong("bob:$6$rounds=5000001$saltstring$"
                 "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1\n.",
                 "SHA-crypt");
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/htpasswd_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs("bob:" APR1 "\n", f);
    fclose(f);
    said[0] = '\0';
    struct htpasswd *h = htpasswd_read(path, say, NULL);
    assert_non_null(h);
    assert_int_equal(h->count, 1);
    htpasswd_free(h);
    assert_int_equal(truncate(path, HTPASSWD_FILE_MAX + 1), 0);
    assert_null(htpasswd_read(path, say, NULL));
    assert_non_null(strstr(said, "0: it is larger than 1M"));
    remove(path);
    assert_null(htpasswd_read(path, say, NULL));
    assert_non_null(strstr(said, "0: No such file"));
    assert_null(htpasswd_read("/", say, NULL));
    assert_non_null(strstr(said, "0: it is no file"));
}

static void test_passwords(void **state)
{
    (void)state;
    static const char *const settings[] = {"$2b$04$abcdefghijklmnopqrstuu",
                                           "$2y$04$abcdefghijklmnopqrstuu",
                                           "$5$rounds=1000$salt",
                                           "$6$rounds=1000$salt",
                                           "$5$salt",
                                           "$y$j75$salt"};
    struct crypt_data *room = calloc(1, sizeof *room);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char text[512];
        const char *hash = crypt("se cret", settings[i]);
        assert_non_null(hash);
        snprintf(text, sizeof text, "u:%s\n", hash);
        struct htpasswd *h = parse(text);
        assert_string_equal(said, "");
        assert_true(htpasswd_verify(h->users[0].hash, "se cret", room));
        assert_false(htpasswd_verify(h->users[0].hash, "se creT", room));
        assert_false(htpasswd_verify(h->users[0].hash, "", room));
        htpasswd_free(h);
    }
    assert_true(htpasswd_verify(APR1, "secret", room)); /* as openssl passwd -apr1 makes them */
    assert_true(
        htpasswd_verify("$apr1$x$zdBWZs0qM0nMZFeFiW2/W0", "a much longer password of more than 16", room));
    assert_true(htpasswd_verify("$apr1$12345678$sHuPAw7VA9xjRbJz7zKV7/", "", room));
    assert_false(htpasswd_verify(APR1, "Secret", room));
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_what_is_wrong),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_passwords),
    };
    return cmocka_run_group_tests_name("htpasswd", tests, NULL, NULL);
}
