/* prometheus.c: see prometheus.h.
 *
 * All samples of a family must stand together, but a series is summed once and has figures for several
 * families. So each family is gathered in a text of its own during the one walk over the series, and the
 * texts are strung together. Latency comes twice: as a histogram with few bounds, which can be added up over
 * machines, and as quantiles from our own fine buckets, exact to 1% but for one process. Rejected: printing
 * into an evbuffer directly, where running out of memory half-way goes unnoticed. Control thread. */
#include "admin/prometheus.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/lock.h"
#include "core/log.h"
#include "core/metrics.h"

static const uint32_t bounds_us[] = {100,   250,    500,    1000,   2500,    5000,    10000,   25000,
                                     50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
static const char *const bound_texts[] = {"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005",
                                          "0.01",   "0.025",   "0.05",   "0.1",   "0.25",   "0.5",
                                          "1",      "2.5",     "5",      "10"};
_Static_assert(ARRAY_LEN(bounds_us) == ARRAY_LEN(bound_texts), "each bound has its text");

static const struct {
    double q;
    const char *text;
} quantiles[] = {{0.5, "0.5"}, {0.95, "0.95"}, {0.99, "0.99"}, {0.999, "0.999"}};

/* X(id, name, type, labels for people, help): families beside those of core/metrics_tbl.h. */
#define SERIES_FAMILIES(X)                                                                                   \
    X(REQUESTS, "millpond_http_requests_total", "counter", "route, cache, instance, status",                 \
      "Requests by route, cache verdict, instance and status class (0xx = no answer was sent)")              \
    X(REASONS, "millpond_http_request_reasons_total", "counter", "route, cache, instance, reason",           \
      "Requests other than hits by what became of the response: stored, or why not")                         \
    X(BYTES, "millpond_http_response_bytes_total", "counter", "route, cache, instance",                      \
      "Bytes of responses sent to clients")                                                                  \
    X(DURATION, "millpond_http_request_duration_seconds", "histogram", "route, cache, instance",             \
      "From the request head read to the last byte handed to the kernel")                                    \
    X(QUANTILES, "millpond_http_request_duration_quantiles_seconds", "summary", "route, cache, instance",    \
      "The same as quantiles within 1%, since the start of the process")
#define OWN_FAMILIES(X)                                                                                      \
    X(BUILD, "millpond_build_info", "gauge", "version", "Version of the program; always 1")                  \
    X(START, "process_start_time_seconds", "gauge", "", "When the process started, seconds since 1970")      \
    X(LOG_DROPPED, "millpond_log_lines_dropped_total", "counter", "",                                        \
      "Log lines lost because a ring was full or an output failed")                                          \
    X(LOCK_TAKES, "millpond_lock_takes_total", "counter", "lock", "Times a lock was taken")                  \
    X(LOCK_WAITS, "millpond_lock_waits_total", "counter", "lock",                                            \
      "Times a lock was taken that had to be waited for")

enum series_family {
#define X(id, name, type, labels, help) FAMILY_##id,
    SERIES_FAMILIES(X)
#undef X
        SERIES_FAMILY_COUNT
};
enum own_family {
#define X(id, name, type, labels, help) OWN_##id,
    OWN_FAMILIES(X)
#undef X
        OWN_FAMILY_COUNT
};

struct family {
    const char *name, *type, *labels, *help;
};
#define X(id, name, type, labels, help) {name, type, labels, help},
static const struct family series_families[] = {SERIES_FAMILIES(X)};
static const struct family own_families[] = {OWN_FAMILIES(X)};
#undef X

/* ---- text ---- */

static bool text_grow(struct prometheus_text *t, size_t more)
{
    if (t->failed || t->size - t->used >= more)
        return !t->failed;
    size_t size = MAX(2 * t->size, t->used + more + 4096);
    char *bytes = realloc(t->bytes, size);
    if (bytes == NULL) {
        t->failed = true;
        return false;
    }
    t->bytes = bytes;
    t->size = size;
    return true;
}

static void text_add(struct prometheus_text *t, const char *bytes, size_t n)
{
    if (n == 0 || !text_grow(t, n))
        return;
    memcpy(t->bytes + t->used, bytes, n);
    t->used += n;
}

static void text_add_str(struct prometheus_text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

/* Backslash, quote and newline are escaped as the format has it; what else is not plain ASCII becomes the
 * text \xHH, so that the page is valid whatever the name and different names stay different. */
static void text_add_label_value(struct prometheus_text *t, slice_t v)
{
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        char escaped[8];
        if (c == '\\' || c == '"')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c == '\n')
            snprintf(escaped, sizeof escaped, "\\n");
        else if (c < 0x20 || c >= 0x7f)
            snprintf(escaped, sizeof escaped, "\\\\x%02x", c);
        else
            snprintf(escaped, sizeof escaped, "%c", c);
        text_add_str(t, escaped);
    }
}

void prometheus_family(struct prometheus_text *out, const char *name, const char *type, const char *help)
{
    const char *const parts[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        text_add_str(out, parts[i]);
}

void prometheus_sample(struct prometheus_text *out, const char *name, const char *suffix,
                       const struct prometheus_label *labels, size_t label_count, double value)
{
    char number[40], before = '{';
    text_add_str(out, name);
    text_add_str(out, suffix);
    for (size_t i = 0; i < label_count; i++) {
        if (labels[i].value.len == 0)
            continue;
        text_add(out, &before, 1);
        text_add_str(out, labels[i].name);
        text_add_str(out, "=\"");
        text_add_label_value(out, labels[i].value);
        text_add_str(out, "\"");
        before = ',';
    }
    if (before == ',')
        text_add_str(out, "}");
    if (fabs(value) < 9e15 && value == floor(value))
        snprintf(number, sizeof number, " %" PRId64 "\n", (int64_t)value);
    else
        snprintf(number, sizeof number, " %.13g\n", value);
    text_add_str(out, number);
}

static void own_family(struct prometheus_text *out, enum own_family id)
{
    prometheus_family(out, own_families[id].name, own_families[id].type, own_families[id].help);
}

/* ---- the request series ---- */

struct series_page { /* one call of prometheus_write */
    struct prometheus_text families[SERIES_FAMILY_COUNT];
};

#define SERIES_LABELS 3
struct series_labels {
    struct prometheus_label l[SERIES_LABELS + 1]; /* the last: status, le or quantile */
};

static void series_sample(struct series_page *page, enum series_family id, const char *suffix,
                          const struct series_labels *labels, size_t label_count, double value)
{
    prometheus_sample(&page->families[id], series_families[id].name, suffix, labels->l, label_count, value);
}

static void series_add_latency(struct series_page *page, struct series_labels *labels,
                               const struct histogram *h)
{
    double count = (double)atomic_load_explicit(&h->count, memory_order_relaxed);
    double sum_s = (double)atomic_load_explicit(&h->sum_us, memory_order_relaxed) / 1e6;
    labels->l[SERIES_LABELS].name = "le";
    for (size_t i = 0; i < ARRAY_LEN(bounds_us); i++) {
        labels->l[SERIES_LABELS].value = slice_str(bound_texts[i]);
        series_sample(page, FAMILY_DURATION, "_bucket", labels, SERIES_LABELS + 1,
                      (double)histogram_count_upto(h, bounds_us[i]));
    }
    labels->l[SERIES_LABELS].value = SLICE_LIT("+Inf");
    series_sample(page, FAMILY_DURATION, "_bucket", labels, SERIES_LABELS + 1, count);
    labels->l[SERIES_LABELS].name = "quantile";
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        labels->l[SERIES_LABELS].value = slice_str(quantiles[i].text);
        series_sample(page, FAMILY_QUANTILES, "", labels, SERIES_LABELS + 1,
                      (double)histogram_quantile_us(h, quantiles[i].q) / 1e6);
    }
    static const enum series_family both[] = {FAMILY_DURATION, FAMILY_QUANTILES};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        series_sample(page, both[i], "_sum", labels, SERIES_LABELS, sum_s);
        series_sample(page, both[i], "_count", labels, SERIES_LABELS, count);
    }
}

static void on_series(void *arg, const struct metrics_series *sum)
{
    static const char *const classes[METRICS_STATUS_CLASSES] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct series_page *page = arg;
    struct series_labels labels = {{
        {"route", metrics_label_name(sum->route)},
        {"cache", slice_str(outcome_verdict_name((enum cache_verdict)sum->verdict))},
        {"instance", sum->instance == 0 ? SLICE_EMPTY : metrics_label_name(sum->instance)},
        {"status", SLICE_EMPTY},
    }};
    for (size_t i = 0; i < METRICS_STATUS_CLASSES; i++) {
        uint64_t n = atomic_load_explicit(&sum->by_status[i], memory_order_relaxed);
        labels.l[SERIES_LABELS].value = slice_str(classes[i]);
        if (n > 0)
            series_sample(page, FAMILY_REQUESTS, "", &labels, SERIES_LABELS + 1, (double)n);
    }
    labels.l[SERIES_LABELS].name = "reason";
    for (unsigned i = 0; i < NO_STORE_SAID_COUNT; i++) {
        uint64_t n = atomic_load_explicit(&sum->by_reason[i], memory_order_relaxed);
        labels.l[SERIES_LABELS].value = slice_str(outcome_no_store_name((enum no_store_reason)i));
        if (n > 0)
            series_sample(page, FAMILY_REASONS, "", &labels, SERIES_LABELS + 1, (double)n);
    }
    series_sample(page, FAMILY_BYTES, "", &labels, SERIES_LABELS,
                  (double)atomic_load_explicit(&sum->response_bytes, memory_order_relaxed));
    series_add_latency(page, &labels, &sum->latency);
}

static void write_series(struct prometheus_text *out)
{
    struct series_page page = {{{0}}};
    for (size_t i = 0; i < SERIES_FAMILY_COUNT; i++) {
        const struct family *f = &series_families[i];
        prometheus_family(&page.families[i], f->name, f->type, f->help);
    }
    metrics_each_series(on_series, &page);
    for (size_t i = 0; i < SERIES_FAMILY_COUNT; i++) {
        text_add(out, page.families[i].bytes, page.families[i].used);
        out->failed |= page.families[i].failed;
        free(page.families[i].bytes);
    }
}

/* ---- the rest of the page ---- */

static void write_locks(struct prometheus_text *out, enum own_family id,
                        uint64_t (*count_of)(enum lock_rank rank))
{
    own_family(out, id);
    for (int i = 0; i < LOCK_RANKS; i++) {
        enum lock_rank rank = (enum lock_rank)i;
        struct prometheus_label lock = {"lock", slice_str(lock_rank_name(rank))};
        prometheus_sample(out, own_families[id].name, "", &lock, 1, (double)count_of(rank));
    }
}

static void write_process(struct prometheus_text *out, const struct prometheus_page *page)
{
    struct prometheus_label version = {"version", slice_str(page->version)};
    own_family(out, OWN_BUILD);
    prometheus_sample(out, own_families[OWN_BUILD].name, "", &version, 1, 1);
    own_family(out, OWN_START);
    prometheus_sample(out, own_families[OWN_START].name, "", NULL, 0,
                      (double)page->process_start_wall_ms / 1000);
    own_family(out, OWN_LOG_DROPPED);
    prometheus_sample(out, own_families[OWN_LOG_DROPPED].name, "", NULL, 0, (double)log_lines_dropped());
    write_locks(out, OWN_LOCK_TAKES, lock_taken);
    write_locks(out, OWN_LOCK_WAITS, lock_contended);
}

static void metric_name(char *buf, size_t bytes, const struct metric_info *info)
{
    snprintf(buf, bytes, "millpond_%s%s", info->name, info->is_gauge ? "" : "_total");
}

static void write_table(struct prometheus_text *out)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metrics_info((enum metric_id)i);
        char name[128];
        metric_name(name, sizeof name, info);
        prometheus_family(out, name, info->is_gauge ? "gauge" : "counter", info->help);
        prometheus_sample(out, name, "", NULL, 0, (double)metrics_total((enum metric_id)i));
    }
}

static void write_reasons(struct prometheus_text *out)
{
    for (unsigned k = 0; k < METRICS_REASON_KINDS; k++) {
        enum metrics_reason_kind kind = (enum metrics_reason_kind)k;
        const struct metrics_reason_info *info = metrics_reason_info(kind);
        char name[128];
        snprintf(name, sizeof name, "millpond_%s_total", info->name);
        prometheus_family(out, name, "counter", info->help);
        for (unsigned reason = 1; reason < info->count; reason++) {
            struct prometheus_label label = {info->label, slice_str(metrics_reason_name(kind, reason))};
            const uint64_t total = metrics_reason_total(kind, reason);
            if (metrics_reason_is_listed(kind, reason, total))
                prometheus_sample(out, name, "", &label, 1, (double)total);
        }
    }
}

bool prometheus_write(struct evbuffer *out, const struct prometheus_page *page)
{
    struct prometheus_text text = {0};
    write_process(&text, page);
    write_table(&text);
    write_reasons(&text);
    write_series(&text);
    if (page->more != NULL)
        page->more(page->arg, &text);
    bool ok = !text.failed && evbuffer_add(out, text.bytes, text.used) == 0;
    free(text.bytes);
    return ok;
}

static void print_row(FILE *out, const char *name, const char *type, const char *labels, const char *help)
{
    fprintf(out, "| `%s` | %s | %s | %s |\n", name, type, labels, help);
}

void prometheus_print_markdown(FILE *out)
{
    fputs("| name | type | labels | meaning |\n| --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < ARRAY_LEN(own_families); i++)
        print_row(out, own_families[i].name, own_families[i].type, own_families[i].labels,
                  own_families[i].help);
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metrics_info((enum metric_id)i);
        char name[128];
        metric_name(name, sizeof name, info);
        print_row(out, name, info->is_gauge ? "gauge" : "counter", "", info->help);
    }
    for (int kind = 0; kind < METRICS_REASON_KINDS; kind++) {
        const struct metrics_reason_info *info = metrics_reason_info((enum metrics_reason_kind)kind);
        char name[128];
        snprintf(name, sizeof name, "millpond_%s_total", info->name);
        print_row(out, name, "counter", info->label, info->help);
    }
    for (size_t i = 0; i < ARRAY_LEN(series_families); i++)
        print_row(out, series_families[i].name, series_families[i].type, series_families[i].labels,
                  series_families[i].help);
}
