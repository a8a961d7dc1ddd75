/* access_log.c: writes access log lines; the hot half (see access_log.h, access_format.h).
 *
 * A line is a walk over precompiled pieces: a constant-size copy of the literal, then the value. No printf,
 * no allocation, no length checks in the usual case: when even the worst escaping of all texts would fit,
 * nothing can run over. Otherwise the texts are measured and the longest are cut to a common length, so that
 * one huge User-Agent cannot push the other fields off the line and JSON stays whole. The text of the current
 * second is kept per thread. Pure but for that; any thread. */
#include "proxy/access_log.h"

#include <stdarg.h>

#include "core/panic.h"
#include "proxy/access_format.h"

#define NAME_MAX_BYTES 31

struct name {
    char text[NAME_MAX_BYTES];
    uint8_t len;
};
#define NAME(id, name, ...) {name, sizeof name - 1},
static const struct name verdict_names[] = {OUTCOME_CACHE_VERDICTS(NAME)};
#define NAME_REMEMBERED(id, name, ...) NAME(id, "remembered_" name)
static const struct name no_store_names[] = {OUTCOME_NO_STORE(NAME) OUTCOME_NO_STORE(NAME_REMEMBERED)};
static const struct name close_names[] = {OUTCOME_CLOSES(NAME)};
static const struct name fetch_names[] = {OUTCOME_FETCH_ERRORS(NAME)};
_Static_assert(NAME_MAX_BYTES < ACCESS_VALUE_MAX, "a name is a value");

/* ---- values ---- */

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static unsigned count_digits(uint64_t v)
{
    unsigned n = 1;
    for (; v >= 10000; v /= 10000)
        n += 4;
    return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

static char *put_u64(char *to, uint64_t v)
{
    char *end = to + count_digits(v), *p = end;
    for (; v >= 100; v /= 100) {
        p -= 2;
        memcpy(p, digit_pairs + v % 100 * 2, 2);
    }
    if (v >= 10)
        memcpy(p - 2, digit_pairs + v * 2, 2);
    else
        p[-1] = (char)('0' + v);
    return end;
}

static _Thread_local struct {
    wall_s_t wall_s;
    bool valid;
    char iso[20]; /* 2026-01-31T12:00:00. */
    char clf[26]; /* 31/Jan/2026:12:00:00 +0000 */
} second_text;

static void put_digits(char *to, int v, int digits)
{
    while (digits-- > 0) {
        to[digits] = (char)('0' + v % 10);
        v /= 10;
    }
}

static void second_text_make(wall_s_t wall_s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)wall_s;
    struct tm tm = {0};
    gmtime_r(&t, &tm);
    memcpy(second_text.iso, "0000-00-00T00:00:00.", sizeof second_text.iso);
    put_digits(second_text.iso, tm.tm_year + 1900, 4);
    put_digits(second_text.iso + 5, tm.tm_mon + 1, 2);
    put_digits(second_text.iso + 8, tm.tm_mday, 2);
    memcpy(second_text.clf, "00/Jan/0000:00:00:00 +0000", sizeof second_text.clf);
    put_digits(second_text.clf, tm.tm_mday, 2);
    memcpy(second_text.clf + 3, months + 3 * tm.tm_mon, 3);
    put_digits(second_text.clf + 7, tm.tm_year + 1900, 4);
    const int clock[3] = {tm.tm_hour, tm.tm_min, tm.tm_sec};
    for (int i = 0; i < 3; i++) {
        put_digits(second_text.iso + 11 + 3 * i, clock[i], 2);
        put_digits(second_text.clf + 12 + 3 * i, clock[i], 2);
    }
    second_text.wall_s = wall_s;
    second_text.valid = true;
}

static void second_text_for(wall_ms_t wall_ms)
{
    if (UNLIKELY(second_text.wall_s != wall_ms / 1000 || !second_text.valid))
        second_text_make(wall_ms / 1000);
}

static char *put_iso(char *to, wall_ms_t wall_ms)
{
    wall_ms = MAX(wall_ms, 0);
    second_text_for(wall_ms);
    memcpy(to, second_text.iso, sizeof second_text.iso);
    to += sizeof second_text.iso;
    unsigned ms = (unsigned)(wall_ms % 1000);
    to[0] = (char)('0' + ms / 100);
    memcpy(to + 1, digit_pairs + ms % 100 * 2, 2);
    to[3] = 'Z';
    return to + 4;
}

static char *put_clf(char *to, wall_ms_t wall_ms)
{
    second_text_for(MAX(wall_ms, 0));
    memcpy(to, second_text.clf, sizeof second_text.clf);
    return to + sizeof second_text.clf;
}

static char *put_name(char *to, const struct name *names, size_t count, int value)
{
    ASSERT((size_t)value < count);
    memcpy(to, names[value].text, NAME_MAX_BYTES);
    return to + names[value].len;
}

/* ---- the line ---- */

static const void *member(const struct access_record *r, const struct access_piece *p)
{
    return (const char *)r + p->offset;
}

static slice_t member_text(const struct access_record *r, const struct access_piece *p)
{
    return *(const slice_t *)member(r, p);
}

static inline char *put_piece_text(char *to, const struct access_piece *p)
{
    memcpy(to, p->text, ACCESS_PIECE_TEXT);
    return to + p->text_bytes;
}

/* A field that does not apply. */
static char *put_absent(char *to, const struct access_piece *p, const struct access_format *f)
{
    if (f->skip_absent)
        return to;
    to = put_piece_text(to, p);
    *to = '-';
    return to + 1;
}

static char *put_text_piece(char *to, const struct access_piece *p, const struct access_format *f,
                            slice_t text, size_t limit)
{
    if (text.len == 0)
        return put_absent(to, p, f);
    to = put_piece_text(to, p);
    to = LIKELY(limit == SIZE_MAX) ? access_text_put(to, text, f->escape)
                                   : access_text_put_cut(to, text, f->escape, limit);
    *to = '"';
    return to + p->quoted;
}

static char *put_name_piece(char *to, const struct access_piece *p, const struct access_format *f,
                            const struct name *names, size_t count, int value, int absent)
{
    if (value == absent)
        return put_absent(to, p, f);
    to = put_name(put_piece_text(to, p), names, count, value);
    *to = '"';
    return to + p->quoted;
}

static char *put_number_piece(char *to, const struct access_piece *p, const struct access_format *f,
                              int64_t value)
{
    return value < 0 ? put_absent(to, p, f) : put_u64(put_piece_text(to, p), (uint64_t)value);
}

static char *put_piece(char *to, const struct access_format *f, const struct access_piece *p,
                       const struct access_record *r, size_t limit)
{
    const void *m = member(r, p);
    switch ((enum access_kind)p->kind) {
    case ACCESS_KIND_NONE:
        return put_piece_text(to, p);
    case ACCESS_KIND_ISO:
        to = put_iso(put_piece_text(to, p), *(const wall_ms_t *)m);
        *to = '"';
        return to + p->quoted;
    case ACCESS_KIND_CLF:
        return put_clf(put_piece_text(to, p), *(const wall_ms_t *)m);
    case ACCESS_KIND_TEXT:
        return put_text_piece(to, p, f, *(const slice_t *)m, limit);
    case ACCESS_KIND_UINT:
        return put_u64(put_piece_text(to, p), *(const unsigned *)m);
    case ACCESS_KIND_U64:
        return put_u64(put_piece_text(to, p), *(const uint64_t *)m);
    case ACCESS_KIND_OPT:
        return put_number_piece(to, p, f, *(const int64_t *)m);
    case ACCESS_KIND_VERDICT:
        return put_name_piece(to, p, f, verdict_names, ARRAY_LEN(verdict_names), *(const int *)m, -1);
    case ACCESS_KIND_NO_STORE:
        return put_name_piece(to, p, f, no_store_names, ARRAY_LEN(no_store_names), *(const int *)m, -1);
    case ACCESS_KIND_FETCH:
        return put_name_piece(to, p, f, fetch_names, ARRAY_LEN(fetch_names), *(const int *)m, FETCH_NONE);
    case ACCESS_KIND_CLOSE:
        return put_name_piece(to, p, f, close_names, ARRAY_LEN(close_names), *(const int *)m, CLOSE_OPEN);
    }
    return to;
}

/* The longest common limit with which all texts fit into `room` bytes; SIZE_MAX when none needs cutting, 0
 * when there is no room even for cut ones. Each text is measured once, and no further than `room`. */
static size_t text_limit(const struct access_format *f, const struct access_record *r, size_t room)
{
    size_t lengths[ACCESS_PIECES_MAX], n = 0, whole = 0;
    if (room < 3 * f->texts)
        return 0;
    for (size_t i = 0; i < f->piece_count; i++) {
        if (f->pieces[i].kind != ACCESS_KIND_TEXT)
            continue;
        lengths[n] = access_text_length(member_text(r, &f->pieces[i]), f->escape, room);
        whole += lengths[n++];
    }
    if (whole <= room)
        return SIZE_MAX;
    size_t fits = 3, fits_not = room + 1;
    while (fits + 1 < fits_not) {
        size_t middle = fits + (fits_not - fits) / 2, sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += MIN(lengths[i], middle);
        if (sum <= room)
            fits = middle;
        else
            fits_not = middle;
    }
    return fits;
}

size_t access_format_write(const struct access_format *f, const struct access_record *r, char *buf,
                           size_t cap)
{
    size_t limit = SIZE_MAX, text_bytes = 0;
    if (cap < f->fixed_max)
        return 0;
    for (size_t i = 0; i < f->piece_count; i++) {
        if (f->pieces[i].kind == ACCESS_KIND_TEXT)
            text_bytes += ((const slice_t *)member(r, &f->pieces[i]))->len;
    }
    if (UNLIKELY(text_bytes > (cap - f->fixed_max) / ACCESS_ESCAPE_WORST))
        limit = text_limit(f, r, cap - f->fixed_max);
    if (limit == 0)
        return 0;
    char *to = buf;
    for (const struct access_piece *p = f->pieces, *end = p + f->piece_count; p < end; p++)
        to = put_piece(to, f, p, r, limit);
    ASSERT((size_t)(to - buf) <= cap);
    return (size_t)(to - buf);
}

/* ---- the slow-request line: rare, so stdio is good enough ---- */

#define SLOW_TEXT_MAX 300

struct sentence {
    char *buf;
    size_t used, cap;
};

static void say(struct sentence *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct sentence *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(s->buf + s->used, s->cap - s->used, fmt, ap);
    va_end(ap);
    if (n > 0)
        s->used += MIN((size_t)n, s->cap - s->used - 1);
}

static void say_text(struct sentence *s, const char *before, slice_t text)
{
    char escaped[SLOW_TEXT_MAX + ACCESS_TEXT_SLACK];
    char *end = access_text_put_cut(escaped, text, ACCESS_ESCAPE_HEX, SLOW_TEXT_MAX);
    if (text.len > 0)
        say(s, "%s%.*s", before, (int)(end - escaped), escaped);
}

static void say_duration(struct sentence *s, const char *before, int64_t us)
{
    if (us >= 0)
        say(s, "%s%lld.%03lld ms", before, (long long)(us / 1000), (long long)(us % 1000));
}

size_t access_slow_line(const struct access_record *r, char *buf, size_t cap)
{
    struct sentence s = {buf, 0, cap};
    ASSERT(cap > 0);
    buf[0] = '\0';
    say_text(&s, "", r->method);
    say_text(&s, " ", r->scheme);
    say_text(&s, "://", r->host);
    say_text(&s, "", r->target);
    say(&s, " answered %u", r->status);
    say_duration(&s, " after ", r->duration_us);
    say_duration(&s, ", wait ", r->wait_us);
    say_duration(&s, ", connect ", r->connect_us);
    say_duration(&s, ", first byte ", r->first_byte_us);
    say_duration(&s, ", upstream ", r->upstream_us);
    say(&s, "; cache %s", outcome_verdict_name((enum cache_verdict)r->cache));
    if (r->no_store > NO_STORE_STORED)
        say(&s, " (%s)", outcome_no_store_name((enum no_store_reason)r->no_store));
    say_text(&s, ", route ", r->route);
    say_text(&s, ", pool ", r->pool);
    say_text(&s, ", instance ", r->instance);
    if (r->tries > 1)
        say(&s, ", %llu tries", (unsigned long long)r->tries);
    if (r->fetch_error != FETCH_NONE)
        say(&s, ", fetch failed: %s", outcome_fetch_name((enum fetch_error)r->fetch_error));
    if (r->close != CLOSE_OPEN)
        say(&s, ", closed: %s", outcome_close_name((enum close_reason)r->close));
    say(&s, ", %llu bytes", (unsigned long long)r->response_bytes);
    say_text(&s, ", client ", r->client);
    say_text(&s, ", id ", r->request_id);
    return s.used;
}
