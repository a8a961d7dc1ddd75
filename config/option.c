/* option.c: the table itself, and finding a row, or the nearest one, by name. Constant data, pure functions.
 * Lookup is linear: a file has tens of keys and is read once. */
#include "config/option.h"

#include "config/config.h"

#define DAY_MS     INT64_C(86400000)
#define TTL_LIMIT  (3650 * DAY_MS)
#define SIZE_LIMIT (INT64_C(1) << 50)

#define ANY              .min = 0
#define RANGE(lo, hi)    .min = (lo), .max = (hi)
#define WORDS(all)       .words = (all)
#define AT(type, member) .offset = offsetof(struct type, member)
#define HERE             .offset = 0
#define OPTION(sec, name, kind, def, rule, opt_flags, where, text)                                           \
    {.section = OPTION_##sec,                                                                                \
     .key = (name),                                                                                          \
     .type = OPTION_##kind,                                                                                  \
     .default_text = (def),                                                                                  \
     rule,                                                                                                   \
     .flags = (opt_flags),                                                                                   \
     where,                                                                                                  \
     .help = (text)},

const struct config_option option_table[] = {
#include "config/option_tbl.h"
};
const size_t option_count = ARRAY_LEN(option_table);

const struct option_section_info option_sections[OPTION_SECTION_COUNT] = {
    [OPTION_MILLPOND] = {"millpond", false, "The program", "Threads, folders, limits of the whole process."},
    [OPTION_LOG] = {"log", false, "Logs", "What is written where."},
    [OPTION_LISTEN] =
        {"listen", true, "Where clients arrive",
         "One section per kind of listener. Without any there is one named `default` on port 8080."},
    [OPTION_POOL] = {"pool", true, "The application's instances",
                     "One section per set of interchangeable instances."},
    [OPTION_CACHE] = {"cache", false, "The cache", "Where and how long responses are kept."},
    [OPTION_REDIS] =
        {"redis", false, "The shared cache",
         "Connection to Redis; none without this section. Nothing waits for Redis: while it is away, "
         "requests "
         "are answered without it. What is kept there says `store` of [cache]."},
    [OPTION_ROUTE] =
        {"route", true, "Which request goes where",
         "Routes are tried in file order; the first whose conditions all hold is used. A route without "
         "conditions matches everything. Without any route there is one named `default` for the first "
         "pool."},
    [OPTION_ADMIN] = {"admin", false, "Looking and steering", "Command line, dashboard, API and metrics."},
};

const struct config_option *option_find(enum option_section section, slice_t key)
{
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].section == section && slice_eq(slice_str(option_table[i].key), key))
            return &option_table[i];
    }
    return NULL;
}

bool option_section_find(slice_t name, enum option_section *out)
{
    for (size_t i = 0; i < OPTION_SECTION_COUNT; i++) {
        if (slice_eq(slice_str(option_sections[i].name), name)) {
            *out = (enum option_section)i;
            return true;
        }
    }
    return false;
}

const char *option_type_words(enum option_type type)
{
    static const char *const words[OPTION_TYPE_COUNT] = {
#define X(id, text) [OPTION_##id] = (text),
        OPTION_TYPES(X)
#undef X
    };
    return words[type];
}

/* The next blank-separated word of `*words`; false at the end. */
static bool option_word_next(const char **words, slice_t *out)
{
    const char *p = *words + strspn(*words, " ");
    size_t len = strcspn(p, " ");
    *out = slice_make(p, len);
    *words = p + len;
    return len > 0;
}

int option_word_index(const char *words, slice_t word)
{
    slice_t candidate;
    int index = 0;
    if (words == NULL)
        return -1;
    for (; option_word_next(&words, &candidate); index++) {
        if (slice_eq(candidate, word))
            return index;
    }
    return -1;
}

#define GUESS_BYTES 48 /* longer words are not guessed at */

/* Optimal string alignment distance; three rows of the matrix are enough. */
static unsigned option_edits(slice_t a, slice_t b)
{
    unsigned rows[3][GUESS_BYTES + 1];
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.ptr[i - 1]), y = ascii_lower(b.ptr[j - 1]);
            unsigned best = above[j - 1] + (x != y);
            best = MIN(best, above[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && x == ascii_lower(b.ptr[j - 2]) && y == ascii_lower(a.ptr[i - 2]))
                best = MIN(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

void option_guess_offer(struct option_guess *g, const char *candidate)
{
    slice_t c = slice_str(candidate);
    if (g->word.len == 0 || g->word.len > GUESS_BYTES || c.len > GUESS_BYTES)
        return;
    unsigned edits = option_edits(g->word, c);
    unsigned limit = (unsigned)MAX(1, MIN(c.len, g->word.len) / 3);
    bool longer_form = g->word.len >= 4 && c.len > g->word.len && slice_starts(c, g->word);
    if (longer_form)
        edits = MIN(edits, limit);
    if (edits > limit || edits >= MIN(c.len, g->word.len) || (g->best != NULL && edits >= g->best_edits))
        return;
    g->best = candidate;
    g->best_edits = edits;
}

void option_guess_offer_words(struct option_guess *g, const char *words, char *buf, size_t buf_bytes)
{
    slice_t word;
    while (words != NULL && option_word_next(&words, &word)) {
        char one[GUESS_BYTES + 1];
        const char *before = g->best;
        if (word.len > GUESS_BYTES || word.len >= buf_bytes)
            continue;
        memcpy(one, word.ptr, word.len);
        one[word.len] = '\0';
        option_guess_offer(g, one);
        if (g->best == one) {
            memcpy(buf, one, word.len + 1);
            g->best = buf;
        } else {
            g->best = before;
        }
    }
}
