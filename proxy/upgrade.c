/* upgrade.c: see upgrade.h. Rejected: a list of the protocols that are allowed (websocket). Applications have
 * protocols of their own, and what an instance does not know it does not go over to; the few that are
 * dangerous are those whose payload is HTTP again. */
#include "proxy/upgrade.h"

#include "core/http_field.h"
#include "core/text.h"

/* protocol = protocol-name ["/" protocol-version], both tokens. */
static slice_t protocol_name(slice_t protocol)
{
    return slice_make(protocol.ptr, MIN(slice_find(protocol, '/', 0), protocol.len));
}

static bool protocol_is_valid(slice_t protocol)
{
    slice_t name = protocol_name(protocol);
    if (name.len == protocol.len)
        return http_is_token(name);
    return http_is_token(name) &&
           http_is_token(slice_make(name.ptr + name.len + 1, protocol.len - name.len - 1));
}

static bool protocol_is_passed_on(slice_t protocol)
{
    static const char *const never[] = {"h2c", "h2", "h3", "http", "https", "tls"};
    slice_t name = protocol_name(protocol);
    for (size_t i = 0; i < ARRAY_LEN(never); i++) {
        if (slice_ieq(name, slice_str(never[i])))
            return false;
    }
    return protocol_is_valid(protocol);
}

size_t upgrade_offer(const struct http_head *request, char *list)
{
    if (!http_head_has(request, HTTP_FIELD_UPGRADE) || request->version_minor == 0 ||
        !http_head_has_token(request, HTTP_FIELD_CONNECTION, SLICE_LIT("upgrade")))
        return 0;
    struct text t = text_make(list, UPGRADE_OFFER_MAX);
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value, protocol;
        while (request->fields[i].id == HTTP_FIELD_UPGRADE && http_list_next(&rest, &protocol)) {
            size_t used = text_slice(&t).len, more = protocol.len + (used > 0 ? 2 : 0);
            if (!protocol_is_passed_on(protocol) || used + more > UPGRADE_OFFER_MAX)
                continue;
            text_put(&t, used > 0 ? SLICE_LIT(", ") : SLICE_EMPTY);
            text_put(&t, protocol);
        }
    }
    return text_slice(&t).len;
}

slice_t upgrade_accepted(const struct http_head *response, slice_t offer)
{
    slice_t chosen = SLICE_EMPTY, protocol;
    for (unsigned i = 0; i < response->field_count; i++) {
        slice_t rest = response->fields[i].value;
        while (response->fields[i].id == HTTP_FIELD_UPGRADE && http_list_next(&rest, &protocol)) {
            if (chosen.len > 0)
                return SLICE_EMPTY;
            chosen = protocol;
        }
    }
    while (http_list_next(&offer, &protocol)) {
        if (chosen.len > 0 && slice_ieq(protocol, chosen))
            return chosen;
    }
    return SLICE_EMPTY;
}
