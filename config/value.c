/* value.c: numbers and words; see value.h. Addresses, hosts and paths are in value_net.c. */
#include "config/value.h"

#include <stdio.h>

/* Splits "64M" into digits and the rest. false without digits or above int64. */
static bool value_split_number(slice_t s, int64_t *number, slice_t *unit)
{
    size_t digits = 0;
    uint64_t v;
    while (digits < s.len && s.ptr[digits] >= '0' && s.ptr[digits] <= '9')
        digits++;
    if (!slice_to_u64(slice_make(s.ptr, digits), &v) || v > INT64_MAX)
        return false;
    *number = (int64_t)v;
    *unit = slice_make(s.ptr + digits, s.len - digits);
    return true;
}

const char *value_parse_count(slice_t s, int64_t *out)
{
    slice_t unit;
    if (!value_split_number(s, out, &unit) || unit.len > 0)
        return "is not a number; write digits only";
    return NULL;
}

const char *value_parse_duration(slice_t s, dur_ms_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    slice_t unit;
    int64_t number, ms;
    if (!value_split_number(s, &number, &unit))
        return "is not a duration; write a number and a unit, such as 250ms, 5s, 1m, 12h or 7d";
    if (unit.len == 0 && number == 0) {
        *out = 0;
        return NULL;
    }
    if (unit.len == 0)
        return "has no unit; write one of ms, s, m, h, d behind it, such as 5s";
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!slice_eq(unit, slice_str(units[i].unit)))
            continue;
        if (__builtin_mul_overflow(number, units[i].ms, &ms))
            return "is too long; write a shorter duration";
        *out = ms;
        return NULL;
    }
    if (unit.ptr[0] == '.' || unit.ptr[0] == ',')
        return "is not a whole number; write a smaller unit, such as 1500ms for 1.5s";
    return "has an unknown unit; write one of ms, s, m, h, d, such as 5s";
}

const char *value_parse_size(slice_t s, int64_t *out)
{
    static const char letters[] = "kmgt";
    slice_t unit;
    int64_t number;
    if (!value_split_number(s, &number, &unit))
        return "is not a size; write a number and a unit, such as 512K, 64M or 2G";
    if (unit.len == 0) {
        *out = number;
        return NULL;
    }
    const char *letter = unit.len == 1 ? strchr(letters, ascii_lower(unit.ptr[0])) : NULL;
    if (unit.ptr[0] == '.' || unit.ptr[0] == ',')
        return "is not a whole number; write a smaller unit, such as 1536K for 1.5M";
    if (letter == NULL || *letter == '\0')
        return "has an unknown unit; write one of K, M, G, T, such as 64M";
    if (__builtin_mul_overflow(number, INT64_C(1) << (10 * (letter - letters + 1)), out))
        return "is too large; write a smaller size";
    return NULL;
}

const char *value_parse_byte_rate(slice_t s, int64_t *out)
{
    if (slice_eq(s, SLICE_LIT("0"))) {
        *out = 0;
        return NULL;
    }
    size_t slash = slice_find(s, '/', 0);
    slice_t per = slash == SIZE_MAX ? SLICE_EMPTY : slice_make(s.ptr + slash + 1, s.len - slash - 1);
    bool per_minute = slice_eq(per, SLICE_LIT("m"));
    if (!per_minute && !slice_eq(per, SLICE_LIT("s")))
        return "is not a rate; write an amount per second or minute, such as 240/s or 64K/m";
    int64_t amount;
    if (value_parse_size(slice_make(s.ptr, slash), &amount) != NULL)
        return "is not a rate; write an amount per second or minute, such as 240/s or 64K/m";
    *out = per_minute ? amount / 60 + (amount % 60 != 0) : amount;
    return NULL;
}

const char *value_parse_bool(slice_t s, bool *out)
{
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_eq(s, slice_str(words[i]))) {
            *out = i % 2 == 1;
            return NULL;
        }
    }
    return "is neither yes nor no; write yes, no, on, off, true or false";
}

const char *value_parse_percent(slice_t s, int64_t *out)
{
    slice_t unit;
    if (!value_split_number(s, out, &unit) || !slice_eq(unit, SLICE_LIT("%")))
        return "is not a percentage; write a whole number and a percent sign, such as 20%";
    return NULL;
}

const char *value_parse_mode(slice_t s, mode_t *out)
{
    unsigned mode = 0;
    bool ok = s.len >= 3 && s.len <= 4;
    for (size_t i = 0; ok && i < s.len; i++) {
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '7';
        mode = mode * 8 + (unsigned)(s.ptr[i] - '0');
    }
    if (!ok || mode > 0777)
        return "is not a file mode; write three octal digits, such as 0660";
    *out = (mode_t)mode;
    return NULL;
}

const char *value_parse_status_range(slice_t s, struct config_status_range *out)
{
    size_t dash = slice_find(s, '-', 0);
    slice_t from = slice_trim(slice_make(s.ptr, dash == SIZE_MAX ? s.len : dash));
    slice_t to = dash == SIZE_MAX ? from : slice_trim(slice_make(s.ptr + dash + 1, s.len - dash - 1));
    uint64_t lo, hi;
    if (!slice_to_u64(from, &lo) || !slice_to_u64(to, &hi) || lo < 100 || hi > 599)
        return "is not a status code or range; write codes from 100 to 599, such as 200-399 or 200, 204";
    if (lo > hi)
        return "is a range that ends before it begins; write the smaller code first";
    *out = (struct config_status_range){(uint16_t)lo, (uint16_t)hi};
    return NULL;
}

slice_t value_next_word(slice_t *s)
{
    *s = slice_trim(*s);
    size_t len = 0;
    while (len < s->len && s->ptr[len] != ' ' && s->ptr[len] != '\t')
        len++;
    slice_t word = slice_make(s->ptr, len);
    *s = slice_make(s->ptr + len, s->len - len);
    return word;
}

const char *value_parse_hedge(slice_t s, dur_ms_t *out)
{
    *out = 0;
    if (slice_eq(s, SLICE_LIT("off")))
        return NULL;
    *out = CONFIG_HEDGE_P95;
    if (slice_eq(s, SLICE_LIT("p95")))
        return NULL;
    if (value_parse_duration(s, out) != NULL || *out < 1 || *out > 24 * 60 * 60 * INT64_C(1000))
        return "is no time to wait for the first instance; write off, p95 or a duration up to 1d, such as "
               "200ms";
    return NULL;
}

const char *value_parse_heuristic(slice_t s, int *percent, dur_ms_t *max)
{
    static const char advice[] = "is no rule; write a share and a limit, such as 10% up to 1d, or off";
    int64_t share;
    *percent = 0;
    *max = 0;
    if (slice_eq(s, SLICE_LIT("off")))
        return NULL;
    slice_t share_text = value_next_word(&s), up = value_next_word(&s), to = value_next_word(&s);
    if (value_parse_percent(share_text, &share) != NULL || !slice_eq(up, SLICE_LIT("up")) ||
        !slice_eq(to, SLICE_LIT("to")) || value_parse_duration(slice_trim(s), max) != NULL)
        return advice;
    if (share < 1 || share > 100)
        return "has a share out of range; write 1% to 100%, or off";
    *percent = (int)share;
    return NULL;
}

static bool value_is_word_char(char c)
{
    c = ascii_lower(c);
    return (c >= 'a' && c <= 'z') || c == '_';
}

static bool value_variable_allowed(slice_t name, const char *allowed)
{
    for (const char *p = allowed; *p != '\0';) {
        size_t len = strcspn(p, " ");
        if (slice_eq(slice_make(p, len), name))
            return true;
        p += len + (p[len] == ' ');
    }
    return false;
}

const char *value_check_variables(slice_t s, const char *allowed, slice_t *unknown)
{
    for (size_t i = 0; i < s.len; i++) {
        size_t end = i + 1;
        while (s.ptr[i] == '$' && end < s.len && value_is_word_char(s.ptr[end]))
            end++;
        slice_t name = slice_make(s.ptr + i + 1, end - i - 1);
        if (name.len > 0 && !value_variable_allowed(name, allowed)) {
            *unknown = name;
            return "is no variable";
        }
        i = end - 1;
    }
    return NULL;
}

bool value_is_token(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (c == '\0' || (!alnum && strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return s.len > 0;
}

bool value_is_name(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return s.len > 0;
}

const char *value_parse_field_name(slice_t s)
{
    return value_is_token(s) ? NULL : "is not a field name; write letters, digits and -, such as X-Beta";
}

const char *value_format_duration(dur_ms_t ms, char buf[VALUE_TEXT])
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (ms != 0 && ms % units[i].ms == 0) {
            snprintf(buf, VALUE_TEXT, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
            return buf;
        }
    }
    snprintf(buf, VALUE_TEXT, ms == 0 ? "0" : "%lldms", (long long)ms);
    return buf;
}

const char *value_format_size(int64_t bytes, char buf[VALUE_TEXT])
{
    static const char letters[] = "TGMK";
    for (int i = 0; i < 4; i++) {
        int64_t unit = INT64_C(1) << (10 * (4 - i));
        if (bytes != 0 && bytes % unit == 0) {
            snprintf(buf, VALUE_TEXT, "%lld%c", (long long)(bytes / unit), letters[i]);
            return buf;
        }
    }
    snprintf(buf, VALUE_TEXT, "%lld", (long long)bytes);
    return buf;
}
