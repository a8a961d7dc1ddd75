/* key_fold.c: see key_fold.h. Any thread. Rejected: a data base of devices, which is out of date the day it
 * is shipped; the three classes are what layouts are made for. */
#include "cache/key_fold.h"

#include "core/http_field.h"

#define RANGES_MAX      32
#define AGENT_BYTES_MAX 512

/* In this order. "Tablet PC" is Windows of old on any machine; Android without "Mobi" is a tablet. */
static const struct {
    slice_t word; /* lower case */
    slice_t device;
} devices[] = {
    {{"tablet pc", 9}, {"desktop", 7}},  {{"ipad", 4}, {"tablet", 6}},        {{"tablet", 6}, {"tablet", 6}},
    {{"playbook", 8}, {"tablet", 6}},    {{"kindle", 6}, {"tablet", 6}},      {{"silk/", 5}, {"tablet", 6}},
    {{"mobi", 4}, {"mobile", 6}},        {{"iphone", 6}, {"mobile", 6}},      {{"ipod", 4}, {"mobile", 6}},
    {{"opera mini", 10}, {"mobile", 6}}, {{"blackberry", 10}, {"mobile", 6}}, {{"android", 7}, {"tablet", 6}},
};

slice_t cache_key_device(const struct http_head *request)
{
    char lower[AGENT_BYTES_MAX];
    const struct http_field *hint = http_head_find(request, SLICE_LIT("Sec-CH-UA-Mobile"));
    const struct http_field *agent = http_head_get(request, HTTP_FIELD_USER_AGENT);
    if (hint != NULL && slice_eq(hint->value, SLICE_LIT("?1")))
        return SLICE_LIT("mobile");
    size_t len = agent != NULL ? MIN(agent->value.len, sizeof lower) : 0;
    for (size_t i = 0; i < len; i++)
        lower[i] = ascii_lower(agent->value.ptr[i]);
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        if (memmem(lower, len, devices[i].word.ptr, devices[i].word.len) != NULL)
            return devices[i].device;
    }
    return SLICE_LIT("desktop");
}

/* The next shorter range: without its last subtag. */
static slice_t range_shorten(slice_t range)
{
    while (range.len > 0 && range.ptr[--range.len] != '-')
        continue;
    return range;
}

static slice_t language_lookup(slice_t range, const struct config_strings *languages)
{
    for (; range.len > 0; range = range_shorten(range)) {
        for (size_t i = 0; i < languages->count; i++) {
            if (slice_ieq(range, slice_str(languages->items[i])))
                return slice_str(languages->items[i]);
        }
    }
    return SLICE_EMPTY;
}

slice_t cache_key_language(const struct http_head *request, const struct config_strings *languages)
{
    slice_t best = slice_str(languages->items[0]);
    unsigned best_weight = 0, weight, seen = 0;
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value, element;
        if (request->fields[i].id != HTTP_FIELD_ACCEPT_LANGUAGE)
            continue;
        while (seen < RANGES_MAX && http_list_next(&rest, &element)) {
            slice_t range = http_weighted_split(element, &weight);
            seen++;
            slice_t found = weight > best_weight ? language_lookup(range, languages) : SLICE_EMPTY;
            if (found.len > 0) {
                best = found;
                best_weight = weight;
            }
        }
    }
    return best;
}
