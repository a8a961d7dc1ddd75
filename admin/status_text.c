/* status_text.c: see status_text.h. One line for each thing that is, then tables. */
#include "admin/status_text.h"

#include <inttypes.h>
#include <string.h>

#include "admin/events.h"
#include "admin/json_get.h"
#include "admin/text_table.h"
#include "core/base.h"

/* ---- values ---- */

static void format_size(char *buf, size_t bytes, json_int_t n)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double value = (double)n;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(buf, bytes, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void format_age(char *buf, size_t bytes, json_int_t s)
{
    if (s < 60)
        snprintf(buf, bytes, "%" JSON_INTEGER_FORMAT "s", s < 0 ? 0 : s);
    else if (s < 3600)
        snprintf(buf, bytes, "%" JSON_INTEGER_FORMAT "m %" JSON_INTEGER_FORMAT "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, bytes, "%" JSON_INTEGER_FORMAT "h %" JSON_INTEGER_FORMAT "m", s / 3600, s / 60 % 60);
    else
        snprintf(buf, bytes, "%" JSON_INTEGER_FORMAT "d %" JSON_INTEGER_FORMAT "h", s / 86400, s / 3600 % 24);
}

static void format_ms(char *buf, size_t bytes, const json_t *value)
{
    double ms = json_number_value(value);
    snprintf(buf, bytes, ms < 10 ? "%.2f ms" : ms < 100 ? "%.1f ms" : "%.0f ms", ms);
}

/* ---- parts ---- */

static void weight_text(const json_t *instance, char *text, size_t bytes)
{
    const json_int_t weight = int_of(instance, "weight"), share = int_of(instance, "share_percent");
    const json_t *configured = json_object_get(instance, "configured_weight");
    int n = snprintf(text, bytes, "%" JSON_INTEGER_FORMAT "%s%s", weight,
                     configured != NULL && json_integer_value(configured) != weight ? " (ordered)" : "",
                     json_is_true(json_object_get(instance, "backup")) ? " backup" : "");
    if (share < 100)
        snprintf(text + n, bytes - (size_t)n, " at %" JSON_INTEGER_FORMAT "%%", share);
}

static void in_flight_text(const json_t *instance, char *text, size_t bytes)
{
    const json_int_t most = int_of(instance, "max_connections");
    int n = snprintf(text, bytes, "%" JSON_INTEGER_FORMAT, int_of(instance, "in_flight"));
    if (most > 0)
        snprintf(text + n, bytes - (size_t)n, " of %" JSON_INTEGER_FORMAT, most);
}

static void print_idle_limit(const json_t *pool, const json_t *instance, FILE *out)
{
    if (int_of(instance, "idle_limit_ms") > 0)
        fprintf(out, "%s/%s: unused connections are given up after %.1f s (%s)\n", text_of(pool, "name"),
                text_of(instance, "name"), (double)int_of(instance, "idle_limit_ms") / 1000,
                text_of(instance, "idle_limit_from"));
}

static void add_instance(struct text_table *t, const json_t *pool, const json_t *instance, wall_ms_t now_ms)
{
    char text[TEXT_TABLE_CELL];
    const bool spared = text_of(instance, "spared")[0] != '\0';
    text_table_add(t, text_of(pool, "name"));
    text_table_add(t, text_of(pool, "balance"));
    text_table_add(t, text_of(instance, "name"));
    text_table_add(t, text_of(instance, "state"));
    format_age(text, sizeof text, (now_ms - int_of(instance, "since_ms")) / 1000);
    text_table_add(t, text);
    weight_text(instance, text, sizeof text);
    text_table_add(t, text);
    in_flight_text(instance, text, sizeof text);
    text_table_add(t, text);
    text_table_add_int(t, int_of(instance, "requests"));
    text_table_add_int(t, int_of(instance, "failures"));
    snprintf(text, sizeof text, "%s%s%s",
             json_is_true(json_object_get(instance, "added")) ? "(added at run time) " : "",
             spared ? "failing; not ejected: " : "", text_of(instance, spared ? "spared" : "reason"));
    text_table_add(t, text);
}

void admin_pools_print(const json_t *pools, wall_ms_t now_ms, FILE *out)
{
    static const char *const titles[] = {"POOL",   "BALANCE",   "INSTANCE", "STATE",    "FOR",
                                         "WEIGHT", "IN FLIGHT", "REQUESTS", "FAILURES", "REASON"};
    struct text_table t = {.columns = 10, .right = 1u << 6 | 1u << 7 | 1u << 8};
    size_t i, j;
    json_t *pool, *instance;
    text_table_add_all(&t, titles, ARRAY_LEN(titles));
    json_array_foreach(pools, i, pool)
    {
        json_array_foreach(json_object_get(pool, "instances"), j, instance)
        {
            add_instance(&t, pool, instance, now_ms);
        }
    }
    text_table_print(&t, out);
    json_array_foreach(pools, i, pool)
    {
        if (int_of(pool, "waiting") > 0)
            fprintf(out, "pool %s: %" JSON_INTEGER_FORMAT " requests wait for an instance with room\n",
                    text_of(pool, "name"), int_of(pool, "waiting"));
        json_array_foreach(json_object_get(pool, "instances"), j, instance)
        {
            print_idle_limit(pool, instance, out);
        }
    }
}

static json_int_t answered(const json_t *figures, const char *class)
{
    return int_of(json_object_get(figures, "statuses"), class);
}

/* `window_ms` of 0: since the start, without a rate and with all quantiles. */
static void latency_row(struct text_table *t, const char *name, const json_t *l, json_int_t window_ms)
{
    static const char *const keys[] = {"p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms"};
    char text[64];
    text_table_add(t, name);
    text_table_add_int(t, int_of(l, "count"));
    if (window_ms > 0) {
        snprintf(text, sizeof text, "%.1f", (double)int_of(l, "count") * 1000 / (double)window_ms);
        text_table_add(t, text);
    }
    text_table_add_int(t, answered(l, "4xx"));
    text_table_add_int(t, answered(l, "5xx"));
    for (size_t i = 0; i < (window_ms > 0 ? 3 : ARRAY_LEN(keys)); i++) {
        format_ms(text, sizeof text, json_object_get(l, keys[i]));
        text_table_add(t, text);
    }
}

static void latency_print(const json_t *latency, FILE *out)
{
    static const char *const titles[] = {"SINCE THE START", "REQUESTS", "4XX", "5XX", "P50", "P95", "P99",
                                         "P99.9",           "MAX"};
    struct text_table t = {.columns = 9, .right = 0x1fe};
    size_t i;
    json_t *route;
    if (int_of(latency, "count") == 0)
        return;
    text_table_add_all(&t, titles, ARRAY_LEN(titles));
    json_array_foreach(json_object_get(latency, "routes"), i, route)
    {
        char name[TEXT_TABLE_CELL];
        snprintf(name, sizeof name, "route %s", text_of(route, "route"));
        latency_row(&t, name, route, 0);
    }
    latency_row(&t, "all", latency, 0);
    fputc('\n', out);
    text_table_print(&t, out);
}

/* What came lately, by route and by instance: which of them is ill now, the sums since the start hide. */
static void recent_print(const json_t *recent, FILE *out)
{
    static const char *const titles[] = {"REQUESTS", "PER S", "4XX", "5XX", "P50", "P95", "P99"};
    struct text_table t = {.columns = 8, .right = 0xfe};
    const json_int_t window_ms = int_of(recent, "window_ms");
    char text[TEXT_TABLE_CELL], age[32];
    size_t i;
    json_t *row;
    if (int_of(recent, "count") == 0 || window_ms <= 0)
        return;
    format_age(age, sizeof age, window_ms / 1000);
    snprintf(text, sizeof text, "LAST %s", age);
    text_table_add(&t, text);
    text_table_add_all(&t, titles, ARRAY_LEN(titles));
    json_array_foreach(json_object_get(recent, "instances"), i, row)
    {
        latency_row(&t, text_of(row, "instance"), row, window_ms);
    }
    json_array_foreach(json_object_get(recent, "routes"), i, row)
    {
        snprintf(text, sizeof text, "route %s", text_of(row, "route"));
        latency_row(&t, text, row, window_ms);
    }
    latency_row(&t, "all", recent, window_ms);
    fputc('\n', out);
    text_table_print(&t, out);
}

#define REASONS_SHOWN 3

/* The commonest reasons but `stored`, as "set_cookie 12, private 3". */
static void reasons_text(const json_t *reasons, char *text, size_t bytes)
{
    const char *shown[REASONS_SHOWN], *name;
    size_t used = 0;
    text[0] = '\0';
    for (size_t n = 0; n < REASONS_SHOWN; n++) {
        json_t *count;
        json_int_t most = 0;
        json_object_foreach((json_t *)(uintptr_t)reasons, name, count)
        {
            bool taken = strcmp(name, "stored") == 0;
            for (size_t i = 0; i < n; i++)
                taken |= shown[i] == name;
            if (!taken && json_integer_value(count) > most) {
                most = json_integer_value(count);
                shown[n] = name;
            }
        }
        if (most == 0)
            return;
        int more = snprintf(text + used, bytes - used, "%s%s %" JSON_INTEGER_FORMAT, n > 0 ? ", " : "",
                            shown[n], most);
        if (more < 0 || (size_t)more >= bytes - used)
            return;
        used += (size_t)more;
    }
}

static void routes_print(const json_t *routes, FILE *out)
{
    struct text_table t = {.columns = 2};
    size_t i;
    json_t *route;
    text_table_add(&t, "ROUTE");
    text_table_add(&t, "NOT STORED BECAUSE");
    json_array_foreach(routes, i, route)
    {
        char text[TEXT_TABLE_CELL];
        reasons_text(json_object_get(route, "reasons"), text, sizeof text);
        if (text[0] == '\0')
            continue;
        text_table_add(&t, text_of(route, "route"));
        text_table_add(&t, text);
    }
    if (t.count > t.columns) { /* more than the titles */
        fputc('\n', out);
        text_table_print(&t, out);
    } else {
        text_table_drop(&t);
    }
}

static void cache_print(const json_t *cache, FILE *out)
{
    char used[32], limit[32];
    if (!json_is_object(cache)) {
        fputs("cache     off\n", out);
        return;
    }
    format_size(used, sizeof used, int_of(cache, "bytes_used"));
    format_size(limit, sizeof limit, int_of(cache, "bytes_limit"));
    fprintf(out, "cache     %" JSON_INTEGER_FORMAT " objects, %s of %s", int_of(cache, "objects"), used,
            limit);
    const json_t *ratio = json_object_get(cache, "hit_ratio");
    if (json_is_number(ratio))
        fprintf(out, ", %.1f%% hits", 100 * json_number_value(ratio));
    fprintf(out, ", %" JSON_INTEGER_FORMAT " evicted\n", int_of(cache, "evictions"));
}

static void purges_print(const json_t *log, wall_ms_t now_ms, FILE *out)
{
    char age[32];
    if (int_of(log, "events") == 0)
        return;
    format_age(age, sizeof age, (now_ms - int_of(log, "last_ms")) / 1000);
    fprintf(out,
            "purges    %" JSON_INTEGER_FORMAT " event%s, last %s ago; remembers %" JSON_INTEGER_FORMAT
            " of %" JSON_INTEGER_FORMAT " and %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " patterns",
            int_of(log, "events"), int_of(log, "events") == 1 ? "" : "s", age, int_of(log, "entries"),
            int_of(log, "entries_limit"), int_of(log, "patterns"), int_of(log, "patterns_limit"));
    if (int_of(log, "overflows") > 0)
        fprintf(out, ", overflowed %" JSON_INTEGER_FORMAT " times", int_of(log, "overflows"));
    fputc('\n', out);
}

static void redis_print_line(const json_t *redis, FILE *out)
{
    const char *name = text_of(redis, "sentinel_name"), *trouble = text_of(redis, "trouble");
    if (!json_is_object(redis))
        return;
    fprintf(out, "redis     %s", text_of(redis, "mode"));
    if (name[0] != '\0')
        fprintf(out, " %s", name);
    if (json_is_true(json_object_get(redis, "tls")))
        fputs(", TLS", out);
    if (json_object_get(redis, "slots") != NULL)
        fprintf(out, ", %" JSON_INTEGER_FORMAT " of 16384 slots", int_of(redis, "slots"));
    fprintf(out, trouble[0] != '\0' ? "; %s\n" : "%s\n", trouble);
}

/* The stream of purges that several nodes follow, and how far each has come. */
static void sharing_print(const json_t *purges, FILE *out)
{
    size_t i;
    json_t *node;
    if (!json_is_object(purges))
        return;
    const char *trouble = text_of(purges, "trouble");
    fprintf(out, "purges    %s as %s, %" JSON_INTEGER_FORMAT " on their way%s%s\n",
            json_is_true(json_object_get(purges, "follows")) ? "shared with other nodes"
                                                             : "NOT SHARED at present",
            text_of(purges, "node"), int_of(purges, "pending"), trouble[0] != '\0' ? "; " : "", trouble);
    json_array_foreach(json_object_get(purges, "nodes"), i, node)
    {
        fprintf(out, "          %s: ", text_of(node, "name"));
        if (!json_is_true(json_object_get(node, "reachable")))
            fprintf(out, "not heard of for %" JSON_INTEGER_FORMAT " s\n", int_of(node, "seen_ms_ago") / 1000);
        else if (!json_is_true(json_object_get(node, "follows")))
            fprintf(out, "catching up\n");
        else if (int_of(node, "lag") > 0)
            fprintf(out, "behind by %" JSON_INTEGER_FORMAT "\n", int_of(node, "lag"));
        else
            fprintf(out, "up to date\n");
    }
}

static json_int_t failures_of(const json_t *server)
{
    json_int_t sum = 0;
    const char *kind;
    json_t *count;
    json_object_foreach(json_object_get(server, "failures"), kind, count) sum += json_integer_value(count);
    return sum;
}

static void redis_print_servers(const json_t *redis, wall_ms_t now_ms, FILE *out)
{
    static const char *const titles[] = {"REDIS", "STATE",  "FOR",      "CONNECTIONS",
                                         "CALLS", "FAILED", "NOT SENT", "REASON"};
    struct text_table t = {.columns = 8, .right = 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6};
    size_t i;
    json_t *server;
    if (json_array_size(json_object_get(redis, "servers")) == 0)
        return;
    text_table_add_all(&t, titles, ARRAY_LEN(titles));
    json_array_foreach(json_object_get(redis, "servers"), i, server)
    {
        char text[TEXT_TABLE_CELL];
        const char *kind = text_of(server, "kind");
        snprintf(text, sizeof text, strcmp(kind, "redis") == 0 ? "%s" : "%s (%s)", text_of(server, "server"),
                 kind);
        text_table_add(&t, text);
        text_table_add(&t, text_of(server, "state"));
        format_age(text, sizeof text, (now_ms - int_of(server, "since_ms")) / 1000);
        text_table_add(&t, text);
        text_table_add_int(&t, int_of(server, "connections"));
        text_table_add_int(&t, int_of(server, "calls"));
        text_table_add_int(&t, failures_of(server));
        text_table_add_int(&t, int_of(server, "calls_refused"));
        text_table_add(&t, int_of(server, "workers_broken") > 0 && text_of(server, "reason")[0] == '\0'
                               ? "circuit breaker open"
                               : text_of(server, "reason"));
    }
    fputc('\n', out);
    text_table_print(&t, out);
}

static void config_print_line(const json_t *config, wall_ms_t now_ms, FILE *out)
{
    const json_t *last = json_object_get(config, "last_reload");
    char age[32];
    fprintf(out, "config    %s, generation %" JSON_INTEGER_FORMAT, text_of(config, "path"),
            int_of(config, "generation"));
    if (json_is_object(last)) {
        format_age(age, sizeof age, (now_ms - int_of(last, "at_ms")) / 1000);
        fprintf(out, ", last reload %s ago %s", age,
                json_is_true(json_object_get(last, "ok")) ? "done" : "REFUSED:");
    }
    fputc('\n', out);
    size_t i;
    json_t *problem;
    json_array_foreach(json_object_get(last, "problems"), i, problem)
    {
        fprintf(out, "          %s\n", json_string_value(problem));
    }
}

static void admin_print(const json_t *admin, FILE *out)
{
    fprintf(out, "admin     %s", text_of(admin, "socket"));
    if (json_object_get(admin, "address") != NULL)
        fprintf(out, ", http://%s/", text_of(admin, "address"));
    if (json_object_get(admin, "token_file") != NULL)
        fprintf(out, " (token in %s)", text_of(admin, "token_file"));
    fputc('\n', out);
}

static void tls_print(const json_t *sites, const char *owner, wall_ms_t now_ms, FILE *out)
{
    size_t i, k;
    json_t *site, *c;
    json_array_foreach(sites, i, site)
    {
        json_array_foreach(json_object_get(site, "certificates"), k, c)
        {
            json_int_t days = int_of(c, "expires_in_days");
            const char *names = text_of(c, "names");
            fprintf(out, "tls       %s: %s%s%s, ", text_of(site, owner), text_of(c, "file"),
                    names[0] != '\0' ? " for " : "", names);
            if (int_of(c, "expires_at_ms") <= now_ms)
                fputs("expired\n", out);
            else
                fprintf(out, "expires in %" JSON_INTEGER_FORMAT " day%s\n", days, days == 1 ? "" : "s");
        }
        if (text_of(site, "problem")[0] != '\0')
            fprintf(out, "tls       %s: changed files are not used: %s\n", text_of(site, owner),
                    text_of(site, "problem"));
    }
}

static void splits_print(const json_t *splits, wall_ms_t now_ms, FILE *out)
{
    size_t i;
    json_t *split;
    json_array_foreach(splits, i, split)
    {
        const json_t *stable = json_object_get(split, "stable"), *canary = json_object_get(split, "canary");
        const char *state = text_of(split, "state");
        fprintf(out, "split     %s: %s %" JSON_INTEGER_FORMAT ", %s %" JSON_INTEGER_FORMAT,
                text_of(split, "route"), text_of(stable, "pool"), int_of(stable, "weight"),
                text_of(canary, "pool"), int_of(canary, "weight"));
        if (strncmp(state, "stopped", strlen("stopped")) == 0) {
            char age[32];
            format_age(age, sizeof age, (now_ms - int_of(split, "stopped_at_ms")) / 1000);
            fprintf(out, "; the canary was STOPPED %s ago for its %s", age,
                    strcmp(state, "stopped_for_errors") == 0 ? "errors" : "latency");
        }
        fputc('\n', out);
    }
}

/* What the machine lacks; nothing where all is well. */
static void trouble_print(const json_t *status, FILE *out)
{
    const json_t *counters = json_object_get(status, "counters");
    if (int_of(counters, "accept_pauses") > 0)
        fprintf(out,
                "trouble   descriptors ran out, accepting paused %" JSON_INTEGER_FORMAT
                " times; raise LimitNOFILE (ulimit -n) or lower max_connections\n",
                int_of(counters, "accept_pauses"));
    if (int_of(status, "log_lines_dropped") > 0)
        fprintf(out,
                "trouble   %" JSON_INTEGER_FORMAT
                " log lines are lost: a log cannot be written, or not as fast as it comes\n",
                int_of(status, "log_lines_dropped"));
}

static void events_print(const json_t *events, FILE *out)
{
    if (json_array_size(events) == 0)
        return;
    fputs("\nWHAT CHANGED (millpond events shows more)\n", out);
    admin_events_print(events, out);
}

static void upgrade_print(const json_t *upgrade, wall_ms_t now_ms, FILE *out)
{
    char age[32];
    const json_t *from = json_object_get(upgrade, "from"), *problems = json_object_get(upgrade, "problems");
    const char *first = json_string_value(json_array_get(problems, 0));
    if (json_is_object(from)) {
        format_age(age, sizeof age, (now_ms - int_of(from, "at_ms")) / 1000);
        fprintf(out, "upgraded  %s ago, from process %" JSON_INTEGER_FORMAT " (%s)%s\n", age,
                int_of(from, "old_pid"), text_of(from, "old_version"),
                json_is_true(json_object_get(from, "old_serves")) ? ", which ends its open requests" : "");
    }
    if (json_is_true(json_object_get(upgrade, "under_way")))
        fputs("upgrade   a new process is starting\n", out);
    else if (first != NULL)
        fprintf(out, "upgrade   the last one failed: %s\n", first);
}

void admin_status_print(const json_t *status, wall_ms_t now_ms, FILE *out)
{
    char up[32];
    const json_t *n = json_object_get(status, "counters");
    const char *state = text_of(status, "state");
    size_t i;
    json_t *listener;
    format_age(up, sizeof up, int_of(status, "uptime_s"));
    fprintf(out, "millpond  %s, %s for %s, pid %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " workers\n",
            text_of(status, "version"), state[0] != '\0' ? state : "running", up, int_of(status, "pid"),
            int_of(status, "workers"));
    config_print_line(json_object_get(status, "config"), now_ms, out);
    upgrade_print(json_object_get(status, "upgrade"), now_ms, out);
    json_array_foreach(json_object_get(status, "listeners"), i, listener)
    {
        if (json_is_string(listener))
            fprintf(out, "%s%s", i == 0 ? "listening " : ", ", json_string_value(listener));
    }
    if (json_array_size(json_object_get(status, "listeners")) > 0)
        fputc('\n', out);
    tls_print(json_object_get(status, "tls"), "listen", now_ms, out);
    tls_print(json_object_get(status, "tls_pools"), "pool", now_ms, out);
    admin_print(json_object_get(status, "admin"), out);
    fprintf(out,
            "clients   %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
            " accepted, %" JSON_INTEGER_FORMAT " refused\n",
            int_of(status, "connections"), int_of(status, "connections_limit"),
            int_of(n, "client_connections_accepted"), int_of(n, "client_connections_refused"));
    fprintf(out,
            "requests  %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " in flight, %" JSON_INTEGER_FORMAT
            " bad, %" JSON_INTEGER_FORMAT " slow, %" JSON_INTEGER_FORMAT " answered 5xx\n",
            int_of(status, "requests"), int_of(n, "requests_in_flight"), int_of(n, "bad_requests"),
            int_of(n, "slow_requests"), answered(json_object_get(status, "latency"), "5xx"));
    trouble_print(status, out);
    if (int_of(n, "tunnels_opened") > 0)
        fprintf(out, "tunnels   %" JSON_INTEGER_FORMAT " open, %" JSON_INTEGER_FORMAT " opened\n",
                int_of(n, "tunnels"), int_of(n, "tunnels_opened"));
    cache_print(json_object_get(status, "cache"), out);
    purges_print(json_object_get(json_object_get(status, "cache"), "purge_log"), now_ms, out);
    redis_print_line(json_object_get(status, "redis"), out);
    sharing_print(json_object_get(status, "purges"), out);
    splits_print(json_object_get(status, "splits"), now_ms, out);
    fputc('\n', out);
    admin_pools_print(json_object_get(status, "pools"), now_ms, out);
    redis_print_servers(json_object_get(status, "redis"), now_ms, out);
    events_print(json_object_get(status, "events"), out);
    recent_print(json_object_get(status, "recent"), out);
    latency_print(json_object_get(status, "latency"), out);
    routes_print(json_object_get(status, "routes"), out);
}
