/* rate.h: how often somebody may come: a rate with room for a burst, and a table of who has come how often.
 *
 * The generic cell rate algorithm (ITU-T I.371), which is a bucket of tokens told by one number: the
 * theoretical arrival time, up to which what has come is paid for at the rate. Each request moves it one step
 * further; one that would move it further ahead of now than the room is over the limit and moves nothing. In
 * any stretch of time t at most `room / step + t / step` requests pass.
 *
 * The table is fixed in size and shared by all threads. Keys are hashes (with the seed of the process, so
 * that nobody can prepare keys that meet); two keys are told apart by 64 bits and their place. Who is not
 * ahead of now has nothing to be remembered for, and is the first to make room for others. When all of a
 * place's entries are ahead, the one that is least so is forgotten: it may have its burst once more, and that
 * is counted. So more clients at once than there are entries make limits laxer, never stricter. */
#ifndef CORE_RATE_H
#define CORE_RATE_H

#include "core/hash.h"

typedef int64_t rate_ns_t; /* of the monotonic clock, and lengths of time */

/* A request each `step_ns`; `room_ns` / `step_ns`, at least 1, at once. */
struct rate_limit {
    rate_ns_t step_ns, room_ns;
};

enum rate_verdict {
    RATE_PASSED,
    RATE_PASSED_FORGOT, /* and somebody else was forgotten for that */
    RATE_UNCOUNTED,     /* passed, since its place in the table was busy for too long */
    RATE_OVER
};

struct rate_table;

#define RATE_WAYS 7     /* entries of one place */
#define RATE_SETS 32768 /* places: 229,376 entries, 4 MB once they are used */

/* `sets` is a power of two. NULL when out of memory. */
struct rate_table *rate_table_new(size_t sets);
/* NULL is fine. */
void rate_table_free(struct rate_table *t);

/* One request of `key`. When it is over, *wait_ns says in what time one would pass. Any thread; who finds its
 * key there takes no lock. */
enum rate_verdict rate_take(struct rate_table *t, hash128_t key, const struct rate_limit *l, rate_ns_t now_ns,
                            rate_ns_t *wait_ns);
/* Somebody who counts for several tables said that `used_ns` of the key's room were used at `now_ns`. If that
 * is more than is known here it is taken over. `refused`: and what rate_take counted last did not pass after
 * all. A key that is not there (any more) stays so. Any thread. */
void rate_learn(struct rate_table *t, hash128_t key, const struct rate_limit *l, rate_ns_t now_ns,
                rate_ns_t used_ns, bool refused);

#endif
