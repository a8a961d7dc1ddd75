/* build.c: from source values to the snapshot: one parser per option type, found by the type, told by the row
 * where to put the result. What belongs to one kind of section is in build_pool.c and build_route.c. */
#include "config/build.h"

#include <sched.h>
#include <stdarg.h>

#include "config/value.h"
#include "core/panic.h"

void build_wrong(struct build *b, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    /* A default is only wrong when the value it follows is, and that was reported at its own line. */
    if (b->value->origin.file == NULL && b->source->problems->errors > 0)
        return;
    b->redis_wrong |= b->section->id == OPTION_REDIS;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    problem_add(b->source->problems, false, b->value->origin, b->section->label, b->value->option->key, "%s",
                text);
}

bool build_ok(struct build *b, slice_t item, const char *why)
{
    if (why != NULL)
        build_wrong(b, "\"%.*s\" %s", PROBLEM_TEXT(item), why);
    return why == NULL;
}

void *build_push(struct build *b, void *array, size_t *count, size_t item_bytes)
{
    char **items = array;
    if ((*count & (*count - 1)) == 0) { /* 0 or a power of two: full */
        char *grown = arena_alloc(b->source->arena, MAX(*count * 2, 1) * item_bytes);
        if (grown == NULL) {
            b->source->no_memory = true;
            return NULL;
        }
        if (*count > 0)
            memcpy(grown, *items, *count * item_bytes);
        *items = grown;
    }
    char *slot = *items + *count * item_bytes;
    (*count)++;
    return memset(slot, 0, item_bytes);
}

const char *build_text(struct build *b, slice_t s)
{
    slice_t copy = arena_copy(b->source->arena, s);
    b->source->no_memory |= copy.ptr == NULL;
    return copy.ptr == NULL ? "" : copy.ptr;
}

const char *build_text_lower(struct build *b, slice_t s)
{
    slice_t copy = arena_copy(b->source->arena, s);
    if (copy.ptr == NULL) {
        b->source->no_memory = true;
        return "";
    }
    char *p = (char *)(uintptr_t)copy.ptr;
    for (size_t i = 0; i < copy.len; i++)
        p[i] = ascii_lower(p[i]);
    return p;
}

static void build_push_string(struct build *b, struct config_strings *list, const char *text)
{
    const char **slot = build_push(b, &list->items, &list->count, sizeof *slot);
    if (slot != NULL)
        *slot = text;
}

static const char *build_format(enum option_type type, int64_t v, char buf[VALUE_TEXT])
{
    if (type == OPTION_DURATION || type == OPTION_TTL)
        return value_format_duration(v, buf);
    if (type == OPTION_SIZE || type == OPTION_SLICE)
        return value_format_size(v, buf);
    snprintf(buf, VALUE_TEXT, type == OPTION_PERCENT ? "%lld%%" : "%lld", (long long)v);
    return buf;
}

static bool build_in_range(struct build *b, const struct config_option *o, slice_t item, int64_t v)
{
    char lo[VALUE_TEXT], hi[VALUE_TEXT];
    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max))
        return true;
    build_wrong(b, "\"%.*s\" is out of range; write a value from %s to %s", PROBLEM_TEXT(item),
                build_format(o->type, o->min, lo), build_format(o->type, o->max, hi));
    return false;
}

bool build_length_ok(struct build *b, const struct config_option *o, slice_t item)
{
    if (o->max == 0 || ((int64_t)item.len >= o->min && (int64_t)item.len <= o->max))
        return true;
    if (o->flags & OPTION_SECRET)
        build_wrong(b, "the value is %zu bytes long; write %lld to %lld", item.len, (long long)o->min,
                    (long long)o->max);
    else
        build_wrong(b, "\"%.*s\" is %zu bytes long; write %lld to %lld", PROBLEM_TEXT(item), item.len,
                    (long long)o->min, (long long)o->max);
    return false;
}

static void build_plain_text(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_length_ok(b, o, item))
        *(const char **)(void *)(base + o->offset) = build_text(b, item);
}

/* Whether it is one, or one of the words that stand for one; says so when it is not. */
static bool build_path_ok(struct build *b, const struct config_option *o, slice_t item)
{
    if (option_word_index(o->words, item) < 0 && memchr(item.ptr, '/', item.len) == NULL) {
        char word[64];
        struct option_guess guess = {.word = item};
        option_guess_offer_words(&guess, o->words, word, sizeof word);
        if (guess.best != NULL)
            build_wrong(b, "\"%.*s\" is no path; did you mean \"%s\"?", PROBLEM_TEXT(item), guess.best);
        else
            build_wrong(b, "\"%.*s\" is no path; write one with a slash, such as /var/lib/millpond or ./file",
                        PROBLEM_TEXT(item));
        return false;
    }
    return true;
}

static void build_path(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_path_ok(b, o, item))
        build_plain_text(b, o, item, base);
}

static void build_paths(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_path_ok(b, o, item))
        build_push_string(b, (void *)(base + o->offset), build_text(b, item));
}

static void build_count(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    int64_t v;
    if (build_ok(b, item, value_parse_count(item, &v)) && build_in_range(b, o, item, v))
        *(int *)(void *)(base + o->offset) = (int)v;
}

static void build_workers(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    cpu_set_t cpus;
    if (!slice_eq(item, SLICE_LIT("auto"))) {
        int64_t v;
        if (value_parse_count(item, &v) != NULL)
            build_wrong(b, "\"%.*s\" is not a number; write one, or auto", PROBLEM_TEXT(item));
        else if (build_in_range(b, o, item, v))
            *(int *)(void *)(base + o->offset) = (int)v;
        return;
    }
    int count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    *(int *)(void *)(base + o->offset) = MAX(count, 1);
}

static void build_percent(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    int64_t v;
    if (build_ok(b, item, value_parse_percent(item, &v)) && build_in_range(b, o, item, v))
        *(int *)(void *)(base + o->offset) = (int)v;
}

static void build_duration(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    dur_ms_t v;
    if (build_ok(b, item, value_parse_duration(item, &v)) && build_in_range(b, o, item, v))
        *(dur_ms_t *)(void *)(base + o->offset) = v;
}

static void build_size(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    int64_t v;
    if (build_ok(b, item, value_parse_size(item, &v)) && build_in_range(b, o, item, v))
        *(int64_t *)(void *)(base + o->offset) = v;
}

static void build_byte_rate(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    int64_t v;
    if (build_ok(b, item, value_parse_byte_rate(item, &v)))
        *(int64_t *)(void *)(base + o->offset) = v;
}

static void build_bool(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    bool v;
    if (build_ok(b, item, value_parse_bool(item, &v)))
        *(bool *)(void *)(base + o->offset) = v;
}

static void build_wrong_word(struct build *b, const struct config_option *o, slice_t item)
{
    char word[64], list[256];
    struct option_guess guess = {.word = item};
    option_guess_offer_words(&guess, o->words, word, sizeof word);
    if (guess.best != NULL) {
        build_wrong(b, "there is no \"%.*s\"; did you mean \"%s\"?", PROBLEM_TEXT(item), guess.best);
        return;
    }
    size_t n = 0;
    for (const char *p = o->words; *p != '\0' && n + 3 < sizeof list; p++) {
        if (*p == ' ')
            list[n++] = ',';
        list[n++] = *p;
    }
    list[n] = '\0';
    build_wrong(b, "there is no \"%.*s\"; write one of: %s", PROBLEM_TEXT(item), list);
}

static void build_word(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    int index = option_word_index(o->words, item);
    if (index < 0)
        build_wrong_word(b, o, item);
    else if (o->type == OPTION_WORD_BOOL)
        *(bool *)(void *)(base + o->offset) = index == 1;
    else
        *(int *)(void *)(base + o->offset) = index;
}

static void build_cidr(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_cidrs *list = (void *)(base + o->offset);
    struct net_cidr cidr, *slot;
    if (strcmp(b->value->text, "none") == 0)
        return;
    if (!build_ok(b, item, value_parse_cidr(item, &cidr)))
        return;
    slot = build_push(b, &list->items, &list->count, sizeof *slot);
    if (slot != NULL)
        *slot = cidr;
}

static void build_listen_address(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_listen *l = (void *)base;
    struct net_addr addr, *slot;
    UNUSED(o);
    if (!build_ok(b, item, value_parse_listen_address(item, &addr)))
        return;
    slot = build_push(b, &l->addresses, &l->address_count, sizeof *slot);
    if (slot != NULL)
        *slot = addr;
}

static void build_address(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct net_addr addr = {0};
    bool off = slice_eq(item, SLICE_LIT("off"));
    if (off || build_ok(b, item, value_parse_listen_address(item, &addr)))
        memcpy(base + o->offset, &addr, sizeof addr);
}

static void build_mode(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    mode_t mode;
    if (build_ok(b, item, value_parse_mode(item, &mode)))
        *(mode_t *)(void *)(base + o->offset) = mode;
}

/* Includes were followed when they were read. */
static void build_nothing(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    UNUSED(b);
    UNUSED(o);
    UNUSED(item);
    UNUSED(base);
}

static void build_server_header(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (slice_eq(item, SLICE_LIT("off")))
        *(const char **)(void *)(base + o->offset) = "";
    else
        build_plain_text(b, o, item, base);
}

static void build_access_format(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (option_word_index(o->words, item) >= 0 || strstr(b->value->text, "%{") != NULL)
        build_plain_text(b, o, item, base);
    else
        build_wrong(b, "\"%.*s\" is no format; write json, combined or a template with %%{field} in it",
                    PROBLEM_TEXT(item));
}

static void build_url_path(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (item.ptr[0] == '/' && strpbrk(b->value->text, " \t#") == NULL)
        build_plain_text(b, o, item, base);
    else
        build_wrong(
            b,
            "\"%.*s\" is not a URL path; begin it with a slash and write it without blanks, such as /health",
            PROBLEM_TEXT(item));
}

static void build_host(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    slice_t host;
    uint16_t port;
    bool with_port = net_host_port_split(item, &host, &port) && value_parse_host(host) == NULL;
    if (with_port || build_ok(b, item, value_parse_host(item)))
        build_plain_text(b, o, item, base);
}

static void build_hosts(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_ok(b, item, value_parse_host(item)))
        build_push_string(b, (void *)(base + o->offset), build_text_lower(b, item));
}

static void build_heuristic(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_cache *cache = (void *)base;
    UNUSED(o);
    build_ok(b, item, value_parse_heuristic(item, &cache->heuristic_percent, &cache->heuristic_max_ms));
}

static void build_hedge(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *route = (void *)base;
    UNUSED(o);
    build_ok(b, item, value_parse_hedge(item, &route->hedge_ms));
}

static void build_slice(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (!slice_eq(item, SLICE_LIT("off")))
        build_size(b, o, item, base);
}

static const build_fn build_fns[OPTION_TYPE_COUNT] = {
    [OPTION_TEXT] = build_plain_text,
    [OPTION_PATH] = build_path,
    [OPTION_PATHS] = build_paths,
    [OPTION_COUNT] = build_count,
    [OPTION_WORKERS] = build_workers,
    [OPTION_PERCENT] = build_percent,
    [OPTION_DURATION] = build_duration,
    [OPTION_TTL] = build_duration,
    [OPTION_SIZE] = build_size,
    [OPTION_BYTE_RATE] = build_byte_rate,
    [OPTION_BOOL] = build_bool,
    [OPTION_WORD] = build_word,
    [OPTION_WORD_BOOL] = build_word,
    [OPTION_CIDRS] = build_cidr,
    [OPTION_ADDRESSES] = build_listen_address,
    [OPTION_ADDRESS] = build_address,
    [OPTION_MODE] = build_mode,
    [OPTION_INCLUDE] = build_nothing,
    [OPTION_SERVER_HEADER] = build_server_header,
    [OPTION_ACCESS_FORMAT] = build_access_format,
    [OPTION_HASH_ON] = build_hash_on,
    [OPTION_COOKIE_NAME] = build_cookie_name,
    [OPTION_SERVER] = build_server,
    [OPTION_RESOLVERS] = build_resolver,
    [OPTION_URL_PATH] = build_url_path,
    [OPTION_HOST] = build_host,
    [OPTION_HOSTS] = build_hosts,
    [OPTION_STATUSES] = build_statuses,
    [OPTION_PROTOCOLS] = build_protocol,
    [OPTION_RATE] = build_rate,
    [OPTION_RETRY_ON] = build_retry_on,
    [OPTION_HEDGE] = build_hedge,
    [OPTION_SLICE] = build_slice,
    [OPTION_HEURISTIC] = build_heuristic,
    [OPTION_HOST_PATTERNS] = build_host_pattern,
    [OPTION_PATH_PATTERNS] = build_path_pattern,
    [OPTION_METHODS] = build_method,
    [OPTION_HEADER_MATCH] = build_header_match,
    [OPTION_POOL_REF] = build_pool_ref,
    [OPTION_REDIRECT] = build_redirect,
    [OPTION_RESPOND] = build_respond,
    [OPTION_TAGS] = build_tag,
    [OPTION_ROUTE_CACHE] = build_route_cache,
    [OPTION_FIELD_SET] = build_field_set,
    [OPTION_FIELD_REMOVE] = build_field_remove,
    [OPTION_FIELD_NAMES] = build_field_name,
    [OPTION_COOKIE_PATTERNS] = build_cookie_pattern,
    [OPTION_CODINGS] = build_coding,
    [OPTION_KEY_QUERY] = build_key_query,
    [OPTION_KEY_HEADERS] = build_key_header,
    [OPTION_KEY_COOKIES] = build_key_cookie,
    [OPTION_KEY_LANGUAGES] = build_key_language,
    [OPTION_RATE_LIMIT] = build_rate_limit,
    [OPTION_SPLIT] = build_split,
    [OPTION_REDIS_URL] = build_redis_url,
    [OPTION_REDIS_NAME] = build_redis_name,
};

static void build_value(struct build *b, char *base)
{
    const struct config_option *o = b->value->option;
    slice_t text = slice_str(b->value->text);
    ASSERT(build_fns[o->type] != NULL);
    if (text.len == 0) {
        build_wrong(b, "there is no value; write one, or remove the line to get the default");
        return;
    }
    if ((o->flags & OPTION_COMMAS) == 0) {
        build_fns[o->type](b, o, text, base);
        return;
    }
    for (size_t from = 0; from <= text.len;) {
        size_t comma = slice_find(text, ',', from);
        size_t end = comma == SIZE_MAX ? text.len : comma;
        slice_t item = slice_trim(slice_make(text.ptr + from, end - from));
        if (item.len == 0)
            build_wrong(b, "the list has an empty place; write one comma between two values");
        else
            build_fns[o->type](b, o, item, base);
        from = end + 1;
    }
}

static char *build_begin_listen(struct build *b)
{
    struct config_listen *l = build_push(b, &b->config->listens, &b->config->listen_count, sizeof *l);
    if (l != NULL)
        *l = (struct config_listen){.name = b->section->name,
                                    .origin = b->section->origin,
                                    .tls_ciphers = "",
                                    .tls_groups = "",
                                    .tls_client_ca = "",
                                    .acme_webroot = ""};
    return (char *)l;
}

static char *build_begin_pool(struct build *b)
{
    struct config_pool *p = build_push(b, &b->config->pools, &b->config->pool_count, sizeof *p);
    if (p != NULL)
        *p = (struct config_pool){.name = b->section->name,
                                  .origin = b->section->origin,
                                  .hash_name = "",
                                  .sticky_cookie = "",
                                  .health_path = "/",
                                  .health_host = "",
                                  .health_body = "",
                                  .tls_ca = "",
                                  .tls_sni = "",
                                  .tls_certificate = "",
                                  .tls_key = ""};
    return (char *)p;
}

static char *build_begin_route(struct build *b)
{
    struct config_route *r = build_push(b, &b->config->routes, &b->config->route_count, sizeof *r);
    if (r != NULL)
        *r = (struct config_route){
            .name = b->section->name,
            .origin = b->section->origin,
            .id = (uint16_t)(b->config->route_count - 1),
            .pool = -1,
            .mirror = -1,
            .redirect_target = "",
            .respond_text = "",
            .root = "",
            .basic_auth = "",
            .calm_page = "",
            .bypass_cookie = "",
            .bypass_header = "",
            .tags = "",
            .rate_limit = {.header = "", .text = ""},
            .split = {.name = "", .text = ""},
            .ttl_ms = CONFIG_TTL_UNSET,
            .ttl_404_ms = CONFIG_TTL_UNSET,
            .ttl_5xx_ms = CONFIG_TTL_UNSET,
            .min_ttl_ms = CONFIG_TTL_UNSET,
            .max_ttl_ms = CONFIG_TTL_UNSET,
            .browser_ttl_ms = CONFIG_TTL_UNSET,
        };
    return (char *)r;
}

/* The struct the section's values go into. */
static char *build_begin(struct build *b)
{
    struct config *c = b->config;
    switch (b->section->id) {
    case OPTION_MILLPOND:
        return (char *)&c->main;
    case OPTION_LOG:
        return (char *)&c->log;
    case OPTION_LISTEN:
        return build_begin_listen(b);
    case OPTION_POOL:
        return build_begin_pool(b);
    case OPTION_CACHE:
        return (char *)&c->cache;
    case OPTION_ROUTE:
        return build_begin_route(b);
    case OPTION_ADMIN:
        return (char *)&c->admin;
    case OPTION_REDIS:
        return (char *)&c->redis;
    case OPTION_SECTION_COUNT:
        break;
    }
    return NULL;
}

static void build_sections(struct build *b, bool routes)
{
    for (b->section = b->source->first; b->section != NULL; b->section = b->section->next) {
        if ((b->section->id == OPTION_ROUTE) != routes)
            continue;
        char *base = build_begin(b);
        if (base == NULL)
            continue;
        for (b->value = b->section->first; b->value != NULL; b->value = b->value->next)
            build_value(b, base);
    }
}

void config_build(struct build *b)
{
    struct config *c = b->config;
    c->main = (struct config_main){.user = "",
                                   .group = "",
                                   .runtime_dir = "",
                                   .state_dir = "",
                                   .server_header = "",
                                   .tls_ticket_keys = ""};
    c->log = (struct config_log){.file = "stderr", .access = "off", .access_format = "json"};
    c->admin = (struct config_admin){.socket = "", .token = ""};
    c->redis = (struct config_redis){
        .login = {"", ""}, .sentinel_login = {"", ""}, .sentinel_name = "", .tls_ca = ""};
    c->redis.prefix = c->redis.channel = "";
    build_sections(b, false);
    for (size_t i = 0; i < c->listen_count; i++)
        c->listens[i].diverts = c->listens[i].redirect_to_https || c->listens[i].acme_webroot[0] != '\0' ||
                                c->listens[i].tls_client_verify == TLS_VERIFY_REQUIRED;
    for (size_t i = 0; i < c->pool_count; i++)
        c->pools[i].prefaced = c->pools[i].tls || c->pools[i].send_proxy_protocol != PROXY_HEADER_OFF ||
                               c->pools[i].protocol != CONFIG_UPSTREAM_HTTP_1;
    build_redis_servers(b);
    build_sections(b, true); /* they name pools */
}
