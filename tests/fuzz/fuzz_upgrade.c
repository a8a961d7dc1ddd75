/* fuzz_upgrade.c: Upgrade from any bytes; the first line is the request's value, the rest that of an answer.
 *
 * Beside memory errors it looks for broken promises of upgrade.h: the list that goes to an instance is read
 * by it as it was meant, holds nothing that carries HTTP, and an answer is taken only for what is in it. */
#include <stdlib.h>

#include "core/http_field.h"
#include "core/panic.h"
#include "proxy/upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(slice_t offer)
{
    slice_t rest = offer, protocol;
    size_t bytes = 0;
    while (http_list_next(&rest, &protocol)) {
        slice_t name = slice_make(protocol.ptr, MIN(slice_find(protocol, '/', 0), protocol.len));
        ASSERT(http_is_token(name) && !slice_ieq(name, SLICE_LIT("h2c")) &&
               !slice_ieq(name, SLICE_LIT("http")));
        bytes += protocol.len + 2;
    }
    ASSERT(offer.len == 0 || bytes == offer.len + 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char list[UPGRADE_OFFER_MAX];
    const slice_t all = slice_make((const char *)data, size);
    const size_t end = MIN(slice_find(all, '\n', 0), size);
    struct http_field asked[2] = {
        {SLICE_LIT("Connection"), SLICE_LIT("upgrade"), HTTP_FIELD_CONNECTION},
        {SLICE_LIT("Upgrade"), slice_make(all.ptr, end), HTTP_FIELD_UPGRADE},
    };
    struct http_field answered = {SLICE_LIT("Upgrade"), slice_make(all.ptr + end, size - end),
                                  HTTP_FIELD_UPGRADE};
    answered.value =
        slice_trim(slice_make(answered.value.ptr + (size > end), answered.value.len - (size > end)));
    const struct http_head request = {.present = HTTP_BIT(CONNECTION) | HTTP_BIT(UPGRADE),
                                      .fields = asked,
                                      .field_count = 2,
                                      .version_minor = 1};
    const struct http_head response = {.present = HTTP_BIT(UPGRADE), .fields = &answered, .field_count = 1};
    slice_t offer = slice_make(list, upgrade_offer(&request, list));
    ASSERT(offer.len <= sizeof list);
    check(offer);
    slice_t accepted = upgrade_accepted(&response, offer);
    ASSERT(accepted.len == 0 || (offer.len > 0 && slice_ieq(accepted, answered.value)) ||
           slice_find(answered.value, ',', 0) != SIZE_MAX);
    return 0;
}
