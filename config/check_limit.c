/* check_limit.c: rules of rate_limit across keys, and what is legal but surely not meant. */
#include "config/build.h"

#define FAST_S        1000000 /* per second; nothing serves that many to one client */
#define FAST_SHARED_S 10000   /* Redis is asked for each */

bool check_limit_uses_redis(const struct config *c)
{
    for (size_t i = 0; i < c->route_count; i++) {
        if (c->routes[i].rate_limit.shared)
            return true;
    }
    return false;
}

/* Clients write these themselves, unless a proxy in front does; and whether it does, client_ip knows. */
static bool limit_is_by_address_field(const struct config_rate_limit *l)
{
    static const char *const names[] = {"X-Forwarded-For", "X-Real-IP", "Forwarded"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_ieq(slice_str(l->header), slice_str(names[i])))
            return true;
    }
    return false;
}

void check_route_limit(struct build *b, const struct config_route *r, const struct source_section *section)
{
    const struct config_rate_limit *l = &r->rate_limit;
    const char *wrong = NULL;
    bool warning = true;
    if (l->amount == 0)
        return;
    if (l->shared && !b->config->redis.given) {
        wrong = "shared counts in Redis, and there is no [redis]; add that section, or leave out shared";
        warning = false;
    } else if (l->burst == 0) {
        wrong = "burst=0 is taken as burst=1, since nothing would pass; write that, or a larger one";
    } else if (l->amount / l->per_s > FAST_S) {
        wrong = "no client is that fast, so it limits nothing; write a lower rate, or remove the line";
    } else if (l->shared && l->amount / l->per_s > FAST_SHARED_S) {
        wrong = "Redis is asked for each of that many requests; write a lower rate, or leave out shared";
    } else if (limit_is_by_address_field(l)) {
        wrong = "a client may write what it likes there; write by=client_ip, which believes trusted_proxies";
    }
    if (wrong != NULL)
        problem_add(b->source->problems, warning, source_value_given(section, "rate_limit")->origin,
                    section->label, "rate_limit", "%s", wrong);
}
