/* truth.h: who knows what every page says just now, clients that read all pages at all nodes and check the
 * answers, and clients that change pages and purge them.
 *
 * A page has a version. Whoever changes it raises the version first and purges the page at some node then.
 * From these moments on no request that begins may be answered with an older version:
 *
 *   at the node that was asked   from the acknowledgement
 *   at another node              from when the status of the node that was asked says that it has applied it,
 *                                as `purge --wait` reads it (admin/client_wait.c)
 *
 * What is known to be due is the FLOOR of a page at a node; it only rises. A reader notes it, asks, and
 * compares. What is wrong is kept and told when the test asks; nothing of it fails from another thread. A
 * page is wrong as well when it is another page, or made of two versions; and a request that is not answered
 * with a whole 200, or a purge that is not acknowledged, has failed.
 *
 * Pages differ in what makes them difficult: queries, Vary, large bodies, validators, and short freshness
 * with renewal in the background. Readers and purgers pause between requests, so that the machine is left to
 * those who are tested. Test thread, unless said otherwise. */
#ifndef TESTS_SUPPORT_TRUTH_H
#define TESTS_SUPPORT_TRUTH_H

#include "tests/support/millpond.h"

#define TRUTH_NODES 3

struct truth;

struct truth_figures {
    uint64_t answers, hits, from_redis; /* checked; answered from memory; found in Redis */
    uint64_t purges, claims; /* acknowledged; floors that rose because a node was said to have applied */
    uint64_t old, failed;    /* older than the floor, or wrong; without a whole 200 */
    dur_ms_t longest_ms;     /* of a request or purge */
    char problem[512];       /* the first; "" = none */
};

/* An application with pages, and nobody who asks for them yet. Ends with the test. */
struct truth *truth_start(void);
struct origin *truth_origin(struct truth *t);
/* Clients use the node from now on: at the start, and when it is up again after truth_close_node. */
void truth_open_node(struct truth *t, unsigned i, struct millpond *m);
/* Nobody uses it any more when this returns. */
void truth_close_node(struct truth *t, unsigned i);
/* Readers, purgers, and who reads the status, begin. */
void truth_run(struct truth *t, unsigned readers, unsigned purgers);
/* They end, after the requests under way. Idempotent. */
void truth_stop(struct truth *t);

/* What is written in the report of the first problem. */
void truth_at(struct truth *t, const char *what);
/* Until each reader has had `n` more answers of each open node, and each purger another acknowledgement. */
#define truth_wait(t, n) (SUPPORT_AT, truth_wait_(t, n))
void truth_wait_(struct truth *t, unsigned n);
/* Purgers pause until truth_settle, so that no later purge makes good what went wrong. */
void truth_pause(struct truth *t);
/* Until all that was purged before is said to be applied at all open nodes, and each reader has had `n` more
 * answers of each then; and until all hear of a further purge at each node. */
#define truth_settle(t, n) (SUPPORT_AT, truth_settle_(t, n))
void truth_settle_(struct truth *t, unsigned n);
/* Purges a URL that is no page. At a closed node, too. */
#define truth_purge_mark(t, i, mark) (SUPPORT_AT, truth_purge_mark_(t, i, mark))
void truth_purge_mark_(struct truth *t, unsigned i, const char *mark);

/* So far; longest_ms since the last time. */
struct truth_figures truth_take(struct truth *t);

#endif
