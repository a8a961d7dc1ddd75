/* text_table.c: see text_table.h. Without memory a table lacks its last cells. */
#include "admin/text_table.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"

void text_table_add(struct text_table *t, const char *text)
{
    if (t->count == t->room) {
        size_t room = t->room > 0 ? 2 * t->room : 64;
        char(*grown)[TEXT_TABLE_CELL] = realloc(t->cells, room * sizeof *grown);
        if (grown == NULL)
            return;
        t->cells = grown;
        t->room = room;
    }
    char *cell = t->cells[t->count++];
    snprintf(cell, TEXT_TABLE_CELL, "%s", text);
    for (; *cell != '\0'; cell++) {
        if ((unsigned char)*cell < ' ' || *cell == 0x7f)
            *cell = '?';
    }
}

void text_table_add_int(struct text_table *t, int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, n);
    text_table_add(t, text);
}

void text_table_add_all(struct text_table *t, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        text_table_add(t, texts[i]);
}

void text_table_print(struct text_table *t, FILE *out)
{
    size_t width[TEXT_TABLE_COLUMNS] = {0};
    ASSERT(t->columns > 0 && t->columns <= TEXT_TABLE_COLUMNS);
    for (size_t i = 0; i < t->count; i++) {
        size_t len = strlen(t->cells[i]), *w = &width[i % t->columns];
        *w = len > *w ? len : *w;
    }
    for (size_t i = 0; i < t->count; i++) {
        size_t column = i % t->columns;
        bool last = column + 1 == t->columns;
        if ((t->right >> column) & 1)
            fprintf(out, "%*s", (int)width[column], t->cells[i]);
        else
            fprintf(out, "%-*s", last ? 0 : (int)width[column], t->cells[i]);
        fputs(last ? "\n" : "  ", out);
    }
    text_table_drop(t);
}

void text_table_drop(struct text_table *t)
{
    free(t->cells);
    *t = (struct text_table){0};
}
