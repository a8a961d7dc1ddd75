/* deception.c: see deception.h. Pure; any thread.
 *
 * Web cache deception: the victim is made to open /account/x.css. The application ignores what it does not
 * know ("/account" with a path info, ";x.css", "%2fx.css", "%0ax.css") and answers with the victim's account;
 * a cache that goes by the ending keeps it for everybody. So the ending and what came must agree. The ending
 * is looked for in the path with its percent-encoding decoded, whatever is before it: whatever trick was
 * used, the ending is what makes a route or a person take it for a file.
 *
 * The other half of the trick turns it round: /account/%2e%2e%2fstatic%2fx is below /static/ to who resolves
 * it, and the account to who does not. A ttl that a route gives by path is not given to such paths.
 *
 * Rejected: looking into the body for "<html"; the type is what a browser goes by, and the body comes later.
 */
#include "cache/deception.h"

#define EXTENSION_MAX 8 /* longer than any ending of the table */

struct file_kind {
    const char *extensions, *types;
};

static const struct file_kind kinds[] = {
#define X(extensions, types) {extensions, types},
    DECEPTION_FILES(X)
#undef X
};

/* The next blank-separated word. */
static bool word_next(const char **list, slice_t *word)
{
    const char *p = *list + strspn(*list, " ");
    *word = slice_make(p, strcspn(p, " "));
    *list = p + word->len;
    return word->len > 0;
}

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at `*at`, decoded; moves on. */
static unsigned char path_byte(slice_t path, size_t *at, bool *encoded)
{
    size_t i = *at;
    *encoded = path.ptr[i] == '%' && i + 2 < path.len && hex_digit(path.ptr[i + 1]) >= 0 &&
               hex_digit(path.ptr[i + 2]) >= 0;
    *at += *encoded ? 3 : 1;
    return *encoded ? (unsigned char)(hex_digit(path.ptr[i + 1]) << 4 | hex_digit(path.ptr[i + 2]))
                    : (unsigned char)path.ptr[i];
}

/* What follows the last dot of the last segment, in lower case, cut off where no ending known is as long. */
static slice_t path_extension(slice_t path, char *buf)
{
    size_t n = 0;
    bool found = false, encoded;
    for (size_t i = 0; i < path.len;) {
        unsigned char c = path_byte(path, &i, &encoded);
        if (c == '.' || c == '/') {
            found = c == '.';
            n = 0;
        } else if (n < EXTENSION_MAX) {
            buf[n++] = ascii_lower((char)c);
        }
    }
    return slice_make(buf, found ? n : 0);
}

/* Is it one of the blank-separated words? */
static bool is_word_of(const char *list, slice_t word)
{
    for (const char *p = list; *p != '\0';) {
        size_t n = 0;
        while (n < word.len && p[n] == word.ptr[n] && p[n] != ' ' && p[n] != '\0')
            n++;
        if (n == word.len && (p[n] == ' ' || p[n] == '\0'))
            return true;
        for (p += n; *p != ' ' && *p != '\0';)
            p++;
        p += *p == ' ';
    }
    return false;
}

static const struct file_kind *kind_find(slice_t extension)
{
    for (size_t i = 0; extension.len > 0 && i < ARRAY_LEN(kinds); i++) {
        if (is_word_of(kinds[i].extensions, extension))
            return &kinds[i];
    }
    return NULL;
}

/* A whole media type matches a whole one; one that ends with '/' or '-' or '.', or "application/font", the
 * beginning. */
static bool type_matches(slice_t type, slice_t want)
{
    slice_t beginning = slice_make(type.ptr, MIN(type.len, want.len));
    char last = want.ptr[want.len - 1];
    bool open = last == '/' || last == '-' || last == '.' || slice_ends(want, SLICE_LIT("font"));
    return slice_ieq(beginning, want) && (open || type.len == want.len);
}

static bool is_page(slice_t type)
{
    return slice_ieq(type, SLICE_LIT("text/html")) || slice_ieq(type, SLICE_LIT("application/xhtml+xml"));
}

static bool is_page_extension(slice_t extension)
{
    return is_word_of("html htm xhtml shtml php asp aspx jsp jsf do cgi pl", extension);
}

bool deception_type_fits(slice_t path, slice_t type, bool by_extension)
{
    char buf[EXTENSION_MAX];
    slice_t extension = path_extension(path, buf), want;
    const struct file_kind *kind = kind_find(extension);
    type = slice_trim(slice_make(type.ptr, MIN(slice_find(type, ';', 0), type.len)));
    if (kind == NULL)
        return !by_extension || extension.len == 0 || !is_page(type) || is_page_extension(extension);
    if (slice_ieq(type, SLICE_LIT("application/octet-stream")))
        return true;
    for (const char *list = kind->types; word_next(&list, &want);) {
        if (type_matches(type, want))
            return true;
    }
    return false;
}

bool deception_path_is_ambiguous(slice_t path)
{
    size_t segment = 0; /* bytes of the segment so far; dots only while dots_only */
    bool dots_only = true, encoded;
    for (size_t i = 0; i < path.len;) {
        unsigned char c = path_byte(path, &i, &encoded);
        if (c < 0x20 || c == 0x7f || c == '\\')
            return true;
        if (encoded && strchr("/?#%.", c) != NULL)
            return true;
        if (c == '/') {
            if (dots_only && segment > 0)
                return true;
            segment = 0;
            dots_only = true;
            continue;
        }
        segment++;
        dots_only = dots_only && c == '.';
    }
    return dots_only && segment > 0;
}
