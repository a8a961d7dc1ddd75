/* test_shard.c: everything at once: workers with finders, leaders, followers and leavers, a purger, and a
 * budget that keeps evicting. Promise 2 and the bodies are checked on every answer; run it under SAN=thread
 * and SAN=address.
 *
 * The origin has a version per URL. The purger raises it, purges, and only then publishes the version as
 * acknowledged. A request notes what was acknowledged when it starts; whatever it is served must not be
 * older. */
#include "tests/unit/cache/fixture.h"

enum { WORKERS = 3, CLIENTS = 6, URLS = 24, REQUESTS = 500 };

struct origin {
    _Atomic uint64_t version, acknowledged;
};

struct client {
    struct mail mail; /* the next step */
    struct worker *worker;
    uint64_t random;
    unsigned requests_left;
    /* of the request */
    unsigned url, language;
    uint64_t acknowledged;
    struct cache_follower *follower;
    struct cache_flight *flight;
    uint64_t version, left;
    uint64_t checked;
};

static struct cache *c;
static struct origin origin[URLS];
static struct cache_key keys[URLS];
static char texts[URLS][32];
static struct client clients[WORKERS][CLIENTS];
static struct worker *workers[WORKERS];
static pthread_mutex_t done_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_cond = PTHREAD_COND_INITIALIZER;
static unsigned done_count;
static _Atomic unsigned hits, leads, follows, stored, wrong_version, wrong_body;
static _Atomic bool stop_purging;

static unsigned pick(struct client *k, unsigned n)
{
    k->random ^= k->random << 13;
    k->random ^= k->random >> 7;
    k->random ^= k->random << 17;
    return (unsigned)(k->random % n);
}

static bool url_varies(unsigned url)
{
    return url % 3 == 0;
}

static uint64_t url_bytes(unsigned url)
{
    static const uint64_t sizes[] = {8, 600, 3000, 20000, 90000, 200000};
    return sizes[url % ARRAY_LEN(sizes)];
}

/* Every byte of a body is this. */
static unsigned char body_byte(unsigned url, unsigned language, uint64_t version)
{
    return (unsigned char)(version * 4 + (url_varies(url) ? language : 0));
}

static void client_step(struct worker *w, struct mail *m);
static void client_on_event(void *arg, enum cache_event event);

static void client_next(struct client *k)
{
    k->mail.on_mail = client_step;
    worker_post(k->worker, &k->mail);
}

/* The bytes from `from` on are of a version that was not purged before the request began. */
static uint64_t check_bytes(struct client *k, const struct cache_object *o, uint64_t from)
{
    struct iovec iov[8];
    size_t n = cache_object_iov(o, from, iov, ARRAY_LEN(iov));
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = iov[i].iov_base;
        for (size_t b = 0; b < iov[i].iov_len; b += 97) {
            uint64_t version = k->acknowledged;
            while (version < k->acknowledged + 40 && body_byte(k->url, k->language, version) != p[b])
                version++; /* the byte holds six bits of it: far more than can be purged while one request
                              lasts */
            if (version == k->acknowledged + 40)
                atomic_fetch_add(&wrong_version, 1);
        }
        from += iov[i].iov_len;
    }
    return from;
}

static const struct http_head *client_request(struct client *k, struct fix_head *h)
{
    static const char *const languages[] = {"de", "en", NULL};
    return fix_with_field(h, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", languages[k->language]);
}

static void client_lead(struct client *k)
{
    struct fix_head request, response;
    struct cache_fill fill = fix_fill(pick(k, 2) ? (int64_t)url_bytes(k->url) : -1);
    fill.request = client_request(k, &request);
    fill.response =
        fix_with_field(&response, HTTP_FIELD_VARY, "Vary", url_varies(k->url) ? "Accept-Language" : NULL);
    fill.max_object_bytes = k->url % 7 == 6 ? 50000 : 1000000; /* some outgrow it */
    k->version = atomic_load(&origin[k->url].version);
    enum no_store_reason why;
    if (pick(k, 12) == 0)
        cache_flight_fail(&k->flight, FETCH_RESET);
    else if (pick(k, 12) == 0 || cache_fill_begin(k->flight, &fill, &why) == NULL)
        cache_flight_release(&k->flight, NO_STORE_STATUS, 0);
    else
        k->left = url_bytes(k->url);
    atomic_fetch_add(&leads, 1);
    client_next(k);
}

static void client_pour(struct client *k)
{
    if (pick(k, 40) == 0) {
        cache_fill_abort(&k->flight);
    } else if (k->left > 0) {
        size_t room;
        char *p = cache_fill_buffer(k->flight, &room);
        if (p == NULL) {
            cache_fill_abort(&k->flight);
        } else {
            size_t most = 1 + pick(k, 30000);
            room = (size_t)MIN(MIN((uint64_t)room, k->left), most);
            memset(p, body_byte(k->url, k->language, k->version), room);
            cache_fill_commit(k->flight, room);
            k->left -= room;
        }
    } else if (cache_fill_finish(&k->flight) == NO_STORE_STORED) {
        atomic_fetch_add(&stored, 1);
    }
    client_next(k);
}

static void client_request_start(struct client *k)
{
    struct fix_head request;
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    k->url = pick(k, URLS);
    k->language = pick(k, 3);
    k->acknowledged = atomic_load(&origin[k->url].acknowledged);
    k->checked = 0;
    const struct http_head *head = client_request(k, &request);
    enum no_store_reason pass;
    rcu_enter();
    struct cache_object *o = cache_find(c, &keys[k->url], head, &scratch, &pass);
    bool hit = o != NULL && pick(k, 8) != 0; /* now and then a hit is revalidated */
    if (hit) {
        while (k->checked < url_bytes(k->url) && check_bytes(k, o, k->checked) > k->checked)
            k->checked = check_bytes(k, o, k->checked);
        if (k->checked != url_bytes(k->url) || !cache_object_is_complete(o))
            atomic_fetch_add(&wrong_body, 1);
        atomic_fetch_add(&hits, 1);
    }
    struct cache_join_result j = {.what = CACHE_PASS};
    if (!hit)
        j = cache_join(c, &keys[k->url], head, &scratch, o, k->worker, client_on_event, k);
    rcu_leave();
    arena_reset(&scratch);
    k->flight = j.flight;
    k->follower = j.follower;
    if (j.what == CACHE_FOLLOW)
        atomic_fetch_add(&follows, 1);
    if (j.what == CACHE_FOLLOW && pick(k, 10) == 0)
        cache_follower_close(&k->follower);
    if (j.what == CACHE_LEAD)
        client_lead(k);
    else if (k->follower == NULL)
        client_next(k);
}

static void client_step(struct worker *w, struct mail *m)
{
    UNUSED(w);
    struct client *k = CONTAINER_OF(m, struct client, mail);
    if (k->flight != NULL) {
        client_pour(k);
    } else if (k->requests_left-- > 0) {
        client_request_start(k);
    } else {
        pthread_mutex_lock(&done_mutex);
        done_count++;
        pthread_cond_signal(&done_cond);
        pthread_mutex_unlock(&done_mutex);
    }
}

static void client_on_event(void *arg, enum cache_event event)
{
    struct client *k = arg;
    bool more = event == CACHE_EVENT_OBJECT || event == CACHE_EVENT_PROGRESS;
    if (more && pick(k, 30) != 0) {
        struct cache_object *o = cache_follower_object(k->follower);
        do
            k->checked = check_bytes(k, o, k->checked);
        while (!cache_follower_arm(k->follower, k->checked) && cache_object_filled(o) > k->checked);
        bool ended = cache_object_is_complete(o) || cache_follower_is_cut(k->follower);
        if (!ended || cache_object_filled(o) > k->checked)
            return; /* armed, or the end came just now and its mail with it */
        if (cache_object_is_complete(o) && k->checked != url_bytes(k->url))
            atomic_fetch_add(&wrong_body, 1);
    }
    cache_follower_close(&k->follower);
    client_next(k);
}

static void *purger_main(void *arg)
{
    UNUSED(arg);
    rcu_thread_start();
    for (unsigned i = 0; !atomic_load(&stop_purging); i++) {
        uint64_t seen[URLS];
        unsigned url = i * 7 % URLS;
        bool all = i % 64 == 63;
        for (unsigned u = 0; u < URLS; u++) {
            if (all || u == url)
                seen[u] = atomic_fetch_add(&origin[u].version, 1) + 1;
        }
        if (all)
            cache_purge_all(c);
        else
            cache_purge_url(c, &keys[url]);
        for (unsigned u = 0; u < URLS; u++) {
            if (all || u == url)
                atomic_store(&origin[u].acknowledged, seen[u]);
        }
        unsigned at =
            atomic_load(&hits) + atomic_load(&leads); /* a purge per ten answers, not as many as fit */
        while (!atomic_load(&stop_purging) && atomic_load(&hits) + atomic_load(&leads) < at + 10)
            sched_yield();
    }
    rcu_thread_stop();
    return NULL;
}

static void stop_worker(struct worker *w, struct mail *m)
{
    UNUSED(m);
    worker_stop(w);
}

static void test_everything_at_once(void **state)
{
    UNUSED(state);
    c = fix_cache(2 * MB);
    for (unsigned u = 0; u < URLS; u++) {
        snprintf(texts[u], sizeof texts[u], "http://h/%u", u);
        keys[u] = fix_key(texts[u]);
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = worker_create(i);
        assert_non_null(workers[i]);
        for (int n = 0; n < CLIENTS; n++) {
            clients[i][n] = (struct client){.worker = workers[i],
                                            .random = (uint64_t)(i * 100 + n + 1) * 0x9e3779b97f4a7c15u,
                                            .requests_left = REQUESTS};
            client_next(&clients[i][n]);
        }
    }
    pthread_t purger;
    assert_int_equal(pthread_create(&purger, NULL, purger_main, NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_true(worker_start(workers[i]));
    pthread_mutex_lock(&done_mutex);
    while (done_count < WORKERS * CLIENTS)
        pthread_cond_wait(&done_cond, &done_mutex);
    pthread_mutex_unlock(&done_mutex);
    atomic_store(&stop_purging, true);
    pthread_join(purger, NULL);
    for (int i = 0; i < WORKERS; i++) {
        static struct mail stop[WORKERS];
        stop[i].on_mail = stop_worker;
        worker_post(workers[i], &stop[i]);
        worker_join(workers[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
    assert_int_equal(atomic_load(&wrong_version), 0);
    assert_int_equal(atomic_load(&wrong_body), 0);
    struct cache_stats s = fix_stats(c);
    print_message("hits %u, leads %u, follows %u, stored %u, evictions %u, purges %u\n", atomic_load(&hits),
                  atomic_load(&leads), atomic_load(&follows), atomic_load(&stored), (unsigned)s.evictions,
                  (unsigned)s.purges);
    assert_true(atomic_load(&hits) > 100 && atomic_load(&leads) > 100 && atomic_load(&follows) > 20);
    assert_int_equal(s.flights_now, 0);
    assert_int_equal(s.followers_now, 0);
    rcu_flush();
    assert_int_equal(fix_stats(c).live_objects, s.objects);
    fix_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everything_at_once)};
    return cmocka_run_group_tests_name("cache/shard", tests, fix_group_setup, fix_group_teardown);
}
