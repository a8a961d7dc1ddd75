/* server_tls.c: what TLS needs of the whole server: the keys of tickets, which outlive every configuration, a
 * look at the files now and then (those of basic_auth, too), and words about those that expire. Control
 * thread. Rejected: inotify. Certificates are often links into folders that are replaced as a whole, and a
 * look costs little.
 */
#include "balancer/balancer.h"
#include "core/log.h"
#include "core/tls_target.h"
#include "proxy/auth_check.h"
#include "proxy/auth_file.h"
#include "proxy/heir.h"
#include "proxy/server.h"
#include "proxy/snapshot.h"
#include "proxy/tls_site.h"

#define LOOK_MS 2000
#define DAY_MS  ((dur_ms_t)86400000)

static void server_on_rotation(struct deadline *d)
{
    struct server *s = CONTAINER_OF(d, struct server, tls.rotation);
    if (!s->tls.keys.in_use)
        tls_tickets_rotate(&s->tls.tickets);
    deadline_set(s->control, d, worker_now_ms(s->control) + TLS_TICKETS_PERIOD_MS);
}

/* Logs what there is to say about certificates. */
static void server_tls_warn(struct server *s)
{
    const struct snapshot *snap = s->snapshot;
    const wall_ms_t now_ms = clock_wall_ms();
    char doubt[1024];
    s->tls.warned_ms = worker_now_ms(s->control);
    s->tls.next_doubt_ms = TLS_STAPLE_NEVER_MS;
    for (size_t i = 0; snap->tls != NULL && i < snap->config->listen_count; i++) {
        const struct tls_site *site = snap->tls[i];
        for (size_t k = 0; site != NULL && k < tls_site_doubts_max(site); k++) {
            if (tls_site_doubt(snap->config, site, k, now_ms, doubt, sizeof doubt))
                log_warn("%s", doubt);
        }
        if (site != NULL)
            s->tls.next_doubt_ms = MIN(s->tls.next_doubt_ms, tls_site_staple_ends_ms(site, now_ms));
    }
    for (size_t i = 0; i < snap->config->pool_count; i++) {
        const struct tls_target *t = pool_tls(balancer_set_pool(snap->balancers, i));
        if (pool_tls_doubt(snap->config, &snap->config->pools[i], t, now_ms, doubt, sizeof doubt) != NULL)
            log_warn("%s", doubt);
    }
}

static void server_on_look(struct deadline *d)
{
    struct server *s = CONTAINER_OF(d, struct server, tls.look);
    struct snapshot *snap = s->snapshot;
    bool changed = false;
    ticket_keys_look(&s->tls.keys, snap->config, &s->tls.tickets);
    for (size_t i = 0; snap->tls != NULL && i < snap->config->listen_count; i++)
        changed |= snap->tls[i] != NULL && tls_site_look(snap->config, snap->tls[i], &s->tls.tickets);
    changed |= balancer_look_tls(s->balancer);
    for (size_t i = 0; i < snap->route_count; i++) {
        if (snap->routes[i].auth != NULL)
            auth_file_look(snap->config, snap->routes[i].config, snap->routes[i].auth);
    }
    if (changed || worker_now_ms(s->control) - s->tls.warned_ms >= DAY_MS ||
        clock_wall_ms() >= s->tls.next_doubt_ms)
        server_tls_warn(s);
    deadline_set(s->control, d, worker_now_ms(s->control) + LOOK_MS);
}

void server_tls_commit(struct server *s)
{
    ticket_keys_commit(&s->tls.keys, s->snapshot->config, &s->tls.tickets);
    server_tls_warn(s);
}

bool server_tls_prepare(struct server *s)
{
    deadline_init(&s->tls.rotation, server_on_rotation);
    deadline_init(&s->tls.look, server_on_look);
    s->tls.tickets_made = tls_tickets_init(&s->tls.tickets);
    if (s->tls.tickets_made)
        heir_give_tickets(s->heir, &s->tls.tickets);
    return s->tls.tickets_made;
}

void server_tls_start(struct server *s)
{
    deadline_set(s->control, &s->tls.rotation, worker_now_ms(s->control) + TLS_TICKETS_PERIOD_MS);
    deadline_set(s->control, &s->tls.look, worker_now_ms(s->control) + LOOK_MS);
    server_tls_commit(s);
}

void server_tls_stop(struct server *s)
{
    deadline_clear(s->control, &s->tls.rotation);
    deadline_clear(s->control, &s->tls.look);
}

void server_tls_destroy(struct server *s)
{
    if (s->tls.tickets_made)
        tls_tickets_destroy(&s->tls.tickets);
    s->tls.tickets_made = false;
    ticket_keys_end(&s->tls.keys);
    auth_check_stop();
}

struct snapshot *server_build_snapshot(struct server *s, struct config *c, char *err, size_t err_bytes)
{
    struct snapshot *snap = snapshot_build(c, s->balancer, err, err_bytes);
    if (snap == NULL || (ticket_keys_prepare(&s->tls.keys, c, err, err_bytes) &&
                         snapshot_load_tls(snap, &s->tls.tickets, err, err_bytes)))
        return snap;
    snapshot_unref(snap);
    return NULL;
}

static json_t *certificate_json(const char *file, const char *names, wall_ms_t ends_ms)
{
    return json_pack("{s:s, s:s, s:I, s:I}", "file", file, "names", names, "expires_at_ms",
                     (json_int_t)ends_ms, "expires_in_days",
                     (json_int_t)((ends_ms - clock_wall_ms()) / DAY_MS));
}

static json_t *staple_status(const struct tls_staple *t)
{
    const bool shown = t->der != NULL && clock_wall_ms() < t->ends_ms;
    json_t *o = json_pack("{s:s, s:b, s:s?}", "file", t->file, "shown", shown, "problem", t->doubt);
    if (t->der != NULL && t->ends_ms != TLS_STAPLE_NEVER_MS)
        json_object_set_new(o, "expires_at_ms", json_integer((json_int_t)t->ends_ms));
    return o;
}

static json_t *site_status(const struct tls_site *site)
{
    const struct tls_server *t = atomic_load_explicit(&site->current, memory_order_acquire);
    json_t *list = json_array();
    for (size_t i = 0; i < t->certificate_count; i++)
        json_array_append_new(list, certificate_json(t->certificates[i].file, t->certificates[i].names,
                                                     t->certificates[i].ends_ms));
    json_t *staples = json_array();
    for (size_t i = 0; i < t->staple_count; i++)
        json_array_append_new(staples, staple_status(&t->staples[i]));
    return json_pack("{s:s, s:s?, s:o, s:o}", "listen", site->config->name, "problem", site->problem,
                     "certificates", list, "ocsp", staples);
}

json_t *server_tls_status(const struct server *s)
{
    const struct snapshot *snap = s->snapshot;
    json_t *list = json_array();
    for (size_t i = 0; snap->tls != NULL && i < snap->config->listen_count; i++) {
        if (snap->tls[i] != NULL)
            json_array_append_new(list, site_status(snap->tls[i]));
    }
    return list;
}

/* The certificate that a pool shows to its instances. */
static json_t *pool_status(const struct config_pool *config, const struct pool *p)
{
    const struct tls_target *t = pool_tls(p);
    json_t *list = json_array();
    if (t->ends_ms != 0)
        json_array_append_new(list, certificate_json(config->tls_certificate, t->name, t->ends_ms));
    return json_pack("{s:s, s:s?, s:o}", "pool", config->name, "problem", pool_tls_problem(p), "certificates",
                     list);
}

json_t *server_tls_pools_status(const struct server *s)
{
    const struct snapshot *snap = s->snapshot;
    json_t *list = json_array();
    for (size_t i = 0; i < snap->config->pool_count; i++) {
        const struct pool *p = balancer_set_pool(snap->balancers, i);
        if (pool_tls(p) != NULL)
            json_array_append_new(list, pool_status(&snap->config->pools[i], p));
    }
    return list;
}
