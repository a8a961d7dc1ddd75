/* coding.c: see coding.h. Pure; any thread. A weight that cannot be read counts as 0, and of a coding that is
 * there twice the lower weight counts: what is not sure to be understood is not sent. */
#include "core/coding.h"

#include "core/http_field.h"

#define ELEMENTS_MAX 32
#define UNSAID       UINT32_MAX

static const slice_t names[CODING_COUNT] = {{"identity", 8},
#define X(id, name) {"" name, sizeof(name) - 1},
                                            CODINGS(X)
#undef X
};

slice_t coding_name(enum coding c)
{
    return names[c];
}

/* CODING_COUNT stands for `*`; -1: unknown. */
static int coding_index(slice_t name)
{
    if (slice_eq(name, SLICE_LIT("*")))
        return CODING_COUNT;
    if (slice_ieq(name, SLICE_LIT("x-gzip"))) /* RFC 9110 section 8.4.1.3 */
        return CODING_GZIP;
    for (int i = 0; i < CODING_COUNT; i++) {
        if (slice_ieq(name, names[i]))
            return i;
    }
    return -1;
}

static void weights_read(const struct http_head *request, unsigned weights[CODING_COUNT + 1])
{
    unsigned seen = 0, weight;
    for (size_t i = 0; i <= CODING_COUNT; i++)
        weights[i] = UNSAID;
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value, element;
        if (request->fields[i].id != HTTP_FIELD_ACCEPT_ENCODING)
            continue;
        while (seen++ < ELEMENTS_MAX && http_list_next(&rest, &element)) {
            const int at = coding_index(http_weighted_split(element, &weight));
            if (at >= 0)
                weights[at] = MIN(weights[at], weight);
        }
    }
}

enum coding coding_choose(const struct http_head *request, const struct coding_list *offer)
{
    unsigned weights[CODING_COUNT + 1], best_weight;
    enum coding best = CODING_IDENTITY;
    if (!http_head_has(request, HTTP_FIELD_ACCEPT_ENCODING))
        return CODING_IDENTITY;
    weights_read(request, weights);
    best_weight = weights[CODING_IDENTITY] != UNSAID ? weights[CODING_IDENTITY] : 0;
    for (size_t i = 0; i < offer->count; i++) {
        const enum coding c = (enum coding)offer->items[i];
        unsigned weight = weights[c] != UNSAID ? weights[c] : weights[CODING_COUNT];
        if (weight == UNSAID || weight == 0)
            continue;
        if (weight > best_weight || (weight == best_weight && best == CODING_IDENTITY)) {
            best = c;
            best_weight = weight;
        }
    }
    return best;
}

/* ---- types ---- */

static bool is_listed(slice_t type)
{
    static const slice_t listed[] = {
        {"application/json", 16},
        {"application/javascript", 22},
        {"application/x-javascript", 24},
        {"application/ecmascript", 22},
        {"application/xml", 15},
        {"application/xml-dtd", 19},
        {"application/wasm", 16},
        {"application/graphql", 19},
        {"application/x-ndjson", 20},
        {"application/ndjson", 18},
        {"application/jsonl", 17},
        {"application/json5", 17},
        {"application/yaml", 16},
        {"application/x-yaml", 18},
        {"application/toml", 16},
        {"application/sql", 15},
        {"application/rtf", 15},
        {"application/x-sh", 16},
        {"application/vnd.ms-fontobject", 29},
        {"application/x-font-ttf", 22},
        {"application/x-font-otf", 22},
        {"application/font-sfnt", 21},
        {"font/ttf", 8},
        {"font/otf", 8},
        {"font/sfnt", 9},
        {"font/collection", 15},
        {"image/bmp", 9},
        {"image/x-icon", 12},
        {"image/vnd.microsoft.icon", 24},
    };
    for (size_t i = 0; i < ARRAY_LEN(listed); i++) {
        if (slice_ieq(type, listed[i]))
            return true;
    }
    return false;
}

static bool ends_in(slice_t type, slice_t suffix)
{
    return type.len > suffix.len &&
           slice_ieq(slice_make(type.ptr + type.len - suffix.len, suffix.len), suffix);
}

bool coding_helps(slice_t content_type)
{
    const slice_t type =
        slice_trim(slice_make(content_type.ptr, MIN(slice_find(content_type, ';', 0), content_type.len)));
    const slice_t text = SLICE_LIT("text/");
    if (type.len > text.len && slice_ieq(slice_make(type.ptr, text.len), text))
        return !slice_ieq(type, SLICE_LIT("text/event-stream"));
    return ends_in(type, SLICE_LIT("+json")) || ends_in(type, SLICE_LIT("+xml")) || is_listed(type);
}
