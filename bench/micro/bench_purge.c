/* bench_purge.c: what it costs to purge a tag that 1,000,000 objects carry: the call, what a worker notices
 * while the sweeper takes the memory back, and how long that takes.
 *
 * A thread plays a worker: it looks up objects of another tag and stores new ones, and times each. On a
 * machine with other work the scheduler interrupts it anyway, so the same is done in two controls, without
 * any purge: with nothing else in the process, and beside a thread that works and sleeps like the sweeper but
 * shares nothing with the worker. What took long is told apart by its processor time and by how the thread
 * lost its processor: it worked, it waited (for a lock of ours, the allocator's or the kernel's), or it was
 * descheduled while it could have gone on. Only the first two can be the purge's doing.
 *
 * As arguments it takes another number of objects, and of bytes of their bodies.
 *
 * In one more round each hold of a lock is timed, which is what makes others wait: what takes and drops locks
 * is wrapped by the linker for that (-Wl,--wrap). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/purge.h"
#include "cache/shard.h"

#define OTHERS     1000
#define ROUNDS     3
#define BATCH      16 /* look-ups per question for the processor time */
#define CONTROL_US 3000000
#define LONG_NS    1000000

static struct cache *c;
static unsigned round_now;
static unsigned long objects = 1000000, body_bytes = 100;
static _Atomic bool stop;

static const char head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
    "Cache-Control: max-age=600\r\n";

static struct cache_key key_of(const char *what, unsigned long n, char buf[64])
{
    slice_t text = slice_make(buf, (size_t)snprintf(buf, 64, "http://127.0.0.1:8080/%s/%07lu", what, n));
    return (struct cache_key){text, hash_bytes(text.ptr, text.len)};
}

static void store(const char *what, unsigned long n, const char *tags)
{
    static const struct http_head none;
    char buf[64];
    struct arena scratch;
    const struct cache_key k = key_of(what, n, buf);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(c, &k, &none, &scratch, NULL, NULL, NULL, NULL);
    if (j.what != CACHE_LEAD)
        abort();
    struct cache_fill fill = {.request = &none,
                              .response = &none,
                              .head = slice_make(head, sizeof head - 1),
                              .status = 200,
                              .status_line_bytes = 17,
                              .body_bytes = (int64_t)body_bytes,
                              .max_object_bytes = 1000000,
                              .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 600000},
                              .tags = {.text = slice_str(tags), .bytes = {(uint16_t)strlen(tags)}}};
    enum no_store_reason why;
    size_t room;
    if (cache_fill_begin(j.flight, &fill, &why) == NULL) {
        cache_flight_release(&j.flight, why, 0);
        return;
    }
    for (size_t left = body_bytes, piece; left > 0; left -= piece) {
        char *at = cache_fill_buffer(j.flight, &room);
        if (at == NULL)
            abort();
        piece = MIN(room, left);
        memset(at, 'x', piece);
        cache_fill_commit(j.flight, piece);
    }
    cache_fill_finish(&j.flight);
}

/* ---- how long locks are held ---- */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static _Atomic bool holds_are_timed;
static _Thread_local bool is_ours;          /* not the sweeper, nor the thread that runs RCU's callbacks */
static _Thread_local int64_t lock_waits_ns; /* in lock_take, altogether */

struct holds {
    _Atomic uint64_t count, over_50_us, descheduled;
    _Atomic int64_t longest_cpu_ns, longest_ns, sum_cpu_ns;
};

enum holder { SWEEPER, WORKER, CONTROL, HOLDERS };
static const char *const holder_names[HOLDERS] = {"sweeper", "worker", "worker, in the controls"};
static struct holds holds_of[HOLDERS][LOCK_RANKS];
static _Atomic bool is_control;
static _Thread_local struct {
    int64_t cpu_ns, wall_ns;
} hold_began[LOCK_RANKS];

static void note_longest(_Atomic int64_t *longest, int64_t ns)
{
    int64_t now = atomic_load(longest);
    while (now < ns && !atomic_compare_exchange_weak(longest, &now, ns))
        continue;
}

void __real_lock_take(struct lock *l);
void __real_lock_drop(struct lock *l);
bool __real_lock_try(struct lock *l);
bool __real_lock_take_within(struct lock *l, unsigned wait_us);
void __wrap_lock_take(struct lock *l);
bool __wrap_lock_try(struct lock *l);
bool __wrap_lock_take_within(struct lock *l, unsigned wait_us);
void __wrap_lock_drop(struct lock *l);

static void hold_begin(const struct lock *l)
{
    hold_began[l->rank].cpu_ns = -1;
    if (!atomic_load_explicit(&holds_are_timed, memory_order_relaxed))
        return;
    hold_began[l->rank].wall_ns = clock_ns(CLOCK_MONOTONIC);
    hold_began[l->rank].cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void __wrap_lock_take(struct lock *l)
{
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    __real_lock_take(l);
    lock_waits_ns += clock_ns(CLOCK_MONOTONIC) - begin_ns;
    hold_begin(l);
}

bool __wrap_lock_try(struct lock *l)
{
    bool taken = __real_lock_try(l);
    if (taken)
        hold_begin(l);
    return taken;
}

bool __wrap_lock_take_within(struct lock *l, unsigned wait_us)
{
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    bool taken = __real_lock_take_within(l, wait_us);
    lock_waits_ns += clock_ns(CLOCK_MONOTONIC) - begin_ns;
    if (taken)
        hold_begin(l);
    return taken;
}

void __wrap_lock_drop(struct lock *l)
{
    int64_t cpu_ns = 0, wall_ns = 0;
    if (hold_began[l->rank].cpu_ns >= 0) {
        cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - hold_began[l->rank].cpu_ns;
        wall_ns = clock_ns(CLOCK_MONOTONIC) - hold_began[l->rank].wall_ns;
    }
    uint8_t rank = l->rank;
    __real_lock_drop(l);
    struct holds *h = &holds_of[!is_ours ? SWEEPER : atomic_load(&is_control) ? CONTROL : WORKER][rank];
    atomic_fetch_add(&h->count, wall_ns > 0);
    atomic_fetch_add(&h->over_50_us, cpu_ns > 50000);
    atomic_fetch_add(&h->descheduled, wall_ns - cpu_ns > 100000);
    atomic_fetch_add(&h->sum_cpu_ns, cpu_ns);
    note_longest(&h->longest_cpu_ns, cpu_ns);
    note_longest(&h->longest_ns, wall_ns);
}

static void holds_print(void)
{
    printf("\n| lock | held by | times | mean, of its processor time | longest, of that | > 50 us of that | "
           "longest | "
           "holder descheduled for > 100 us |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (unsigned rank = 0; rank < LOCK_RANKS; rank++) {
        for (unsigned who = 0; who < HOLDERS; who++) {
            struct holds *h = &holds_of[who][rank];
            if (h->count > 0)
                printf("| %s | %s | %llu | %.2f us | %.1f us | %llu | %.1f us | %llu |\n",
                       lock_rank_name(rank), holder_names[who], (unsigned long long)h->count,
                       (double)h->sum_cpu_ns / 1e3 / (double)h->count, (double)h->longest_cpu_ns / 1e3,
                       (unsigned long long)h->over_50_us, (double)h->longest_ns / 1e3,
                       (unsigned long long)h->descheduled);
        }
    }
}

/* ---- the worker ---- */

struct figures {
    unsigned long count, over_100_us;
    unsigned long worked, locked, waited, descheduled; /* those over 1 ms */
    int64_t longest_ns, longest_cpu_ns;
};

enum phase { ALONE, BESIDE_STRANGER, PURGE, PHASES };
static const char *const phase_names[PHASES] = {"control: nothing else", "control: a stranger works",
                                                "a tag of all of them was purged"};
static struct figures looks[PHASES], stores[PHASES];
static enum phase phase;
static double phase_s[PHASES];
static bool times_holds;
static unsigned long stored;

/* What a thread has used and how often it gave its processor away because it had to wait. */
struct usage {
    int64_t cpu_ns, lock_ns;
    long waits;
};

static struct usage usage_now(void)
{
    struct rusage r;
    getrusage(RUSAGE_THREAD, &r);
    return (struct usage){clock_ns(CLOCK_THREAD_CPUTIME_ID), lock_waits_ns, r.ru_nvcsw};
}

/* Of one or of some, of which the longest took `ns`. */
static void figures_judge(struct figures *f, int64_t ns, struct usage before)
{
    struct usage now = usage_now();
    int64_t cpu_ns = now.cpu_ns - before.cpu_ns;
    f->longest_ns = MAX(f->longest_ns, ns);
    f->longest_cpu_ns = MAX(f->longest_cpu_ns, cpu_ns);
    f->over_100_us += ns > LONG_NS / 10;
    if (ns <= LONG_NS)
        return;
    if (cpu_ns > LONG_NS)
        f->worked++;
    else if (now.waits == before.waits)
        f->descheduled++;
    else if (now.lock_ns - before.lock_ns > LONG_NS / 2)
        f->locked++;
    else
        f->waited++;
}

static void worker_look(unsigned long first)
{
    static const struct http_head none;
    int64_t longest_ns = 0;
    struct usage before = usage_now();
    for (unsigned long n = first; n < first + BATCH; n++) {
        char buf[64];
        enum no_store_reason pass;
        const struct cache_key k = key_of("other", n % OTHERS, buf);
        int64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
        rcu_enter();
        cache_find(c, &k, &none, NULL, &pass);
        rcu_leave();
        longest_ns = MAX(longest_ns, clock_ns(CLOCK_MONOTONIC) - begin_ns);
    }
    looks[phase].count += BATCH;
    figures_judge(&looks[phase], longest_ns, before);
}

static void worker_store(void)
{
    char what[16];
    snprintf(what, sizeof what, "new%u", round_now);
    struct usage before = usage_now();
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    store(what, stored++, "new ");
    int64_t took_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns;
    stores[phase].count++;
    figures_judge(&stores[phase], took_ns, before);
}

static void *worker_main(void *arg)
{
    UNUSED(arg);
    is_ours = true;
    rcu_thread_start();
    for (unsigned long n = 0; !atomic_load_explicit(&stop, memory_order_relaxed); n += BATCH) {
        worker_look(n);
        if (n % (BATCH * 4) == 0)
            worker_store();
    }
    rcu_thread_stop();
    return NULL;
}

/* Works a third of the time, like the sweeper, on memory of its own. */
static void *stranger_main(void *arg)
{
    enum { WORDS = 4 << 20 };
    uint64_t *own = calloc(WORDS, sizeof *own), at = 1;
    UNUSED(arg);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + 250000; clock_ns(CLOCK_MONOTONIC) < until_ns;) {
            at = at * 6364136223846793005u + 1442695040888963407u;
            own[at % WORDS]++;
        }
        usleep(500);
    }
    free(own);
    return NULL;
}

static void start(pthread_t *thread, void *(*main_fn)(void *))
{
    if (pthread_create(thread, NULL, main_fn, NULL) != 0)
        abort();
}

static void worker_run_for(enum phase which, bool (*done)(void))
{
    pthread_t worker, stranger;
    phase = which;
    atomic_store(&is_control, which != PURGE);
    atomic_store(&holds_are_timed, times_holds);
    atomic_store(&stop, false);
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    start(&worker, worker_main);
    if (which == BESIDE_STRANGER)
        start(&stranger, stranger_main);
    while (!done())
        usleep(1000);
    atomic_store(&stop, true);
    pthread_join(worker, NULL);
    if (which == BESIDE_STRANGER)
        pthread_join(stranger, NULL);
    atomic_store(&holds_are_timed, false);
    phase_s[which] += (double)(clock_ns(CLOCK_MONOTONIC) - begin_ns) / 1e9;
}

static void figures_print(const char *what, const struct figures f[PHASES])
{
    for (unsigned i = 0; i < PHASES; i++)
        printf("| %s | %s | %.1f s | %lu | %.0f us | %.0f us | %lu | %lu | %lu | %lu | %lu |\n", what,
               phase_names[i], phase_s[i], f[i].count, (double)f[i].longest_ns / 1e3,
               (double)f[i].longest_cpu_ns / 1e3, f[i].over_100_us, f[i].worked, f[i].locked, f[i].waited,
               f[i].descheduled);
}

/* ---- the rounds ---- */

static mono_us_t until_us;

static bool time_is_over(void)
{
    return clock_mono_us() > until_us;
}

static bool memory_is_back(void)
{
    return atomic_load(&c->sweeper.swept_id) >= atomic_load(&c->sweeper.wanted_id) &&
           atomic_load(&c->account.doomed) == 0;
}

static void purge_round(void)
{
    struct cache_stats before, after;
    round_now++;
    for (unsigned long n = 0; n < objects; n++)
        store("page", n, "site page ");
    cache_get_stats(c, &before);
    until_us = clock_mono_us() + CONTROL_US;
    worker_run_for(ALONE, time_is_over);
    until_us = clock_mono_us() + CONTROL_US;
    worker_run_for(BESIDE_STRANGER, time_is_over);

    struct cache_purge_result result;
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = SLICE_LIT("site")};
    uint64_t shard_waits = lock_contended(LOCK_CACHE_SHARD), evict_waits = lock_contended(LOCK_CACHE_EVICT);
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC), begin_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    cache_purge(c, &p, 1, &result);
    int64_t call_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns;
    int64_t call_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_cpu_ns;
    worker_run_for(PURGE, memory_is_back);
    double took_s = (double)(clock_ns(CLOCK_MONOTONIC) - begin_ns) / 1e9;
    cache_get_stats(c, &after);
    printf("Round %u: the call took %.1f us (%.1f us of processor time); %llu MB with %llu objects became "
           "%llu MB with %llu in %.2f s; "
           "waits for a lock meanwhile: %llu of a shard, %llu of eviction.\n",
           round_now, (double)call_ns / 1e3, (double)call_cpu_ns / 1e3,
           (unsigned long long)(before.bytes_used / MB), (unsigned long long)before.objects,
           (unsigned long long)(after.bytes_used / MB), (unsigned long long)after.objects, took_s,
           (unsigned long long)(lock_contended(LOCK_CACHE_SHARD) - shard_waits),
           (unsigned long long)(lock_contended(LOCK_CACHE_EVICT) - evict_waits));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        objects = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        body_bytes = strtoul(argv[2], NULL, 10);
    is_ours = true;
    hash_seed_random();
    rcu_thread_start();
    c = cache_create(&(struct cache_settings){.memory_bytes = 4096 * MB, .max_waiters = 100});
    for (unsigned long n = 0; n < OTHERS; n++)
        store("other", n, "other ");
    for (unsigned i = 0; i < ROUNDS; i++)
        purge_round();
    printf("\nProcessor time of look-ups: the longest of %d together. Over 1 ms are those in the last four "
           "columns.\n\n"
           "| what | while | for | times | longest | longest, of its processor time | > 100 us | > 1 ms: "
           "worked | "
           "waited for our locks | waited else | descheduled |\n"
           "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
           BATCH);
    figures_print("look-up", looks);
    figures_print("store", stores);
    printf("\nOne more round, in which holds of locks are timed (which lengthens them by about 0.5 us).\n\n");
    times_holds = true;
    purge_round();
    holds_print();
    cache_destroy(c);
    rcu_thread_stop();
    return 0;
}
