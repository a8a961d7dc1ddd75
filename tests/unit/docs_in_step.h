/* docs_in_step.h: a page of docs/ holds between its marks what the program prints. Include it behind
 * cmocka.h.
 */
#ifndef TESTS_UNIT_DOCS_IN_STEP_H
#define TESTS_UNIT_DOCS_IN_STEP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between <!-- mark --> and <!-- /mark -->. */
static inline void expect_docs_in_step(const char *path, const char *mark, void (*print)(FILE *out))
{
    static char page[65536];
    char from[64], to[64], *table = NULL;
    size_t table_bytes = 0;
    FILE *mem = open_memstream(&table, &table_bytes);
    assert_non_null(mem);
    print(mem);
    fclose(mem);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    snprintf(from, sizeof from, "<!-- %s -->\n", mark);
    snprintf(to, sizeof to, "<!-- /%s -->", mark);
    const char *begin = strstr(page, from), *end = strstr(page, to);
    assert_true(begin != NULL && end != NULL);
    begin += strlen(from);
    if ((size_t)(end - begin) != table_bytes || memcmp(begin, table, table_bytes) != 0)
        fail_msg("%s should hold between its marks:\n%s", path, table);
    free(table);
}

#endif
