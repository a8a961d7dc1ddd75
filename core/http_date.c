/* http_date.c: see http_date.h. Calendar arithmetic is done here, on the proleptic Gregorian calendar:
 * timegm() and strftime() read the locale or the time zone files, and cost a lock.
 *
 * Names match in any case: the grammar is case-sensitive, but RFC 9111 section 4.2 asks caches not to be. GMT
 * is the only zone. A weekday that does not fit the date is let through: the most copied Expires of the web
 * ("Mon, 26 Jul 1997 05:00:00 GMT", a Saturday) has one. Pure; any thread. */
#include "core/http_date.h"

#define DAY_S 86400

static const char day_short[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char day_long[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct civil {
    int64_t year;
    unsigned month, day; /* from 1 */
    unsigned hour, minute, second;
};

/* Days since 1970-01-01. Years begin in March here, so that the leap day comes last. */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (unsigned)((5 * day_of_year + 2) / 153);
    struct civil c = {.year = year + era * 400, .day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1)};
    c.month = month < 10 ? month + 3 : month - 9;
    c.year += c.month <= 2;
    return c;
}

static wall_s_t civil_to_s(const struct civil *c)
{
    return days_from_civil(c->year, c->month, c->day) * DAY_S + c->hour * 3600 + c->minute * 60 + c->second;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool civil_is_possible(const struct civil *c)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->month < 1 || c->month > 12 || c->hour > 23 || c->minute > 59 || c->second > 60)
        return false;
    unsigned last = days[c->month - 1] + (c->month == 2 && is_leap(c->year));
    return c->day >= 1 && c->day <= last;
}

/* The readers below take what they name from the front of `s`. */
static bool take_digits(slice_t *s, unsigned count, unsigned *out)
{
    unsigned v = 0;
    if (s->len < count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        unsigned digit = (unsigned)(unsigned char)s->ptr[i] - '0';
        if (digit > 9)
            return false;
        v = v * 10 + digit;
    }
    *s = slice_make(s->ptr + count, s->len - count);
    *out = v;
    return true;
}

static bool take_text(slice_t *s, const char *text)
{
    slice_t want = slice_str(text);
    if (s->len < want.len || !slice_ieq(slice_make(s->ptr, want.len), want))
        return false;
    *s = slice_make(s->ptr + want.len, s->len - want.len);
    return true;
}

static bool take_month(slice_t *s, unsigned *out)
{
    for (unsigned i = 0; i < 12; i++) {
        if (take_text(s, month_names[i])) {
            *out = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_time(slice_t *s, struct civil *c)
{
    return take_digits(s, 2, &c->hour) && take_text(s, ":") && take_digits(s, 2, &c->minute) &&
           take_text(s, ":") && take_digits(s, 2, &c->second);
}

static bool take_year(slice_t *s, struct civil *c)
{
    unsigned year;
    if (!take_digits(s, 4, &year))
        return false;
    c->year = year;
    return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", behind the weekday */
static bool read_imf_fixdate(slice_t s, struct civil *c)
{
    return take_text(&s, ", ") && take_digits(&s, 2, &c->day) && take_text(&s, " ") &&
           take_month(&s, &c->month) && take_text(&s, " ") && take_year(&s, c) && take_text(&s, " ") &&
           take_time(&s, c) && take_text(&s, " GMT") && s.len == 0;
}

/* "Sun Nov  6 08:49:37 1994", behind the weekday */
static bool read_asctime(slice_t s, struct civil *c)
{
    return take_text(&s, " ") && take_month(&s, &c->month) && take_text(&s, " ") &&
           (take_text(&s, " ") ? take_digits(&s, 1, &c->day) : take_digits(&s, 2, &c->day)) &&
           take_text(&s, " ") && take_time(&s, c) && take_text(&s, " ") && take_year(&s, c) && s.len == 0;
}

/* The latest year with these last two digits in which the date is at most 50 years ahead of now. */
static void resolve_year(struct civil *c, unsigned two_digits, wall_s_t now_s)
{
    int64_t days = now_s / DAY_S - (now_s % DAY_S < 0);
    struct civil limit = civil_from_days(days);
    int64_t limit_s =
        days_from_civil(limit.year + 50, limit.month, limit.day) * DAY_S + (now_s - days * DAY_S);
    c->year = limit.year - limit.year % 100 + 100 + two_digits;
    while (civil_to_s(c) > limit_s)
        c->year -= 100;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT", behind the weekday */
static bool read_rfc850(slice_t s, wall_s_t now_s, struct civil *c)
{
    unsigned year;
    if (!(take_text(&s, ", ") && take_digits(&s, 2, &c->day) && take_text(&s, "-") &&
          take_month(&s, &c->month) && take_text(&s, "-") && take_digits(&s, 2, &year) &&
          take_text(&s, " ") && take_time(&s, c) && take_text(&s, " GMT") && s.len == 0))
        return false;
    resolve_year(c, year, now_s);
    return true;
}

bool http_date_parse(slice_t s, wall_s_t now_s, wall_s_t *out)
{
    struct civil c = {0};
    slice_t rest = s;
    bool ok = false;
    for (unsigned i = 0; i < 7 && !ok; i++) {
        rest = s;
        if (take_text(&rest, day_long[i]))
            ok = read_rfc850(rest, now_s, &c);
        else if (take_text(&rest, day_short[i]))
            ok = read_imf_fixdate(rest, &c) || read_asctime(rest, &c);
    }
    if (!ok || !civil_is_possible(&c))
        return false;
    *out = civil_to_s(&c);
    return true;
}

static void put_digits(char *buf, unsigned count, unsigned v)
{
    for (; count > 0; v /= 10)
        buf[--count] = (char)('0' + v % 10);
}

void http_date_write(char *buf, wall_s_t t)
{
    static const wall_s_t year_0 = INT64_C(-62167219200), year_9999_end = INT64_C(253402300799);
    t = MAX(year_0, MIN(t, year_9999_end));
    int64_t days = t / DAY_S - (t % DAY_S < 0);
    unsigned second = (unsigned)(t - days * DAY_S);
    struct civil c = civil_from_days(days);
    memcpy(buf, "Thu, 01 Jan 1970 00:00:00 GMT", HTTP_DATE_LEN);
    memcpy(buf, day_short[((days + 4) % 7 + 7) % 7], 3);
    put_digits(buf + 5, 2, c.day);
    memcpy(buf + 8, month_names[c.month - 1], 3);
    put_digits(buf + 12, 4, (unsigned)c.year);
    put_digits(buf + 17, 2, second / 3600);
    put_digits(buf + 20, 2, second / 60 % 60);
    put_digits(buf + 23, 2, second % 60);
}
