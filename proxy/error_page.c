/* error_page.c: see error_page.h. The request id may come from a trusted proxy, so it is escaped all the
 * same. */
#include "proxy/error_page.h"

#include "core/http_field.h"
#include "core/text.h"

static bool media_type_is(slice_t element, slice_t type)
{
    size_t semi = slice_find(element, ';', 0);
    return slice_ieq(slice_trim(slice_make(element.ptr, semi == SIZE_MAX ? element.len : semi)), type);
}

/* JSON when Accept names it and does not name HTML before it. */
static bool wants_json(const struct http_head *request)
{
    for (unsigned i = 0; i < request->field_count; i++) {
        if (request->fields[i].id != HTTP_FIELD_ACCEPT)
            continue;
        slice_t rest = request->fields[i].value, element;
        while (http_list_next(&rest, &element)) {
            if (media_type_is(element, SLICE_LIT("text/html")))
                return false;
            if (media_type_is(element, SLICE_LIT("application/json")))
                return true;
        }
    }
    return false;
}

/* Keeps letters, digits and a few marks; all else becomes '_': safe in HTML and JSON alike. */
static slice_t plain_id(struct arena *arena, slice_t id)
{
    slice_t copy = arena_copy(arena, id);
    if (copy.ptr == NULL)
        return SLICE_EMPTY;
    for (char *p = (char *)(uintptr_t)copy.ptr; p < copy.ptr + copy.len; p++) {
        char c = ascii_lower(*p);
        bool plain =
            (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-._:/+=", c) != NULL);
        *p = plain ? *p : '_';
    }
    return copy;
}

struct error_page error_page_make(struct arena *arena, const struct http_head *request, unsigned status,
                                  const char *detail, slice_t request_id)
{
    slice_t id = plain_id(arena, request_id), reason = http_status_reason(status);
    if (wants_json(request))
        return (struct error_page){SLICE_LIT("application/json"),
                                   arena_printf(arena,
                                                "{\"status\":%u,\"error\":\"" SLICE_FMT
                                                "\",\"detail\":\"%s\",\"request_id\":\"" SLICE_FMT "\"}\n",
                                                status, SLICE_ARG(reason), detail, SLICE_ARG(id))};
    return (struct error_page){
        SLICE_LIT("text/html; charset=utf-8"),
        arena_printf(
            arena,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%u " SLICE_FMT
            "</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34em;"
            "padding:0 1em;color:#223}h1{font-size:1.6em}p.id{color:#778;font-size:.85em}</style></head>\n"
            "<body><h1>%u " SLICE_FMT "</h1><p>%s</p><p class=\"id\">Request " SLICE_FMT
            "</p></body></html>\n",
            status, SLICE_ARG(reason), status, SLICE_ARG(reason), detail, SLICE_ARG(id))};
}
