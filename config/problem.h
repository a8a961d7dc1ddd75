/* problem.h: collects what is wrong with a configuration, all of it, for one report.
 *
 * Reading, building and checking run one after the other, but a person reads the report beside the file: so
 * it is sorted by file (in the order they were read) and line at the end. At most PROBLEM_MAX are kept, the
 * rest is counted. Control thread. */
#ifndef CONFIG_PROBLEM_H
#define CONFIG_PROBLEM_H

#include "config/config.h"

#define PROBLEM_MAX 250

/* For "%.*s" of something a person wrote, cut to a length that keeps the message readable. */
#define PROBLEM_TEXT(s) (int)MIN((s).len, 80), (s).ptr

struct problem_entry {
    struct config_origin at;
    size_t file_order;
    size_t seq;
    bool warning;
    char *text; /* heap */
};

/* On the stack of config_load. */
struct problem_list {
    const char *main_file;
    const char **files; /* in reading order; the source's memory */
    size_t file_count;
    struct problem_entry *entries;
    size_t count, capacity, errors, dropped;
};

/* `label` ("[pool app]") and `key` may be NULL. `at.file` NULL stands for the main file as a whole. */
void problem_add(struct problem_list *l, bool warning, struct config_origin at, const char *label,
                 const char *key, const char *fmt, ...) PRINTF_LIKE(6, 7);

/* Sorts, hands the texts over to `out` and empties the list. */
void problem_list_finish(struct problem_list *l, struct config_problems *out);

#endif
