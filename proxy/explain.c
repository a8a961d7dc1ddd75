/* explain.c: see explain.h. The question becomes a request head as a client would send it, read by the parser
 * that reads clients', in an exchange that has neither worker nor connection; so route and key come from the
 * functions that serve requests. Then explain_decide.c says what would happen, and this file writes it down.
 *
 * Control thread. The RCU section lasts until the answer is written; what Redis knows is written into it
 * afterwards (explain_remote.c). */
#include "proxy/explain.h"

#include <stdlib.h>

#include "core/rcu.h"
#include "proxy/affinity.h"
#include "proxy/explain_case.h"
#include "proxy/explain_json.h"
#include "proxy/explain_remote.h"
#include "proxy/split.h"

static const char *find_route(struct exchange *x, const char **hint)
{
    const struct route_request rr = {x->host, route_path_normalise(&x->arena, x->target.path), &x->req};
    *hint = "try again";
    if (rr.path.ptr == NULL)
        return "out of memory";
    x->route = route_match(x->view->shared, &rr);
    if (x->route != NULL && x->route->split != NULL)
        split_choose(x);
    if (x->route != NULL && x->route->has_affinity)
        affinity_read(x);
    return NULL;
}

/* ---- the answer ---- */

static json_t *answer(struct explain_case *e, const struct admin_question *q, const struct explain_place *p,
                      struct explain_redis *redis)
{
    rcu_enter();
    explain_decide(e);
    exchange_build_key(e->x); /* also where it was not needed: it is what is purged by */
    if (e->x->route != NULL)
        explain_find_edit(e);
    json_t *o = json_object();
    explain_put_text(o, "url", slice_str(q->url));
    explain_put_text(o, "method", e->x->req.method_text);
    explain_add_route(o, e);
    explain_add_key(o, e);
    explain_add_cache(o, e);
    explain_add_verdict(o, e);
    explain_remote_decide(e, p, redis);
    explain_remote_add(o, e, redis, json_string_value(json_object_get(o, "reason")));
    rcu_leave();
    return o;
}

static bool ask(struct snapshot_view *view, const struct explain_place *p, const struct admin_question *q,
                const struct admin_reply *reply, const char **error, const char **hint)
{
    struct exchange *x = malloc(sizeof *x);
    struct explain_redis redis;
    if (x == NULL)
        return false;
    memset(x, 0, sizeof *x);
    x->magic = EXCHANGE_MAGIC;
    x->view = view;
    arena_init(&x->arena, x->arena_block, sizeof x->arena_block, 4 * MB);
    struct explain_case e = {.snapshot = p->snapshot, .cache = p->cache, .x = x, .now_ms = clock_wall_ms()};
    *error = explain_read_request(x, q, hint);
    x->secure = p->snapshot->tls != NULL && slice_starts(slice_str(q->url), SLICE_LIT("https:"));
    if (*error == NULL)
        *error = find_route(x, hint);
    const bool ok = *error == NULL;
    json_t *o = ok ? answer(&e, q, p, &redis) : NULL;
    if (ok && explain_remote_asks(&e, p, &redis) && explain_remote_send(&x, &o, &redis, p, reply))
        return true;
    if (ok)
        reply->on_answer(reply->to, o);
    arena_reset(&x->arena);
    free(x);
    return ok;
}

bool explain_question(const struct explain_place *p, const struct admin_question *q,
                      const struct admin_reply *reply, const char **error, const char **hint)
{
    *error = "out of memory";
    *hint = "try again";
    struct snapshot_view *view = snapshot_view_new(snapshot_ref((struct snapshot *)(uintptr_t)p->snapshot));
    if (view == NULL)
        return false;
    const bool ok = ask(view, p, q, reply, error, hint);
    snapshot_view_unref(view);
    return ok;
}
