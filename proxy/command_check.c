/* command_check.c: see command_check.h.
 *
 * The rules of the file itself are config/'s; what is added here depends on the machine and the moment:
 * whether files that it names can be used, which is a problem, and whether the names of servers resolve. That
 * is a warning and never an error, because a name may well come with the instance that bears it, and the same
 * file must be good on the machine where it is written. So are folders of logs and users that this machine
 * lacks. Names are looked up one after the other with getaddrinfo, as the server does it; a name that stands
 * twice is asked for once. Rejected: connecting to the instances (they may rightly be down while somebody
 * checks a file). Main thread. */
#include "proxy/command_check.h"

#include <grp.h>
#include <jansson.h>
#include <netdb.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "balancer/balancer.h"
#include "config/config.h"
#include "core/net.h"
#include "core/tls_target.h"
#include "proxy/auth_file.h"
#include "proxy/calm_page.h"
#include "proxy/redis_link.h"
#include "proxy/ticket_keys.h"
#include "proxy/tls_site.h"

/* What there is to say; the texts are copies. */
struct check_report {
    json_t *problems, *warnings; /* arrays of strings */
};

/* A message quotes the file, which may be in any encoding; JSON takes UTF-8 only. */
static void report_text(json_t *list, const char *text)
{
    if (json_array_append_new(list, json_string(text)) == 0)
        return;
    char *plain = strdup(text);
    for (char *p = plain; p != NULL && *p != '\0'; p++)
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    json_array_append_new(list, json_string(plain != NULL ? plain : "out of memory"));
    free(plain);
}

static void report_warn(struct check_report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void report_warn(struct check_report *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) >= 0)
        report_text(r->warnings, text);
    va_end(ap);
    free(text);
}

/* NULL when the name has an address, else why not. */
static const char *why_unresolved(const char *name)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(name, NULL, &hints, &list);
    if (rc != 0)
        return gai_strerror(rc);
    freeaddrinfo(list);
    return NULL;
}

/* Also remembered: a silent DNS server should cost its timeout once. */
static const char *why_unresolved_once(json_t *asked, const char *name)
{
    json_t *before = json_object_get(asked, name);
    if (before == NULL) {
        const char *why = why_unresolved(name);
        before = why != NULL ? json_string(why) : json_null();
        json_object_set_new(asked, name, before);
    }
    return json_string_value(before);
}

static void check_redis_names(struct check_report *r, json_t *asked, const struct config *c)
{
    for (size_t i = 0; i < c->redis.servers.count; i++) {
        slice_t server = slice_str(c->redis.servers.items[i]), host;
        struct net_addr literal;
        uint16_t port;
        char name[REDIS_SERVER_TEXT];
        if (net_addr_parse(server, &literal) || !net_host_port_split(server, &host, &port))
            continue;
        snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(host));
        const char *why = why_unresolved_once(asked, name);
        struct config_origin at = config_redis_origin(c, "url");
        if (why != NULL)
            report_warn(
                r,
                "%s:%d: [redis] url: %s does not resolve just now (%s); Redis is away until it does, so "
                "look at the spelling and at the DNS of this machine",
                at.file, at.line, name, why);
    }
}

/* What it needs of this machine. */
static void check_redis_files(struct check_report *r, struct config *c)
{
    char err[512];
    struct redis_link *link = c->redis.given ? redis_link_new(c, err, sizeof err) : NULL;
    if (c->redis.given && link == NULL)
        report_text(r->problems, err);
    redis_link_free(link);
}

/* The same of the certificates of listeners, and what there is to say about them. */
static void check_tls_files(struct check_report *r, const struct config *c)
{
    char err[1024];
    struct tls_tickets tickets;
    struct ticket_keys keys = {.in_use = false};
    struct tls_site **sites = NULL;
    bool drawn = tls_tickets_init(&tickets), ok = drawn;
    snprintf(err, sizeof err, "this system gives no random numbers");
    ok = ok && ticket_keys_prepare(&keys, c, err, sizeof err) &&
         tls_sites_new(c, &tickets, &sites, err, sizeof err);
    ticket_keys_end(&keys);
    if (!ok)
        report_text(r->problems, err);
    for (size_t i = 0; sites != NULL && i < c->listen_count; i++) {
        for (size_t k = 0; sites[i] != NULL && k < tls_site_doubts_max(sites[i]); k++) {
            char doubt[1024];
            if (tls_site_doubt(c, sites[i], k, clock_wall_ms(), doubt, sizeof doubt))
                report_warn(r, "%s", doubt);
        }
    }
    tls_sites_free(sites, c->listen_count);
    if (drawn)
        tls_tickets_destroy(&tickets);
}

/* And of the authorities and certificates of pools. */
static void check_pool_files(struct check_report *r, const struct config *c)
{
    char err[1024];
    for (size_t i = 0; i < c->pool_count; i++) {
        struct tls_target *t = c->pools[i].tls ? pool_tls_new(c, &c->pools[i], err, sizeof err) : NULL;
        if (t == NULL && c->pools[i].tls)
            report_text(r->problems, err);
        if (pool_tls_doubt(c, &c->pools[i], t, clock_wall_ms(), err, sizeof err) != NULL)
            report_warn(r, "%s", err);
        tls_target_unref(t);
    }
}

static void check_page_files(struct check_report *r, const struct config *c)
{
    char err[1024];
    for (size_t i = 0; i < c->route_count; i++) {
        struct calm_page *page;
        if (!calm_page_load(c, &c->routes[i], &page, err, sizeof err))
            report_text(r->problems, err);
        calm_page_free(page);
    }
}

static void report_users(void *arg, const char *text)
{
    report_text(((struct check_report *)arg)->problems, text);
}

/* Each line that is wrong is one. */
static void check_user_files(struct check_report *r, const struct config *c)
{
    for (size_t i = 0; i < c->route_count; i++) {
        struct auth_file *users;
        auth_file_load(c, &c->routes[i], &users, report_users, r);
        auth_file_free(users);
    }
}

/* Challenges are answered from there, and 404 as long as there is nothing. */
static void check_folders(struct check_report *r, const struct config *c)
{
    for (size_t i = 0; i < c->route_count; i++) {
        const struct config_route *route = &c->routes[i];
        struct stat st;
        if (route->root[0] == '\0' || (stat(route->root, &st) == 0 && S_ISDIR(st.st_mode)))
            continue;
        struct config_origin at = config_route_origin(c, route, "root");
        report_warn(r,
                    "%s:%d: [route %s] root: %s is no folder that can be found, so every request is answered "
                    "503; make it, or name the one that holds the files",
                    at.file, at.line, route->name, route->root);
    }
    for (size_t i = 0; i < c->listen_count; i++) {
        const struct config_listen *l = &c->listens[i];
        struct stat st;
        if (l->acme_webroot[0] == '\0' || (stat(l->acme_webroot, &st) == 0 && S_ISDIR(st.st_mode)))
            continue;
        struct config_origin at = config_listen_origin(c, l, "acme_webroot", 0);
        report_warn(
            r,
            "%s:%d: [listen %s] acme_webroot: %s is no folder that can be found, so every challenge is "
            "answered 404; make it, or name the one that the ACME client writes to",
            at.file, at.line, l->name, l->acme_webroot);
    }
}

/* Files are made at the start, folders are not. */
static void check_log_folder(struct check_report *r, const struct config *c, const char *key,
                             const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *folder = slash == NULL || slash == path ? NULL : strndup(path, (size_t)(slash - path));
    struct stat st;
    struct config_origin at = config_log_origin(c, key);
    if (folder != NULL && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)))
        report_warn(
            r,
            "%s:%d: [log] %s: there is no folder %s, and a start makes the file only, so it would fail; "
            "make the folder",
            at.file, at.line, key, folder);
    free((void *)(uintptr_t)folder);
}

static void check_users(struct check_report *r, const struct config *c)
{
    struct config_origin user = config_main_origin(c, "user"), group = config_main_origin(c, "group");
    if (c->main.user[0] != '\0' && getpwnam(c->main.user) == NULL)
        report_warn(r, "%s:%d: [millpond] user: this machine has no user %s, so a start as root would fail",
                    user.file, user.line, c->main.user);
    if (c->main.group[0] != '\0' && getgrnam(c->main.group) == NULL)
        report_warn(r, "%s:%d: [millpond] group: this machine has no group %s, so a start as root would fail",
                    group.file, group.line, c->main.group);
}

static void check_names(struct check_report *r, const struct config *c)
{
    json_t *asked = json_object();
    check_redis_names(r, asked, c);
    for (size_t i = 0; i < c->pool_count; i++) {
        const struct config_pool *pool = &c->pools[i];
        for (size_t k = 0; k < pool->server_count; k++) {
            const struct config_server *s = &pool->servers[k];
            struct net_addr literal;
            if (net_addr_parse(slice_str(s->address), &literal))
                continue;
            const char *why = why_unresolved_once(asked, s->host);
            if (why != NULL)
                report_warn(
                    r,
                    "%s:%d: [pool %s] server: %s does not resolve just now (%s); the instance is down until "
                    "it does, so look at the spelling and at the DNS of this machine",
                    s->origin.file, s->origin.line, pool->name, s->host, why);
        }
    }
    json_decref(asked);
}

static void print_texts(FILE *out, const char *before, const json_t *texts)
{
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text) fprintf(out, "%s%s\n", before, json_string_value(text));
}

static void print_for_people(const struct check_report *r, const char *path, size_t errors, FILE *out)
{
    print_texts(out, "", r->problems);
    print_texts(out, "warning: ", r->warnings);
    if (errors == 0)
        fprintf(out, "%s: good%s\n", path, json_array_size(r->warnings) > 0 ? ", but see the warnings" : "");
    else
        fprintf(out, "%s: %zu problem%s; it would not be used\n", path, errors, errors == 1 ? "" : "s");
}

static void print_json(json_t *o, FILE *out)
{
    json_dumpf(o, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(o);
}

bool command_check_file(const char *path, bool json, FILE *out)
{
    struct config_problems found = {0};
    struct config *c = config_load(path, &found);
    bool ok = c != NULL;
    struct check_report r = {json_array(), json_array()};
    for (size_t i = 0; i < found.count; i++)
        report_text(found.items[i].warning ? r.warnings : r.problems, found.items[i].text);
    if (ok) {
        check_names(&r, c);
        check_folders(&r, c);
        check_log_folder(&r, c, "file", c->log.file);
        check_log_folder(&r, c, "access", c->log.access);
        check_users(&r, c);
        check_redis_files(&r, c);
        check_tls_files(&r, c);
        check_pool_files(&r, c);
        check_page_files(&r, c);
        check_user_files(&r, c);
        found.errors = json_array_size(r.problems);
        ok = found.errors == 0;
        config_unref(c);
    }
    if (json)
        print_json(json_pack("{s:b, s:O, s:O}", "ok", ok, "problems", r.problems, "warnings", r.warnings),
                   out);
    else
        print_for_people(&r, path, found.errors, out);
    json_decref(r.problems);
    json_decref(r.warnings);
    config_problems_free(&found);
    return ok;
}

void command_print_version(bool json, FILE *out)
{
    if (json)
        print_json(json_pack("{s:s}", "version", MILLPOND_VERSION), out);
    else
        fprintf(out, "millpond %s\n", MILLPOND_VERSION);
}
