/* tls_site.c: see tls_site.h. */
#include "proxy/tls_site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

static const char *problem_key(enum tls_setting setting)
{
    switch (setting) {
    case TLS_SETTING_CIPHERS:
        return "tls_ciphers";
    case TLS_SETTING_GROUPS:
        return "tls_groups";
    case TLS_SETTING_CLIENT_CA:
        return "tls_client_ca";
    case TLS_SETTING_CERTIFICATE:
    case TLS_SETTING_NONE:
        break;
    }
    return "tls_certificate";
}

static struct tls_server *server_load(const struct config *c, const struct config_listen *l,
                                      struct tls_tickets *tickets, char *err, size_t err_bytes)
{
    size_t count = l->tls_certificates.count;
    struct tls_pair *pairs = calloc(count, sizeof *pairs);
    struct tls_problem problem = {.text = "out of memory"};
    for (size_t i = 0; pairs != NULL && i < count; i++)
        pairs[i] = (struct tls_pair){l->tls_certificates.items[i], l->tls_keys.items[i]};
    const struct tls_settings settings = {
        .pairs = pairs,
        .pair_count = count,
        .no_http_1 = (l->protocols & CONFIG_PROTOCOL_HTTP_1) == 0,
        .http_2 = (l->protocols & CONFIG_PROTOCOL_H2) != 0,
        .only_1_3 = l->tls_min_version == CONFIG_TLS_1_3,
        .ciphers = l->tls_ciphers,
        .groups = l->tls_groups,
        .sessions = l->name,
        .ocsp = l->tls_ocsp.items,
        .ocsp_count = l->tls_ocsp.count,
        .verify = l->tls_client_verify,
        .client_ca = l->tls_client_ca,
        .tickets = tickets,
    };
    struct tls_server *s = pairs != NULL ? tls_server_new(&settings, &problem) : NULL;
    free(pairs);
    if (s != NULL)
        return s;
    const char *key = problem_key(problem.setting);
    struct config_origin at = config_listen_origin(c, l, key, problem.index);
    snprintf(err, err_bytes, "%s:%d: [listen %s] %s: %s", at.file, at.line, l->name, key, problem.text);
    return NULL;
}

/* The i-th file that the section names; NULL behind the last. */
static const char *listen_file(const struct config_listen *l, size_t i)
{
    size_t pairs = l->tls_certificates.count;
    if (i < pairs)
        return l->tls_certificates.items[i];
    if (i < 2 * pairs)
        return l->tls_keys.items[i - pairs];
    i -= 2 * pairs;
    if (i < l->tls_ocsp.count)
        return l->tls_ocsp.items[i];
    return i == l->tls_ocsp.count && l->tls_client_ca[0] != '\0' ? l->tls_client_ca : NULL;
}

static size_t listen_files(const struct config_listen *l)
{
    size_t n = 0;
    while (listen_file(l, n) != NULL)
        n++;
    return n;
}

static void site_stamp(const struct tls_site *s, struct tls_stamp *to)
{
    for (size_t i = 0; i < s->files; i++)
        to[i] = tls_stamp_of(listen_file(s->config, i));
}

static void site_free(struct tls_site *s)
{
    if (s == NULL)
        return;
    tls_server_unref(atomic_load_explicit(&s->current, memory_order_acquire));
    free(s->problem);
    free(s->read);
    free(s);
}

static struct tls_site *site_new(const struct config *c, const struct config_listen *l,
                                 struct tls_tickets *tickets, char *err, size_t err_bytes)
{
    struct tls_site *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->config = l;
    s->files = listen_files(l);
    s->read = calloc(2 * s->files, sizeof *s->read);
    s->found = s->read != NULL ? s->read + s->files : NULL;
    if (s->read != NULL)
        site_stamp(s, s->read); /* before they are read: what changes meanwhile is seen as a change */
    atomic_init(&s->current, s->read != NULL ? server_load(c, l, tickets, err, err_bytes) : NULL);
    if (atomic_load_explicit(&s->current, memory_order_relaxed) != NULL)
        return s;
    site_free(s);
    return NULL;
}

bool tls_sites_new(const struct config *c, struct tls_tickets *tickets, struct tls_site ***out, char *err,
                   size_t err_bytes)
{
    size_t with_tls = 0;
    *out = NULL;
    for (size_t i = 0; i < c->listen_count; i++)
        with_tls += c->listens[i].tls_certificates.count > 0;
    if (with_tls == 0)
        return true;
    snprintf(err, err_bytes, "out of memory");
    struct tls_site **sites = calloc(c->listen_count, sizeof(struct tls_site *));
    bool ok = sites != NULL;
    for (size_t i = 0; ok && i < c->listen_count; i++) {
        if (c->listens[i].tls_certificates.count == 0)
            continue;
        sites[i] = site_new(c, &c->listens[i], tickets, err, err_bytes);
        ok = sites[i] != NULL;
    }
    if (ok)
        *out = sites;
    else
        tls_sites_free(sites, c->listen_count);
    return ok;
}

void tls_sites_free(struct tls_site **sites, size_t count)
{
    for (size_t i = 0; sites != NULL && i < count; i++)
        site_free(sites[i]);
    free(sites);
}

size_t tls_site_doubts_max(const struct tls_site *s)
{
    return s->config->tls_certificates.count + s->config->tls_ocsp.count;
}

static const char *certificate_doubt(const struct tls_certificate *t, wall_ms_t now_ms, char *buf,
                                     size_t buf_bytes)
{
    const char *why = tls_expiry_doubt(t->file, t->begins_ms, t->ends_ms, now_ms, "clients", buf, buf_bytes);
    return why != NULL ? why : t->doubt;
}

static const char *staple_doubt(const struct tls_staple *t, wall_ms_t now_ms, char *buf, size_t buf_bytes)
{
    if (t->doubt == NULL && now_ms < t->ends_ms)
        return NULL;
    snprintf(buf, buf_bytes, "%s%s; clients are not shown it", t->doubt != NULL ? t->doubt : t->file,
             t->doubt != NULL ? "" : " has expired; fetch it again");
    return buf;
}

bool tls_site_doubt(const struct config *c, const struct tls_site *s, size_t n, wall_ms_t now_ms, char *buf,
                    size_t buf_bytes)
{
    char text[800];
    const struct tls_server *server = atomic_load_explicit(&s->current, memory_order_acquire);
    const bool staple = n >= server->certificate_count;
    const char *key = staple ? "tls_ocsp" : "tls_certificate", *why;
    n -= staple ? server->certificate_count : 0;
    why = staple ? staple_doubt(&server->staples[n], now_ms, text, sizeof text)
                 : certificate_doubt(&server->certificates[n], now_ms, text, sizeof text);
    struct config_origin at = config_listen_origin(c, s->config, key, n);
    if (why != NULL)
        snprintf(buf, buf_bytes, "%s:%d: [listen %s] %s: %s", at.file, at.line, s->config->name, key, why);
    return why != NULL;
}

wall_ms_t tls_site_staple_ends_ms(const struct tls_site *s, wall_ms_t after_ms)
{
    const struct tls_server *server = atomic_load_explicit(&s->current, memory_order_acquire);
    wall_ms_t first_ms = TLS_STAPLE_NEVER_MS;
    for (size_t i = 0; i < server->staple_count; i++) {
        wall_ms_t ends_ms = server->staples[i].ends_ms;
        if (server->staples[i].der != NULL && ends_ms > after_ms)
            first_ms = MIN(first_ms, ends_ms);
    }
    return first_ms;
}

/* ---- files that change ---- */

static void server_drop(void *server)
{
    tls_server_unref(server);
}

/* false, and no word, when it cannot be done for the reason that is known. */
static bool site_renew(const struct config *c, struct tls_site *s, struct tls_tickets *tickets)
{
    char err[1024] = "out of memory";
    struct tls_server *fresh = server_load(c, s->config, tickets, err, sizeof err);
    if (fresh == NULL && s->problem != NULL && strcmp(s->problem, err) == 0)
        return false;
    free(s->problem);
    s->problem = NULL;
    if (fresh == NULL) {
        s->problem = strdup(err);
        log_error("%s; the certificates read before stay in use", err);
        return true;
    }
    struct tls_server *old = atomic_exchange_explicit(&s->current, fresh, memory_order_acq_rel);
    rcu_free_later(&old->grave, server_drop, old);
    log_info("[listen %s] certificates read anew, since their files have changed", s->config->name);
    return true;
}

bool tls_site_look(const struct config *c, struct tls_site *s, struct tls_tickets *tickets)
{
    struct tls_stamp *now = calloc(s->files, sizeof *now);
    if (now == NULL)
        return false;
    site_stamp(s, now);
    const bool due = tls_stamps_are_due(now, s->read, s->found, s->files, s->problem != NULL);
    free(now);
    return due && site_renew(c, s, tickets);
}

struct tls_server *tls_site_get(struct tls_site *s)
{
    rcu_enter();
    struct tls_server *server = tls_server_ref(atomic_load_explicit(&s->current, memory_order_acquire));
    rcu_leave();
    return server;
}
