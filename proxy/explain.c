/* explain.c: see explain.h. The question becomes a request head as a client would send it, read by the parser
 * that reads clients', in an exchange that has neither worker nor connection; so route and key come from the
 * functions that serve requests. Then explain_decide.c says what would happen, and this file writes it down.
 *
 * Control thread. The RCU section lasts for one answer. */
#include "proxy/explain.h"

#include <stdlib.h>

#include "core/rcu.h"
#include "proxy/explain_case.h"
#include "proxy/explain_json.h"

static const char *find_route(struct exchange *x, const char **hint)
{
    const struct route_request rr = {x->host, route_path_normalise(&x->arena, x->target.path), &x->req};
    *hint = "try again";
    if (rr.path.ptr == NULL)
        return "out of memory";
    x->route = route_match(x->view->shared, &rr);
    return NULL;
}

/* ---- the answer
 * ------------------------------------------------------------------------------------------------------ */

static json_t *answer(struct explain_case *e, const struct admin_question *q)
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
    rcu_leave();
    return o;
}

json_t *explain_question(const struct snapshot *s, struct cache *c, const struct admin_question *q,
                         const char **error, const char **hint)
{
    struct snapshot_view view = {(struct snapshot *)(uintptr_t)s, 1};
    struct exchange *x = malloc(sizeof *x);
    json_t *o = NULL;
    *error = "out of memory";
    *hint = "try again";
    if (x == NULL)
        return NULL;
    memset(x, 0, sizeof *x);
    x->magic = EXCHANGE_MAGIC;
    x->view = &view;
    arena_init(&x->arena, x->arena_block, sizeof x->arena_block, 4 * MB);
    struct explain_case e = {.snapshot = s, .cache = c, .x = x, .now_ms = clock_wall_ms()};
    *error = explain_read_request(x, q, hint);
    if (*error == NULL)
        *error = find_route(x, hint);
    if (*error == NULL)
        o = answer(&e, q);
    arena_reset(&x->arena);
    free(x);
    return o;
}
