/* test_purge_threads.c: promise 2 with real threads: readers, leaders, followers, 304s and the sweeper
 * against a thread that changes the origin and purges, by every kind, hard and soft. Made for
 * ThreadSanitizer.
 *
 * The origin is a version per URL. A purge publishes the version it was made for once it is acknowledged;
 * what a look-up that began after that finds must be as new (hard), or must not be fresh (soft). */
#include <sched.h>

#include "cache/purge.h"
#include "tests/unit/cache/fixture.h"

enum { URLS = 6, THREADS = 3, ROUNDS = 400 };

static struct cache *c;
static _Atomic uint64_t version[URLS], hard_min[URLS], soft_min[URLS];
static _Atomic unsigned running;
static _Atomic uint64_t hits, follows, confirmed, stale_seen, wrong;

static const char *url_name(unsigned url, char buf[32])
{
    snprintf(buf, 32, "http://h%u/%u", url % 2, url);
    return buf;
}

static uint64_t version_of(const struct cache_object *o)
{
    slice_t head = cache_object_info(o).head;
    char text[128] = {0};
    memcpy(text, head.ptr, MIN(head.len, sizeof text - 1));
    return strtoull(strstr(text, "X: ") + 3, NULL, 10);
}

struct asker {
    struct worker *w;
    struct fix_reader fix;
    uint64_t random;
};

static unsigned pick(struct asker *a, unsigned n)
{
    a->random = a->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((a->random >> 33) % n);
}

static void check(const struct cache_object *o, unsigned url, uint64_t hard, uint64_t soft, bool fresh)
{
    uint64_t v = version_of(o);
    bool bad = v < hard || (fresh && v < soft);
    if (bad)
        print_error("URL %u: version %llu after a purge of %llu (soft %llu)\n", url, (unsigned long long)v,
                    (unsigned long long)hard, (unsigned long long)soft);
    atomic_fetch_add(&wrong, bad);
}

/* Fetches: the origin says what it has now. */
static void lead(struct asker *a, struct cache_flight *fl, unsigned url, struct cache_object *stale)
{
    char head[128], tag_text[32];
    struct cache_fill fill = fix_fill(pick(a, 2) ? 8 : -1);
    if (pick(a, 2))
        sched_yield();
    uint64_t v = atomic_load(&version[url]);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX: %llu\r\nETag: \"v\"\r\n", (unsigned long long)v);
    snprintf(tag_text, sizeof tag_text, "u%u all ", url);
    fill.head = slice_str(head);
    fill.etag = slice_make(strstr(head, "\"v\""), 3);
    fill.tags.text = slice_str(tag_text);
    fill.tags.bytes[CACHE_TAG_SURROGATE_KEY] = (uint16_t)strlen(tag_text);
    if (pick(a, 2))
        sched_yield();
    if (stale != NULL && version_of(stale) == v) {
        fill.body_bytes = cache_object_info(stale).body_bytes;
        struct cache_object *o = cache_flight_refresh(&fl, stale, &fill);
        atomic_fetch_add(&confirmed, 1);
        cache_object_unref(&o);
        return;
    }
    enum no_store_reason why;
    uint64_t offset = 0;
    if (cache_fill_begin(fl, &fill, &why) == NULL) {
        cache_flight_release(&fl, why, 0);
        return;
    }
    if (pick(a, 2))
        sched_yield();
    fix_pour(fl, &offset, 8);
    cache_fill_finish(&fl);
}

static void follow(struct asker *a, unsigned url, uint64_t hard, uint64_t soft)
{
    while (a->fix.count == 0)
        fix_pump(a->w);
    if (a->fix.events[0] == CACHE_EVENT_OBJECT) {
        check(cache_follower_object(a->fix.follower), url, hard, soft, true);
        atomic_fetch_add(&follows, 1);
    }
    cache_follower_close(&a->fix.follower);
}

static void ask(struct asker *a)
{
    char name[32];
    unsigned url = pick(a, URLS);
    uint64_t hard = atomic_load(&hard_min[url]), soft = atomic_load(&soft_min[url]);
    struct cache_object *o = fix_find(c, url_name(url, name));
    bool fresh = false;
    if (o != NULL) {
        const struct cache_object_info info = cache_object_info(o);
        fresh = cache_freshness_is_fresh(&info.fresh, clock_wall_ms());
        check(o, url, hard, soft, fresh);
        atomic_fetch_add(fresh ? &hits : &stale_seen, 1);
    }
    if (!fresh) {
        struct arena scratch;
        const struct cache_key k = fix_key(name);
        a->fix = (struct fix_reader){0};
        arena_init(&scratch, NULL, 0, 64 * KB);
        struct cache_join_result j = cache_join(c, &k, fix_plain(), &scratch, o, a->w, fix_on_event, &a->fix);
        arena_reset(&scratch);
        a->fix.follower = j.follower;
        if (j.what == CACHE_LEAD)
            lead(a, j.flight, url, o);
        else if (j.what == CACHE_FOLLOW)
            follow(a, url, hard, soft);
    }
    cache_object_unref(&o);
}

static void *asker_main(void *arg)
{
    struct asker *a = arg;
    rcu_thread_start();
    while (atomic_load(&running) > 0)
        ask(a);
    fix_pump(a->w); /* mail to closed followers */
    rcu_thread_stop();
    return NULL;
}

static void raise_to(_Atomic uint64_t *least, uint64_t v)
{
    if (atomic_load(least) < v)
        atomic_store(least, v);
}

/* One purge; `url` stands for all it concerns when that is more. */
static struct cache_purge purge_of(struct asker *a, unsigned url, char buf[32], bool *all)
{
    struct cache_purge p = {.kind = pick(a, CACHE_PURGE_KINDS), .soft = pick(a, 2)};
    *all = p.kind == CACHE_PURGE_ALL || p.kind == CACHE_PURGE_GLOB;
    url_name(url, buf);
    if (p.kind == CACHE_PURGE_TAG)
        snprintf(buf, 32, "u%u", url);
    else if (p.kind == CACHE_PURGE_HOST)
        snprintf(buf, 32, "h%u", url % 2);
    else if (p.kind == CACHE_PURGE_GLOB)
        snprintf(buf, 32, "http*//h?/*");
    p.text = slice_str(buf);
    return p;
}

static void *purger_main(void *arg)
{
    struct asker *a = arg;
    rcu_thread_start();
    for (unsigned round = 0; round < ROUNDS; round++) {
        char buf[32];
        bool all;
        struct cache_purge_result result;
        unsigned url = pick(a, URLS);
        uint64_t now[URLS];
        const struct cache_purge p = purge_of(a, url, buf, &all);
        for (unsigned u = 0; u < URLS; u++) {
            if (all || u == url)
                atomic_fetch_add(&version[u], pick(a, 2));
            now[u] = atomic_load(&version[u]);
        }
        atomic_fetch_add(&wrong, !cache_purge(c, &p, 1, &result));
        for (unsigned u = 0; u < URLS; u++) {
            if (all || u == url)
                raise_to(p.soft ? &soft_min[u] : &hard_min[u], now[u]);
        }
        for (unsigned n = pick(a, 8); n > 0; n--)
            sched_yield();
    }
    rcu_thread_stop();
    atomic_store(&running, 0);
    return NULL;
}

static void test_threads(void **state)
{
    UNUSED(state);
    struct asker askers[THREADS + 1];
    pthread_t threads[THREADS + 1];
    c = fix_cache(16 * MB);
    atomic_store(&running, 1);
    for (unsigned i = 0; i <= THREADS; i++) {
        askers[i] = (struct asker){.w = worker_create(i), .random = i + 1};
        assert_non_null(askers[i].w);
    }
    for (unsigned i = 0; i <= THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, i == THREADS ? purger_main : asker_main, &askers[i]), 0);
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i <= THREADS; i++) {
        fix_pump(askers[i].w);
        worker_destroy(askers[i].w);
    }
    print_message("%llu hits, %llu stale, %llu followed, %llu confirmed\n", (unsigned long long)hits,
                  (unsigned long long)stale_seen, (unsigned long long)follows, (unsigned long long)confirmed);
    assert_int_equal(wrong, 0);
    fix_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("cache/purge_threads", tests, fix_group_setup, fix_group_teardown);
}
