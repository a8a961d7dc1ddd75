/* trace_sim.c: the hit ratio of our eviction next to LRU, FIFO and Belady's choice, at several cache sizes,
 * as Markdown on standard output. `make trace` makes the tables of docs/hit-ratio.md; `make trace FILE=list`
 * takes the requests from a file. What is simulated is the order of eviction alone: nothing expires, nothing
 * is purged, every response may be stored. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/trace/policy.h"
#include "core/hash.h"
#include "core/slice.h"

static const double cache_percent[] = {0.1, 1, 5, 10, 25};
static const struct trace_policy *const policies[] = {&trace_policy_millpond, &trace_policy_lru,
                                                      &trace_policy_fifo, &trace_policy_belady};

struct options {
    size_t requests;
    uint64_t seed;
    const char *only, *file;
};

static const char usage[] =
    "usage: trace_sim [--requests N] [--seed N] [--only PATTERN] | --file FILE\n"
    "  --requests N     length of the made-up traces (2000000; at least 1000)\n"
    "  --seed N         another draw of the same patterns (1)\n"
    "  --only PATTERN   one pattern instead of all\n"
    "  --file FILE      requests from a file: lines \"key\" or \"key size\", size in bytes\n"
    "patterns:\n";

static void print_usage(FILE *to)
{
    fputs(usage, to);
    for (size_t i = 0; i < trace_pattern_count; i++)
        fprintf(to, "  %-16s %s\n", trace_patterns[i].name, trace_patterns[i].what);
}

static void print_header(const struct trace *t, const char *name, const char *what)
{
    printf("## %s\n\n%s%s%zu requests, %.1f MB in all.\n\n| cache |", name, what, what[0] != '\0' ? ". " : "",
           t->request_count, (double)t->footprint_bytes / MB);
    for (size_t columns = t->even ? 1 : 2, c = 0; c < columns; c++) {
        for (size_t p = 0; p < ARRAY_LEN(policies); p++)
            printf(" %s%s |", policies[p]->name, c == 1 ? ", bytes" : "");
    }
    printf("\n| ---: |");
    for (size_t cells = ARRAY_LEN(policies) * (t->even ? 1 : 2); cells > 0; cells--)
        printf(" ---: |");
    printf("\n");
}

static void print_trace(const struct trace *t, const char *name, const char *what)
{
    print_header(t, name, what);
    for (size_t i = 0; i < ARRAY_LEN(cache_percent); i++) {
        uint64_t capacity_bytes = (uint64_t)((double)t->footprint_bytes * cache_percent[i] / 100);
        struct trace_hit_ratio got[ARRAY_LEN(policies)];
        printf("| %g%% |", cache_percent[i]);
        for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
            got[p] = trace_run(policies[p], t, capacity_bytes);
            printf(" %.2f |", got[p].objects * 100);
        }
        for (size_t p = 0; p < ARRAY_LEN(policies) && !t->even; p++)
            printf(" %.2f |", got[p].bytes * 100);
        printf("\n");
        fflush(stdout);
    }
    printf("\n");
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"requests", required_argument, NULL, 'r'}, {"seed", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},     {"file", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    uint64_t requests = 2000000;
    bool ok = true;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'h') {
            print_usage(stdout);
            exit(0);
        }
        if (c == 'r')
            ok =
                ok && slice_to_u64(slice_str(optarg), &requests) && requests >= 1000 && requests < UINT32_MAX;
        else if (c == 's')
            ok = ok && slice_to_u64(slice_str(optarg), &o->seed);
        else if (c == 'o')
            o->only = optarg;
        else if (c == 'f')
            o->file = optarg;
        else
            ok = false;
    }
    o->requests = (size_t)requests;
    return ok && optind == argc;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1};
    if (!parse_options(argc, argv, &o)) {
        print_usage(stderr);
        return 2;
    }
    hash_seed_fixed(o.seed);
    if (o.file != NULL) {
        char error[512];
        struct trace t;
        if (!trace_read(&t, o.file, error, sizeof error)) {
            fprintf(stderr, "trace_sim: %s\n", error);
            return 1;
        }
        print_trace(&t, o.file, "");
        trace_free(&t);
        return 0;
    }
    bool any = false;
    for (size_t i = 0; i < trace_pattern_count; i++) {
        const struct trace_pattern *p = &trace_patterns[i];
        if (o.only != NULL && strcmp(o.only, p->name) != 0)
            continue;
        struct trace t = trace_make(p->name, o.requests, o.seed);
        print_trace(&t, p->name, p->what);
        trace_free(&t);
        any = true;
    }
    if (!any)
        print_usage(stderr);
    return any ? 0 : 2;
}
