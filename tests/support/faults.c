/* faults.c: see faults.h. */
#include "tests/support/faults.h"

#include "core/random.h"

#define READERS    (support_sanitized() ? 2 : 4)
#define PURGERS    (support_sanitized() ? 1 : 2)
#define FAULTS_MAX 32

/* Answers of each node to each reader: while a fault lasts, at most, and afterwards. */
#define SHORT_MAX (support_sanitized() ? 8 : 25)
#define LONG_MAX  60
#define AFTER     (support_sanitized() ? 10 : 25)

/* Longer than anything of Redis may hold up a request, and than what a loaded machine does to it. */
#define LONGEST_MS (support_sanitized() ? 15000 : 5000)

struct tally {
    unsigned rounds;
    uint64_t purges, claims, answers, hits, redis, old, failed;
    dur_ms_t longest_ms;
};

static uint64_t random_state;

unsigned faults_pick(unsigned n)
{
    return (unsigned)(random_next(&random_state) >> 16) % n;
}

static void add(struct tally *y, const struct truth_figures *before, const struct truth_figures *now)
{
    y->rounds++;
    y->purges += now->purges - before->purges;
    y->claims += now->claims - before->claims;
    y->answers += now->answers - before->answers;
    y->hits += now->hits - before->hits;
    y->redis += now->from_redis - before->from_redis;
    y->old += now->old - before->old;
    y->failed += now->failed - before->failed;
    y->longest_ms = MAX(y->longest_ms, now->longest_ms);
}

static void print_row(const char *name, const struct tally *y)
{
    const uint64_t counts[] = {y->rounds,  y->purges, y->claims,
                               y->answers, y->hits,   y->redis,
                               y->old,     y->failed, (uint64_t)y->longest_ms};
    print_message("| %s |", name);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        print_message(" %llu |", (unsigned long long)counts[i]);
    print_message("\n");
}

static void print_table(const char *title, const struct fault *faults, unsigned count,
                        const struct tally *tallies)
{
    struct tally sum = {0};
    print_message(
        "| %s | rounds | purges | reached | answers | memory | Redis | old | failed | longest ms |\n", title);
    for (unsigned i = 0; i < count; i++) {
        const struct tally *y = &tallies[i];
        if (y->rounds > 0)
            print_row(faults[i].name, y);
        sum.rounds += y->rounds;
        sum.purges += y->purges;
        sum.claims += y->claims;
        sum.answers += y->answers;
        sum.hits += y->hits;
        sum.redis += y->redis;
        sum.old += y->old;
        sum.failed += y->failed;
        sum.longest_ms = MAX(sum.longest_ms, y->longest_ms);
    }
    print_row("all", &sum);
}

static void run_round(struct truth *t, const struct fault *f, unsigned round, unsigned answers_max,
                      struct tally *y)
{
    const struct truth_figures before = truth_take(t);
    truth_at(t, textf("round %u, %s", round, f->name));
    f->begin();
    truth_wait(t, 5 + faults_pick(answers_max));
    if (faults_pick(3) > 0)
        truth_pause(t);
    if (f->end != NULL)
        f->end();
    truth_settle(t, AFTER);
    const struct truth_figures now = truth_take(t);
    add(y, &before, &now);
    if (now.problem[0] != '\0')
        support_fail("%s", now.problem);
    if (now.longest_ms > LONGEST_MS)
        support_fail("round %u, %s: a request took %lld ms", round, f->name, (long long)now.longest_ms);
}

static unsigned number_of(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text != NULL && text[0] != '\0' ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

void faults_run(struct truth *t, const char *title, const struct fault *faults, unsigned count)
{
    struct tally tallies[FAULTS_MAX] = {{0}};
    const unsigned rounds = number_of("ROUNDS", 0);
    const char *only = getenv("FAULT");
    const unsigned seed = number_of("SEED", (unsigned)clock_mono_ms());
    if (count > FAULTS_MAX)
        support_fail("too many faults");
    random_state = seed;
    truth_at(t, "at the beginning");
    truth_run(t, READERS, PURGERS);
    truth_wait(t, 10);
    truth_settle(t, AFTER);
    const unsigned usual = (count + 3) / (support_sanitized() ? 4 : 2), first = faults_pick(count);
    for (unsigned i = 0; i < (rounds > 0 ? rounds : usual); i++) {
        unsigned k = rounds > 0 ? faults_pick(count) : (first + i) % count;
        while (only != NULL && strstr(faults[k].name, only) == NULL)
            k = (k + 1) % count;
        run_round(t, &faults[k], i + 1, rounds > 0 ? LONG_MAX : SHORT_MAX, &tallies[k]);
    }
    truth_stop(t);
    print_message("seed %u\n", seed);
    print_table(title, faults, count, tallies);
    const struct truth_figures all = truth_take(t);
    if (all.hits == 0 || all.from_redis == 0 || all.claims == 0)
        support_fail("nothing was proved: %llu hits, %llu from Redis, %llu purges said to have arrived",
                     (unsigned long long)all.hits, (unsigned long long)all.from_redis,
                     (unsigned long long)all.claims);
}
