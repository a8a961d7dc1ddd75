/* basic_auth.c: see basic_auth.h. Rejected: OpenSSL's EVP_DecodeBlock, which takes blanks and leaves zeros
 * where the padding was. */
#include "core/basic_auth.h"

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The length, or SIZE_MAX. Padding may be left out, as some clients do, but not be wrong. */
static size_t decode(slice_t text, char *out, size_t room)
{
    size_t n = 0, pad = 0;
    uint32_t bits = 0;
    while (pad < 2 && text.len > 0 && text.ptr[text.len - 1] == '=') {
        text.len--;
        pad++;
    }
    if (text.len % 4 == 1 || (pad > 0 && (text.len + pad) % 4 != 0) || text.len * 3 / 4 > room)
        return SIZE_MAX;
    for (size_t i = 0; i < text.len; i++) {
        const int digit = digit_of(text.ptr[i]);
        if (digit < 0)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            out[n++] = (char)(bits >> (6 - i % 4 * 2) & 0xff);
    }
    return n;
}

bool basic_auth_read(slice_t value, char buf[BASIC_AUTH_BYTES], slice_t *user, slice_t *password)
{
    static const slice_t scheme = SLICE_LIT("Basic ");
    if (value.len <= scheme.len || !slice_ieq(slice_make(value.ptr, scheme.len), scheme))
        return false;
    const slice_t text = slice_trim(slice_make(value.ptr + scheme.len, value.len - scheme.len));
    const size_t n = decode(text, buf, BASIC_AUTH_BYTES - 1);
    if (n == SIZE_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
            return false;
    }
    const size_t colon = slice_find(slice_make(buf, n), ':', 0);
    if (colon == SIZE_MAX || colon > BASIC_AUTH_USER_MAX || n - colon - 1 > BASIC_AUTH_PASSWORD_MAX)
        return false;
    buf[n] = '\0';
    *user = slice_make(buf, colon);
    *password = slice_make(buf + colon + 1, n - colon - 1);
    return true;
}
