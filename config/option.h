/* option.h: the table of options, as data.
 *
 * option_tbl.h holds one row per key of the ini file; this header says what a row is made of. Parser,
 * checks, `millpond config`, the Markdown reference and the man page all walk the same rows, so a default or
 * a range can not differ between them. Constant data: any thread. Rejected: one parse function per section.
 * It is shorter until the third consumer of the same fact. */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include "core/base.h"
#include "core/slice.h"

enum option_section {
    OPTION_MILLPOND,
    OPTION_LOG,
    OPTION_LISTEN,
    OPTION_POOL,
    OPTION_CACHE,
    OPTION_REDIS,
    OPTION_ROUTE,
    OPTION_ADMIN,
    OPTION_SECTION_COUNT
};

/* What a value looks like: X(id, words for the manual). build.c has one parser for each. */
#define OPTION_TYPES(X)                                                                                      \
    X(TEXT, "text")                                                                                          \
    X(PATHS, "path")                                                                                         \
    X(PATH, "path")                                                                                          \
    X(COUNT, "number")                                                                                       \
    X(WORKERS, "number or `auto`")                                                                           \
    X(PERCENT, "percentage")                                                                                 \
    X(DURATION, "duration")                                                                                  \
    X(TTL, "duration")                                                                                       \
    X(SIZE, "size")                                                                                          \
    X(BYTE_RATE, "bytes per second")                                                                         \
    X(RATE, "rate")                                                                                          \
    X(BOOL, "yes or no")                                                                                     \
    X(WORD, "one word")                                                                                      \
    X(WORD_BOOL, "one word")                                                                                 \
    X(CIDRS, "networks")                                                                                     \
    X(ADDRESSES, "addresses")                                                                                \
    X(ADDRESS, "address or `off`")                                                                           \
    X(MODE, "octal mode")                                                                                    \
    X(INCLUDE, "path pattern")                                                                               \
    X(SERVER_HEADER, "text or `off`")                                                                        \
    X(ACCESS_FORMAT, "`json`, `combined` or a template")                                                     \
    X(HASH_ON, "`client_ip`, `path`, `header:NAME` or `cookie:NAME`")                                        \
    X(COOKIE_NAME, "name of a cookie")                                                                       \
    X(SERVER, "server")                                                                                      \
    X(RESOLVERS, "addresses of name servers")                                                                \
    X(URL_PATH, "URL path")                                                                                  \
    X(HOST, "host")                                                                                          \
    X(HOSTS, "hosts")                                                                                        \
    X(STATUSES, "status codes")                                                                              \
    X(PROTOCOLS, "words")                                                                                    \
    X(RETRY_ON, "words")                                                                                     \
    X(HEDGE, "`off`, `p95` or a duration")                                                                   \
    X(SLICE, "size or `off`")                                                                                \
    X(HEURISTIC, "percentage `up to` duration, or `off`")                                                    \
    X(HOST_PATTERNS, "host patterns")                                                                        \
    X(PATH_PATTERNS, "path patterns")                                                                        \
    X(METHODS, "methods")                                                                                    \
    X(HEADER_MATCH, "`Name: value`")                                                                         \
    X(POOL_REF, "name of a pool")                                                                            \
    X(REDIRECT, "status and target")                                                                         \
    X(RESPOND, "status and text")                                                                            \
    X(ROUTE_CACHE, "`on`, `off` or `bypass_if=`")                                                            \
    X(FIELD_SET, "`Name: value`")                                                                            \
    X(FIELD_REMOVE, "field name")                                                                            \
    X(FIELD_NAMES, "field names")                                                                            \
    X(COOKIE_PATTERNS, "names of cookies, or `all`")                                                         \
    X(TAGS, "tags")                                                                                          \
    X(KEY_QUERY, "`all`, `none`, `only: names` or `except: names`")                                          \
    X(KEY_HEADERS, "field names")                                                                            \
    X(KEY_COOKIES, "names of cookies")                                                                       \
    X(KEY_LANGUAGES, "language tags")                                                                        \
    X(RATE_LIMIT, "rate, `burst=`, `by=`, `shared`")                                                         \
    X(SPLIT, "two pools with weights, `by=`")                                                                \
    X(REDIS_URL, "URL")                                                                                      \
    X(REDIS_NAME, "text without blanks")                                                                     \
    X(CODINGS, "words")                                                                                      \
    X(OTHER, "see below")

enum option_type {
#define X(id, words) OPTION_##id,
    OPTION_TYPES(X)
#undef X
        OPTION_TYPE_COUNT
};

#define OPTION_LIST     1u  /* a repeated key adds */
#define OPTION_COMMAS   2u  /* a comma adds as well */
#define OPTION_RESTART  4u  /* a reload leaves it as it is */
#define OPTION_SECRET   8u  /* `millpond config` does not show it */
#define OPTION_COMPUTED 16u /* default_text is words for the manual; defaults.c works the value out */

struct config_option {
    enum option_section section;
    const char *key;
    enum option_type type;
    const char *default_text; /* parsed like any value unless OPTION_COMPUTED; "" = not set */
    int64_t min, max;         /* range in the type's unit; both 0 = any */
    const char *words;        /* words allowed, blank-separated, in the order of the enum; NULL = none */
    unsigned flags;
    size_t offset;    /* of the member in the section's struct; 0 where the parser knows it itself */
    const char *help; /* what the manual says; backticks mark literal text */
};

struct option_section_info {
    const char *name;
    bool named; /* [pool NAME] */
    const char *title, *help;
};

extern const struct config_option option_table[];
extern const size_t option_count;
extern const struct option_section_info option_sections[OPTION_SECTION_COUNT];

/* NULL when the section has no such key. */
const struct config_option *option_find(enum option_section section, slice_t key);
/* false when there is no section of that name. */
bool option_section_find(slice_t name, enum option_section *out);
const char *option_type_words(enum option_type type);
/* Index of `word` in a blank-separated list, -1 when it is not there. `words` may be NULL. */
int option_word_index(const char *words, slice_t word);

/* The nearest of the offered words to a misspelt one: by edits (insert, drop, replace, swap neighbours),
 * without case. Begin with {.word = w}; `best` is NULL when nothing is near enough to be worth a guess. */
struct option_guess {
    slice_t word;
    const char *best;
    unsigned best_edits;
};
void option_guess_offer(struct option_guess *g, const char *candidate);
void option_guess_offer_words(struct option_guess *g, const char *words, char *buf, size_t buf_bytes);

#endif
