/* build_limit.c: rate_limit of a route: "50/s burst=100 by=client_ip shared". The rate comes first, the rest
 * in any order. */
#include "config/build.h"
#include "config/value.h"

#define RATE_MAX   1000000000 /* and of a burst */
#define FILL_MAX_S (365 * 86400LL)
#define SUCH_AS    "such as 50/s, 600/m or 100/h"

static bool limit_rate(struct build *b, slice_t word, struct config_rate_limit *l)
{
    static const struct {
        const char *unit;
        int s;
    } units[] = {{"/s", 1}, {"/m", 60}, {"/h", 3600}};
    const size_t slash = slice_find(word, '/', 0);
    const slice_t amount = slice_make(word.ptr, slash == SIZE_MAX ? word.len : slash);
    const slice_t unit = slice_make(word.ptr + amount.len, word.len - amount.len);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (slice_eq(unit, slice_str(units[i].unit)))
            l->per_s = units[i].s;
    }
    if (l->per_s == 0 || value_parse_count(amount, &l->amount) != NULL) {
        build_wrong(b, "\"%.*s\" is no rate; begin with one, " SUCH_AS, PROBLEM_TEXT(word));
        return false;
    }
    if (l->amount == 0)
        build_wrong(b, "\"%.*s\" lets nothing pass; write at least 1, or respond = 429 if that is meant",
                    PROBLEM_TEXT(word));
    else if (l->amount > RATE_MAX)
        build_wrong(b, "\"%.*s\" is out of range; write a rate from 1 to %d", PROBLEM_TEXT(word), RATE_MAX);
    else
        return true;
    return false;
}

static bool limit_burst(struct build *b, slice_t text, struct config_rate_limit *l)
{
    if (value_parse_count(text, &l->burst) == NULL && l->burst <= RATE_MAX)
        return true;
    build_wrong(b, "burst=%.*s is no number from 1 to %d; write how many may come at once, such as burst=100",
                PROBLEM_TEXT(text), RATE_MAX);
    return false;
}

static bool limit_by(struct build *b, slice_t text, struct config_rate_limit *l)
{
    static const slice_t header = SLICE_LIT("header:");
    const slice_t name =
        slice_starts(text, header) ? slice_make(text.ptr + header.len, text.len - header.len) : SLICE_EMPTY;
    if (value_is_token(name))
        l->header = build_text(b, name);
    else if (!slice_eq(text, SLICE_LIT("client_ip"))) {
        build_wrong(b, "by=%.*s is nothing to count by; write by=client_ip or by=header:NAME",
                    PROBLEM_TEXT(text));
        return false;
    }
    return true;
}

static void limit_unknown(struct build *b, slice_t word)
{
    char best[16];
    struct option_guess guess = {.word = slice_make(word.ptr, MIN(slice_find(word, '=', 0), word.len))};
    option_guess_offer_words(&guess, "burst by shared", best, sizeof best);
    if (guess.best != NULL && !slice_eq(slice_str(guess.best), guess.word))
        build_wrong(b, "there is no \"%.*s\" for a rate; did you mean \"%s\"?", PROBLEM_TEXT(word),
                    guess.best);
    else
        build_wrong(b, "there is no \"%.*s\" for a rate; there are burst=100, by=client_ip and shared",
                    PROBLEM_TEXT(word));
}

enum limit_word { LIMIT_BURST, LIMIT_BY, LIMIT_SHARED, LIMIT_UNKNOWN };

static enum limit_word limit_word_split(slice_t word, slice_t *value)
{
    static const slice_t names[] = {[LIMIT_BURST] = SLICE_LIT("burst="), [LIMIT_BY] = SLICE_LIT("by=")};
    *value = SLICE_EMPTY;
    if (slice_eq(word, SLICE_LIT("shared")))
        return LIMIT_SHARED;
    for (int i = LIMIT_BURST; i <= LIMIT_BY; i++) {
        if (slice_starts(word, names[i])) {
            *value = slice_make(word.ptr + names[i].len, word.len - names[i].len);
            return (enum limit_word)i;
        }
    }
    return LIMIT_UNKNOWN;
}

static bool limit_word(struct build *b, slice_t word, unsigned *seen, struct config_rate_limit *l)
{
    slice_t value;
    const enum limit_word which = limit_word_split(word, &value);
    if (which != LIMIT_UNKNOWN && (*seen & 1u << which) != 0) {
        build_wrong(b, "\"%.*s\" is the second of its kind; write one", PROBLEM_TEXT(word));
        return false;
    }
    *seen |= 1u << which;
    switch (which) {
    case LIMIT_BURST:
        return limit_burst(b, value, l);
    case LIMIT_BY:
        return limit_by(b, value, l);
    case LIMIT_SHARED:
        l->shared = true;
        return true;
    case LIMIT_UNKNOWN:
        break;
    }
    limit_unknown(b, word);
    return false;
}

void build_rate_limit(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_rate_limit l = {.header = "", .text = build_text(b, item)};
    slice_t rest = item, word = value_next_word(&rest);
    unsigned seen = 0;
    if (!limit_rate(b, word, &l))
        return;
    l.burst = l.amount;
    while ((word = value_next_word(&rest)).len > 0) {
        if (!limit_word(b, word, &seen, &l))
            return;
    }
    if (l.burst * l.per_s / l.amount > FILL_MAX_S)
        build_wrong(b, "burst=%lld takes more than a year to come back at this rate; write a smaller one",
                    (long long)l.burst);
    else
        *(struct config_rate_limit *)(void *)(base + o->offset) = l;
}

void build_rate(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_rate_limit l = {0};
    if (limit_rate(b, item, &l))
        *(struct config_rate *)(void *)(base + o->offset) = (struct config_rate){l.amount, l.per_s};
}
