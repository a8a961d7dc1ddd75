/* purge_message.c: see purge_message.h. Words are separated by spaces and tabs, lines end in LF or CRLF,
 * empty ones are skipped. Words are those of the stream's entries and of the API's members; "tags" is taken,
 * too. */
#include "cache/purge_message.h"

#include "cache/purge_json.h"

#define ADVICE                                                                                               \
    "publish lines such as \"tag product-7\" or \"url http://example.com/page\" (also prefix, glob, host, "  \
    "all; soft and any_query in front), or a JSON object as POST /api/purge takes"

static bool fail(struct cache_purge_request *r, const char *problem)
{
    r->problem = problem;
    r->hint = ADVICE;
    return false;
}

static bool add_json(struct cache_purge_request *r, slice_t text)
{
    json_error_t error;
    json_t *object = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    bool ok = json_is_object(object) ? cache_purge_request_add_json(r, object)
                                     : fail(r, "this begins like a JSON object and is none");
    json_decref(object);
    return ok;
}

/* The first word of the line, which loses it and the space behind it. */
static slice_t take_word(slice_t *line)
{
    size_t n = 0;
    while (n < line->len && line->ptr[n] != ' ' && line->ptr[n] != '\t')
        n++;
    slice_t word = slice_make(line->ptr, n);
    *line = slice_trim(slice_make(line->ptr + n, line->len - n));
    return word;
}

/* A line behind the words that hold for the whole message. */
static bool add_line(struct cache_purge_request *r, slice_t word, slice_t rest)
{
    static const struct {
        slice_t word;
        enum cache_purge_kind kind;
    } words[] = {{{"url", 3}, CACHE_PURGE_URL},
                 {{"prefix", 6}, CACHE_PURGE_PREFIX},
                 {{"glob", 4}, CACHE_PURGE_GLOB},
                 {{"host", 4}, CACHE_PURGE_HOST}};
    if (slice_eq(word, SLICE_LIT("tag")) || slice_eq(word, SLICE_LIT("tags")))
        return cache_purge_request_add_tags(r, rest, false);
    if (slice_eq(word, SLICE_LIT("all")))
        return rest.len == 0 ? cache_purge_request_add(r, CACHE_PURGE_ALL, SLICE_EMPTY)
                             : fail(r, "there is something behind the word all");
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_eq(word, words[i].word))
            return cache_purge_request_add(r, words[i].kind, rest);
    }
    return fail(r, "a line begins with a word that is not known");
}

/* Takes `soft` and `any_query` from the front of a line. */
static void take_flags(struct cache_purge_request *r, slice_t *line)
{
    for (;;) {
        slice_t rest = *line, word = take_word(&rest);
        bool *flag = slice_eq(word, SLICE_LIT("soft"))        ? &r->soft
                     : slice_eq(word, SLICE_LIT("any_query")) ? &r->any_query
                                                              : NULL;
        if (flag == NULL)
            return;
        *flag = true;
        *line = rest;
    }
}

static slice_t take_line(slice_t *text)
{
    size_t end = MIN(slice_find(*text, '\n', 0), text->len), next = MIN(end + 1, text->len);
    slice_t line = slice_make(text->ptr, end);
    *text = slice_make(text->ptr + next, text->len - next);
    if (slice_ends(line, SLICE_LIT("\r")))
        line.len--;
    return slice_trim(line);
}

static bool has_control(slice_t line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (((unsigned char)line.ptr[i] < ' ' && line.ptr[i] != '\t') || line.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

/* Twice, since a word in front of the last line holds for the first. */
static bool add_lines(struct cache_purge_request *r, slice_t message)
{
    for (slice_t rest = message; rest.len > 0;) {
        slice_t line = take_line(&rest);
        if (has_control(line))
            return fail(r, "there are control characters in it");
        take_flags(r, &line);
    }
    for (slice_t rest = message; rest.len > 0;) {
        slice_t line = take_line(&rest);
        take_flags(r, &line);
        slice_t word = take_word(&line);
        if (word.len > 0 && !add_line(r, word, line))
            return false;
    }
    return r->count > 0 || fail(r, "it does not say what to purge");
}

bool cache_purge_request_add_message(struct cache_purge_request *r, slice_t message)
{
    if (message.len > CACHE_PURGE_MESSAGE_MAX)
        return fail(r, "this is too long");
    size_t n = 0;
    while (n < message.len && slice_find(SLICE_LIT(" \t\r\n"), message.ptr[n], 0) != SIZE_MAX)
        n++;
    slice_t text = slice_make(message.ptr + n, message.len - n);
    return slice_starts(text, SLICE_LIT("{")) ? add_json(r, text) : add_lines(r, text);
}
