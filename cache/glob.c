/* glob.c: see glob.h. The pieces between stars are found from left to right, each at its first place: if
 * there is a match at all, there is one of that kind, so nothing is ever tried twice. The first piece is
 * bound to the beginning and the last to the end. Rejected: recursion at each star, which is exponential. */
#include "cache/glob.h"

static bool piece_fits(slice_t piece, const char *at)
{
    for (size_t i = 0; i < piece.len; i++) {
        if (piece.ptr[i] != '?' && piece.ptr[i] != at[i])
            return false;
    }
    return true;
}

/* Where the piece fits first in `text`, SIZE_MAX: nowhere. */
static size_t piece_find(slice_t piece, slice_t text)
{
    if (piece.len == 0)
        return 0;
    if (slice_find(piece, '?', 0) == SIZE_MAX) {
        const char *at = memmem(text.ptr, text.len, piece.ptr, piece.len);
        return at == NULL ? SIZE_MAX : (size_t)(at - text.ptr);
    }
    for (size_t i = 0; i + piece.len <= text.len; i++) {
        if (piece_fits(piece, text.ptr + i))
            return i;
    }
    return SIZE_MAX;
}

bool cache_glob_matches(slice_t pattern, slice_t text)
{
    size_t star = slice_find(pattern, '*', 0);
    if (star == SIZE_MAX)
        return pattern.len == text.len && piece_fits(pattern, text.ptr);
    if (text.len < star || !piece_fits(slice_make(pattern.ptr, star), text.ptr))
        return false;
    text = slice_make(text.ptr + star, text.len - star);
    size_t next;
    for (; (next = slice_find(pattern, '*', star + 1)) != SIZE_MAX; star = next) {
        slice_t piece = slice_make(pattern.ptr + star + 1, next - star - 1);
        size_t at = piece_find(piece, text);
        if (at == SIZE_MAX)
            return false;
        text = slice_make(text.ptr + at + piece.len, text.len - at - piece.len);
    }
    slice_t last = slice_make(pattern.ptr + star + 1, pattern.len - star - 1);
    return text.len >= last.len && piece_fits(last, text.ptr + text.len - last.len);
}
