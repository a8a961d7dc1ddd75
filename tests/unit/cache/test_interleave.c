/* test_interleave.c: promise 2 under fire. Slow fetches, background refreshes, 304s, followers, sweeps and
 * purges of every kind, hard and soft, of several workers are interleaved by seeded schedules, with a clock
 * that the test moves, also backwards; a model of the origin knows which response may still be seen.
 *
 * Each response of the origin, a 304 too, has a serial, which it gets when it is made, not when it arrives. A
 * purge marks the responses made before it that it concerns. From then on no look-up may find one that was
 * hard purged, nor find as fresh one that was softly purged; no follower may be given one that was purged
 * before he came. A 304 inherits the marks its object got since its fetch began. What was made after a purge
 * may always be seen. */
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache/purge.h"
#include "tests/unit/cache/fixture.h"

/* The environment's SCHEDULES says otherwise; SEED is the first. */
#ifdef __SANITIZE_THREAD__
#define SCHEDULES 4000 /* one thread: nothing for it to find */
#else
#define SCHEDULES 20000
#endif
#define STEPS        70
#define CACHE_SERVES 100 /* schedules; a failure of one may need those before: SEED=100 n + 1 */

enum { URLS = 4, TAGS = 4, WORKERS = 3, FETCHES = 8, READERS = 12, SERIALS = 256 };

static const char *const urls[URLS] = {"http://h/a", "http://h/a?q=1", "http://h/vary", "http://other/a"};
static const char *const tags[TAGS] = {"t0", "t1", "t2", "t3"};
static const char *const languages[2] = {"de", "en"};

/* ---- the clock ---- */

static _Atomic int64_t fake_wall_ms; /* 0: the real one */

int clock_gettime(clockid_t id, struct timespec *t)
{
    int64_t ms = atomic_load_explicit(&fake_wall_ms, memory_order_relaxed);
    if (ms == 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec = ms / 1000;
    t->tv_nsec = ms % 1000 * 1000000;
    return 0;
}

/* ---- the model ---- */

struct answer {
    unsigned url;
    unsigned tags;                 /* bits */
    unsigned hard_step, soft_step; /* when it was purged last; 0: never */
};

enum fetch_state { FETCH_FREE, FETCH_SENT, FETCH_ANSWERED, FETCH_FILLING };

struct fetch {
    enum fetch_state state;
    struct cache_flight *flight;
    struct cache_object *stale;
    unsigned url, language, start_step, stale_serial, serial;
    bool confirms; /* the answer is a 304 */
};

struct reader {
    struct fix_reader fix;
    unsigned url, language, begin_step, worker;
    bool used;
};

static struct {
    struct cache *c;
    struct worker *workers[WORKERS];
    uint64_t random, seed;
    unsigned step, serials, urls; /* so many of the URLs are asked for */
    struct answer answers[SERIALS];
    struct fetch fetches[FETCHES];
    struct reader readers[READERS];
} s;

/* What happened in all schedules, so that a test that tests nothing is seen. */
static struct {
    unsigned long hits, stale, misses, collapsed, confirmed, refused, retried, purges, soft_stored,
        superseded;
} total;

static unsigned pick(unsigned n)
{
    s.random ^= s.random << 13;
    s.random ^= s.random >> 7;
    s.random ^= s.random << 17;
    return (unsigned)((s.random >> 16) % n);
}

static bool one_in(unsigned n)
{
    return pick(n) == 0;
}

#define violated(...)                                                                                        \
    do {                                                                                                     \
        print_error("schedule %llu, step %u: ", (unsigned long long)s.seed, s.step);                         \
        fail_msg(__VA_ARGS__);                                                                               \
    } while (0)

static const struct http_head *request_of(struct fix_head *h, unsigned language)
{
    return fix_with_field(h, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", languages[language]);
}

static unsigned serial_of(const struct cache_object *o)
{
    slice_t head = cache_object_info(o).head;
    char text[128] = {0};
    memcpy(text, head.ptr, MIN(head.len, sizeof text - 1));
    return (unsigned)atoi(strstr(text, "X: ") + 3);
}

static bool is_fresh(const struct cache_object *o)
{
    const struct cache_object_info info = cache_object_info(o);
    return cache_freshness_is_fresh(&info.fresh, clock_wall_ms());
}

static unsigned make_answer(unsigned url)
{
    unsigned serial = ++s.serials;
    assert_true(serial < SERIALS);
    s.answers[serial] = (struct answer){.url = url, .tags = pick(1u << TAGS) & pick(1u << TAGS)};
    return serial;
}

static void mark(bool soft, const struct cache_purge *p, unsigned serial)
{
    struct answer *a = &s.answers[serial];
    slice_t url = slice_str(urls[a->url]);
    bool concerns = false;
    switch (p->kind) {
    case CACHE_PURGE_URL:
        concerns = slice_eq(url, p->text);
        break;
    case CACHE_PURGE_URL_ANY_QUERY:
        concerns = slice_eq(slice_make(url.ptr, MIN(slice_find(url, '?', 0), url.len)), p->text);
        break;
    case CACHE_PURGE_TAG:
        concerns = (a->tags >> (p->text.ptr[1] - '0')) & 1;
        break;
    case CACHE_PURGE_PREFIX:
        concerns = slice_starts(url, p->text);
        break;
    case CACHE_PURGE_GLOB: /* the only one in use: http://?/[star] */
    case CACHE_PURGE_HOST:
        concerns = slice_starts(url, SLICE_LIT("http://h/"));
        break;
    default:
        concerns = true;
    }
    if (concerns && soft)
        a->soft_step = s.step;
    else if (concerns)
        a->hard_step = s.step;
}

/* ---- steps ---- */

static struct fetch *free_fetch(void)
{
    for (unsigned i = 0; i < FETCHES; i++) {
        if (s.fetches[i].state == FETCH_FREE)
            return &s.fetches[i];
    }
    return NULL;
}

static void fetch_start(struct fetch *f, struct cache_flight *fl, unsigned url, unsigned language,
                        struct cache_object *stale)
{
    *f = (struct fetch){
        .state = FETCH_SENT, .flight = fl, .url = url, .language = language, .start_step = s.step};
    if (stale != NULL) {
        f->stale = cache_object_ref(stale);
        f->stale_serial = serial_of(stale);
    }
}

static struct reader *free_reader(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        if (!s.readers[i].used)
            return &s.readers[i];
    }
    return NULL;
}

static void request_join(unsigned url, unsigned language, unsigned worker, struct cache_object *stale)
{
    struct fix_head request;
    struct arena scratch;
    struct fetch *f = free_fetch();
    struct reader *r = free_reader();
    if (f == NULL || r == NULL)
        return;
    *r = (struct reader){.url = url, .language = language, .begin_step = s.step, .worker = worker};
    const struct cache_key k = fix_key(urls[url]);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(s.c, &k, request_of(&request, language), &scratch, stale,
                                            s.workers[worker], fix_on_event, &r->fix);
    arena_reset(&scratch);
    if (j.what == CACHE_LEAD) {
        total.misses++;
        fetch_start(f, j.flight, url, language, stale);
    } else if (j.what == CACHE_FOLLOW) {
        r->used = true;
        r->fix.follower = j.follower;
    }
}

static void request_refresh(unsigned url, unsigned language, struct cache_object *stale)
{
    struct fix_head request;
    struct arena scratch;
    struct fetch *f = free_fetch();
    if (f == NULL)
        return;
    const struct cache_key k = fix_key(urls[url]);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_flight *fl = cache_lead(s.c, &k, request_of(&request, language), &scratch, stale);
    arena_reset(&scratch);
    if (fl != NULL)
        fetch_start(f, fl, url, language, stale);
}

/* A request begins: what it finds must be allowed, then it goes on like a proxy's. */
static void step_request(unsigned url, unsigned language, unsigned worker)
{
    struct fix_head request;
    struct cache_object *o = fix_find_as(s.c, urls[url], request_of(&request, language));
    if (o != NULL) {
        const struct answer *a = &s.answers[serial_of(o)];
        if (a->url != url)
            violated("URL %u got an object of %u", url, a->url);
        if (a->hard_step != 0)
            violated("response %u was purged in step %u and found", serial_of(o), a->hard_step);
        if (is_fresh(o) && a->soft_step != 0)
            violated("response %u was softly purged in step %u and found fresh", serial_of(o), a->soft_step);
    }
    if (o != NULL && is_fresh(o)) {
        total.hits++;
    } else if (o != NULL && one_in(2)) {
        total.stale++;
        request_refresh(url, language, o);
    } else {
        request_join(url, language, worker, o);
    }
    cache_object_unref(&o);
}

/* Its part in the flight is over. */
static void fetch_end(struct fetch *f)
{
    cache_object_unref(&f->stale);
    f->state = FETCH_FREE;
}

static void fetch_confirm(struct fetch *f, const struct cache_fill *fill)
{
    const struct answer *old = &s.answers[f->stale_serial];
    struct answer *a = &s.answers[f->serial];
    if (old->hard_step != 0)
        a->hard_step = MAX(a->hard_step, old->hard_step);
    if (old->soft_step >= f->start_step)
        a->soft_step = MAX(a->soft_step, old->soft_step);
    struct cache_fill with_body = *fill;
    with_body.body_bytes = cache_object_info(f->stale).body_bytes;
    struct cache_object *o = cache_flight_refresh(&f->flight, f->stale, &with_body);
    total.confirmed++;
    cache_object_unref(&o);
    fetch_end(f);
}

/* The head of the answer comes in. */
static void fetch_arrive(struct fetch *f)
{
    char head[128], tag_text[TAGS * 3 + 1] = "";
    struct fix_head request, response;
    struct cache_fill fill = fix_fill(one_in(2) ? 10 : -1);
    for (unsigned t = 0; t < TAGS; t++) {
        if ((s.answers[f->serial].tags >> t) & 1)
            snprintf(tag_text + strlen(tag_text), 4, "%s ", tags[t]);
    }
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX: %u\r\nETag: \"v\"\r\n", f->serial);
    fill.head = slice_str(head);
    fill.etag = slice_make(strstr(head, "\"v\""), 3);
    fill.tags.text = slice_str(tag_text);
    fill.tags.bytes[CACHE_TAG_SURROGATE_KEY] = (uint16_t)strlen(tag_text);
    fill.fresh.lifetime_ms = one_in(2) ? 500 : 30000;
    fill.request = request_of(&request, f->language);
    fill.response =
        fix_with_field(&response, HTTP_FIELD_VARY, "Vary", f->url == 2 ? "Accept-Language" : NULL);
    if (f->confirms) {
        fetch_confirm(f, &fill);
        return;
    }
    enum no_store_reason why = NO_STORE_STATUS;
    if (one_in(20) || cache_fill_begin(f->flight, &fill, &why) == NULL) {
        cache_flight_release(&f->flight, why, 0);
        fetch_end(f);
    } else {
        f->state = FETCH_FILLING;
    }
}

static void fetch_finish(struct fetch *f)
{
    uint64_t offset = 0;
    assert_true(fix_pour(f->flight, &offset, 10));
    if (one_in(20)) {
        cache_fill_abort(&f->flight);
    } else {
        enum no_store_reason why = cache_fill_finish(&f->flight);
        total.refused += why == NO_STORE_PURGED;
        total.superseded += why == NO_STORE_SUPERSEDED;
        total.soft_stored += why == NO_STORE_STORED && s.answers[f->serial].soft_step != 0;
        if (why == NO_STORE_STORED && s.answers[f->serial].hard_step != 0)
            violated("response %u was purged and stored", f->serial);
    }
    fetch_end(f);
}

static void step_fetch(struct fetch *f)
{
    switch (f->state) {
    case FETCH_FREE:
        break;
    case FETCH_SENT:
        if (one_in(15)) {
            cache_flight_fail(&f->flight, FETCH_RESET);
            fetch_end(f);
            break;
        }
        f->serial = make_answer(f->url);
        f->confirms = f->stale != NULL && !one_in(4);
        f->state = FETCH_ANSWERED;
        break;
    case FETCH_ANSWERED:
        fetch_arrive(f);
        break;
    case FETCH_FILLING:
        fetch_finish(f);
        break;
    }
}

static void reader_hear(struct reader *r)
{
    enum cache_event event = r->fix.events[r->fix.count - 1];
    if (event == CACHE_EVENT_OBJECT) {
        unsigned serial = serial_of(cache_follower_object(r->fix.follower));
        const struct answer *a = &s.answers[serial];
        total.collapsed++;
        if (a->url != r->url)
            violated("URL %u was given an object of %u", r->url, a->url);
        if (a->hard_step != 0 && a->hard_step < r->begin_step)
            violated("response %u was purged in step %u and given to who came in %u", serial, a->hard_step,
                     r->begin_step);
        if (a->soft_step != 0 && a->soft_step < r->begin_step)
            violated("response %u was softly purged in step %u and given to who came in %u", serial,
                     a->soft_step, r->begin_step);
    }
    cache_follower_close(&r->fix.follower);
    r->used = false;
    total.retried += event == CACHE_EVENT_RETRY;
    if (event == CACHE_EVENT_RETRY)
        step_request(r->url, r->language, r->worker);
}

static void step_mail(unsigned worker)
{
    bool waits = false;
    for (unsigned i = 0; i < READERS; i++)
        waits = waits || (s.readers[i].used && s.readers[i].worker == worker);
    if (!waits)
        return;
    fix_pump(s.workers[worker]);
    for (unsigned i = 0; i < READERS; i++) {
        if (s.readers[i].used && s.readers[i].worker == worker && s.readers[i].fix.count > 0)
            reader_hear(&s.readers[i]);
    }
}

static struct cache_purge some_purge(void)
{
    struct cache_purge p = {.kind = pick(CACHE_PURGE_KINDS), .soft = one_in(2)};
    if (one_in(2))
        p.kind = CACHE_PURGE_TAG;
    switch (p.kind) {
    case CACHE_PURGE_URL:
    case CACHE_PURGE_PREFIX:
        p.text = slice_str(urls[pick(s.urls)]);
        break;
    case CACHE_PURGE_URL_ANY_QUERY:
        p.text = SLICE_LIT("http://h/a");
        break;
    case CACHE_PURGE_TAG:
        p.text = slice_str(tags[pick(TAGS)]);
        break;
    case CACHE_PURGE_GLOB:
        p.text = SLICE_LIT("http://?/*");
        break;
    case CACHE_PURGE_HOST:
        p.text = SLICE_LIT("h");
        break;
    default:
        p.text = SLICE_EMPTY;
    }
    return p;
}

static void step_purge(void)
{
    struct cache_purge p[2] = {some_purge(), some_purge()};
    struct cache_purge_result result;
    size_t count = one_in(4) ? 2 : 1;
    assert_true(cache_purge(s.c, p, count, &result));
    total.purges += count;
    for (size_t i = 0; i < count; i++) {
        for (unsigned serial = 1; serial <= s.serials; serial++)
            mark(p[i].soft, &p[i], serial);
    }
}

/* An unsafe method. */
static void step_invalidate(unsigned url)
{
    const struct cache_key k = fix_key(urls[url]);
    const struct cache_purge p = {.kind = CACHE_PURGE_URL, .text = k.text};
    cache_invalidate_url(s.c, &k);
    for (unsigned serial = 1; serial <= s.serials; serial++)
        mark(false, &p, serial);
}

/* So many others that floors rise. */
static void step_flood(void)
{
    char text[32];
    struct cache_purge_result result;
    enum cache_purge_kind kind = one_in(2) ? CACHE_PURGE_PREFIX : CACHE_PURGE_TAG;
    for (unsigned i = 0; i < 600; i++) {
        snprintf(text, sizeof text, "https://none/%u", i);
        const struct cache_purge p = {.kind = kind, .soft = one_in(2), .text = slice_str(text)};
        assert_true(cache_purge(s.c, &p, 1, &result));
    }
}

static void step_sweep(void)
{
    struct cache_sweep sweep = {.target_id = cache_inval_head(&s.c->inval)};
    for (unsigned n = pick(100); n > 0 && cache_sweep_step(s.c, &sweep); n--)
        continue;
}

static void step_any(void)
{
    static const int jumps_ms[] = {0, 1, 1, 5, 300, 1000, 5000, -1, -2000};
    unsigned n = pick(24);
    if (n < 8)
        step_request(pick(s.urls), pick(2), pick(WORKERS));
    else if (n < 17)
        step_fetch(&s.fetches[pick(FETCHES)]);
    else if (n < 20)
        step_mail(pick(WORKERS));
    else if (n < 22)
        atomic_fetch_add(&fake_wall_ms, jumps_ms[pick(ARRAY_LEN(jumps_ms))]);
    else if (n < 23)
        step_purge();
    else if (one_in(2))
        step_sweep();
    else if (one_in(20))
        step_flood();
    else
        step_invalidate(pick(s.urls));
}

static void schedule_end(void)
{
    for (unsigned i = 0; i < FETCHES; i++) {
        while (s.fetches[i].state != FETCH_FREE)
            step_fetch(&s.fetches[i]);
    }
    for (unsigned i = 0; i < READERS; i++)
        cache_follower_close(&s.readers[i].fix.follower);
    for (unsigned w = 0; w < WORKERS; w++)
        fix_pump(s.workers[w]); /* mail to closed followers is freed on delivery */
}

/* A cache serves some schedules in turn; what it held is purged in between, so that nothing of it may show
 * up. */
static void schedule_run(uint64_t seed)
{
    struct worker *workers[WORKERS];
    struct cache *c = s.c;
    memcpy(workers, s.workers, sizeof workers);
    memset(&s, 0, sizeof s);
    memcpy(s.workers, workers, sizeof workers);
    s.c = c;
    s.seed = seed;
    s.random = (seed + 1) * 0x9e3779b97f4a7c15u;
    s.urls = one_in(2) ? 1 : URLS;
    for (s.step = 1; s.step <= STEPS; s.step++)
        step_any();
    schedule_end();
    cache_purge_all(s.c);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_no_schedule_shows_what_was_purged(void **state)
{
    UNUSED(state);
    uint64_t first = number_of("SEED", 1), count = number_of("SCHEDULES", SCHEDULES);
    for (unsigned w = 0; w < WORKERS; w++)
        assert_non_null(s.workers[w] = worker_create(w));
    for (uint64_t i = 0; i < count; i++) {
        if (i % CACHE_SERVES == 0) {
            atomic_store(&fake_wall_ms, 1700000000000);
            s.c = fix_cache(2 * MB);
            cache_sweeper_stop(s.c);
        }
        schedule_run(first + i);
        if (i % CACHE_SERVES == CACHE_SERVES - 1 || i == count - 1)
            fix_end(&s.c);
    }
    for (unsigned w = 0; w < WORKERS; w++)
        worker_destroy(s.workers[w]);
    atomic_store(&fake_wall_ms, 0);
    print_message(
        "%llu schedules: %lu purges, %lu hits, %lu stale uses, %lu fetches, %lu collapsed, %lu turned "
        "away, %lu confirmed, %lu refused, %lu stored stale, %lu superseded\n",
        (unsigned long long)count, total.purges, total.hits, total.stale, total.misses, total.collapsed,
        total.retried, total.confirmed, total.refused, total.soft_stored, total.superseded);
    if (count < 1000)
        return;
    assert_true(total.purges > count && total.hits > count / 10 && total.stale > count / 10);
    assert_true(total.collapsed > count / 20 && total.retried > count / 20 && total.confirmed > count / 20);
    assert_true(total.refused > count / 10 && total.soft_stored > count / 20 &&
                total.superseded > count / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_schedule_shows_what_was_purged),
    };
    return cmocka_run_group_tests_name("cache/interleave", tests, fix_group_setup, fix_group_teardown);
}
