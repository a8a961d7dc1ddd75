/* ini_read.c: see ini_read.h. */
#include "config/ini_read.h"

#include <ini.h>
#include <stdio.h>

#include "core/panic.h"

/* Debian's inih has its limits as variables. They are weak here, so that a build of inih without them links
 * too and its own limit, which it tells the reader callback, is the one that counts. */
extern bool ini_use_stack __attribute__((weak));
extern int ini_max_line __attribute__((weak));
extern int ini_initial_alloc __attribute__((weak));

/* One ini_read_text, on its stack. */
struct ini_read {
    slice_t rest;
    int line;
    bool skip_pairs; /* inside a section whose head was refused */
    bool any_section;
    bool quiet_orphan; /* pairs before the first section are reported once */
    const struct ini_read_events *events;
};

static slice_t ini_read_take_line(struct ini_read *r)
{
    size_t end = slice_find(r->rest, '\n', 0);
    slice_t line = slice_make(r->rest.ptr, end == SIZE_MAX ? r->rest.len : end);
    size_t used = end == SIZE_MAX ? r->rest.len : end + 1;
    r->rest = slice_make(r->rest.ptr + used, r->rest.len - used);
    r->line++;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool ini_read_has_control(slice_t line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static bool ini_read_refuse(struct ini_read *r, const char *what)
{
    r->events->on_problem(r->events->user, r->line, what);
    return false;
}

static bool ini_read_is_blank_or_comment(slice_t s)
{
    s = slice_trim(s);
    return s.len == 0 || s.ptr[0] == ';' || s.ptr[0] == '#';
}

static const char *ini_read_section_fault(slice_t line, slice_t *head)
{
    size_t end = slice_find(line, ']', 0);
    if (end == SIZE_MAX)
        return "the section has no closing bracket; write it as [section] or [section name]";
    *head = slice_make(line.ptr + 1, end - 1);
    if (head->len > INI_READ_MAX_SECTION)
        return "the section name is longer than 49 bytes; choose a shorter one";
    if (memchr(head->ptr, ';', head->len) != NULL || memchr(head->ptr, '[', head->len) != NULL)
        return "the section name may not contain ; or [; use letters, digits, - _ and .";
    if (!ini_read_is_blank_or_comment(slice_make(line.ptr + end + 1, line.len - end - 1)))
        return "something follows the closing bracket; put it on a line of its own";
    *head = slice_trim(*head);
    return NULL;
}

static bool ini_read_check_section(struct ini_read *r, slice_t line)
{
    slice_t head;
    const char *fault = ini_read_section_fault(line, &head);
    r->any_section = true;
    r->skip_pairs = fault != NULL;
    if (fault == NULL) {
        r->events->on_section(r->events->user, r->line, head);
        return true;
    }
    r->events->on_bad_section(r->events->user, r->line);
    return ini_read_refuse(r, fault);
}

static bool ini_read_check_pair(struct ini_read *r, slice_t line)
{
    size_t equals = slice_find(line, '=', 0);
    size_t colon = slice_find(line, ':', 0);
    if (equals == SIZE_MAX || colon < equals)
        return ini_read_refuse(r, colon < equals
                                      ? "a colon stands where = is expected; write key = value"
                                      : "this is no key = value; write one, or begin a comment with ;");
    slice_t key = slice_trim(slice_make(line.ptr, equals));
    if (key.len == 0)
        return ini_read_refuse(r, "there is no key before the =; write key = value");
    if (memchr(key.ptr, ';', key.len) != NULL)
        return ini_read_refuse(r, "the key contains a ;; write key = value and the comment behind it");
    if (!r->any_section) {
        bool first = !r->quiet_orphan;
        r->quiet_orphan = true;
        return first ? ini_read_refuse(
                           r, "the key stands before any section; begin one, such as [millpond], above it")
                     : false;
    }
    return !r->skip_pairs;
}

/* Whether inih may see the line. Reports what is wrong with it. */
static bool ini_read_check(struct ini_read *r, slice_t line, size_t max_bytes)
{
    if (memchr(line.ptr, '\0', line.len) != NULL)
        return ini_read_refuse(r, "the line contains a NUL byte; save the file as UTF-8 text");
    if (ini_read_is_blank_or_comment(line))
        return false;
    if (line.len > max_bytes) {
        char what[128];
        snprintf(what, sizeof what, "the line is %zu bytes long; at most %zu are read, so split it up",
                 line.len, max_bytes);
        return ini_read_refuse(r, what);
    }
    if (ini_read_has_control(line))
        return ini_read_refuse(r, "the line contains a control character; remove it");
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return ini_read_refuse(
            r, "the line is indented; keys and sections start in the first column, and a value "
               "does not go on over several lines");
    return line.ptr[0] == '[' ? ini_read_check_section(r, line) : ini_read_check_pair(r, line);
}

/* inih's reader: fills `buf` with the next line, NULL at the end. */
static char *ini_read_next_line(char *buf, int buf_bytes, void *stream)
{
    struct ini_read *r = stream;
    if (r->rest.len == 0)
        return NULL;
    slice_t line = ini_read_take_line(r);
    size_t max_bytes = MIN((size_t)buf_bytes - 1, (size_t)INI_READ_MAX_LINE);
    if (!ini_read_check(r, line, max_bytes))
        line.len = 0;
    memcpy(buf, line.ptr, line.len);
    buf[line.len] = '\0';
    return buf;
}

static int ini_read_on_pair(void *user, const char *section, const char *key, const char *value)
{
    struct ini_read *r = user;
    UNUSED(section); /* inih's copy may be cut; on_section told it whole */
    r->events->on_pair(r->events->user, r->line, key, value);
    return 1;
}

bool ini_read_text(slice_t text, const struct ini_read_events *events)
{
    struct ini_read r = {.rest = text, .events = events};
    if (slice_starts(text, SLICE_LIT("\xEF\xBB\xBF")))
        r.rest = slice_make(text.ptr + 3, text.len - 3);
    if (&ini_use_stack != NULL && &ini_max_line != NULL && &ini_initial_alloc != NULL) {
        ini_use_stack = false;
        ini_max_line = ini_initial_alloc = INI_READ_MAX_LINE + 3;
    }
    int rc = ini_parse_stream(ini_read_next_line, &r, ini_read_on_pair, &r);
    ASSERT(rc <= 0); /* every line inih could stumble over was checked above */
    return rc == 0;
}
