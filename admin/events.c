/* events.c: see events.h. Texts of events quote what clients and files say, so they are no UTF-8 of ours:
 * JSON gets a question mark for what is none, a terminal for what would move its cursor. */
#include "admin/events.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "core/timeline.h"

static json_t *text_json(char *text)
{
    json_t *s = json_string(text);
    for (char *p = text; s == NULL && *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return s != NULL ? s : json_string(text);
}

json_t *admin_events_build(size_t most)
{
    json_t *list = json_array();
    struct timeline_event *events = calloc(TIMELINE_EVENTS, sizeof *events);
    size_t count = events != NULL ? timeline_read(events, most) : 0;
    for (size_t i = 0; i < count; i++) {
        struct timeline_event *e = &events[i];
        json_array_append_new(list, json_pack("{s:I, s:s, s:I, s:o}", "at_ms", (json_int_t)e->at_ms, "kind",
                                              timeline_kind_name(e->kind), "count", (json_int_t)e->count,
                                              "text", text_json(e->text)));
    }
    free(events);
    return list;
}

static void print_event(const json_t *e, FILE *out)
{
    const char *kind = json_string_value(json_object_get(e, "kind"));
    const char *text = json_string_value(json_object_get(e, "text"));
    const json_int_t count = json_integer_value(json_object_get(e, "count"));
    const time_t at_s = (time_t)(json_integer_value(json_object_get(e, "at_ms")) / 1000);
    char when[32] = "?";
    struct tm tm;
    if (gmtime_r(&at_s, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    fprintf(out, "%s  %-7s  ", when, kind != NULL ? kind : "?");
    if (count > 1)
        fprintf(out, "%" JSON_INTEGER_FORMAT " times, the last: ", count);
    for (const char *p = text != NULL ? text : ""; *p != '\0'; p++)
        fputc((unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p, out);
    fputc('\n', out);
}

void admin_events_print(const json_t *events, FILE *out)
{
    for (size_t i = json_array_size(events); i > 0; i--)
        print_event(json_array_get(events, i - 1), out);
}
