/* admission.c: see admission.h. Open addressing with backward-shift deletion, so that no tombstones pile up.
 */
#include "proxy/admission.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/panic.h"

void admission_init(struct admission *a, uint32_t max_total)
{
    *a = (struct admission){0};
    atomic_init(&a->max_total, max_total);
    lock_init(&a->lock, LOCK_SPILL);
}

void admission_destroy(struct admission *a)
{
    lock_destroy(&a->lock);
    free(a->slots);
}

static uint32_t admission_home(const uint8_t ip[16])
{
    return (uint32_t)hash_bytes(ip, 16).lo % ADMISSION_SLOTS;
}

/* The slot of `ip`, or the free one where it would go. The table is never full (see admission_count). */
static struct admission_slot *admission_find_locked(struct admission *a, const uint8_t ip[16])
{
    uint32_t i = admission_home(ip);
    while (a->slots[i].count > 0 && memcmp(a->slots[i].ip, ip, 16) != 0)
        i = (i + 1) % ADMISSION_SLOTS;
    return &a->slots[i];
}

static bool admission_count_locked(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip,
                                   bool *by_ip)
{
    if (a->slots == NULL)
        a->slots = calloc(ADMISSION_SLOTS, sizeof *a->slots);
    if (a->slots == NULL)
        return true;
    struct admission_slot *s = admission_find_locked(a, ip);
    if (s->count >= max_per_ip)
        return false;
    if (s->count == 0) {
        if (a->used >= ADMISSION_SLOTS / 4 * 3)
            return true;
        a->used++;
        memcpy(s->ip, ip, 16);
    }
    s->count++;
    *by_ip = true;
    return true;
}

static void admission_uncount_locked(struct admission *a, const uint8_t ip[16])
{
    struct admission_slot *s = admission_find_locked(a, ip);
    ASSERT(s->count > 0);
    if (--s->count > 0)
        return;
    a->used--;
    uint32_t hole = (uint32_t)(s - a->slots);
    for (uint32_t i = (hole + 1) % ADMISSION_SLOTS; a->slots[i].count > 0; i = (i + 1) % ADMISSION_SLOTS) {
        uint32_t home = admission_home(a->slots[i].ip);
        if ((i - home) % ADMISSION_SLOTS < (i - hole) % ADMISSION_SLOTS)
            continue;
        a->slots[hole] = a->slots[i];
        a->slots[i].count = 0;
        hole = i;
    }
}

bool admission_enter_ip(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip, bool *by_ip)
{
    *by_ip = false;
    if (max_per_ip == 0)
        return true;
    lock_take(&a->lock);
    bool admitted = admission_count_locked(a, ip, max_per_ip, by_ip);
    lock_drop(&a->lock);
    return admitted;
}

bool admission_enter(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip, bool *by_ip)
{
    *by_ip = false;
    uint32_t before = atomic_fetch_add_explicit(&a->total, 1, memory_order_relaxed);
    bool admitted = before < atomic_load_explicit(&a->max_total, memory_order_relaxed) &&
                    admission_enter_ip(a, ip, max_per_ip, by_ip);
    if (!admitted)
        atomic_fetch_sub_explicit(&a->total, 1, memory_order_relaxed);
    return admitted;
}

void admission_leave(struct admission *a, const uint8_t ip[16], bool by_ip)
{
    atomic_fetch_sub_explicit(&a->total, 1, memory_order_relaxed);
    if (!by_ip)
        return;
    lock_take(&a->lock);
    admission_uncount_locked(a, ip);
    lock_drop(&a->lock);
}
