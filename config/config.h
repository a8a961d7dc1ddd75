/* config.h: one checked, immutable snapshot of the ini file.
 *
 * Built by config_load on the control thread, then read by every thread without a lock. It is
 * refcounted: a request keeps the snapshot it started with (config_ref) until it ends, so a reload never
 * changes the rules under it. Strings are NUL-terminated, owned by the snapshot, never NULL unless said.
 * Only keys whose feature exists have a member here; option_tbl.h is the list of all of them. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/clock.h"
#include "core/coding.h"
#include "core/dns_system.h"
#include "core/http_msg.h"
#include "core/net.h"
#include "core/proxy_header.h"
#include "core/tls_verify.h"

/* Where a value or section came from: "default", "file.ini:12". */
struct config_origin {
    const char *file; /* NULL = default */
    int line;
};

struct config_cidrs {
    struct net_cidr *items;
    size_t count;
};

struct config_strings {
    const char **items;
    size_t count;
};

struct config_main {          /* [millpond] */
    int workers;              /* auto is resolved to the number of CPUs allowed */
    const char *user, *group; /* "" = keep */
    const char *runtime_dir, *state_dir;
    dur_ms_t shutdown_timeout_ms, upgrade_timeout_ms;
    int max_connections;
    struct config_cidrs trusted_proxies;
    const char *server_header;   /* "" when off */
    const char *tls_ticket_keys; /* "" = our own */
};

enum config_log_level { CONFIG_LOG_ERROR, CONFIG_LOG_WARN, CONFIG_LOG_INFO, CONFIG_LOG_DEBUG };

struct config_log { /* [log] */
    enum config_log_level level;
    const char *file;          /* "stderr", "syslog" or a path */
    const char *access;        /* "off", "stdout" or a path */
    const char *access_format; /* "json", "combined" or a template */
    dur_ms_t slow_request_ms;  /* 0 = off */
};

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

enum config_hsts { CONFIG_HSTS_OFF, CONFIG_HSTS_ON, CONFIG_HSTS_SUBDOMAINS, CONFIG_HSTS_PRELOAD };

/* protocols, a set */
#define CONFIG_PROTOCOL_H2     1u
#define CONFIG_PROTOCOL_HTTP_1 2u
#define CONFIG_PROTOCOL_H2C    4u

struct config_rate {
    int64_t amount; /* in `per_s` */
    int per_s;      /* 1, 60 or 3600 */
};

struct config_listen { /* [listen NAME] */
    const char *name;
    struct config_origin origin;
    struct net_addr *addresses;
    size_t address_count;
    dur_ms_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    int64_t min_rate_bytes_s; /* 0 = off */
    int64_t max_header_bytes, max_target_bytes, max_body_bytes;
    int max_headers;
    int max_requests_per_connection;                  /* 0 = no limit */
    int max_connections_per_ip;                       /* 0 = no limit */
    struct config_strings tls_certificates, tls_keys; /* as many of the one as of the other; none: plain */
    enum config_tls_version tls_min_version;
    bool proxy_protocol; /* required */
    bool redirect_to_https;
    const char *acme_webroot;             /* "" = none */
    bool diverts;                         /* one of these two is given, or a client certificate required */
    const char *tls_ciphers, *tls_groups; /* "intermediate" or OpenSSL's lists */
    enum tls_verify tls_client_verify;
    const char *tls_client_ca; /* "" = none */
    struct config_strings tls_ocsp;
    enum config_hsts hsts;
    unsigned protocols;
    int h2_max_streams; /* of one connection */
    struct config_rate h2_max_resets;
};

struct config_server {   /* one `server` of a pool */
    const char *name;    /* name= or the address text; unique in its pool */
    const char *address; /* as written: host:port or unix:/path */
    const char *host;    /* what Host a probe sends by default: host part, "localhost" for unix */
    struct config_origin origin;
    int weight; /* 0..1000; 0: no new visitors */
    bool backup;
    bool resolve_one;    /* one address of the name is used; else all */
    bool added;          /* at run time; stands in no file */
    int max_connections; /* 0 = no limit */
};

/* How a pool picks; the order is that of the words of `balance`. */
enum config_balance {
    CONFIG_BALANCE_ROUND_ROBIN,
    CONFIG_BALANCE_LEAST_CONNECTIONS,
    CONFIG_BALANCE_TWO_CHOICES,
    CONFIG_BALANCE_HASH
};

enum config_hash_on {
    CONFIG_HASH_ON_NOTHING,
    CONFIG_HASH_ON_CLIENT_IP,
    CONFIG_HASH_ON_PATH,
    CONFIG_HASH_ON_HEADER,
    CONFIG_HASH_ON_COOKIE
};

enum config_health { CONFIG_HEALTH_OFF, CONFIG_HEALTH_TCP, CONFIG_HEALTH_HTTP };

/* retry_on, a set */
#define CONFIG_RETRY_CONNECT 1u
#define CONFIG_RETRY_RESET   2u
#define CONFIG_RETRY_502     4u
#define CONFIG_RETRY_503     8u
#define CONFIG_RETRY_504     16u

struct config_status_range {
    uint16_t from, to;
};

enum config_upstream_protocol { CONFIG_UPSTREAM_HTTP_1, CONFIG_UPSTREAM_H2 };

struct config_pool { /* [pool NAME] */
    const char *name;
    struct config_origin origin;
    struct config_server *servers;
    size_t server_count;
    struct dns_servers resolvers; /* none: the system's */
    enum config_balance balance;
    enum config_hash_on hash_on;
    const char *hash_name;     /* of the header or cookie; "" */
    const char *sticky_cookie; /* "" = none */
    enum config_health health;
    const char *health_path;
    const char *health_host; /* "" = the server's host */
    struct config_status_range *health_status;
    size_t health_status_count;
    const char *health_body; /* "" = anything */
    dur_ms_t health_interval_ms, health_timeout_ms;
    int health_rise, health_fall;
    int eject_errors; /* 0 = never */
    dur_ms_t eject_time_ms;
    int eject_max_percent;
    dur_ms_t slow_start_ms; /* 0 = none */
    dur_ms_t connect_timeout_ms, response_timeout_ms, idle_timeout_ms;
    int retries;
    int retry_budget_percent;
    unsigned retry_on;
    int max_idle; /* per worker */
    enum config_upstream_protocol protocol;
    enum proxy_header_version send_proxy_protocol;
    int queue;                                  /* requests that may wait; 0 = none */
    dur_ms_t queue_timeout_ms, queue_target_ms; /* the latter 0 = off */
    bool tls, tls_verify;
    bool prefaced;       /* connections are not plain HTTP/1.1 from the start: one of these is given */
    const char *tls_ca;  /* "" = the authorities of the system */
    const char *tls_sni; /* "" = the server's host */
    const char *tls_certificate, *tls_key; /* that instances are shown; "" = none */
};

enum config_store { CONFIG_STORE_OFF, CONFIG_STORE_MEMORY, CONFIG_STORE_TIERED, CONFIG_STORE_REDIS };

/* Other nodes find there what this one fetched. */
static inline bool config_store_is_shared(enum config_store s)
{
    return s == CONFIG_STORE_TIERED || s == CONFIG_STORE_REDIS;
}

struct config_cache { /* [cache] */
    enum config_store store;
    int64_t memory_bytes, max_object_bytes;
    dur_ms_t default_ttl_ms;
    int heuristic_percent; /* 0 = off */
    dur_ms_t heuristic_max_ms;
    dur_ms_t stale_while_revalidate_ms, stale_if_error_ms;
    bool early_refresh;
    dur_ms_t lock_timeout_ms;
    int max_waiters;
    int max_variants;
    struct config_cidrs purge_from;
    bool cache_status;
};

enum config_redis_mode { CONFIG_REDIS_STANDALONE, CONFIG_REDIS_SENTINEL, CONFIG_REDIS_CLUSTER };

enum config_redis_compress { CONFIG_REDIS_COMPRESS_OFF, CONFIG_REDIS_COMPRESS_ZSTD };

struct config_redis_login {          /* "" = none */
    const char *username, *password; /* a secret: never shown, in whatever form */
};

struct config_redis { /* [redis] */
    bool given;       /* false: there is no such section, and all of this is empty */
    enum config_redis_mode mode;
    struct config_strings servers; /* as core/redis_node.h takes them: Redis, Sentinels, or of the Cluster */
    bool tls;
    unsigned database;
    struct config_redis_login login, sentinel_login;
    const char *sentinel_name; /* "" unless mode is sentinel */
    const char *tls_ca;        /* "" = the authorities of the system */
    const char *prefix, *channel;
    dur_ms_t timeout_ms;
    int connections; /* of each worker to each server */
    int64_t max_object_bytes;
    enum config_redis_compress compress;
    int stream_length;
};

enum config_path_match { CONFIG_PATH_EXACT, CONFIG_PATH_PREFIX, CONFIG_PATH_SUFFIX };

struct config_path {
    enum config_path_match match;
    const char *text; /* percent-decoded but for %00: "/exact", "/prefix/" (of "/prefix/" + star),
                         ".ext" (of star + ".ext") */
    size_t len;
};

struct config_header_match { /* "Name: value"; value "" matches any */
    const char *name, *value;
};

enum config_route_cache { CONFIG_CACHE_ON, CONFIG_CACHE_OFF, CONFIG_CACHE_BYPASS_IF };

enum config_early_hints { CONFIG_EARLY_HINTS_OFF, CONFIG_EARLY_HINTS_PASS, CONFIG_EARLY_HINTS_LEARN };

#define CONFIG_TTL_UNSET INT64_MIN
#define CONFIG_HEDGE_P95 INT64_C(-1)

struct config_field_edit { /* set_*: value != NULL; remove_*: value == NULL */
    const char *name, *value;
};

enum config_key_query { CONFIG_QUERY_ALL, CONFIG_QUERY_NONE, CONFIG_QUERY_ONLY, CONFIG_QUERY_EXCEPT };

struct config_key_param {
    const char *text; /* in key form (percent-encoding normalised) */
    size_t len;
    bool prefix; /* a star stood behind it */
};

/* Is it one of those that `campaign` stands for in key_query? Any thread. */
bool config_is_campaign_param(slice_t name);

struct config_key { /* the key_ options of a route */
    enum config_key_query query;
    struct config_key_param *params; /* of ONLY and EXCEPT */
    size_t param_count;
    bool sort;
    struct config_strings headers; /* lower case */
    struct config_strings cookies;
    bool device;
    struct config_strings languages; /* as written; the first is the default */
};

struct config_rate_limit { /* of a route */
    int64_t amount;        /* of requests in `per_s`; 0: there is no limit */
    int per_s;             /* 1, 60 or 3600 */
    int64_t burst;         /* of requests at once; 0 is taken as 1 */
    const char *header;    /* whose value tells clients apart; "" = their address does */
    bool shared;           /* counted in Redis */
    const char *text;      /* as written */
};

enum config_split_by { CONFIG_SPLIT_CLIENT_IP, CONFIG_SPLIT_COOKIE, CONFIG_SPLIT_HEADER };

struct config_split { /* of a route */
    int pools[2];     /* indices into config.pools: stable, canary */
    int weights[2];   /* both 0: there is no split */
    enum config_split_by by;
    const char *name; /* of the cookie or field; "" */
    const char *text; /* as written */
};

struct config_route { /* [route NAME] */
    const char *name;
    struct config_origin origin;
    uint16_t id;                 /* position in the file order */
    struct config_strings hosts; /* lower case; "*.example.com" keeps its star */
    struct config_path *paths;
    size_t path_count;
    struct config_strings methods;
    struct config_header_match *headers;
    size_t header_count;
    int pool;                  /* index into config.pools, -1 when the route answers itself */
    int mirror;                /* likewise; -1: none */
    struct config_split split; /* `pool` is the first of it then */
    int split_max_errors_percent, split_max_latency_percent, split_samples;
    int redirect_status, respond_status; /* 0 = not used */
    const char *redirect_target;         /* may contain $uri, $host */
    const char *respond_text;
    enum config_route_cache cache;
    const char *bypass_cookie, *bypass_header;                       /* "" = not used */
    dur_ms_t ttl_ms, ttl_404_ms, ttl_5xx_ms, min_ttl_ms, max_ttl_ms; /* CONFIG_TTL_UNSET when not given */
    dur_ms_t browser_ttl_ms;                                         /* the same */
    dur_ms_t stale_while_revalidate_ms, stale_if_error_ms;
    dur_ms_t keep_assets_ms; /* 0: off */
    bool early_refresh;
    int ttl_jitter_percent;
    int64_t max_object_bytes;
    int64_t slice_bytes; /* 0: off */
    const char *tags;    /* joined by one space; "" = none */
    bool ignore_client_cache_control;
    bool ignore_set_cookie;
    bool deception_guard;
    struct config_strings remove_cookies; /* "all", names, "beginning*" */
    struct config_strings keep_request_headers;
    struct config_key key;
    bool no_vary_search;
    struct coding_list compress; /* empty: off */
    struct config_rate_limit rate_limit;
    struct config_cidrs allow, deny;
    struct config_field_edit *request_edits, *response_edits;
    size_t request_edit_count, response_edit_count;
    const char *root;       /* folder of files; "" = none, else there is no pool */
    const char *basic_auth; /* htpasswd file; "" = none */
    const char *calm_page;  /* "" = none */
    bool websocket;
    enum config_early_hints early_hints;
    dur_ms_t tunnel_timeout_ms;
    dur_ms_t timeout_ms; /* of all tries; 0 = none */
    bool retry_idempotency_key;
    dur_ms_t hedge_ms; /* 0 = off */
};

struct config_admin {   /* [admin] */
    const char *socket; /* path; default runtime_dir/admin.sock */
    mode_t socket_mode;
    struct net_addr address; /* address.len == 0: off */
    const char *token;       /* "" = generated in state_dir */
    bool read_open;          /* read = open */
    bool metrics_open;       /* metrics = open */
    struct config_strings allowed_hosts;
};

/* The snapshot. Set once before it is published; `refs` is atomic; freed by the last config_unref. */
struct config {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint64_t generation; /* 1 for the first, +1 per successful reload */
    const char *path;    /* the main file */
    struct config_main main;
    struct config_log log;
    struct config_listen *listens;
    size_t listen_count;
    struct config_pool *pools;
    size_t pool_count;
    struct config_cache cache;
    struct config_redis redis;
    struct config_route *routes; /* in file order, at least one */
    size_t route_count;
    struct config_admin admin;
    bool reads_identity;         /* an option reads a field that says who the client is by a certificate */
    struct config_private *priv; /* values with origins, for `config`; memory of all of the above */
};

/* What is wrong with a file, all of it at once. Owned by the caller. */
struct config_problem {
    bool warning; /* legal but surely unmeant: only `check` shows it */
    char *text;   /* "file:line: [section] key: what is wrong; what would be right" */
};
struct config_problems {
    struct config_problem *items;
    size_t count, errors;
};

/* Reads `path` and its includes. NULL when there is any error (listed in `problems`); warnings alone still
 * give a snapshot. The caller owns the returned reference and frees `problems` with config_problems_free. */
struct config *config_load(const char *path, struct config_problems *problems);
/* The same from memory, for tests, the demo and fuzzing; `name` stands for the file in messages. */
struct config *config_load_text(const char *name, const char *text, size_t len,
                                struct config_problems *problems);
void config_problems_free(struct config_problems *problems);

struct config *config_ref(struct config *c);
void config_unref(struct config *c);

/* The line that gives a route this setting: its own, else that of [cache] when that has the key too. `file`
 * is NULL when none does. Lives as long as the snapshot. */
struct config_origin config_route_origin(const struct config *c, const struct config_route *r,
                                         const char *key);

/* The line of a key of [millpond] or [log]; `file` is NULL when it is not given. */
struct config_origin config_main_origin(const struct config *c, const char *key);
struct config_origin config_log_origin(const struct config *c, const char *key);
/* Of a pool, or of its section. */
struct config_origin config_pool_origin(const struct config *c, const struct config_pool *p, const char *key);
/* The line of the n-th value of a key of a listener (from 0), of its only one, or of its section. */
struct config_origin config_listen_origin(const struct config *c, const struct config_listen *l,
                                          const char *key, size_t n);

/* The line of a key of [redis], for what only the machine can tell; of the section when the key is not
 * given. */
struct config_origin config_redis_origin(const struct config *c, const char *key);

/* `millpond config`: every key with its effective value and origin, one per line. */
void config_print(const struct config *c, FILE *out);
/* Reference of all options from the option table: Markdown for docs/configuration.md, troff for the man page.
 */
void config_print_markdown(FILE *out);
void config_print_man(FILE *out);

#endif
