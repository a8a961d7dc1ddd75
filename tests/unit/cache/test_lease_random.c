/* test_lease_random.c: many nodes and keys, at random, while links are cut, stalled and healed, the server
 * hangs, forgets its scripts, and drops who listens.
 *
 * The origin has a counter per key: what is fetched has its next value. So two things must hold of what Redis
 * has carried out, as it lists it itself (MONITOR): the values that are written of a key only grow, and who
 * writes is who was granted the lease last. And whoever asked is told something, once.
 *
 * A second test runs nodes on threads of their own, for the thread sanitizer.
 *   LEASE_STEPS=n  how long (5000)    LEASE_SEED=n  the same again */
#include <pthread.h>

#include "core/hash.h"
#include "core/random.h"
#include "tests/unit/cache/lease_fixture.h"

#define KEYS       24
#define LINKS      5
#define TTL_MS     300
#define TIMEOUT_MS 100

struct run {
    struct asker asker;
    unsigned key;
    uint64_t version;      /* what was fetched */
    uint64_t acknowledged; /* when it was asked for */
};

static struct run runs[ASKERS];
static struct relay *links[LINKS];
static uint64_t origin[KEYS], written[KEYS], seed;
static unsigned asked, ended, holds, writes;
static bool frozen;
static struct redis_process *server;

static unsigned draw(unsigned below)
{
    return (unsigned)(random_next(&seed) % below);
}

static const char *key_of(unsigned key)
{
    static const char keys[KEYS][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l",
                                       "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x"};
    return keys[key];
}

static void run_on_result(void *arg, const struct cache_lease_result *r)
{
    struct run *run = arg;
    asker_on_result(&run->asker, r);
    assert_int_equal(run->asker.results, 1);
    if (r->outcome == CACHE_LEASE_HELD) {
        holds++;
        run->version = ++origin[run->key]; /* the fetch */
        return;
    }
    ended++;
    if (r->outcome == CACHE_LEASE_FOUND) /* nothing that was acknowledged before he asked is forgotten */
        assert_true(strtoull(run->asker.record, NULL, 10) >= run->acknowledged);
}

static void run_on_put(void *arg, enum cache_lease_put put)
{
    struct run *run = arg;
    asker_on_put(&run->asker, put);
    assert_int_equal(run->asker.puts, 1);
    ended++;
    if (put == CACHE_LEASE_WRITTEN) {
        writes++;
        written[run->key] = MAX(written[run->key], run->version);
    }
}

static void run_ask(struct run *run)
{
    static const dur_ms_t wait_ms[] = {0, 50, 500, LONG_MS};
    memset(run, 0, sizeof *run);
    run->key = draw(KEYS);
    run->acknowledged = written[run->key];
    char refused[32];
    int bytes = snprintf(refused, sizeof refused, "%020llu", (unsigned long long)written[run->key]);
    const struct cache_lease_request rq = {.key = slice_str(key_of(run->key)),
                                           .want = (enum cache_lease_want)draw(3),
                                           .refused = slice_make(refused, (size_t)bytes),
                                           .wait_ms = wait_ms[draw(ARRAY_LEN(wait_ms))],
                                           .on_result = run_on_result,
                                           .arg = run};
    run->asker.lease = cache_lease_ask(nodes[draw(NODES)].leases, &rq);
    asked++;
    ended += run->asker.lease == NULL;
}

static void run_go_on(struct run *run)
{
    struct asker *a = &run->asker;
    if (a->results == 0 || a->outcome != CACHE_LEASE_HELD) { /* asks or waits */
        if (draw(20) == 0) {
            cache_lease_cancel(&a->lease);
            ended++;
        }
        return;
    }
    char record[32];
    int bytes = snprintf(record, sizeof record, "%020llu", (unsigned long long)run->version);
    unsigned what = draw(30);
    if (what < 6) {
        if (!cache_lease_put(&a->lease, slice_make(record, (size_t)bytes), LONG_MS, run_on_put, run))
            ended++;
        else
            a->outcome = CACHE_LEASE_OUTCOME_COUNT; /* being written; may be cancelled */
    } else if (what < 9) {
        ended++;
        if (what == 6)
            cache_lease_cancel(&a->lease);
        else
            cache_lease_end(&a->lease, what == 7 ? CACHE_WAKE_PASS : CACHE_WAKE_FAILED);
    }
}

static void something_happens(void)
{
    struct relay *link = links[draw(LINKS)];
    switch (draw(18)) {
    case 0:
        relay_cut(link);
        break;
    case 1:
        relay_stall(link);
        break;
    case 2:
        relay_slow(link, 20);
        break;
    case 3:
        if (!frozen)
            redis_freeze(server);
        else
            redis_thaw(server);
        frozen = !frozen;
        break;
    case 4:
        if (!frozen)
            redis_do(server, "SCRIPT FLUSH");
        break;
    case 5:
        if (!frozen)
            redis_do(server, "CLIENT KILL TYPE pubsub");
        break;
    default:
        relay_heal(link);
        if (frozen)
            redis_thaw(server);
        frozen = false;
        break;
    }
}

static void all_is_well(void)
{
    if (frozen)
        redis_thaw(server);
    frozen = false;
    for (int i = 0; i < LINKS; i++)
        relay_heal(links[i]);
}

/* ---- what Redis wrote ---- */

static redisContext *monitor_start(void)
{
    redisContext *c = redisConnectUnix(server->unix_address + sizeof "unix:" - 1);
    assert_true(c != NULL && c->err == 0);
    freeReplyObject(redisCommand(c, "MONITOR"));
    return c;
}

struct history {
    char granted[CACHE_LEASE_TOKEN + 1],
        before[CACHE_LEASE_TOKEN + 1]; /* the last tokens that got the lease */
    uint64_t version;                  /* that was written last */
};

/* What stands behind `words` in a line; NULL when they do not. */
static const char *behind(const char *line, const char *words)
{
    const char *at = strstr(line, words);
    return at != NULL ? at + strlen(words) : NULL;
}

/* One line about a key. `token`: of the script that runs. Returns whether a record was written. */
static bool history_add(struct history *h, unsigned key, const char *line, char token[CACHE_LEASE_TOKEN + 1])
{
    const char *lease = lease_name(key_of(key)), *at;
    if ((at = behind(line, textf("lua] \"SET\" \"%s\" \"-", lease))) != NULL) { /* tries to get it */
        memcpy(h->before, h->granted, sizeof h->before);
        memcpy(h->granted, at, CACHE_LEASE_TOKEN);
    } else if (behind(line, textf("lua] \"SETRANGE\" \"%s\"", lease)) != NULL) { /* and did not */
        memcpy(h->granted, h->before, sizeof h->granted);
    } else if (strstr(line, "\"EVAL\"") != NULL && (at = behind(line, textf("\"%s\" \"", lease))) != NULL) {
        memcpy(token, at, CACHE_LEASE_TOKEN);
    } else if ((at = behind(line, textf("lua] \"SET\" \"%s\" \"", head_name(key_of(key))))) != NULL) {
        uint64_t version = strtoull(at, NULL, 10);
        EXPECT(version > h->version, "%s: %llu after %llu", key_of(key), (unsigned long long)version,
               (unsigned long long)h->version);
        EXPECT(strcmp(token, h->granted) == 0, "%s: %s wrote while %s had the lease", key_of(key), token,
               h->granted);
        h->version = version;
        return true;
    }
    return false;
}

/* Returns how many records were written. */
static unsigned monitor_check(redisContext *c)
{
    struct history histories[KEYS] = {0};
    char token[CACHE_LEASE_TOKEN + 1] = "";
    unsigned count = 0;
    const char *hashes[KEYS];
    for (unsigned k = 0; k < KEYS; k++)
        hashes[k] = name_of(names_of(key_of(k)).hash);
    redis_do(server, "ECHO that-is-all");
    for (bool more = true; more;) {
        redisReply *r = NULL;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        more = strstr(r->str, "that-is-all") == NULL;
        unsigned k = 0;
        while (k < KEYS && strstr(r->str, hashes[k]) == NULL)
            k++;
        count += k < KEYS && history_add(&histories[k], k, r->str, token);
        freeReplyObject(r);
    }
    redisFree(c);
    return count;
}

static int teardown(void **state)
{
    for (int i = 0; i < ASKERS; i++)
        cache_lease_cancel(&runs[i].asker.lease);
    return lease_teardown(state);
}

static unsigned number_of(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void records_are_written_in_order(void **state)
{
    UNUSED(state);
    unsigned first;
    hash_random(&first, sizeof first);
    first = number_of("LEASE_SEED", first);
    seed = first;
    fprintf(stderr, "LEASE_SEED=%u\n", first);
    server = redis_start("one", NULL);
    for (int i = 0; i < LINKS; i++)
        links[i] = relay_start(server->port);
    for (int i = 0; i < NODES; i++)
        node_open(&nodes[i], relay_address(links[i % LINKS]), TTL_MS, TIMEOUT_MS, ASKERS);
    for (int i = 0; i < NODES; i++)
        UNTIL(node_is_up(&nodes[i], SOME_KEY));
    redisContext *monitor = monitor_start();
    for (unsigned step = number_of("LEASE_STEPS", 5000); step > 0; step--) {
        struct run *run = &runs[draw(ASKERS)];
        if (draw(40) == 0)
            something_happens();
        if (!frozen && draw(10) == 0) /* evicted */
            redis_do(server, "DEL %s", head_name(key_of(draw(KEYS))));
        if (run->asker.lease == NULL)
            run_ask(run);
        else
            run_go_on(run);
        turn();
    }
    all_is_well();
    for (bool open = true; open;) {
        open = false;
        for (int i = 0; i < ASKERS; i++) {
            if (runs[i].asker.lease == NULL)
                continue;
            open = true;
            run_go_on(&runs[i]);
        }
        turn();
    }
    assert_int_equal(ended, asked);
    unsigned count = monitor_check(monitor);
    struct cache_lease_figures sum = {0};
    for (int i = 0; i < NODES; i++) {
        struct cache_lease_figures f = figures_of(&nodes[i]);
        assert_int_equal(f.wakes.waiters, 0);
        for (int o = 0; o < CACHE_LEASE_OUTCOME_COUNT; o++)
            sum.outcomes[o] += f.outcomes[o];
        for (int o = 0; o < CACHE_LEASE_PUT_COUNT; o++)
            sum.puts[o] += f.puts[o];
        sum.lost += f.lost;
        sum.waits += f.waits;
        sum.wakes.gaps += f.wakes.gaps;
    }
    fprintf(stderr, "%u asked, %u written, %u told so;", asked, count, writes);
    for (int o = 0; o < CACHE_LEASE_OUTCOME_COUNT; o++)
        fprintf(stderr, " %s %u", cache_lease_outcome_name((enum cache_lease_outcome)o),
                (unsigned)sum.outcomes[o]);
    fprintf(stderr, "; puts %u fenced, %u unknown; %u lost, %u waits, %u gaps\n",
            (unsigned)sum.puts[CACHE_LEASE_FENCED], (unsigned)sum.puts[CACHE_LEASE_UNKNOWN],
            (unsigned)sum.lost, (unsigned)sum.waits, (unsigned)sum.wakes.gaps);
    assert_true(writes > 0 && count >= writes && count <= holds);
}

/* ---- threads ---- */

#define THREADS     3
#define THREAD_KEYS 40

struct thread_node {
    struct node node;
    struct mail ask;
    struct thread_run {
        struct thread_node *of;
        struct cache_lease *lease;
        char key[16];
    } runs[THREAD_KEYS];
    int found;
    struct deadline again;
};

static struct worker *threads[THREADS];
static struct thread_node thread_nodes[THREADS];
static atomic_int thread_holds[THREAD_KEYS], thread_done;

static void thread_on_put(void *arg, enum cache_lease_put put)
{
    struct thread_run *run = arg;
    run->lease = NULL;
    if (put == CACHE_LEASE_WRITTEN && ++run->of->found == THREAD_KEYS)
        atomic_fetch_add(&thread_done, 1);
}

static void thread_on_result(void *arg, const struct cache_lease_result *r)
{
    struct thread_run *run = arg;
    if (r->outcome == CACHE_LEASE_HELD) {
        atomic_fetch_add(&thread_holds[run - run->of->runs], 1);
        cache_lease_put(&run->lease, slice_str(run->key), LONG_MS, thread_on_put, run);
        return;
    }
    run->lease = NULL;
    if (r->outcome == CACHE_LEASE_FOUND && ++run->of->found == THREAD_KEYS)
        atomic_fetch_add(&thread_done, 1);
}

static void thread_on_again(struct deadline *d)
{
    struct thread_node *t = CONTAINER_OF(d, struct thread_node, again);
    struct worker *own = worker_current();
    if (!cache_leases_get_figures(t->node.leases).wakes.up || !redis_is_up(t->node.redis, SLICE_LIT("a"))) {
        deadline_set(own, &t->again, worker_now_ms(own) + 1);
        return;
    }
    for (int i = 0; i < THREAD_KEYS; i++) {
        struct thread_run *run = &t->runs[i];
        run->of = t;
        snprintf(run->key, sizeof run->key, "key-%d", i);
        const struct cache_lease_request rq = {
            .key = slice_str(run->key), .wait_ms = LONG_MS, .on_result = thread_on_result, .arg = run};
        run->lease = cache_lease_ask(t->node.leases, &rq);
    }
}

static void thread_on_start(struct worker *own)
{
    struct thread_node *t = own->owner;
    const struct redis_settings r = {
        .mode = REDIS_STANDALONE,
        .servers = &t->node.server,
        .server_count = 1,
        .login = &lease_login,
        .limits = {
            .connections = 2, .calls_max = 1000, .timeout_ms = LONG_MS, .connect_timeout_ms = LONG_MS}};
    t->node.redis = redis_open(own, &r);
    const struct cache_lease_settings s = {.redis = t->node.redis,
                                           .prefix = PREFIX,
                                           .ttl_ms = LONG_MS,
                                           .timeout_ms = LONG_MS,
                                           .waiters_max = ASKERS};
    t->node.leases = cache_leases_open(own, &s);
    deadline_init(&t->again, thread_on_again);
    thread_on_again(&t->again);
}

static void thread_on_stop(struct worker *own)
{
    struct thread_node *t = own->owner;
    for (int i = 0; i < THREAD_KEYS; i++)
        cache_lease_cancel(&t->runs[i].lease);
    deadline_clear(own, &t->again);
    node_close(&t->node);
}

static void thread_on_mail(struct worker *own, struct mail *m)
{
    UNUSED(m);
    worker_stop(own);
}

static void threads_fetch_each_key_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = worker_create(i);
        threads[i]->owner = &thread_nodes[i];
        threads[i]->on_start = thread_on_start;
        threads[i]->on_stop = thread_on_stop;
        thread_nodes[i].node.server = slice_str(p->address);
        assert_true(worker_start(threads[i]));
    }
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (atomic_load(&thread_done) < THREADS && clock_mono_ms() < until_ms)
        turn();
    for (int i = 0; i < THREADS; i++) {
        thread_nodes[i].ask.on_mail = thread_on_mail;
        worker_post(threads[i], &thread_nodes[i].ask);
        worker_join(threads[i]);
        worker_drain(threads[i]);
        worker_destroy(threads[i]);
    }
    assert_int_equal(atomic_load(&thread_done), THREADS);
    for (int i = 0; i < THREAD_KEYS; i++)
        assert_int_equal(atomic_load(&thread_holds[i]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_are_written_in_order, lease_setup, teardown),
        TEST_OF(threads_fetch_each_key_once),
    };
    return E2E_RUN("lease_random", tests);
}
