/* client_explain.c: see client_explain.h. The text answers, from top to bottom: which rules apply, what is
 * known, what would happen, why, and what to change. Control characters are shown as '?': what an instance
 * answered or a client asked for must not reach a terminal as an escape sequence. */
#include "admin/client_explain.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/json_get.h"
#include "core/base.h"

/* ---- arguments ---- */

static bool add_parameter(struct evbuffer *b, const char *name, const char *value)
{
    char *encoded = evhttp_uriencode(value, (ev_ssize_t)strlen(value), 0);
    bool ok = encoded != NULL &&
              evbuffer_add_printf(b, "%s%s=%s", evbuffer_get_length(b) == 0 ? "/api/explain?" : "&", name,
                                  encoded) > 0;
    free(encoded);
    return ok;
}

/* The parameter of an option that takes one: "-HVALUE" or "-H VALUE"; NULL when it is missing. */
static char *option_value(int argc, char **argv, int *i)
{
    if (argv[*i][2] != '\0')
        return argv[*i] + 2;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

static const char *read_arguments(int *argc, char **argv, struct evbuffer *b)
{
    int kept = 1;
    bool url = false;
    for (int i = 1; i < *argc; i++) {
        char *arg = argv[i], *value = arg;
        const char *name = "url";
        bool shared = arg[0] == '-' && (strchr("cs", arg[1]) != NULL && arg[1] != '\0' && arg[2] == '\0');
        if (arg[0] == '-' && (arg[1] == 'H' || arg[1] == 'X')) {
            name = arg[1] == 'H' ? "header" : "method";
            value = option_value(*argc, argv, &i);
        } else if (arg[0] == '-') {
            argv[kept++] = arg;
            if (shared && i + 1 < *argc)
                argv[kept++] = argv[++i];
            continue;
        } else if (url) {
            return "write one URL";
        } else {
            url = true;
        }
        if (value == NULL)
            return "a value is missing after -H or -X";
        if (!add_parameter(b, name, value))
            return "out of memory";
    }
    *argc = kept;
    argv[kept] = NULL;
    return NULL;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return true;
    }
    return false;
}

char *client_explain_target(int *argc, char **argv, const char **problem)
{
    struct evbuffer *b = evbuffer_new();
    char *target = NULL;
    *problem = b == NULL ? "out of memory" : read_arguments(argc, argv, b);
    if (*problem == NULL && evbuffer_add(b, "", 1) == 0) {
        const char *text = (const char *)evbuffer_pullup(b, -1);
        if (strstr(text, "?url=") != NULL || strstr(text, "&url=") != NULL || wants_help(*argc, argv))
            target = strdup(text);
        else
            *problem = "name the URL to explain, such as http://example.com/page";
    }
    if (b != NULL)
        evbuffer_free(b);
    return target;
}

/* ---- the answer ---- */

static void put(FILE *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++)
        fputc(*text == '\n' ? ';' : (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}

static void title(FILE *out, const char *name)
{
    fprintf(out, "%-9s ", name);
}

static void print_place(const json_t *o, FILE *out)
{
    if (json_object_get(o, "file") == NULL)
        return;
    fputs(" (", out);
    put(out, text_of(o, "file"));
    fprintf(out, ":%" JSON_INTEGER_FORMAT ")", int_of(o, "line"));
}

/* How long the instances have. */
static void print_patience(const json_t *route, FILE *out)
{
    const json_int_t after_us = int_of(route, "hedge_after_us");
    if (json_object_get(route, "timeout_ms") != NULL)
        fprintf(out, "; given up after %" JSON_INTEGER_FORMAT " ms (timeout)", int_of(route, "timeout_ms"));
    if (json_object_get(route, "hedge") == NULL)
        return;
    if (after_us > 0)
        fprintf(out, "; a second instance is asked after %.1f ms (hedge)", (double)after_us / 1000);
    else
        fputs("; a second instance is asked once it is known how long responses take (hedge)", out);
}

static void print_route(const json_t *answer, FILE *out)
{
    const json_t *route = json_object_get(answer, "route"), *before = json_object_get(route, "did_not_match");
    title(out, "route");
    if (!json_is_object(route)) {
        fputs("none matches\n", out);
        return;
    }
    put(out, text_of(route, "name"));
    print_place(route, out);
    fputs(": takes ", out);
    put(out, text_of(route, "matches"));
    if (json_object_get(route, "pool") != NULL) {
        fputs("; goes to pool ", out);
        put(out, text_of(route, "pool"));
        fprintf(out, " (%s%s)", text_of(route, "balance"),
                json_object_get(route, "sticky_cookie") != NULL ? ", sticky" : "");
    }
    if (json_object_get(route, "root") != NULL) {
        fputs("; files from ", out);
        put(out, text_of(route, "root"));
    }
    size_t i;
    json_t *name;
    json_array_foreach(before, i, name)
    {
        fputs(i == 0 ? "; above it did not match: " : ", ", out);
        put(out, json_string_value(name));
    }
    if (json_is_true(json_object_get(route, "limits_addresses")))
        fputs("; and only for some addresses (allow, deny)", out);
    if (json_object_get(route, "rate_limit") != NULL) {
        fputs("; at most ", out);
        put(out, text_of(route, "rate_limit"));
        fputs(" (rate_limit)", out);
    }
    if (json_object_get(route, "basic_auth") != NULL)
        fputs("; and only with a user and password (basic_auth)", out);
    print_patience(route, out);
    fputc('\n', out);
}

static void print_line(FILE *out, const char *name, const char *text)
{
    if (text[0] == '\0')
        return;
    title(out, name);
    put(out, text);
    fputc('\n', out);
}

/* What is stored, here or in Redis, up to what its freshness is. */
static void print_figures(const json_t *s, FILE *out)
{
    fprintf(out,
            "status %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " bytes, age %" JSON_INTEGER_FORMAT
            " s, ttl %" JSON_INTEGER_FORMAT " s (%s), ",
            int_of(s, "status"), int_of(s, "bytes"), int_of(s, "age_s"), int_of(s, "ttl_s"),
            text_of(s, "ttl_from"));
}

static void print_stored(const json_t *s, FILE *out)
{
    json_int_t fresh_for_s = int_of(s, "fresh_for_s");
    print_figures(s, out);
    if (json_is_true(json_object_get(s, "fresh")))
        fprintf(out, "fresh for another %" JSON_INTEGER_FORMAT " s", fresh_for_s);
    else if (json_is_true(json_object_get(s, "asked_each_time")))
        fputs("never used without asking", out);
    else
        fprintf(out, "stale for %" JSON_INTEGER_FORMAT " s", -fresh_for_s);
    fputc('\n', out);
    title(out, "");
    fprintf(out,
            "stale_while_revalidate %" JSON_INTEGER_FORMAT " s, stale_if_error %" JSON_INTEGER_FORMAT " s",
            int_of(s, "stale_while_revalidate_s"), int_of(s, "stale_if_error_s"));
    static const char *const more[] = {"content_encoding", "etag", "last_modified", "tags"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        if (json_object_get(s, more[i]) == NULL)
            continue;
        fprintf(out, ", %s ", more[i]);
        put(out, text_of(s, more[i]));
    }
    fputc('\n', out);
}

static void print_variants(const json_t *answer, FILE *out)
{
    size_t i;
    json_t *v;
    json_int_t count = int_of(answer, "variant_count");
    if (json_object_get(answer, "vary") == NULL)
        return;
    title(out, "variants");
    fprintf(out, "%" JSON_INTEGER_FORMAT ", by ", count);
    put(out, text_of(answer, "vary"));
    fputc('\n', out);
    json_array_foreach(json_object_get(answer, "variants"), i, v)
    {
        title(out, "");
        put(out, text_of(v, "key"));
        fputs(json_is_true(json_object_get(v, "chosen")) ? "   <- this request\n" : "\n", out);
    }
    if ((json_int_t)json_array_size(json_object_get(answer, "variants")) < count) {
        title(out, "");
        fputs("...\n", out);
    }
}

static void print_known(const json_t *answer, FILE *out)
{
    const json_t *stored = json_object_get(answer, "stored"), *pass = json_object_get(answer, "remembered");
    if (stored == NULL)
        return;
    title(out, "stored");
    if (json_is_object(stored))
        print_stored(stored, out);
    else
        fputs(json_is_true(json_object_get(answer, "purged")) ? "nothing; it was purged\n" : "nothing\n",
              out);
    print_variants(answer, out);
    if (json_is_true(json_object_get(answer, "fetching")))
        print_line(out, "fetch", "one is under way");
    if (pass == NULL)
        return;
    title(out, "pass");
    fprintf(out,
            "for another %" JSON_INTEGER_FORMAT
            " s each request fetches for itself and nothing is stored; then a change shows\n",
            int_of(pass, "left_s"));
}

static void print_record(const json_t *r, FILE *out)
{
    title(out, "");
    print_figures(r, out);
    const json_int_t fresh_for_s = int_of(r, "fresh_for_s");
    fprintf(out,
            fresh_for_s >= 0 ? "fresh for another %" JSON_INTEGER_FORMAT " s"
                             : "stale for %" JSON_INTEGER_FORMAT " s",
            fresh_for_s >= 0 ? fresh_for_s : -fresh_for_s);
    if (json_is_integer(json_object_get(r, "expires_in_s")))
        fprintf(out, ", gone in %" JSON_INTEGER_FORMAT " s", int_of(r, "expires_in_s"));
    if (json_object_get(r, "tags") != NULL) {
        fputs(", tags ", out);
        put(out, text_of(r, "tags"));
    }
    fputc('\n', out);
}

static void print_reason(const json_t *o, const char *name, const char *why, FILE *out)
{
    put(out, text_of(o, name));
    fputs(": ", out);
    put(out, text_of(o, why));
}

/* Nothing where there is no [redis]. */
static void print_redis(const json_t *answer, FILE *out)
{
    const json_t *o = json_object_get(answer, "redis"), *kept = json_object_get(o, "kept");
    const char *reason = text_of(o, "reason"), *outcome = text_of(o, "outcome");
    const char *trouble = text_of(o, "trouble"), *vary = text_of(o, "vary");
    if (!json_is_object(o) || strcmp(reason, "no_redis") == 0)
        return;
    title(out, "redis");
    fputs(json_is_true(json_object_get(o, "asked")) ? "" : "not asked; ", out);
    print_reason(o, "reason", "why", out);
    fputs(trouble[0] != '\0' ? " (" : "\n", out);
    put(out, trouble);
    fputs(trouble[0] != '\0' ? ")\n" : "", out);
    if (outcome[0] != '\0' && strcmp(outcome, reason) != 0) {
        title(out, "");
        print_reason(o, "outcome", "outcome_text", out);
        fputs(vary[0] != '\0' ? "; varies there by " : "", out);
        put(out, vary);
        fputc('\n', out);
    }
    if (json_is_object(json_object_get(o, "record")))
        print_record(json_object_get(o, "record"), out);
    if (kept == NULL)
        return;
    title(out, "");
    fputs(json_is_false(kept) ? "not kept; " : "", out);
    print_reason(o, "kept_reason", "kept_why", out);
    fputc('\n', out);
}

static void print_edit(const json_t *answer, FILE *out)
{
    const json_t *e = json_object_get(answer, "edit");
    const char *in = text_of(e, "in");
    if (!json_is_object(e))
        return;
    title(out, "change");
    if (strcmp(in, "ini") == 0) {
        put(out, text_of(e, "text"));
        fputs(json_is_true(json_object_get(e, "replaces")) ? "   in place of the line at" : "   added to ",
              out);
        if (json_is_true(json_object_get(e, "replaces"))) {
            fputc(' ', out);
            put(out, text_of(e, "file"));
            fprintf(out, ":%" JSON_INTEGER_FORMAT, int_of(e, "line"));
        } else {
            put(out, text_of(e, "section"));
            print_place(e, out);
        }
    } else {
        fputs(strcmp(in, "response") == 0  ? "the application answers with   "
              : strcmp(in, "request") == 0 ? "clients ask with   "
                                           : "look at ",
              out);
        put(out, text_of(e, "text"));
    }
    if (text_of(e, "only_if")[0] != '\0')
        fprintf(out, "\n          but only if %s", text_of(e, "only_if"));
    fputc('\n', out);
}

static void print_tries(const json_t *answer, FILE *out)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(answer, "would_be_stored"), i, t)
    {
        title(out, i == 0 ? "if it is" : "");
        const char *control = text_of(t, "cache_control");
        fprintf(out, "%" JSON_INTEGER_FORMAT " %s%s: ", int_of(t, "status"),
                control[0] != '\0' ? "with Cache-Control: " : "that says nothing", control);
        if (json_object_get(t, "ttl_s") != NULL)
            fprintf(out, "stored for %" JSON_INTEGER_FORMAT " s (%s)\n", int_of(t, "ttl_s"),
                    text_of(t, "ttl_from"));
        else
            fprintf(out, "%s\n", text_of(t, "outcome"));
    }
}

void client_explain_print(const json_t *answer, FILE *out)
{
    title(out, "request");
    put(out, text_of(answer, "method"));
    fputc(' ', out);
    put(out, text_of(answer, "url"));
    fputc('\n', out);
    print_route(answer, out);
    print_line(out, "key", text_of(answer, "key"));
    print_line(out, "coding", text_of(answer, "coding"));
    print_known(answer, out);
    print_redis(answer, out);
    title(out, "now");
    fprintf(out, "%s: ", text_of(answer, "verdict"));
    put(out, text_of(answer, "verdict_text"));
    fputc('\n', out);
    if (text_of(answer, "why")[0] != '\0') {
        title(out, "because");
        fprintf(out, "%s: ", text_of(answer, "reason"));
        put(out, text_of(answer, "why"));
        fputc('\n', out);
    }
    print_edit(answer, out);
    print_tries(answer, out);
}
