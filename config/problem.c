/* problem.c: see problem.h. A message that finds no memory is still counted, so the load fails anyway. */
#include "config/problem.h"

#include <stdarg.h>
#include <stdlib.h>

static bool problem_reserve(struct problem_list *l)
{
    if (l->count < l->capacity)
        return true;
    size_t capacity = l->capacity == 0 ? 8 : l->capacity * 2;
    struct problem_entry *grown = realloc(l->entries, capacity * sizeof *grown);
    if (grown == NULL)
        return false;
    l->entries = grown;
    l->capacity = capacity;
    return true;
}

static size_t problem_file_order(const struct problem_list *l, const char *file)
{
    for (size_t i = 0; i < l->file_count; i++) {
        if (l->files[i] == file)
            return i;
    }
    return 0;
}

/* "file:line: [section] key: " */
static void problem_put_place(FILE *f, const struct problem_list *l, struct config_origin at,
                              const char *label, const char *key)
{
    fputs(at.file != NULL ? at.file : l->main_file, f);
    if (at.file != NULL && at.line > 0)
        fprintf(f, ":%d", at.line);
    fputs(": ", f);
    if (label != NULL)
        fprintf(f, key != NULL ? "%s " : "%s: ", label);
    if (key != NULL)
        fprintf(f, "%s: ", key);
}

void problem_add(struct problem_list *l, bool warning, struct config_origin at, const char *label,
                 const char *key, const char *fmt, ...)
{
    if (!warning)
        l->errors++;
    if (l->count >= PROBLEM_MAX || !problem_reserve(l)) {
        l->dropped++;
        return;
    }
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (f == NULL) {
        l->dropped++;
        return;
    }
    problem_put_place(f, l, at, label, key);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    if (fclose(f) != 0) {
        free(text);
        l->dropped++;
        return;
    }
    l->entries[l->count] = (struct problem_entry){.at = at,
                                                  .file_order = problem_file_order(l, at.file),
                                                  .seq = l->count,
                                                  .warning = warning,
                                                  .text = text};
    l->count++;
}

static int problem_compare(const void *a, const void *b)
{
    const struct problem_entry *x = a, *y = b;
    if (x->file_order != y->file_order)
        return x->file_order < y->file_order ? -1 : 1;
    if (x->at.line != y->at.line)
        return x->at.line < y->at.line ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void problem_list_finish(struct problem_list *l, struct config_problems *out)
{
    size_t dropped = l->dropped;
    l->dropped = 0;
    if (l->count > 1)
        qsort(l->entries, l->count, sizeof *l->entries, problem_compare);
    *out = (struct config_problems){.errors = l->errors};
    out->items = calloc(l->count + 1, sizeof *out->items);
    for (size_t i = 0; i < l->count; i++) {
        if (out->items == NULL) {
            free(l->entries[i].text);
            continue;
        }
        out->items[out->count++] = (struct config_problem){l->entries[i].warning, l->entries[i].text};
    }
    char *rest = NULL;
    if (out->items != NULL && dropped > 0 &&
        asprintf(&rest, "%s: and %zu more; they show once these are put right", l->main_file, dropped) >= 0)
        out->items[out->count++] = (struct config_problem){l->errors == 0, rest};
    free(l->entries);
    l->entries = NULL;
    l->count = l->capacity = 0;
}

void config_problems_free(struct config_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++)
        free(problems->items[i].text);
    free(problems->items);
    *problems = (struct config_problems){0};
}
