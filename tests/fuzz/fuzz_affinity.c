/* fuzz_affinity.c: the name of a cookie, and behind a line feed a Cookie value, from any bytes.
 *
 * Beside memory errors it looks for broken promises of affinity.h: what is found lies inside the value and
 * has no blank at its ends; and once the cookie is taken out, it is not found any more. */
#include <stdlib.h>

#include "cache/cookies.h"
#include "core/panic.h"
#include "proxy/affinity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[32];
    const uint8_t *feed = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t name_bytes = feed != NULL ? (size_t)(feed - data) : 0;
    if (name_bytes == 0 || name_bytes >= sizeof name || memchr(data, '\0', name_bytes) != NULL ||
        memchr(data, '*', name_bytes) != NULL)
        return 0;
    memcpy(name, data, name_bytes);
    name[name_bytes] = '\0';
    size_t bytes = size - name_bytes - 1;
    char *value = malloc(bytes > 0 ? bytes : 1);
    if (value == NULL)
        return 0;
    memcpy(value, feed + 1, bytes);
    struct http_field field = {SLICE_LIT("Cookie"), slice_make(value, bytes), HTTP_FIELD_COOKIE};
    struct http_head head = {.present = HTTP_BIT(COOKIE), .fields = &field, .field_count = 1};
    slice_t found = affinity_find_cookie(&head, slice_str(name));
    if (found.ptr != NULL) {
        ASSERT(found.ptr >= value && found.ptr + found.len <= value + bytes);
        ASSERT(slice_eq(slice_trim(found), found));
    }
    const char *names = name;
    cookies_remove_named(&head, &(struct config_strings){&names, 1});
    ASSERT(affinity_find_cookie(&head, slice_str(name)).ptr == NULL);
    free(value);
    return 0;
}
