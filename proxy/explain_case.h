/* explain_case.h: one question under way, between the files of explain. On the stack of explain_question. */
#ifndef PROXY_EXPLAIN_CASE_H
#define PROXY_EXPLAIN_CASE_H

#include "cache/peek.h"
#include "proxy/exchange.h"
#include "proxy/explain.h"
#include "proxy/partial.h"

/* Why it is no hit, where the reasons of core/outcome.h do not say it: X(id, name). */
#define EXPLAIN_CAUSES(X)                                                                                    \
    X(NONE, "none")           /* it is one, or a no-store reason says it all */                              \
    X(REASON, "reason")       /* `why` */                                                                    \
    X(NO_ROUTE, "no_route")   /* no route matches */                                                         \
    X(ROUTE_ANSWERS, "route") /* the route answers by itself */                                              \
    X(REFUSED, "client")      /* the client wants a newer one than what is stored */                         \
    X(EXPIRED, "expired")     /* stored, and past its freshness */                                           \
    X(ASK_ALWAYS, "no_cache") /* stored, never used without asking */                                        \
    X(PART, "part")           /* only a part of it is stored */                                              \
    X(VARIANT, "vary")        /* stored for other values of the fields that Vary names */                    \
    X(QUERY, "query")         /* stored under other queries */                                               \
    X(PURGED, "purged")       /* purged and not asked for since */                                           \
    X(NOT_STORED, "unseen")   /* nothing is known of its last response */

enum explain_cause {
#define X(id, name) EXPLAIN_##id,
    EXPLAIN_CAUSES(X)
#undef X
        EXPLAIN_CAUSE_COUNT
};

/* The one change that would make a difference. */
enum explain_edit_kind { EDIT_NONE, EDIT_INI, EDIT_RESPONSE, EDIT_REQUEST, EDIT_LOOK };

struct explain_edit {
    enum explain_edit_kind kind;
    const char *key;     /* INI: option of the route */
    const char *section; /* INI: NULL: the route's; else "[cache]" */
    slice_t text;        /* the line, field or advice; in the arena or static */
    const char *only_if; /* what must be so for it to be right; NULL: nothing */
};

struct explain_case {
    const struct snapshot *snapshot;
    struct cache *cache;
    struct exchange *x; /* no worker, client or connection: request, route, key and arena are set */
    wall_ms_t now_ms;
    struct cache_peek peek;        /* when looked_up */
    struct cache_object_info info; /* of peek.object */
    bool looked_up;
    struct { /* `alone`: the object is a part that does not fit the request */
        bool alone;
        struct cache_range held;
        uint64_t size;
    } part;
    struct { /* `is`: the key, and so what was looked up, is that of the slice the answer would begin with */
        bool is;
        uint64_t index;
    } slice;
    /* explain_decide */
    enum cache_verdict verdict;
    enum no_store_reason why, said; /* `said`: as the access log has it */
    enum explain_cause cause;
    unsigned status;    /* of the response the reason is about; 0 unknown */
    bool not_yet_known; /* whether the response will be stored depends on it */
    slice_t cause_text, would;
    slice_t coding; /* compress_explain; empty: the route does not compress */
    size_t other_queries;
    slice_t other_query;
    struct explain_edit edit;
};

/* Fills head, framing, target, host and body state of `x`, which has an arena. NULL, or what is wrong and
 * what would be right in *hint (static texts). explain_request.c */
const char *explain_read_request(struct exchange *x, const struct admin_question *q, const char **hint);
/* What would happen now: fills the second half but for `edit`. Inside rcu_enter. explain_decide.c */
void explain_decide(struct explain_case *e);
/* A response to this request with this status and Cache-Control ("" for none) and nothing else to say:
 * whether it would be stored, by the functions that decide it. */
enum no_store_reason explain_try_response(const struct explain_case *e, unsigned status, slice_t control,
                                          struct cache_freshness *fresh);
/* Fills `edit`. explain_edit.c */
void explain_find_edit(struct explain_case *e);

#endif
