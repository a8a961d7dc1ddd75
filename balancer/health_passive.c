/* health_passive.c: see health_passive.h.
 *
 * Two things eject an instance: as many failures in a row as `eject_errors` says, which workers count and
 * tell by mail, and failing far more often than the others of its pool, which is seen here from totals that
 * are kept anyway: neither costs a request that succeeds more than a look at one word.
 *
 * Left out is only who is worse than the others. An application that answers each request for one page with
 * an error does so on every instance, and fewer instances would not make it better: while at least half of
 * what the others got failed, too, or at least half of the others are in a row of failures themselves, nobody
 * is ejected. Nor is the last usable instance, nor more of them at a time than `eject_max`; and when the last
 * one goes down, all come back that are merely ejected.
 *
 * An ejection ends by time, each one that comes within five minutes of the last being twice as long; what
 * probes say of an ejected instance can only make it worse (down). Rejected: ending it by a good probe. A
 * probe asks for one page, and an instance whose probe fails is down anyway. */
#include "balancer/health_passive.h"

#include <stdio.h>

#include "balancer/pool.h"
#include "core/log.h"
#include "core/timeline.h"

/* ---- rules ---- */

enum passive_spared passive_judge(const struct passive_others *others, int eject_max_percent)
{
    unsigned most = (unsigned)((uint64_t)others->servers * (unsigned)eject_max_percent / 100);
    if (most == 0 && eject_max_percent > 0)
        most = 1;
    if (others->usable == 0)
        return PASSIVE_SPARED_LAST;
    if ((others->failing > 0 && others->failing * 2 >= others->usable) ||
        (others->count.failures > 0 && others->count.failures * 2 >= others->count.requests))
        return PASSIVE_SPARED_ALL_FAIL;
    return others->ejected >= most ? PASSIVE_SPARED_MAX : PASSIVE_SPARED_NOT;
}

bool passive_is_outlier(const struct passive_count *own, const struct passive_count *others)
{
    if (own->requests < PASSIVE_REQUESTS || others->requests < PASSIVE_REQUESTS ||
        own->failures * 100 < own->requests * PASSIVE_SHARE)
        return false;
    return own->failures * others->requests >= PASSIVE_TIMES * others->failures * own->requests;
}

dur_ms_t passive_time_ms(dur_ms_t first_ms, unsigned times)
{
    dur_ms_t ms = first_ms;
    for (unsigned i = 1; i < times && ms < PASSIVE_LONGEST; i++)
        ms *= 2;
    return MIN(ms, MAX(first_ms, PASSIVE_LONGEST));
}

const char *passive_spared_text(enum passive_spared s)
{
    static const char *const texts[PASSIVE_SPARED_COUNT] = {
#define X(id, text) text,
        PASSIVE_SPARED(X)
#undef X
    };
    return texts[s];
}

/* ---- windows ---- */

/* Of requests that have ended: how those in flight will end is not known. The figures are not of one moment,
 * so they may be wrong by what workers do meanwhile, and go back by as much. */
static struct passive_count passive_totals(const struct instance *i)
{
    uint64_t begun = atomic_load_explicit(&i->requests, memory_order_relaxed);
    uint64_t in_flight = instance_in_flight(i);
    return (struct passive_count){begun - MIN(begun, in_flight),
                                  atomic_load_explicit(&i->failures, memory_order_relaxed)};
}

/* Since the oldest look of the window. */
static struct passive_count passive_window(const struct instance *i)
{
    const struct passive *s = &i->passive;
    struct passive_count now = passive_totals(i);
    unsigned oldest = s->looks < PASSIVE_TICKS ? 0 : s->looks % PASSIVE_TICKS;
    if (s->looks == 0)
        return now;
    return (struct passive_count){now.requests - MIN(now.requests, s->requests[oldest]),
                                  now.failures - s->failures[oldest]};
}

static void passive_look(struct instance *i)
{
    struct passive *s = &i->passive;
    struct passive_count now = passive_totals(i);
    s->requests[s->looks % PASSIVE_TICKS] = now.requests;
    s->failures[s->looks % PASSIVE_TICKS] = now.failures;
    s->looks++;
}

void passive_begin(struct instance *i)
{
    i->passive.looks = 0;
    passive_look(i);
}

static struct passive_others passive_others_of(const struct pool *p, const struct seat *own)
{
    struct passive_others o = {0};
    for (size_t n = 0; n < p->seats.count; n++) {
        const struct seat *other = &p->seats.items[n];
        if (!member_is_taking(other->member))
            continue;
        o.servers++;
        if (other == own)
            continue;
        o.ejected += instance_state(other->instance) == INSTANCE_EJECTED;
        if (!instance_is_usable(other->instance))
            continue;
        struct passive_count count = passive_window(other->instance);
        int in_row = (int)atomic_load_explicit(&other->instance->failures_in_row, memory_order_relaxed);
        o.usable++;
        o.failing += in_row > 0 && in_row * 2 >= p->config->eject_errors;
        o.count.requests += count.requests;
        o.count.failures += count.failures;
    }
    return o;
}

/* ---- ejecting ---- */

static void passive_set_spared(struct instance *i, enum passive_spared to, const char *why)
{
    enum passive_spared from = i->passive.spared;
    i->passive.spared = to;
    if (from != PASSIVE_SPARED_NOT && to == PASSIVE_SPARED_NOT)
        log_info("%s: does not fail any more", i->title);
    if (from != PASSIVE_SPARED_NOT || to == PASSIVE_SPARED_NOT)
        return;
    log_warn("%s: not ejected, since %s: %s", i->title, passive_spared_text(to), why);
    timeline_note(TIMELINE_SPARED, "%s: not ejected, since %s: %s", i->title, passive_spared_text(to), why);
    instance_registry_count(i->registry, METRIC_EJECTIONS_SPARED);
}

static void passive_eject(const struct pool *p, struct instance *i, const char *why)
{
    struct passive *s = &i->passive;
    mono_ms_t now_ms = worker_now_ms(i->registry->control);
    s->times = s->times > 0 && now_ms - s->until_ms < PASSIVE_LONGEST ? s->times + 1 : 1;
    dur_ms_t ms = passive_time_ms(p->config->eject_time_ms, s->times);
    s->until_ms = now_ms + ms;
    s->ejections++;
    s->spared = PASSIVE_SPARED_NOT;
    instance_registry_count(i->registry, METRIC_EJECTIONS);
    instance_set_state(i, INSTANCE_EJECTED, "%s; for %.1f s", why, (double)ms / 1000);
}

static void passive_eject_or_spare(struct pool *p, struct seat *s, const char *why)
{
    const struct passive_others others = passive_others_of(p, s);
    enum passive_spared spared = passive_judge(&others, p->config->eject_max_percent);
    if (spared == PASSIVE_SPARED_NOT)
        passive_eject(p, s->instance, why);
    else
        passive_set_spared(s->instance, spared, why);
}

void passive_on_failing(struct pool *p, struct seat *s)
{
    char why[INSTANCE_REASON_BYTES];
    if (member_is_taking(s->member))
        passive_eject_or_spare(p, s, instance_failures_text(s->instance, why, sizeof why));
}

/* Whether it is worse than the others by far; then it is ejected, or spared. */
static bool passive_compare(struct pool *p, struct seat *s)
{
    char why[INSTANCE_REASON_BYTES];
    const struct passive_count own = passive_window(s->instance);
    const struct passive_others others = passive_others_of(p, s);
    if (instance_state(s->instance) != INSTANCE_UP || !member_is_taking(s->member) ||
        !passive_is_outlier(&own, &others.count))
        return false;
    snprintf(why, sizeof why, "%u of %u requests failed, of those of the others %u of %u",
             (unsigned)own.failures, (unsigned)own.requests, (unsigned)others.count.failures,
             (unsigned)others.count.requests);
    passive_eject_or_spare(p, s, why);
    return true;
}

/* ---- and taking back ---- */

void passive_on_time(struct pool *p, mono_ms_t now_ms)
{
    bool on = p->config->eject_errors > 0;
    for (size_t n = 0; n < p->seats.count; n++) {
        struct instance *i = p->seats.items[n].instance;
        if (instance_state(i) == INSTANCE_EJECTED && (!on || now_ms >= i->passive.until_ms))
            instance_set_state(i, INSTANCE_UP, "%s", on ? "ejected for long enough" : "eject_errors = 0");
    }
    passive_on_unusable(p);
}

void passive_on_tick(struct pool *p)
{
    int limit = p->config->eject_errors;
    for (size_t n = 0; n < p->seats.count; n++) {
        struct instance *i = p->seats.items[n].instance;
        bool worse = limit > 0 && passive_compare(p, &p->seats.items[n]);
        int in_row = (int)atomic_load_explicit(&i->failures_in_row, memory_order_relaxed);
        if (!worse && (limit == 0 || in_row < limit))
            passive_set_spared(i, PASSIVE_SPARED_NOT, "");
    }
    for (size_t n = 0; n < p->seats.count; n++)
        passive_look(p->seats.items[n].instance);
}

void passive_on_unusable(struct pool *p)
{
    for (size_t n = 0; n < p->seats.count; n++)
        if (member_is_taking(p->seats.items[n].member) && instance_is_usable(p->seats.items[n].instance))
            return;
    for (size_t n = 0; n < p->seats.count; n++)
        if (member_is_taking(p->seats.items[n].member) &&
            instance_state(p->seats.items[n].instance) == INSTANCE_EJECTED)
            instance_set_state(p->seats.items[n].instance, INSTANCE_UP, "no other instance is usable");
}

mono_ms_t passive_next_ms(const struct pool *p)
{
    mono_ms_t next_ms = INT64_MAX;
    for (size_t n = 0; n < p->seats.count; n++)
        if (instance_state(p->seats.items[n].instance) == INSTANCE_EJECTED)
            next_ms = MIN(next_ms, p->seats.items[n].instance->passive.until_ms);
    return next_ms;
}
