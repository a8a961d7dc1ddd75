/* no_vary.c: see no_vary.h.
 *
 * Which rule a path has is the last that a stored response stated; a success without the field ends it.
 * Redirects and errors without it do not: applications often make them where nobody thinks of the field, and
 * one bad link would have everybody miss. They are stored for exactly their query. What states a rule lies
 * under it and nowhere else, so that a purge which takes it leaves no older one behind that is the same page.
 *
 * Rejected: keeping a rule per stored response and trying all of a path. The draft lets a cache look for the
 * newest alone, and asks applications to state one. */
#include "proxy/no_vary.h"

#include "proxy/proxy_worker.h"

static bool is_heeded(const struct exchange *x)
{
    const struct config_key *custom = x->route->rules.key.custom;
    return x->route->rules.no_vary_search && (custom == NULL || custom->query == CONFIG_QUERY_ALL);
}

static const struct no_vary_rule *rule_of(const struct exchange *x)
{
    return x->no_vary != NULL ? x->no_vary->rule : NULL;
}

static struct cache_key exact_key(const struct exchange *x)
{
    return x->no_vary != NULL ? x->no_vary->exact : x->key;
}

/* A key by the rule, or (NULL) for exactly this query. */
struct new_key {
    struct cache_key key;
    struct no_vary_use *use;
};

static bool make_key(struct exchange *x, const struct no_vary_rule *rule, struct new_key *out)
{
    *out = (struct new_key){.key = exact_key(x)};
    if (rule == NULL)
        return true;
    out->use = arena_alloc(&x->arena, sizeof *out->use);
    if (out->use == NULL)
        return false;
    *out->use = (struct no_vary_use){rule, out->key};
    return cache_no_vary_key(&x->arena, rule, out->use->exact.text, &out->key);
}

static void take_key(struct exchange *x, const struct new_key *k)
{
    x->key = k->key;
    x->no_vary = k->use;
}

void no_vary_apply(struct exchange *x, struct cache *c)
{
    struct new_key key;
    if (x->no_vary != NULL || !is_heeded(x))
        return;
    const struct no_vary_rule *rule = cache_no_vary_find(c, x->key.text);
    if (rule != NULL && make_key(x, rule, &key)) /* else it is asked for as if there were none */
        take_key(x, &key);
}

bool no_vary_copy(struct exchange *x, const struct exchange *of)
{
    x->no_vary = arena_alloc(&x->arena, sizeof *x->no_vary);
    if (x->no_vary == NULL)
        return false;
    *x->no_vary = *of->no_vary;
    x->no_vary->exact.text = arena_copy(&x->arena, of->no_vary->exact.text);
    return x->no_vary->exact.text.ptr != NULL;
}

void no_vary_leave(struct exchange *x)
{
    x->key = exact_key(x);
    x->no_vary = NULL;
}

void no_vary_apply_again(struct exchange *x)
{
    if (x->key.text.ptr == NULL)
        return;
    no_vary_leave(x);
    no_vary_apply(x, x->pw->cache);
}

struct cache_object *no_vary_find_exact(struct exchange *x, enum no_store_reason *pass)
{
    enum no_store_reason exact_pass;
    struct cache_object *o = cache_find(x->pw->cache, &x->no_vary->exact, &x->req, &x->arena, &exact_pass);
    if (o != NULL) {
        *pass = NO_STORE_STORED;
        no_vary_leave(x);
    }
    return o;
}

/* ---- what a response states ---- */

/* Notes the rule, and that there is none any more; returns it. */
static const struct no_vary_rule *stated(struct exchange *x, const struct http_head *head)
{
    slice_t url = exact_key(x).text;
    slice_t text = is_heeded(x) ? cache_no_vary_parse(&x->arena, head) : SLICE_EMPTY;
    const struct no_vary_rule *rule = text.len > 0 ? cache_no_vary_learn(x->pw->cache, url, text) : NULL;
    if (rule == NULL && x->no_vary != NULL && head->status < 300)
        cache_no_vary_forget(x->pw->cache, url);
    return rule;
}

bool no_vary_settle(struct exchange *x, const struct http_head *head, enum no_store_reason *why)
{
    struct new_key key;
    const struct no_vary_rule *rule = stated(x, head);
    if (rule == rule_of(x))
        return true;
    bool may = rule == NULL || cache_no_vary_may_move(x->flight), made = may && make_key(x, rule, &key);
    *why = made ? NO_STORE_SUPERSEDED : may ? NO_STORE_NO_MEMORY : NO_STORE_OTHER_QUERIES;
    if (!made)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    if (!made || !cache_flight_move(&x->flight, &key.key, &x->req, &x->arena))
        return false;
    take_key(x, &key);
    return true;
}

bool no_vary_confirms(struct exchange *x, const struct http_head *merged)
{
    const struct no_vary_rule *rule = stated(x, merged);
    if (rule == rule_of(x))
        return true;
    cache_forget(x->pw->cache, x->stale);
    cache_flight_fail(&x->flight, FETCH_CANCELLED);
    return false;
}

bool no_vary_is_own(struct exchange *x, const struct http_head *head)
{
    if (x->no_vary == NULL)
        return false;
    slice_t text = cache_no_vary_parse(&x->arena, head);
    if (slice_eq(text, x->no_vary->rule->text))
        return false;
    if (text.len == 0 && head->status < 300)
        cache_no_vary_forget(x->pw->cache, x->no_vary->exact.text);
    return true;
}
