/* redis_view.c: see redis_view.h. Servers are found by name, one after the other: there are few. */
#include "proxy/redis_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/json_put.h"

static void put_printable(char *out, size_t bytes, const char *text)
{
    snprintf(out, bytes, "%s", text);
    for (; *out != '\0'; out++) {
        if (*out < ' ' || *out >= 0x7f)
            *out = '?';
    }
}

/* A zeroed one at the end; NULL when out of memory. */
static struct redis_sight *report_push(struct redis_report *r)
{
    if (r->count == r->room) {
        size_t room = MAX(2 * r->room, 4);
        struct redis_sight *grown = realloc(r->sights, room * sizeof *grown);
        if (grown == NULL)
            return NULL;
        r->sights = grown;
        r->room = room;
    }
    struct redis_sight *s = &r->sights[r->count++];
    return memset(s, 0, sizeof *s);
}

static void report_put(struct redis_report *out, const struct redis_node_figures *f, bool is_guide)
{
    struct redis_sight *s = report_push(out);
    if (s == NULL)
        return;
    put_printable(s->server, sizeof s->server, f->server);
    put_printable(s->reason, sizeof s->reason, f->up ? "" : f->last_reason);
    s->is_guide = is_guide;
    s->workers = 1;
    s->workers_up = f->up;
    s->workers_broken = f->broken;
    s->connected = f->connected;
    s->calls = f->calls;
    s->refused_at_once = f->refused_at_once;
    s->reconnects = f->reconnects;
    s->breaks = f->breaks;
    memcpy(s->outcomes, f->outcomes, sizeof s->outcomes);
}

void redis_report_take(struct redis_report *out, const struct redis *r)
{
    struct redis_node_figures f;
    out->count = 0;
    out->workers = r != NULL;
    if (r == NULL)
        return;
    out->totals = redis_get_figures(r);
    for (size_t i = 0; redis_get_server_figures(r, i, &f); i++)
        report_put(out, &f, false);
    for (size_t i = 0; redis_get_guide_figures(r, i, &f); i++)
        report_put(out, &f, true);
}

static struct redis_sight *report_find(struct redis_report *r, const struct redis_sight *like)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->sights[i].is_guide == like->is_guide && strcmp(r->sights[i].server, like->server) == 0)
            return &r->sights[i];
    }
    return NULL;
}

static void sight_add(struct redis_sight *into, const struct redis_sight *from)
{
    if (into->reason[0] == '\0')
        memcpy(into->reason, from->reason, sizeof into->reason);
    into->workers += from->workers;
    into->workers_up += from->workers_up;
    into->workers_broken += from->workers_broken;
    into->connected += from->connected;
    into->calls += from->calls;
    into->refused_at_once += from->refused_at_once;
    into->reconnects += from->reconnects;
    into->breaks += from->breaks;
    for (int o = 0; o < REDIS_OUTCOME_COUNT; o++)
        into->outcomes[o] += from->outcomes[o];
}

static void totals_add(struct redis_figures *into, const struct redis_figures *from)
{
    into->refused_unknown += from->refused_unknown;
    into->moves += from->moves;
    into->demotions += from->demotions;
    into->refreshes += from->refreshes;
    into->redirects += from->redirects;
    into->slots = MIN(into->slots, from->slots);
    if (from->trouble[0] == '\0')
        into->trouble = "";
}

void redis_report_add(struct redis_report *into, const struct redis_report *from)
{
    if (from->workers == 0)
        return;
    if (into->workers == 0)
        into->totals = from->totals;
    else
        totals_add(&into->totals, &from->totals);
    into->workers += from->workers;
    for (size_t i = 0; i < from->count; i++) {
        struct redis_sight *s = report_find(into, &from->sights[i]);
        if (s != NULL)
            sight_add(s, &from->sights[i]);
        else if ((s = report_push(into)) != NULL)
            *s = from->sights[i];
    }
}

void redis_report_free(struct redis_report *r)
{
    free(r->sights);
    *r = (struct redis_report){0};
}

/* ---- json ---- */

static json_t *sight_json(const struct redis_sight *s, enum config_redis_mode mode)
{
    const char *state = s->workers_up == 0 ? "down" : s->workers_up < s->workers ? "partly up" : "up";
    const char *guide = mode == CONFIG_REDIS_SENTINEL ? "sentinel" : "seed";
    json_t *o = json_object(), *failures = json_object();
    json_object_set_new(o, "server", json_string(s->server));
    json_object_set_new(o, "kind", json_string(s->is_guide ? guide : "redis"));
    json_object_set_new(o, "state", json_string(state));
    json_object_set_new(o, "reason", json_string(s->reason));
    admin_put_int(o, "since_ms", (uint64_t)s->since_ms);
    admin_put_int(o, "workers_up", s->workers_up);
    admin_put_int(o, "workers_broken", s->workers_broken);
    admin_put_int(o, "connections", s->connected);
    admin_put_int(o, "calls", s->calls);
    admin_put_int(o, "calls_refused", s->refused_at_once);
    for (unsigned i = REDIS_ANSWERED + 1; i < REDIS_OUTCOME_COUNT; i++)
        admin_put_int(failures, redis_outcome_name((enum redis_outcome)i), s->outcomes[i]);
    json_object_set_new(o, "failures", failures);
    admin_put_int(o, "reconnects", s->reconnects);
    admin_put_int(o, "breaks", s->breaks);
    return o;
}

json_t *redis_report_json(const struct redis_report *sum, const struct config_redis *c)
{
    static const char *const modes[] = {"standalone", "sentinel", "cluster"};
    const struct redis_figures *t = &sum->totals;
    json_t *o = json_object(), *servers = json_array();
    json_object_set_new(o, "mode", json_string(modes[c->mode]));
    if (c->mode == CONFIG_REDIS_SENTINEL)
        json_object_set_new(o, "sentinel_name", json_string(c->sentinel_name));
    json_object_set_new(o, "tls", json_boolean(c->tls));
    admin_put_int(o, "workers", sum->workers);
    json_object_set_new(o, "trouble", json_string(sum->workers > 0 ? t->trouble : ""));
    admin_put_int(o, "refused_unknown", t->refused_unknown);
    admin_put_int(o, "moves", t->moves);
    admin_put_int(o, "demotions", t->demotions);
    admin_put_int(o, "refreshes", t->refreshes);
    admin_put_int(o, "redirects", t->redirects);
    if (c->mode == CONFIG_REDIS_CLUSTER)
        admin_put_int(o, "slots", t->slots);
    for (size_t i = 0; i < sum->count; i++)
        json_array_append_new(servers, sight_json(&sum->sights[i], c->mode));
    json_object_set_new(o, "servers", servers);
    return o;
}
