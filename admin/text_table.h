/* text_table.h: a table for people at a terminal: columns are as wide as their widest cell and no wider. One
 * thread. */
#ifndef ADMIN_TEXT_TABLE_H
#define ADMIN_TEXT_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_TABLE_CELL    160 /* bytes; what is longer is cut */
#define TEXT_TABLE_COLUMNS 10

/* Zero it but for `columns` and `right`; text_table_print leaves it zeroed, and so does text_table_drop. */
struct text_table {
    char (*cells)[TEXT_TABLE_CELL];
    size_t count, room, columns;
    unsigned right; /* set of columns that are aligned to the right */
};

/* Cells come row by row. Control characters become '?': what an instance answered must not reach a terminal
 * as an escape sequence. */
void text_table_add(struct text_table *t, const char *text);
void text_table_add_int(struct text_table *t, int64_t n);
void text_table_add_all(struct text_table *t, const char *const *texts, size_t count);
void text_table_print(struct text_table *t, FILE *out);
void text_table_drop(struct text_table *t);

#endif
