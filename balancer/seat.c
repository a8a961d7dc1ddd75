/* seat.c: see seat.h.
 *
 * The seats are one array that is made anew for each change, so a change happens as a whole or not at all,
 * and a loop over all instances of a pool is a loop. Changes are rare: an answer of a name server at most.
 *
 * Rejected: a list of instances in each member. Everything that judges a pool (ejection, pins, what may be
 * picked) would loop over members and then over their instances, to no use. */
#include "balancer/seat.h"

#include <stdlib.h>

#include "balancer/pool.h"

struct seat *seats_first(const struct seats *s, const struct member *m)
{
    for (size_t n = 0; n < s->count; n++)
        if (s->items[n].member == m)
            return &s->items[n];
    return NULL;
}

struct seat *seats_next(const struct seats *s, const struct seat *seat)
{
    const size_t n = (size_t)(seat - s->items) + 1;
    return n < s->count && s->items[n].member == seat->member ? &s->items[n] : NULL;
}

void seats_clear(struct seats *s)
{
    for (size_t n = 0; n < s->count; n++)
        instance_unref(s->items[n].instance);
    free(s->items);
    *s = (struct seats){0};
}

static struct seat *seats_of_instance(const struct seats *s, const struct instance *i)
{
    for (size_t n = 0; n < s->count; n++)
        if (s->items[n].instance == i)
            return &s->items[n];
    return NULL;
}

/* Takes over the reference. */
static void seats_add(struct seats *s, const struct seat *seat)
{
    s->items[s->count++] = *seat;
}

static bool seats_add_new(struct pool *p, struct seats *s, struct member *m, const struct net_addr *addr)
{
    struct seat seat = {.member = m, .fresh = true};
    seat.instance = instance_get(p->registry, p->config->name, m->config->name, addr, member_has_several(m));
    if (seat.instance == NULL)
        return false;
    const struct seat *before = seats_of_instance(&p->seats, seat.instance);
    if (before != NULL) {
        memcpy(seat.pin, before->pin, sizeof seat.pin);
        seat.fresh = false;
    } else if (p->config->sticky_cookie[0] != '\0' &&
               !sticky_value(p->sticky_key, p->config->name, seat.instance->shown, seat.pin)) {
        instance_unref(seat.instance);
        return false;
    }
    seats_add(s, &seat);
    return true;
}

static bool seats_add_all(struct pool *p, struct seats *s, struct member *m, const struct net_addr *addresses,
                          size_t count)
{
    if (count == 0)
        return seats_add_new(p, s, m, NULL);
    for (size_t a = 0; a < count; a++)
        if (!seats_add_new(p, s, m, &addresses[a]))
            return false;
    return true;
}

static void seats_add_refs(struct seats *s, const struct seats *from, bool before, const struct member *m)
{
    for (size_t n = 0; n < from->count; n++) {
        const struct seat *seat = &from->items[n];
        if (before ? seat->member >= m : seat->member <= m)
            continue;
        instance_ref(seat->instance);
        seats_add(s, seat);
    }
}

bool seats_change(struct pool *p, struct member *m, const struct net_addr *addresses, size_t count,
                  struct seats *left)
{
    const size_t room = p->seats.count + MAX(count, 1);
    struct seats all = {.items = calloc(room, sizeof *all.items)};
    *left = (struct seats){.items = calloc(room, sizeof *left->items)};
    bool ok = all.items != NULL && left->items != NULL;
    if (ok) {
        seats_add_refs(&all, &p->seats, true, m);
        ok = seats_add_all(p, &all, m, addresses, count);
    }
    if (!ok) {
        seats_clear(&all);
        seats_clear(left);
        return false;
    }
    seats_add_refs(&all, &p->seats, false, m);
    for (struct seat *s = seats_first(&p->seats, m); s != NULL; s = seats_next(&p->seats, s)) {
        if (seats_of_instance(&all, s->instance) != NULL)
            continue;
        instance_ref(s->instance);
        seats_add(left, s);
    }
    m->seat_count = MAX(count, 1);
    seats_clear(&p->seats);
    p->seats = all;
    return true;
}
