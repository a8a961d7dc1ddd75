/* redis_tell.c: see redis_tell.h. */
#include "proxy/redis_tell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was said of a server. */
struct redis_told {
    char server[REDIS_SERVER_TEXT], reason[REDIS_REASON_TEXT];
    bool is_guide, is_up;
    wall_ms_t since_ms;
    bool said, said_up; /* anything; the last line said that it is up */
    bool seen;          /* in this round */
    struct redis_allowance allowance;
    struct redis_told *next;
};

static bool allowance_take(struct redis_allowance *a, mono_ms_t now_ms)
{
    while (a->used > 0 && now_ms - a->since_ms >= REDIS_TELL_LINE_MS) {
        a->used--;
        a->since_ms += REDIS_TELL_LINE_MS;
    }
    if (a->used == REDIS_TELL_LINES)
        return false;
    if (a->used++ == 0)
        a->since_ms = now_ms;
    return true;
}

/* NULL when out of memory. */
static struct redis_told *told_of(struct redis_teller *t, const struct redis_sight *s, wall_ms_t wall_ms)
{
    for (struct redis_told *it = t->told; it != NULL; it = it->next) {
        if (it->is_guide == s->is_guide && strcmp(it->server, s->server) == 0)
            return it;
    }
    struct redis_told *it = calloc(1, sizeof *it);
    if (it == NULL)
        return NULL;
    memcpy(it->server, s->server, sizeof it->server);
    it->is_guide = s->is_guide;
    it->since_ms = wall_ms;
    it->next = t->told;
    t->told = it;
    return it;
}

/* Before the first line there may be nothing to say: it is being connected to. */
static bool is_news(const struct redis_told *it, const struct redis_sight *s)
{
    bool has_reason = s->reason[0] != '\0';
    if (!it->said)
        return it->is_up || has_reason;
    return it->is_up != it->said_up || (!it->is_up && has_reason && strcmp(it->reason, s->reason) != 0);
}

static void tell_server(struct redis_teller *t, struct redis_told *it, const struct redis_sight *s,
                        mono_ms_t now_ms)
{
    char text[sizeof s->server + sizeof s->reason + 32];
    const char *what = "";
    if (s->is_guide)
        what = t->mode == CONFIG_REDIS_SENTINEL ? "Sentinel " : "seed ";
    if (!is_news(it, s) || !allowance_take(&it->allowance, now_ms))
        return;
    it->said = true;
    it->said_up = it->is_up;
    memcpy(it->reason, s->reason, sizeof it->reason);
    if (it->is_up)
        snprintf(text, sizeof text, "%s%s is up", what, s->server);
    else
        snprintf(text, sizeof text, "%s%s is down: %s", what, s->server,
                 s->reason[0] != '\0' ? s->reason : "not connected");
    t->say(t->arg, !it->is_up, text);
}

/* Those that Sentinels or the map do not name any more. */
static void forget_unseen(struct redis_teller *t)
{
    for (struct redis_told **it = &t->told; *it != NULL;) {
        struct redis_told *old = *it;
        if (old->seen) {
            it = &old->next;
            continue;
        }
        *it = old->next;
        free(old);
    }
}

/* Said when it lasts for two rounds: at the beginning, and at each failover, there is always some. */
static void tell_trouble(struct redis_teller *t, const struct redis_report *sum, mono_ms_t now_ms)
{
    char text[256];
    const char *trouble = sum->workers > 0 ? sum->totals.trouble : "";
    const char *before = t->trouble_before != NULL ? t->trouble_before : "";
    const char *said = t->trouble != NULL ? t->trouble : "";
    t->trouble_before = trouble;
    if (strcmp(trouble, before) != 0 || strcmp(trouble, said) == 0 ||
        !allowance_take(&t->trouble_allowance, now_ms))
        return;
    bool is_bad = trouble[0] != '\0';
    snprintf(text, sizeof text, "%s%s", is_bad ? "" : "no longer: ", is_bad ? trouble : said);
    t->say(t->arg, is_bad, text);
    t->trouble = trouble;
}

void redis_tell(struct redis_teller *t, struct redis_report *sum, mono_ms_t now_ms, wall_ms_t wall_ms)
{
    for (struct redis_told *it = t->told; it != NULL; it = it->next)
        it->seen = false;
    for (size_t i = 0; i < sum->count; i++) {
        struct redis_sight *s = &sum->sights[i];
        struct redis_told *it = told_of(t, s, wall_ms);
        if (it == NULL)
            continue;
        if (it->is_up != (s->workers_up > 0))
            it->since_ms = wall_ms;
        it->is_up = s->workers_up > 0;
        it->seen = true;
        s->since_ms = it->since_ms;
        tell_server(t, it, s, now_ms);
    }
    forget_unseen(t);
    tell_trouble(t, sum, now_ms);
}

void redis_tell_free(struct redis_teller *t)
{
    while (t->told != NULL) {
        struct redis_told *next = t->told->next;
        free(t->told);
        t->told = next;
    }
}
