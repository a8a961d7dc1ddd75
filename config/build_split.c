/* build_split.c: split of a route: "stable=95 canary=5 by=cookie:NAME". Two pools with their weights, the
 * stable one first, then what keeps a client with its side. */
#include "config/build.h"
#include "config/value.h"

#define SPLIT_WEIGHT_MAX 1000
#define SPLIT_SUCH_AS    "such as stable=95 canary=5 by=cookie:NAME"

static int split_pool(struct build *b, slice_t name)
{
    const struct config *c = b->config;
    struct option_guess guess = {.word = name};
    for (size_t i = 0; i < c->pool_count; i++) {
        if (slice_eq(slice_str(c->pools[i].name), name))
            return (int)i;
        option_guess_offer(&guess, c->pools[i].name);
    }
    if (guess.best != NULL)
        build_wrong(b, "there is no pool \"%.*s\"; did you mean \"%s\"?", PROBLEM_TEXT(name), guess.best);
    else
        build_wrong(b, "there is no pool \"%.*s\"; write a section [pool %.*s] or name another",
                    PROBLEM_TEXT(name), PROBLEM_TEXT(name));
    return -1;
}

/* POOL=WEIGHT */
static bool split_side(struct build *b, slice_t word, struct config_split *s, int side)
{
    const size_t equals = slice_find(word, '=', 0);
    int64_t weight = 0;
    if (equals == SIZE_MAX || equals == 0 ||
        value_parse_count(slice_make(word.ptr + equals + 1, word.len - equals - 1), &weight) != NULL ||
        weight > SPLIT_WEIGHT_MAX) {
        build_wrong(b, "\"%.*s\" is no pool with a weight from 0 to %d; write two, " SPLIT_SUCH_AS,
                    PROBLEM_TEXT(word), SPLIT_WEIGHT_MAX);
        return false;
    }
    s->weights[side] = (int)weight;
    s->pools[side] = split_pool(b, slice_make(word.ptr, equals));
    return s->pools[side] >= 0;
}

static bool split_by(struct build *b, slice_t word, struct config_split *s)
{
    static const slice_t kinds[] = {[CONFIG_SPLIT_CLIENT_IP] = SLICE_LIT("by=client_ip"),
                                    [CONFIG_SPLIT_COOKIE] = SLICE_LIT("by=cookie:"),
                                    [CONFIG_SPLIT_HEADER] = SLICE_LIT("by=header:")};
    if (slice_eq(word, kinds[CONFIG_SPLIT_CLIENT_IP]))
        return true;
    for (int by = CONFIG_SPLIT_COOKIE; by <= CONFIG_SPLIT_HEADER; by++) {
        const slice_t name =
            slice_make(word.ptr + MIN(kinds[by].len, word.len), word.len - MIN(kinds[by].len, word.len));
        if (!slice_starts(word, kinds[by]) || !value_is_token(name))
            continue;
        s->by = (enum config_split_by)by;
        s->name = build_text(b, name);
        return true;
    }
    build_wrong(b,
                "\"%.*s\" does not say who stays where; write by=client_ip, by=cookie:NAME or by=header:NAME",
                PROBLEM_TEXT(word));
    return false;
}

void build_split(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *r = (void *)base;
    struct config_split s = {.name = "", .text = build_text(b, item)};
    slice_t rest = item, word;
    UNUSED(o);
    for (int side = 0; side < 2; side++) {
        if (!split_side(b, value_next_word(&rest), &s, side))
            return;
    }
    if ((word = value_next_word(&rest)).len > 0 && !split_by(b, word, &s))
        return;
    if ((word = value_next_word(&rest)).len > 0)
        build_wrong(b, "\"%.*s\" is too much; write two pools and what clients stay by, " SPLIT_SUCH_AS,
                    PROBLEM_TEXT(word));
    else if (s.pools[0] == s.pools[1])
        build_wrong(b, "both sides are the same pool; write two, " SPLIT_SUCH_AS);
    else if (s.weights[0] + s.weights[1] == 0)
        build_wrong(b, "both weights are 0; write how much each side gets, " SPLIT_SUCH_AS);
    else {
        r->split = s;
        r->pool = s.pools[0];
    }
}
