/* htpasswd.c: see htpasswd.h. */
#include "core/htpasswd.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/apr1.h"
#include "core/hash.h"

#define BCRYPT_BYTES    60
#define BCRYPT_COST_MAX 15 /* some two seconds */
#define ROUNDS_MAX      5000000
#define SALT_MAX        16
#define ADVICE          "make it anew with htpasswd -B"

/* ---- one hash ---- */

static bool is_hash64(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        const char c = ascii_lower(s.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '/')
            return false;
    }
    return true;
}

/* What stands before the next "$", which is taken away too. */
static slice_t next_part(slice_t *rest)
{
    const size_t end = MIN(slice_find(*rest, '$', 0), rest->len);
    const slice_t part = slice_make(rest->ptr, end);
    const size_t gone = MIN(end + 1, rest->len);
    *rest = slice_make(rest->ptr + gone, rest->len - gone);
    return part;
}

static const char *bcrypt_problem(slice_t hash)
{
    uint64_t cost;
    if (hash.len != BCRYPT_BYTES || hash.ptr[6] != '$' || !slice_to_u64(slice_make(hash.ptr + 4, 2), &cost) ||
        cost < 4 || !is_hash64(slice_make(hash.ptr + 7, hash.len - 7)))
        return "is no whole bcrypt hash; " ADVICE;
    return cost > BCRYPT_COST_MAX ? "has a bcrypt hash that takes too long to compute; make it anew with a "
                                    "cost of 15 at most (htpasswd -B -C 10)"
                                  : NULL;
}

/* "$5$" and "$6$": [rounds=N$]salt$hash. */
static const char *sha_problem(slice_t rest, size_t hash_bytes)
{
    static const slice_t rounds = SLICE_LIT("rounds=");
    slice_t salt = next_part(&rest);
    uint64_t n = 0;
    if (slice_starts(salt, rounds)) {
        if (!slice_to_u64(slice_make(salt.ptr + rounds.len, salt.len - rounds.len), &n))
            return "is no whole SHA-crypt hash; " ADVICE;
        salt = next_part(&rest);
    }
    if (salt.len > SALT_MAX || rest.len != hash_bytes || !is_hash64(rest))
        return "is no whole SHA-crypt hash; " ADVICE;
    return n > ROUNDS_MAX ? "has a hash that takes too long to compute; make it anew with 5000000 rounds at "
                            "most"
                          : NULL;
}

/* "$y$": parameters$salt$hash. */
static const char *yescrypt_problem(slice_t rest)
{
    const slice_t parameters = next_part(&rest), salt = next_part(&rest);
    if (parameters.len == 0 || !is_hash64(parameters) || !is_hash64(salt) || rest.len != 43 ||
        !is_hash64(rest))
        return "is no whole yescrypt hash; " ADVICE;
    return NULL;
}

static const char *apr1_problem(slice_t rest)
{
    const slice_t salt = next_part(&rest);
    return salt.len > APR1_SALT_MAX || rest.len != 22 || !is_hash64(rest) ? "is no whole apr1 hash; " ADVICE
                                                                          : NULL;
}

static slice_t behind(slice_t s, size_t n)
{
    return slice_make(s.ptr + n, s.len - n);
}

/* NULL, or what is wrong with it, as it goes on behind the user's name. */
static const char *hash_problem(slice_t hash)
{
    if (hash.len == 0)
        return "has no password; " ADVICE;
    if (hash.len > HTPASSWD_HASH_MAX)
        return "has more than any hash has; " ADVICE;
    if (slice_starts(hash, SLICE_LIT("$2y$")) || slice_starts(hash, SLICE_LIT("$2b$")))
        return bcrypt_problem(hash);
    if (slice_starts(hash, SLICE_LIT("$5$")))
        return sha_problem(behind(hash, 3), 43);
    if (slice_starts(hash, SLICE_LIT("$6$")))
        return sha_problem(behind(hash, 3), 86);
    if (slice_starts(hash, SLICE_LIT("$y$")))
        return yescrypt_problem(behind(hash, 3));
    if (slice_starts(hash, SLICE_LIT(APR1_MAGIC)))
        return apr1_problem(behind(hash, sizeof APR1_MAGIC - 1));
    if (slice_starts(hash, SLICE_LIT("{SHA}")))
        return "has a {SHA} hash, of which a stolen file gives the password away in a moment; " ADVICE;
    return "has no hash that is known (bcrypt, yescrypt, SHA-256 or SHA-512 crypt, apr1), perhaps the "
           "password itself; " ADVICE;
}

/* ---- a file ---- */

struct reading {
    htpasswd_on_problem *on_problem;
    void *arg;
    unsigned problems;
};

static void report(struct reading *r, unsigned line, const char *what)
{
    r->problems++;
    r->on_problem(r->arg, line, what);
}

static bool name_is_good(slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f)
            return false;
    }
    return name.len > 0 && name.len <= HTPASSWD_NAME_MAX;
}

/* false: there is no user on the line. It ends with a byte that may be overwritten. */
static bool read_line(struct reading *r, unsigned number, slice_t line, struct htpasswd_user *out)
{
    char what[512];
    const slice_t text = slice_trim(line);
    if (text.len == 0 || text.ptr[0] == '#')
        return false;
    const size_t colon = slice_find(text, ':', 0);
    if (colon == SIZE_MAX || !name_is_good(slice_make(text.ptr, colon))) {
        report(r, number, "there is no user on this line; write user:hash, as htpasswd does");
        return false;
    }
    slice_t hash = behind(text, colon + 1);
    hash.len = MIN(hash.len, slice_find(hash, ':', 0)); /* behind it may be a comment */
    const char *wrong = hash_problem(hash);
    if (wrong != NULL) {
        snprintf(what, sizeof what, "\"" SLICE_FMT "\" %s", (int)MIN(colon, 60), text.ptr, wrong);
        report(r, number, what);
        return false;
    }
    ((char *)(uintptr_t)hash.ptr)[hash.len] = '\0';
    *out = (struct htpasswd_user){slice_make(text.ptr, colon), hash.ptr};
    return true;
}

static int compare_names(slice_t a, slice_t b)
{
    const int order = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_users(const void *a, const void *b)
{
    return compare_names(((const struct htpasswd_user *)a)->name, ((const struct htpasswd_user *)b)->name);
}

static unsigned line_of(const struct htpasswd *h, const char *at)
{
    unsigned line = 1;
    for (const char *p = h->text; p < at; p++)
        line += *p == '\n' || *p == '\0';
    return line;
}

static void read_lines(struct reading *r, struct htpasswd *h, size_t bytes)
{
    unsigned number = 0;
    for (size_t from = 0; from < bytes;) {
        const slice_t rest = slice_make(h->text + from, bytes - from);
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len);
        from += end + 1;
        if (end > 0 && rest.ptr[end - 1] == '\r')
            end--;
        h->count += read_line(r, ++number, slice_make(rest.ptr, end), &h->users[h->count]);
    }
}

static void find_twins(struct reading *r, const struct htpasswd *h)
{
    char what[512];
    for (size_t i = 1; i < h->count; i++) {
        const struct htpasswd_user *a = &h->users[i - 1], *b = &h->users[i];
        if (!slice_eq(a->name, b->name))
            continue;
        const char *later = MAX(a->name.ptr, b->name.ptr), *first = MIN(a->name.ptr, b->name.ptr);
        snprintf(what, sizeof what, "\"" SLICE_FMT "\" stands on line %u already; keep one of the two",
                 (int)MIN(a->name.len, 60), a->name.ptr, line_of(h, first));
        report(r, line_of(h, later), what);
    }
}

struct htpasswd *htpasswd_parse(slice_t text, htpasswd_on_problem *on_problem, void *arg)
{
    struct reading r = {on_problem, arg, 0};
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    struct htpasswd *h = calloc(1, sizeof *h);
    if (h != NULL) {
        h->text = malloc(text.len + 1);
        h->users = calloc(lines, sizeof *h->users);
    }
    if (h == NULL || h->text == NULL || h->users == NULL) {
        report(&r, 0, "out of memory");
        htpasswd_free(h);
        return NULL;
    }
    memcpy(h->text, text.ptr, text.len);
    h->text[text.len] = '\0';
    read_lines(&r, h, text.len);
    qsort(h->users, h->count, sizeof *h->users, compare_users);
    find_twins(&r, h);
    if (r.problems == 0)
        return h;
    htpasswd_free(h);
    return NULL;
}

/* How much of it there is, or -1 and what is wrong. */
static ssize_t read_whole(const char *path, char *buf, size_t bytes, const char **why)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = -1;
    size_t len = 0;
    *why = NULL;
    if (fd < 0)
        *why = strerror(errno);
    else if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        *why = "it is no file";
    while (*why == NULL && n != 0) {
        n = read(fd, buf + len, bytes - len);
        len += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EINTR)
            *why = strerror(errno);
        else if (len == bytes)
            *why = "it is larger than 1M";
    }
    if (fd >= 0)
        close(fd);
    return *why == NULL ? (ssize_t)len : -1;
}

struct htpasswd *htpasswd_read(const char *path, htpasswd_on_problem *on_problem, void *arg)
{
    char what[128];
    const char *why;
    char *buf = malloc(HTPASSWD_FILE_MAX + 1);
    if (buf == NULL) {
        on_problem(arg, 0, "out of memory");
        return NULL;
    }
    const ssize_t n = read_whole(path, buf, HTPASSWD_FILE_MAX + 1, &why);
    struct htpasswd *h = NULL;
    if (n >= 0) {
        h = htpasswd_parse(slice_make(buf, (size_t)n), on_problem, arg);
    } else {
        snprintf(what, sizeof what, "%s; name a file that htpasswd wrote", why);
        on_problem(arg, 0, what);
    }
    free(buf);
    return h;
}

void htpasswd_free(void *arg)
{
    struct htpasswd *h = arg;
    if (h == NULL)
        return;
    free(h->users);
    free(h->text);
    free(h);
}

const struct htpasswd_user *htpasswd_find(const struct htpasswd *h, slice_t name)
{
    const struct htpasswd_user wanted = {.name = name};
    return bsearch(&wanted, h->users, h->count, sizeof *h->users, compare_users);
}

const struct htpasswd_user *htpasswd_stand_in(const struct htpasswd *h, slice_t name)
{
    return h->count == 0 ? NULL : &h->users[hash_bytes(name.ptr, name.len).lo % h->count];
}

/* ---- a password ---- */

bool htpasswd_verify(const char *hash, const char *password, struct crypt_data *room)
{
    char apr1[APR1_HASH_BYTES];
    const char *made = apr1;
    const size_t bytes = strlen(hash);
    if (!slice_starts(slice_make(hash, bytes), SLICE_LIT(APR1_MAGIC)))
        made = crypt_r(password, hash, room);
    else if (!apr1_hash(password, hash, apr1))
        made = NULL;
    return made != NULL && strlen(made) == bytes && CRYPTO_memcmp(made, hash, bytes) == 0;
}
