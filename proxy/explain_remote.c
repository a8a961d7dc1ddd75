/* explain_remote.c: see explain_remote.h.
 *
 * One letter goes to the worker with exchange and answer, and comes back with what was seen written into the
 * answer; in between it is the worker's. A worker that is told to drain ends what it looks for at once
 * (proxy_worker.c), and no letter is sent after that, so none is on its way when threads end.
 *
 * Rejected: to ask on the control thread's own connections. They follow the stream, with other limits, and
 * what a worker remembers or has cut off would not show. */
#include "proxy/explain_remote.h"

#include <stdlib.h>

#include "admin/json_put.h"
#include "cache/guard.h"
#include "cache/remote_peek.h"
#include "cache/request_rules.h"
#include "cache/stale.h"
#include "core/panic.h"
#include "proxy/deliver.h"
#include "proxy/explain_json.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define LETTER_MAGIC  0x65786c74u
#define TROUBLE_BYTES 200
#define LETTERS_MAX   32 /* on their way at a time; more are answered without asking Redis */

static const struct {
    const char *name, *text;
    bool asks;
} uses[] = {
#define X(id, name, asks, text) {name, text, asks},
    EXPLAIN_REDIS_USES(X)
#undef X
};

static const struct {
    const char *name, *text;
} keeps[] = {
#define X(id, name, text) {name, text},
    EXPLAIN_REDIS_KEEPS(X)
#undef X
};

/* Control thread, then the worker's, then the control thread's again. */
struct explain_letter {
    uint32_t magic;
    /* set once */
    struct admin_reply reply;
    struct worker *control;
    struct proxy_worker *to;
    struct exchange *x; /* nothing but request, key and arena */
    struct explain_redis redis;
    char trouble[TROUBLE_BYTES];
    /* whose turn it is */
    struct mail mail;
    json_t *answer;
};

static unsigned letters_out; /* control thread */

/* ---- what is known before ---- */

static bool client_insists(const struct exchange *x)
{
    struct cache_control cc;
    if (!cache_request_directs(&x->req, &x->route->rules))
        return false;
    cache_request_control(&x->req, &cc);
    return cache_request_insists(&cc);
}

/* In the order of phase_lookup.c. */
static enum explain_redis_use use_of(const struct explain_case *e)
{
    const struct exchange *x = e->x;
    if (!e->looked_up)
        return EXPLAIN_REDIS_BYPASS;
    if (x->no_vary != NULL)
        return EXPLAIN_REDIS_NO_VARY;
    if (e->slice.is)
        return EXPLAIN_REDIS_SLICE;
    if (e->verdict == VERDICT_HIT)
        return EXPLAIN_REDIS_MEMORY;
    if (e->verdict == VERDICT_STALE)
        return e->peek.fetching || cache_request_directs(&x->req, &x->route->rules)
                   ? EXPLAIN_REDIS_MEMORY
                   : EXPLAIN_REDIS_BACKGROUND;
    if (x->req.method == HTTP_HEAD)
        return EXPLAIN_REDIS_METHOD;
    if (e->cause == EXPLAIN_REASON || e->peek.passing)
        return EXPLAIN_REDIS_BYPASS;
    if (client_insists(x))
        return EXPLAIN_REDIS_CLIENT;
    return e->verdict == VERDICT_COLLAPSED ? EXPLAIN_REDIS_FETCHING : EXPLAIN_REDIS_ASKED;
}

static void keep_of(const struct explain_case *e, struct explain_redis *r)
{
    r->keep = EXPLAIN_KEEP_NOT_STORED;
    r->keep_not = e->why;
    if (e->peek.object != NULL) {
        r->body_bytes = cache_object_filled(e->peek.object);
        r->keep = e->info.status == 206                                              ? EXPLAIN_KEEP_PART
                  : head_text_field(e->info.head, HTTP_FIELD_NO_VARY_SEARCH).len > 0 ? EXPLAIN_KEEP_NO_VARY
                  : e->info.fresh.revalidate_always ||
                          e->info.fresh.lifetime_ms <= e->info.fresh.corrected_initial_ms
                      ? EXPLAIN_KEEP_NEVER_FRESH
                      : EXPLAIN_KEEP_YES;
    } else if (e->peek.passing) {
        r->keep_not = e->peek.pass.why;
    } else if (e->cause != EXPLAIN_REASON) {
        r->keep = e->x->no_vary != NULL ? EXPLAIN_KEEP_NO_VARY : EXPLAIN_KEEP_UNSEEN;
    }
}

void explain_remote_decide(const struct explain_case *e, const struct explain_place *p,
                           struct explain_redis *out)
{
    *out = (struct explain_redis){.keep = EXPLAIN_KEEP_NOT_STORED};
    if (!p->has_redis || !p->is_shared || p->worker == NULL) {
        out->use = !p->has_redis   ? EXPLAIN_REDIS_NO_SECTION
                   : !p->is_shared ? EXPLAIN_REDIS_NOT_SHARED
                                   : EXPLAIN_REDIS_STOPPING;
        return;
    }
    out->use = use_of(e);
    if (!e->looked_up)
        return;
    keep_of(e, out);
    out->credentials = (enum no_store_reason)e->x->credentials;
    out->has_ours = e->peek.object != NULL;
    if (out->has_ours)
        out->ours_left_ms = cache_freshness_left_ms(&e->info.fresh, e->now_ms);
    out->route_max_bytes = (uint64_t)e->x->route->rules.max_object_bytes;
    /* A Range may be asked for as such, with nothing to renew. */
    out->takes_stale = !p->is_alone && !out->has_ours && out->use == EXPLAIN_REDIS_ASKED &&
                       !http_head_has(&e->x->req, HTTP_FIELD_RANGE);
    out->is_directed = cache_request_directs(&e->x->req, &e->x->route->rules);
    out->stale_while_revalidate_ms = e->x->route->rules.stale_while_revalidate_ms;
}

/* ---- json ---- */

static void put_text(json_t *o, const char *key, const char *text)
{
    explain_put_text(o, key, slice_str(text));
}

static void put_use(json_t *redis, enum explain_redis_use use)
{
    json_object_set_new(redis, "asked", json_boolean(uses[use].asks));
    put_text(redis, "reason", uses[use].name);
    put_text(redis, "why", uses[use].text);
}

static void put_keep(json_t *redis, const struct explain_redis *r)
{
    const bool other = r->keep == EXPLAIN_KEEP_NOT_STORED;
    json_object_set_new(redis, "kept",
                        r->keep == EXPLAIN_KEEP_UNSEEN ? json_null()
                                                       : json_boolean(r->keep == EXPLAIN_KEEP_YES));
    put_text(redis, "kept_reason", other ? outcome_no_store_name(r->keep_not) : keeps[r->keep].name);
    put_text(redis, "kept_why", other ? outcome_no_store_text(r->keep_not) : keeps[r->keep].text);
}

void explain_remote_add(json_t *answer, const struct explain_case *e, const struct explain_redis *r,
                        const char *because)
{
    json_t *redis = json_object();
    put_use(redis, r->use);
    if (r->use == EXPLAIN_REDIS_BYPASS)
        put_text(redis, "reason", because);
    if (e->looked_up && r->use != EXPLAIN_REDIS_NO_SECTION && r->use != EXPLAIN_REDIS_NOT_SHARED)
        put_keep(redis, r);
    json_object_set_new(answer, "redis", redis);
}

static json_t *record_json(const struct cache_remote_seen *s, wall_ms_t now_ms)
{
    const dur_ms_t age_ms = cache_freshness_age_ms(&s->fresh, now_ms);
    json_t *o = json_object();
    admin_put_int(o, "status", s->status);
    admin_put_int(o, "bytes", s->body_bytes);
    admin_put_int(o, "record_bytes", s->record_bytes);
    admin_put_int(o, "chunks", s->chunks);
    admin_put_int(o, "age_s", (uint64_t)age_ms / 1000);
    admin_put_int(o, "ttl_s", (uint64_t)s->fresh.lifetime_ms / 1000);
    put_text(o, "ttl_from", freshness_source_name((enum freshness_source)s->fresh.source));
    json_object_set_new(o, "fresh_for_s", json_integer((s->fresh.lifetime_ms - age_ms) / 1000));
    json_object_set_new(o, "expires_in_s", s->left_ms >= 0 ? json_integer(s->left_ms / 1000) : json_null());
    if (s->tags.len > 0)
        explain_put_text(o, "tags", s->tags);
    return o;
}

/* As the metrics' manual has it, but for what is better said here. */
static const char *outcome_text(enum remote_load outcome)
{
    return outcome == REMOTE_LOAD_FOUND     ? "fresh, whole and not purged"
           : outcome == REMOTE_LOAD_TIMEOUT ? "Redis did not answer in time ([redis] timeout)"
                                            : outcome_remote_load_text(outcome);
}

static void put_seen(json_t *redis, const struct cache_remote_seen *s, wall_ms_t now_ms)
{
    put_text(redis, "outcome", outcome_remote_load_name(s->outcome));
    put_text(redis, "outcome_text", outcome_text(s->outcome));
    json_object_set_new(redis, "record", s->is_there ? record_json(s, now_ms) : json_null());
    if (s->vary_names.len > 0)
        explain_put_text(redis, "vary", s->vary_names);
}

/* ---- what was seen ---- */

static enum explain_redis_use use_with(const struct explain_redis *r, const struct cache_remote_seen *s,
                                       wall_ms_t now_ms)
{
    if (s->outcome == REMOTE_LOAD_UNFOLLOWED)
        return EXPLAIN_REDIS_UNFOLLOWED;
    if (s->outcome != REMOTE_LOAD_FOUND && !(s->outcome == REMOTE_LOAD_STALE && r->takes_stale))
        return r->use;
    if (!guard_allows(r->credentials, &s->fresh))
        return EXPLAIN_REDIS_GUARDED;
    if (r->has_ours &&
        cache_freshness_left_ms(&s->fresh, now_ms) <= phase_remote_fresher_than_ms(r->ours_left_ms))
        return EXPLAIN_REDIS_NOT_FRESHER;
    if (s->body_bytes > r->route_max_bytes)
        return EXPLAIN_REDIS_ROUTE_LIMIT;
    return s->outcome == REMOTE_LOAD_STALE ? EXPLAIN_REDIS_STALE : r->use;
}

/* Of a stale response, once it is in memory: may it be used without asking an instance? */
static bool is_used_stale(const struct explain_letter *l, const struct cache_remote_seen *s, wall_ms_t now_ms)
{
    const struct explain_redis *r = &l->redis;
    const struct cache_rules rules = {.stale_while_revalidate_ms = r->stale_while_revalidate_ms};
    struct cache_control cc;
    if (r->is_directed) {
        cache_request_control(&l->x->req, &cc);
        return cache_request_use(&cc, &s->fresh, now_ms) == CACHE_USE_STALE;
    }
    return s->has_control && -cache_freshness_left_ms(&s->fresh, now_ms) <
                                 cache_stale_compute(&s->fresh, &s->control, &rules).while_revalidate_ms;
}

/* What is there decides. */
static void put_verdict(json_t *answer, enum cache_verdict v)
{
    const bool expired = v == VERDICT_EXPIRED;
    put_text(answer, "verdict", outcome_verdict_name(v));
    put_text(answer, "verdict_text", outcome_verdict_text(v));
    put_text(answer, "reason", expired ? "expired" : "none");
    put_text(answer, "why", expired ? "what Redis has is no longer fresh" : "");
    json_object_set_new(answer, "edit", json_null());
    json_object_del(answer, "would_be_stored");
}

static void letter_write(struct explain_letter *l, const struct cache_remote_seen *s)
{
    json_t *redis = json_object_get(l->answer, "redis");
    struct explain_redis *r = &l->redis;
    const struct cache_remote *remote = l->to->remote;
    const wall_ms_t now_ms = l->to->worker->now_wall_ms;
    put_seen(redis, s, now_ms);
    if (uses[r->use].asks)
        r->use = use_with(r, s, now_ms);
    if (r->use != EXPLAIN_REDIS_BYPASS)
        put_use(redis, r->use);
    if (r->use == EXPLAIN_REDIS_ASKED && s->outcome == REMOTE_LOAD_FOUND)
        put_verdict(l->answer, VERDICT_REDIS);
    else if (r->use == EXPLAIN_REDIS_STALE)
        put_verdict(l->answer, is_used_stale(l, s, now_ms) ? VERDICT_STALE : VERDICT_EXPIRED);
    if (s->outcome == REMOTE_LOAD_UNFOLLOWED)
        put_text(redis, "trouble", l->trouble);
    if (r->keep <= EXPLAIN_KEEP_UNSEEN && s->outcome == REMOTE_LOAD_UNFOLLOWED)
        r->keep = EXPLAIN_KEEP_UNFOLLOWED;
    else if (r->keep == EXPLAIN_KEEP_YES && remote != NULL &&
             r->body_bytes > remote->settings.max_object_bytes)
        r->keep = EXPLAIN_KEEP_TOO_LARGE;
    put_keep(redis, r);
    if (remote != NULL)
        admin_put_int(redis, "max_object_size", remote->settings.max_object_bytes);
}

/* ---- the letter ---- */

static void letter_on_back(struct worker *control, struct mail *m)
{
    struct explain_letter *l = CONTAINER_OF(m, struct explain_letter, mail);
    UNUSED(control);
    CHECK_MAGIC(l, LETTER_MAGIC);
    letters_out--;
    l->reply.on_answer(l->reply.to, l->answer);
    arena_reset(&l->x->arena);
    free(l->x);
    l->magic = 0;
    free(l);
}

/* The worker's thread, as the next two. */
static void letter_on_seen(void *arg, const struct cache_remote_seen *s)
{
    struct explain_letter *l = arg;
    CHECK_MAGIC(l, LETTER_MAGIC);
    letter_write(l, s);
    l->mail.on_mail = letter_on_back;
    worker_post(l->control, &l->mail);
}

static void letter_on_arrival(struct worker *w, struct mail *m)
{
    struct explain_letter *l = CONTAINER_OF(m, struct explain_letter, mail);
    struct cache_remote_seen none = {.outcome = REMOTE_LOAD_UNAVAILABLE};
    UNUSED(w);
    CHECK_MAGIC(l, LETTER_MAGIC);
    if (l->to->remote != NULL)
        none.outcome = cache_remote_peek(l->to->remote, &l->x->key, &l->x->req, letter_on_seen, l);
    if (none.outcome != REMOTE_LOAD_NONE)
        letter_on_seen(l, &none);
}

bool explain_remote_asks(const struct explain_case *e, const struct explain_place *p,
                         const struct explain_redis *r)
{
    return p->has_redis && p->is_shared && p->worker != NULL && e->looked_up &&
           r->use != EXPLAIN_REDIS_NO_VARY;
}

bool explain_remote_send(struct exchange **x, json_t **answer, const struct explain_redis *r,
                         const struct explain_place *p, const struct admin_reply *reply)
{
    struct explain_letter *l = letters_out < LETTERS_MAX ? calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        const struct cache_remote_seen nothing = {.outcome = REMOTE_LOAD_BUSY};
        put_seen(json_object_get(*answer, "redis"), &nothing, 0);
        return false;
    }
    l->magic = LETTER_MAGIC;
    l->reply = *reply;
    l->control = p->control;
    l->to = p->worker;
    l->redis = *r;
    l->x = *x;
    l->x->view = NULL;
    l->x->route = NULL;
    l->answer = *answer;
    snprintf(l->trouble, sizeof l->trouble, "%s", p->trouble);
    l->mail.on_mail = letter_on_arrival;
    *x = NULL;
    *answer = NULL;
    letters_out++;
    worker_post(l->to->worker, &l->mail);
    return true;
}
