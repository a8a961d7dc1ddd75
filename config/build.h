/* build.h: second stage of a load: the values of the source get types and go into the snapshot's structs.
 * Inside config/ only. Control thread. */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include "config/change.h"
#include "config/redis_url.h"
#include "config/source.h"

/* The one heap block behind a snapshot; freed with its arena by the last config_unref. */
struct config_private {
    struct arena arena; /* everything the snapshot points to */
    struct source source;
    struct config config;
};

/* The first and the last stage of a load, for whoever fills the source in between. The first gives NULL when
 * out of memory; the second consumes it. load.c. */
struct config_private *config_begin(const char *name, struct problem_list *problems);
struct config *config_finish(struct config_private *p, struct problem_list *list,
                             struct config_problems *problems);

/* How else files may be read; all of it may be left out. */
struct config_load_ways {
    struct config_changes *changes; /* applied to what was read */
    const char *replaced; /* the file that is taken to say `replacement`, by the name it is read under */
    slice_t replacement;
    bool unwarned; /* nobody reads warnings */
};
struct config *config_load_as(const char *path, const struct config_load_ways *ways,
                              struct config_problems *problems);
/* change.c: notes for config_changes_settle what becomes of each. */
void config_changes_apply(struct config_changes *l, struct source *s);

/* On the stack of config_load; `section` and `value` are what is being built. */
struct build {
    struct source *source;
    struct config *config;
    const struct source_section *section;
    const struct source_value *value;
    struct build_redis_url *redis_urls; /* of [redis], those that are urls */
    size_t redis_url_count;
    bool redis_wrong; /* a value of [redis] was refused */
};

/* One `url` of [redis]. */
struct build_redis_url {
    enum redis_url_scheme scheme;
    const char *host; /* with unix: the path */
    uint16_t port;    /* 0 = not given */
    unsigned database;
    struct config_redis_login login;
    struct config_origin origin;
};

/* Parses one item (a whole value, or one of its parts between commas) into the section's struct. Reports what
 * is wrong with it through build_wrong. */
typedef void (*build_fn)(struct build *b, const struct config_option *o, slice_t item, char *base);

/* Adds what the file leaves out: sections without which nothing works, and a value for every option that has
 * a default. defaults.c. */
void config_add_defaults(struct source *s);
/* Folders of a process that is not root, from the environment; false when memory is short. */
slice_t config_default_runtime_dir(struct arena *a, uid_t uid);
slice_t config_default_state_dir(struct arena *a, uid_t uid);

void config_build(struct build *b);
/* Rules across keys; the last stage. check.c. */
void config_check(struct build *b);
/* Parts of it, about what may be shared by mistake. check_leak.c. */
void check_route_leaks(struct build *b, const struct config_route *r, const struct source_section *section);
void check_pool_leaks(struct build *b, const struct config_pool *p, const struct source_section *section);
void check_trusted_proxies(struct build *b);
/* About rate_limit. check_limit.c. */
void check_route_limit(struct build *b, const struct config_route *r, const struct source_section *section);
bool check_limit_uses_redis(const struct config *c);
/* About TLS of one listener, and of one pool. check_tls.c. */
void check_listen_tls(struct build *b, const struct config_listen *l, const struct source_section *section);
void check_pool_tls(struct build *b, const struct config_pool *p, const struct source_section *section);
/* About what clients make of it. check_edge.c. */
void check_listen_protocols(struct build *b, const struct config_listen *l,
                            const struct source_section *section);
void check_sticky_cookies(struct build *b);
/* All about [redis]. check_redis.c. */
void check_redis(struct build *b);

void build_wrong(struct build *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "\"item\" why" when `why` is not NULL; whether it was NULL. */
bool build_ok(struct build *b, slice_t item, const char *why);
/* Appends a zeroed element to an array in the arena; NULL when memory is short. */
void *build_push(struct build *b, void *array, size_t *count, size_t item_bytes);
/* A copy that lives as long as the snapshot; never NULL. */
const char *build_text(struct build *b, slice_t s);
const char *build_text_lower(struct build *b, slice_t s);

/* build_pool.c, build_route.c */
void build_resolver(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_server(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_hash_on(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_cookie_name(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_statuses(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_protocol(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_rate(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_retry_on(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_host_pattern(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_path_pattern(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_method(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_header_match(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_pool_ref(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_redirect(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_tag(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_respond(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_route_cache(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_field_set(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_field_name(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_cookie_pattern(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_coding(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_field_remove(struct build *b, const struct config_option *o, slice_t item, char *base);

/* build_key.c */
void build_key_query(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_key_header(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_key_cookie(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_key_language(struct build *b, const struct config_option *o, slice_t item, char *base);

/* build_limit.c */
void build_rate_limit(struct build *b, const struct config_option *o, slice_t item, char *base);

/* build_split.c */
void build_split(struct build *b, const struct config_option *o, slice_t item, char *base);

/* build_redis.c */
void build_redis_url(struct build *b, const struct config_option *o, slice_t item, char *base);
void build_redis_name(struct build *b, const struct config_option *o, slice_t item, char *base);
/* Once all is built: servers and logins from what the urls and the keys say. */
void build_redis_servers(struct build *b);
/* Whether the text is of a length that the option allows; says so when it is not. */
bool build_length_ok(struct build *b, const struct config_option *o, slice_t item);

#endif
