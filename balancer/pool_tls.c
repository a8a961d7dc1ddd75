/* pool_tls.c: TLS towards the instances of a pool: made from its files, and made anew when those change, as
 * listeners do it (proxy/tls_site.c).
 *
 * Workers take a reference for each connection they open; the pool's own is dropped by RCU. Connections and
 * sessions of the old target are not used again, since whoever looks for one compares targets. Probes borrow
 * it, so each is told of the new one before the old may go. */
#include "balancer/pool_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/pool.h"
#include "core/log.h"

static struct tls_target_settings settings_of(const struct config_pool *c)
{
    return (struct tls_target_settings){
        .http2 = c->protocol == CONFIG_UPSTREAM_H2,
        .verify = c->tls_verify,
        .files = {[TLS_TARGET_CA] = c->tls_ca,
                  [TLS_TARGET_CERTIFICATE] = c->tls_certificate,
                  [TLS_TARGET_KEY] = c->tls_key},
    };
}

struct tls_target *pool_tls_new(const struct config *c, const struct config_pool *config, char *err,
                                size_t err_bytes)
{
    static const char *const keys[TLS_TARGET_FILES] = {"tls_ca", "tls_certificate", "tls_key"};
    const struct tls_target_settings settings = settings_of(config);
    enum tls_target_file of;
    char why[800];
    struct tls_target *t = tls_target_new(&settings, &of, why, sizeof why);
    if (t != NULL)
        return t;
    const struct config_origin at = config_pool_origin(c, config, keys[of]);
    snprintf(err, err_bytes, "%s:%d: [pool %s] %s: %s", at.file, at.line, config->name, keys[of], why);
    return NULL;
}

bool pool_load_tls(struct pool *p, const struct config *c, char *err, size_t err_bytes)
{
    if (!p->config->tls)
        return true;
    struct tls_target *t = pool_tls_new(c, p->config, err, err_bytes);
    if (t == NULL)
        return false;
    memcpy(p->tls.tried, t->read, sizeof p->tls.tried);
    memcpy(p->tls.found, t->read, sizeof p->tls.found);
    atomic_store_explicit(&p->tls.current, t, memory_order_release);
    return true;
}

void pool_tls_clear(struct pool_tls *t)
{
    tls_target_unref(atomic_load_explicit(&t->current, memory_order_acquire));
    free(t->problem);
}

/* ---- for workers ---- */

struct tls_target *pool_tls(const struct pool *p)
{
    return atomic_load_explicit(&p->tls.current, memory_order_acquire);
}

struct tls_target *pool_tls_get(const struct pool *p)
{
    if (!p->config->tls)
        return NULL;
    rcu_enter();
    struct tls_target *t = tls_target_ref(pool_tls(p));
    rcu_leave();
    return t;
}

const char *pool_server_tls_name(const struct pool *p, const struct config_server *server)
{
    return p->config->tls_sni[0] != '\0' ? p->config->tls_sni : server->host;
}

const char *pool_tls_name(const struct pool *p, const struct instance *i)
{
    for (size_t k = 0; k < p->config->server_count; k++)
        if (strcmp(p->config->servers[k].name, i->name) == 0)
            return pool_server_tls_name(p, &p->config->servers[k]);
    return NULL;
}

/* ---- files that change ---- */

static void target_drop(void *target)
{
    tls_target_unref(target);
}

/* false, and no word, when it cannot be done for the reason that is known. */
static bool pool_renew_tls(struct pool *p, const struct config *c)
{
    char err[1024] = "out of memory";
    struct tls_target *fresh = pool_tls_new(c, p->config, err, sizeof err);
    if (fresh == NULL && p->tls.problem != NULL && strcmp(p->tls.problem, err) == 0)
        return false;
    free(p->tls.problem);
    p->tls.problem = NULL;
    if (fresh == NULL) {
        p->tls.problem = strdup(err);
        log_error("%s; what was read before stays in use", err);
        return true;
    }
    struct tls_target *old = atomic_exchange_explicit(&p->tls.current, fresh, memory_order_acq_rel);
    for (size_t m = 0; m < p->member_count; m++)
        member_renew_probe(&p->members[m]);
    rcu_free_later(&old->grave, target_drop, old);
    log_info("[pool %s] files for TLS read anew, since they have changed", p->config->name);
    return true;
}

bool pool_look_tls(struct pool *p, const struct config *c)
{
    const struct tls_target_settings settings = settings_of(p->config);
    struct tls_stamp now[TLS_TARGET_FILES];
    if (!p->config->tls)
        return false;
    tls_target_stamp(&settings, now);
    return tls_stamps_are_due(now, p->tls.tried, p->tls.found, ARRAY_LEN(now), p->tls.problem != NULL) &&
           pool_renew_tls(p, c);
}

const char *pool_tls_problem(const struct pool *p)
{
    return p->tls.problem;
}

const char *pool_tls_doubt(const struct config *c, const struct config_pool *config,
                           const struct tls_target *t, wall_ms_t now_ms, char *buf, size_t buf_bytes)
{
    char text[800];
    if (t == NULL || t->ends_ms == 0)
        return NULL;
    const char *why = tls_expiry_doubt(config->tls_certificate, t->begins_ms, t->ends_ms, now_ms, "instances",
                                       text, sizeof text);
    why = why != NULL ? why : t->doubt;
    if (why == NULL)
        return NULL;
    const struct config_origin at = config_pool_origin(c, config, "tls_certificate");
    snprintf(buf, buf_bytes, "%s:%d: [pool %s] tls_certificate: %s", at.file, at.line, config->name, why);
    return buf;
}
