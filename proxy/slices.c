/* slices.c: see slices.h. Worker's thread.
 *
 * The first slice that comes says what the response is: its head but for Content-Range, its validator, the
 * size of the whole. From then on the client's exchange is in DELIVER, where conditions and the range are
 * judged as for any stored response, and goes from slice to slice. Each must be of the same version: strong
 * validator, coding and size alike. One that was stored and is not, is dropped and fetched anew, once; if
 * what comes is still another version, so is the head by now, and the response is cut, which every client
 * notices: never is one put together from two versions. The slice that the head came from is dropped as well,
 * so the next request begins with the new version. A slice that is cut or fails on its way is looked up
 * again, and goes on where it ended, since by its validator it is the same.
 *
 * Memory: what a response holds is the slice under way and the next one, which is opened when the first bytes
 * of the slice before it go out, and no earlier: a slow client has nothing fetched. A body goes to the client
 * like any stored one (HTTP/1.1), or is copied into its stream, as far as that has room (HTTP/2): a slice
 * that has been left may be gone before its last bytes are.
 *
 * Rejected: one exchange for each slice and client, as sub-requests (their logs, limits and phases would all
 * have to know that they are not requests); and a list of slices per URL, which evictions would have to keep
 * right. A slice is found by its key like anything else. */
#include "proxy/slices.h"

#include "cache/request_rules.h"
#include "cache/storable.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/calm_page.h"
#include "proxy/client.h"
#include "proxy/deliver.h"
#include "proxy/deliver_range.h"
#include "proxy/proxy_worker.h"

#define ROUNDS_MAX  4 /* look-ups of one slice, and times the first one is begun with */
#define SCRATCH_MAX (32 * KB)
#define PUMP_IOV    32

/* ---- until the head can be sent ---- */

static void put_lines_of_whole(struct text *t, slice_t rest)
{
    slice_t name, value;
    while (head_text_next(&rest, &name, &value)) {
        const enum http_field_id id = http_field_lookup(name);
        if (id == HTTP_FIELD_CONTENT_RANGE || slice_ieq(name, SLICE_LIT("content-digest")) ||
            slice_ieq(name, SLICE_LIT("content-md5")))
            continue;
        text_put(t, slice_make(name.ptr, (size_t)(value.ptr + value.len - name.ptr) + 2));
    }
}

/* The head of the whole, by that of a slice. */
static bool make_head(struct exchange *x, const struct cache_object_info *info)
{
    struct slices *s = x->slices;
    const size_t bound = info->head.len + 32;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, bound);
    TEXT_LIT(&t, "HTTP/1.1 200 OK\r\n");
    put_lines_of_whole(&t, info->head);
    ASSERT(!t.overflow);
    s->head = text_slice(&t);
    s->coding = head_text_field(s->head, HTTP_FIELD_CONTENT_ENCODING);
    s->validator = arena_copy(&x->arena, partial_strong_validator(x, info));
    x->info = *info;
    x->info.status = 200;
    x->info.head = s->head;
    x->info.hidden_bytes = 0;
    x->info.body_bytes = (int64_t)s->size;
    x->info.key = x->info.vary_names = SLICE_EMPTY;
    x->info.validators.etag = head_text_field(s->head, HTTP_FIELD_ETAG);
    x->info.validators.last_modified = head_text_field(s->head, HTTP_FIELD_LAST_MODIFIED);
    return s->validator.ptr != NULL || s->size <= s->slice_bytes;
}

static enum cache_verdict first_verdict(const struct exchange *x, const struct slice_reader *r)
{
    if (!r->fetched)
        return r->aged ? VERDICT_STALE : VERDICT_HIT;
    if (!r->led)
        return VERDICT_COLLAPSED;
    if (r->stale == NULL)
        return VERDICT_MISS;
    return slice_is_of_version(x, r->index, r->stale) ? VERDICT_REVALIDATED : VERDICT_EXPIRED;
}

static void leave_slices(struct exchange *x)
{
    deadline_clear(x->pw->worker, &x->wait_deadline);
    slice_reader_close(&x->slices->reader[0]);
    slice_reader_close(&x->slices->reader[1]);
}

/* By itself, with its own Range. */
static enum phase_result go_alone(struct exchange *x, enum no_store_reason why)
{
    leave_slices(x);
    x->pass_forced = true;
    const bool personal = why != NO_STORE_STORED && why == (enum no_store_reason)x->credentials;
    x->verdict = personal ? VERDICT_PASS : VERDICT_MISS; /* as in phase_lookup.c */
    x->no_store = (uint8_t)why;
    phase_set(x, PHASE_FETCH);
    return PHASE_MORE;
}

static enum phase_result look_again(struct exchange *x, enum no_store_reason why)
{
    if (++x->wait_rounds >= ROUNDS_MAX)
        return go_alone(x, why);
    leave_slices(x);
    phase_set(x, PHASE_LOOKUP);
    return PHASE_MORE;
}

static enum phase_result first_ready(struct exchange *x)
{
    struct slices *s = x->slices;
    struct slice_reader *r = slices_current(s);
    const struct cache_object_info info = cache_object_info(r->object);
    if (!slice_read(s, r->index, &info, &s->size)) {
        cache_forget(x->pw->cache, r->object);
        return look_again(x, NO_STORE_NOT_SLICEABLE);
    }
    if (s->beyond > 0 && s->beyond * s->slice_bytes < s->size) {
        /* The instance said that there is no such slice; so this one is of an older version, or it lies. */
        cache_forget(x->pw->cache, r->object);
        s->left = r->fetched;
        if (s->left)
            slices_remember(x, &x->key, !exchange_is_personal(x));
        return look_again(x, NO_STORE_NOT_SLICEABLE);
    }
    if (!make_head(x, &info))
        return go_alone(x, NO_STORE_NO_MEMORY);
    deadline_clear(x->pw->worker, &x->wait_deadline);
    r->judged = true;
    x->verdict = (uint8_t)first_verdict(x, r);
    x->collapsed = x->verdict == VERDICT_COLLAPSED;
    proxy_count(x->pw, METRIC_CACHE_COLLAPSED, x->collapsed);
    proxy_count(x->pw, METRIC_CACHE_STALE, x->verdict == VERDICT_STALE);
    x->stale_renewed = r->aged && r->stale == NULL;
    x->stale_on_error = r->aged && r->stale != NULL;
    x->no_store = NO_STORE_STORED;
    x->source = SOURCE_SLICES;
    x->object = NULL;
    x->response_head = s->head;
    x->status = 200;
    x->response_length = (int64_t)s->size;
    phase_set(x, PHASE_DELIVER);
    return PHASE_MORE;
}

/* The error may be about the client that the slice was asked for. */
static bool is_of_another(const struct slice_reader *r)
{
    return !r->led && (r->x->credentials != NO_STORE_STORED ||
                       (r->error == FETCH_ERROR_STATUS && exchange_is_personal(r->x)));
}

static enum phase_result first_failed(struct exchange *x)
{
    struct slices *s = x->slices;
    struct slice_reader *r = slices_current(s);
    const enum fetch_error e = (enum fetch_error)r->error;
    const unsigned status = r->status;
    s->left |= r->failure == SLICE_UNSLICED;
    if (r->failure == SLICE_AGAIN || r->failure == SLICE_UNSLICED)
        return look_again(x, (enum no_store_reason)r->why);
    if (r->failure == SLICE_ALONE)
        return go_alone(x, (enum no_store_reason)r->why);
    if (slice_reader_stand_in(r)) {
        x->fetch_error = (uint8_t)e;
        x->other_status = (uint16_t)status;
        return PHASE_MORE;
    }
    if (status == 416) { /* it begins beyond the end: the first slice says where that is */
        s->beyond = s->first;
        s->first = 0;
        slice_reader_close(r);
        return PHASE_MORE;
    }
    if (is_of_another(r))
        return go_alone(x, NO_STORE_FETCH_FAILED);
    x->fetch_error = (uint8_t)e;
    x->verdict = r->led ? VERDICT_MISS : VERDICT_COLLAPSED;
    x->no_store = NO_STORE_FETCH_FAILED;
    leave_slices(x);
    return calm_page_or_error(x, e, e == FETCH_ERROR_STATUS ? status : outcome_fetch_status(e));
}

static bool slices_make(struct exchange *x)
{
    struct slices *s = x->slices;
    if (s == NULL && (s = arena_calloc(&x->arena, sizeof *s)) != NULL) {
        s->key_buffer = arena_alloc(&x->arena, x->key.text.len + SLICING_KEY_MAX);
        arena_init(&s->scratch, s->scratch_block, sizeof s->scratch_block, SCRATCH_MAX);
        s->reader[0].x = s->reader[1].x = x;
    }
    if (s == NULL || s->key_buffer == NULL || !exchange_own_head(x))
        return false;
    x->slices = s;
    s->slice_bytes = x->route->rules.slice_bytes;
    s->beyond = 0;
    return true;
}

bool slices_apply(struct exchange *x, const struct cache_object *old)
{
    if ((old != NULL && cache_object_info(old).status != 206) || x->pass_forced || x->no_vary != NULL ||
        cache_request_wants_events(&x->req) || (x->slices != NULL && x->slices->left))
        return false;
    return !slices_are_refused(x) || (slices_make(x) && slices_are_stored(x));
}

static enum phase_result slices_pass(struct exchange *x, enum no_store_reason why)
{
    x->verdict = VERDICT_PASS;
    x->no_store = (uint8_t)why;
    phase_set(x, PHASE_FETCH);
    return PHASE_MORE;
}

enum phase_result slices_begin(struct exchange *x)
{
    uint64_t start;
    x->source = SOURCE_NONE;
    x->object = NULL;
    x->partial = NULL;
    if (cache_request_directs(&x->req, &x->route->rules)) /* what the client wants, only the instance has */
        return slices_pass(x, NO_STORE_REQUEST_RELOAD);
    if (!slicing_first(&x->req, &start))
        return slices_pass(x, NO_STORE_RANGES);
    if (!slices_make(x))
        return slices_pass(x, NO_STORE_NO_MEMORY);
    x->slices->start = start;
    x->slices->first = start / x->slices->slice_bytes;
    phase_set(x, PHASE_SLICES);
    return PHASE_MORE;
}

enum phase_result phase_slices(struct exchange *x)
{
    struct slices *s = x->slices;
    struct slice_reader *r = slices_current(s);
    if (r->state == SLICE_CLOSED) {
        if (s->first > 0 && slices_end_before(x, s->start))
            s->first = 0;
        slice_reader_open(r, s->first, false);
        if (r->state == SLICE_WAITS && !r->led)
            deadline_set(x->pw->worker, &x->wait_deadline,
                         worker_now_ms(x->pw->worker) + x->view->shared->config->cache.lock_timeout_ms);
    }
    switch ((enum slice_state)r->state) {
    case SLICE_READY:
        return first_ready(x);
    case SLICE_FAILED:
        return first_failed(x);
    default:
        return PHASE_PARK;
    }
}

void slices_on_timeout(struct exchange *x)
{
    go_alone(x, NO_STORE_WAIT_LIMIT);
    phase_run(x);
}

bool slices_may_take(const struct slice_reader *r)
{
    const struct exchange *x = r->x;
    return x->phase == PHASE_SLICES && r == slices_current(x->slices) && x->client != NULL && !x->running;
}

void slices_take(struct slice_reader *r)
{
    struct exchange *x = r->x;
    ASSERT(slices_may_take(r) && r->fetch == NULL);
    x->verdict = r->stale != NULL ? VERDICT_EXPIRED : VERDICT_MISS;
    x->no_store = NO_STORE_NOT_SLICEABLE;
    x->slices->left = true;
    leave_slices(x);
    phase_set(x, PHASE_FETCH);
}

/* ---- from slice to slice ---- */

static uint64_t response_end(const struct exchange *x)
{
    return x->range != NULL ? x->range->set.parts[0].end : x->slices->size;
}

/* It is looked up again. false: often enough. */
static bool reopen(struct slice_reader *r)
{
    struct slices *s = r->x->slices;
    if (++s->rounds >= ROUNDS_MAX)
        return false;
    slice_reader_close(r);
    return true;
}

static void cut(struct exchange *x, enum fetch_error e, enum no_store_reason why)
{
    x->fetch_error = (uint8_t)e;
    x->no_store = (uint8_t)why;
    x->body_cut = true;
}

/* false: the response ends here. */
static bool recover(struct slice_reader *r)
{
    struct exchange *x = r->x;
    const enum fetch_error e = (enum fetch_error)r->error;
    if (r->failure == SLICE_AGAIN && reopen(r))
        return true;
    if (slice_reader_stand_in(r))
        return true;
    if (r->failure == SLICE_ERROR && is_of_another(r) && reopen(r))
        return true;
    if (r->failure == SLICE_ERROR && r->status == 416) { /* it has become shorter */
        if (exchange_is_personal(x))
            slices_remember(x, &x->key, false);
        else
            slices_forget_first(x);
        proxy_count(x->pw, METRIC_CACHE_SLICES_CHANGED, 1);
        cut(x, FETCH_CHANGED, NO_STORE_INCOMPLETE);
    } else {
        cut(x, r->failure == SLICE_ERROR ? e : FETCH_NONE,
            r->failure == SLICE_ALONE || r->failure == SLICE_UNSLICED ? (enum no_store_reason)r->why
                                                                      : NO_STORE_INCOMPLETE);
    }
    return false;
}

/* Is it of the version that the client has the head of? false: the response ends here; else the reader may be
 * closed, to look again. */
static bool judge(struct slice_reader *r)
{
    struct exchange *x = r->x;
    if (slice_is_of_version(x, r->index, r->object)) {
        r->judged = true;
        if (r->fetched && x->verdict == VERDICT_HIT)
            x->verdict = VERDICT_PARTIAL;
        return true;
    }
    const bool fetched = r->fetched;
    cache_forget(x->pw->cache, r->object);
    if (!fetched && reopen(r))
        return true;
    slices_forget_first(x);
    proxy_count(x->pw, METRIC_CACHE_SLICES_CHANGED, 1);
    cut(x, FETCH_CHANGED, NO_STORE_INCOMPLETE);
    return false;
}

/* A request of HTTP/2 counts as one of its connection's, so it has one fetch at a time. */
static bool may_look_ahead(const struct exchange *x)
{
    return x->tally == NULL || slices_current(x->slices)->fetch == NULL;
}

/* The slice behind the one whose bytes go out now. */
static void look_ahead(struct exchange *x, uint64_t index)
{
    struct slice_reader *r = slices_ahead(x->slices);
    if (r->state != SLICE_CLOSED && r->index != index)
        slice_reader_close(r);
    if (r->state == SLICE_CLOSED && index * x->slices->slice_bytes < response_end(x) && may_look_ahead(x))
        slice_reader_open(r, index, false);
}

/* The instance has said that it has no such slice, or none that may be stored. */
static bool is_final(const struct slice_reader *r)
{
    return r->failure == SLICE_UNSLICED || (r->failure == SLICE_ALONE && r->told) ||
           (r->failure == SLICE_ERROR && r->status == 416);
}

/* The reader of the slice with the next byte. */
static struct slice_reader *reader_of_offset(struct exchange *x)
{
    struct slices *s = x->slices;
    const uint64_t index = x->offset / s->slice_bytes;
    struct slice_reader *r = slices_current(s), *next = slices_ahead(s);
    if (r->state != SLICE_CLOSED && r->index == index)
        return r;
    slice_reader_close(r);
    if (next->state != SLICE_CLOSED && next->index == index) {
        s->turn = !s->turn;
        if (next->state == SLICE_FAILED && !is_final(next)) /* it could be done without then */
            slice_reader_close(next);
        r = next;
    }
    if (r->state == SLICE_CLOSED)
        slice_reader_open(r, index, true);
    return r;
}

/* The bytes that are there, up to `end` of the slice. false: the client takes no more now. */
static bool pump_bytes(struct exchange *x, struct slice_reader *r, uint64_t start, uint64_t end)
{
    struct iovec iov[PUMP_IOV];
    struct cache_object *const owner = x->stream != NULL ? NULL : r->object; /* NULL: copied */
    size_t step = r->follower != NULL ? DELIVER_STEP_FOLLOW : SIZE_MAX;
    size_t n = cache_object_iov(r->object, x->offset - start, iov, PUMP_IOV);
    if (!client_ready(x, (unsigned)n + 2, 0))
        return false;
    if (x->stream != NULL)
        step = h2_stream_room(x->stream);
    for (size_t i = 0; i < n && step > 0 && x->offset < end; i++) {
        const size_t bytes = MIN((size_t)MIN(iov[i].iov_len, end - x->offset), step);
        if (!client_add(x, iov[i].iov_base, bytes, owner))
            return false;
        x->offset += bytes;
        x->response_bytes += bytes;
        step -= bytes;
    }
    return true;
}

enum pumped { PUMPED_ALL, PUMPED_BLOCKED, PUMPED_WAITS, PUMPED_CUT };

static enum pumped pump_slice(struct exchange *x, struct slice_reader *r)
{
    const uint64_t start = r->index * x->slices->slice_bytes;
    const uint64_t end = MIN(response_end(x), start + x->slices->slice_bytes);
    for (;;) {
        const bool was_cut = r->follower != NULL && cache_follower_is_cut(r->follower);
        while (x->offset < end && x->offset < start + cache_object_filled(r->object)) {
            if (!pump_bytes(x, r, start, end) || (r->follower != NULL && !client_flush(x)))
                break;
            if (r->follower != NULL)
                cache_follower_set_offset(r->follower, x->offset - start);
        }
        if (!client_flush(x)) {
            if (r->follower != NULL)
                cache_follower_set_stalled(r->follower);
            return PUMPED_BLOCKED;
        }
        if (x->offset == end)
            return PUMPED_ALL;
        if (r->follower == NULL || x->offset < start + cache_object_filled(r->object))
            continue;
        if (was_cut)
            return PUMPED_CUT;
        if (cache_follower_arm(r->follower, x->offset - start))
            return PUMPED_WAITS;
    }
}

/* true: go on with what comes next. */
static bool pump_ready(struct exchange *x, struct slice_reader *r, enum slices_step *step)
{
    x->object = r->object;
    look_ahead(x, r->index + 1);
    switch (pump_slice(x, r)) {
    case PUMPED_ALL:
        x->slices->rounds = 0;
        return true;
    case PUMPED_CUT: /* the rest of it once more */
        if (reopen(r))
            return true;
        cut(x, FETCH_CUT_SHORT, NO_STORE_INCOMPLETE);
        *step = SLICES_CUT;
        return false;
    case PUMPED_BLOCKED:
    case PUMPED_WAITS:
        break;
    }
    *step = SLICES_PARK;
    return false;
}

enum slices_step slices_pump(struct exchange *x)
{
    enum slices_step step = SLICES_CUT;
    if (x->body_cut) /* what was added before that waits for the client */
        return SLICES_CUT;
    while (!x->body_suppressed && x->offset < response_end(x)) {
        struct slice_reader *r = reader_of_offset(x);
        switch ((enum slice_state)r->state) {
        case SLICE_WAITS:
            client_flush(x); /* the head, at least */
            return SLICES_PARK;
        case SLICE_FAILED:
            if (!recover(r))
                return SLICES_CUT;
            break;
        default:
            if (!r->judged && !judge(r))
                return SLICES_CUT;
            if (r->judged && r->state == SLICE_READY && !pump_ready(x, r, &step))
                return step;
            break;
        }
    }
    return SLICES_DONE;
}

void slices_free(struct exchange *x)
{
    leave_slices(x);
    arena_reset(&x->slices->scratch);
}
