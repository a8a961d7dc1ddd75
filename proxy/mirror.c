/* mirror.c: see mirror.h.
 *
 * What is copied is the head as the instance gets it, with one field more, and the body as it came; so a copy
 * follows the same rules about connections and forwarding as the request. Requests that the cache answers are
 * not copied: the other pool is to see what the application sees.
 *
 * The copy is an exchange of its own without client, flight or key, that begins in FETCH and ends in LOG. It
 * begins once the request itself has been sent, and shares nothing with it: no budget of retries (a copy is
 * tried once), no instance, no memory. A body is copied as the instance takes it, and the copy leaves when it
 * is complete. What is lost is counted. All of it is bounded: copies by number, bodies by length, answers by
 * length and time.
 *
 * Rejected: sending body pieces to both at the same time. The slower of the two would then have to be waited
 * for, or be cut off in the middle. */
#include "proxy/mirror.h"

#include <stdlib.h>

#include "core/text.h"
#include "proxy/deliver.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define MIRROR_FIELD "Millpond-Mirror: 1\r\n\r\n"

/* Owned by its exchange. */
struct mirror_copy {
    char *body; /* on the heap */
    size_t len, room;
};

/* ---- of the request ---- */

static void count_open(struct proxy_worker *pw, int n)
{
    pw->mirror_count += (unsigned)n;
    proxy_count(pw, METRIC_MIRRORS_OPEN, n);
}

static bool fits(const struct exchange *x)
{
    return x->pw->mirror_count < MIRROR_MAX &&
           (x->framing.kind != H1_BODY_LENGTH || x->framing.length <= MIRROR_BODY_MAX);
}

void mirror_begin(struct exchange *x)
{
    if (x->mirror_asked || x->tunnel != NULL || x->own_fetch != NULL)
        return; /* another fetch for the same request; or what follows is no HTTP */
    x->mirror_asked = true;
    if (fits(x))
        x->mirror = calloc(1, sizeof *x->mirror);
    if (x->mirror != NULL)
        count_open(x->pw, 1);
    else
        proxy_count(x->pw, METRIC_MIRROR_SKIPS, 1);
}

static void mirror_free(struct exchange *x)
{
    free(x->mirror->body);
    free(x->mirror);
    x->mirror = NULL;
    count_open(x->pw, -1);
}

void mirror_drop(struct exchange *x)
{
    proxy_count(x->pw, METRIC_MIRROR_SKIPS, 1);
    mirror_free(x);
}

static bool make_room(struct mirror_copy *m, size_t more)
{
    const size_t room = MAX(m->len + more, MIN(2 * m->room, (size_t)MIRROR_BODY_MAX));
    if (m->len + more <= m->room)
        return true;
    char *body = m->len + more <= MIRROR_BODY_MAX ? realloc(m->body, room) : NULL;
    if (body == NULL)
        return false;
    m->body = body;
    m->room = room;
    return true;
}

void mirror_record(struct exchange *x, slice_t piece)
{
    struct mirror_copy *m = x->mirror;
    if (!make_room(m, piece.len)) {
        mirror_drop(x);
        return;
    }
    memcpy(m->body + m->len, piece.ptr, piece.len);
    m->len += piece.len;
}

/* The head that was sent, and our field behind its last one. `.ptr` is NULL without memory. */
static slice_t head_of_copy(struct exchange *x)
{
    const slice_t head = slice_make(x->upstream_head.ptr, x->upstream_head.len - 2);
    char *buf = arena_alloc(&x->arena, head.len + sizeof MIRROR_FIELD);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, head.len + sizeof MIRROR_FIELD);
    text_put(&t, head);
    TEXT_LIT(&t, MIRROR_FIELD);
    return text_slice(&t);
}

void mirror_send(struct exchange *x)
{
    const slice_t head = head_of_copy(x), body = slice_make(x->mirror->body, x->mirror->len);
    struct exchange *copy = NULL;
    if (head.ptr != NULL && !x->pw->draining)
        copy = exchange_new_mirror(x, x->route->mirror, head, body.len > 0 ? body : SLICE_EMPTY);
    if (copy == NULL) {
        mirror_drop(x);
        return;
    }
    count_open(x->pw, 1);
    mirror_free(x);
    proxy_count(copy->pw, METRIC_MIRRORED, 1);
    phase_run(copy);
}

/* ---- of the copy ---- */

void mirror_on_head(struct exchange *x, const struct http_head *head)
{
    const dur_ms_t longest_ms = pool_config(x->route->pool)->response_timeout_ms;
    x->status = head->status;
    x->source = SOURCE_RELAY;
    phase_set(x, PHASE_DELIVER);
    if (x->upstream == NULL)
        exchange_finish_response(x, NULL);
    else
        deadline_set(x->pw->worker, &x->wait_deadline, worker_now_ms(x->pw->worker) + longest_ms);
    phase_run(x);
}

void mirror_discard(struct exchange *x, size_t bytes)
{
    x->response_bytes += bytes;
    if (x->response_bytes > MIRROR_ANSWER_MAX)
        exchange_abandon(x);
}

void mirror_end(struct exchange *x)
{
    const bool whole = x->status != 0 && !x->body_cut && x->upstream_done;
    proxy_count(x->pw, METRIC_MIRROR_FAILURES, !whole || x->status >= 500);
    count_open(x->pw, -1);
}
