/* fuzz_basic_auth.c: values of Authorization. What is taken has no control character and fits the buffer. */
#include <stdlib.h>

#include "core/basic_auth.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char buf[BASIC_AUTH_BYTES], *text = malloc(size + 6);
    slice_t user, password;
    if (text == NULL)
        return 0;
    memcpy(text, "Basic ", 6);
    if (size > 0)
        memcpy(text + 6, data, size);
    if (basic_auth_read(slice_make(text, size + 6), buf, &user, &password)) {
        ASSERT(user.ptr == buf && user.len <= BASIC_AUTH_USER_MAX && buf[user.len] == ':');
        ASSERT(password.len <= BASIC_AUTH_PASSWORD_MAX && strlen(password.ptr) == password.len);
        for (size_t i = 0; i < user.len; i++)
            ASSERT((unsigned char)buf[i] >= 0x20 && buf[i] != ':');
    }
    free(text);
    return 0;
}
