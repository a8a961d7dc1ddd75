/* config_test.h: loading texts and looking for messages, for the tests of config/. */
#ifndef TESTS_UNIT_CONFIG_TEST_H
#define TESTS_UNIT_CONFIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/option.h"

#define APP "[pool app]\nserver = 127.0.0.1:3001\n"

static inline void print_problems(const struct config_problems *p)
{
    for (size_t i = 0; i < p->count; i++)
        print_error("  %s%s\n", p->items[i].warning ? "warning: " : "", p->items[i].text);
}

static inline size_t count_containing(const struct config_problems *p, const char *part)
{
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++)
        n += strstr(p->items[i].text, part) != NULL;
    return n;
}

/* Loads a text that must have no error; warnings are let pass. The caller drops the reference. */
static inline struct config *load_ok(const char *text)
{
    struct config_problems p;
    struct config *c = config_load_text("t.ini", text, strlen(text), &p);
    if (c == NULL || p.errors != 0) {
        print_error("%s\n", text);
        print_problems(&p);
        fail_msg("text with errors");
    }
    config_problems_free(&p);
    return c;
}

/* Loads a text that must have exactly `errors` errors, and a problem that contains `part`. */
static inline void expect_errors(const char *text, size_t len, size_t errors, const char *part)
{
    struct config_problems p;
    struct config *c = config_load_text("t.ini", text, len, &p);
    if (p.errors != errors || count_containing(&p, part) == 0 || (c == NULL) != (errors > 0)) {
        print_error("%s\nexpected %zu errors and: %s\nfound %zu:\n", text, errors, part, p.errors);
        print_problems(&p);
        fail_msg("wrong problems");
    }
    for (size_t i = 0; i < p.count; i++) {
        assert_int_equal(strncmp(p.items[i].text, "t.ini:", 6), 0);
        /* Each says what would be right, or asks "did you mean". */
        assert_true(strchr(p.items[i].text, ';') != NULL);
    }
    config_problems_free(&p);
    if (c != NULL)
        config_unref(c);
}

static inline void expect_error(const char *text, const char *part)
{
    expect_errors(text, strlen(text), 1, part);
}

static inline void expect_warning(const char *text, const char *part)
{
    expect_errors(text, strlen(text), 0, part);
}

static inline void expect_no_problem(const char *text)
{
    struct config_problems p;
    struct config *c = config_load_text("t.ini", text, strlen(text), &p);
    if (p.count != 0)
        print_problems(&p);
    assert_non_null(c);
    assert_int_equal(p.count, 0);
    config_problems_free(&p);
    config_unref(c);
}

/* A file for one test, and what became of it. */
static inline void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void expect_file(const char *path, const char *want)
{
    char text[1024];
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, want);
}

#endif
