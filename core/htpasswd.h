/* htpasswd.h: files of users with the hashes of their passwords, as htpasswd and others write them: one
 * "user:hash" per line, "#" begins a comment.
 *
 * Hashes are those that are slow to try: bcrypt, yescrypt, SHA-256 and SHA-512 crypt, which the C library's
 * crypt_r knows, and Apache's own $apr1$, which is what most files have (core/apr1.h). What anybody tries by
 * the billion ({SHA}, plain text, DES) is refused line by line, and so are hashes that would keep a processor
 * busy for seconds. Rejected: taking them with a warning, which nobody reads.
 *
 * Reading a file blocks: control thread and commands. Parsing and finding are pure. */
#ifndef CORE_HTPASSWD_H
#define CORE_HTPASSWD_H

#include "core/rcu.h"
#include "core/slice.h"

struct crypt_data;

#define HTPASSWD_FILE_MAX     (1 * MB)
#define HTPASSWD_NAME_MAX     255
#define HTPASSWD_PASSWORD_MAX 255
#define HTPASSWD_HASH_MAX     256

struct htpasswd_user {
    slice_t name;
    const char *hash;
};

/* Immutable. Owned by whoever read it; `grave` is for whoever publishes it. */
struct htpasswd {
    struct rcu_grave grave;
    size_t count;
    struct htpasswd_user *users; /* by name */
    char *text;                  /* what they point into */
};

/* Told of each thing that is wrong: the line, or 0 for the file as a whole, and "what is wrong; what would be
 * right". Nothing of a hash is in it. */
typedef void htpasswd_on_problem(void *arg, unsigned line, const char *what);

/* NULL when anything is wrong. The text is copied. */
struct htpasswd *htpasswd_parse(slice_t text, htpasswd_on_problem *on_problem, void *arg);
struct htpasswd *htpasswd_read(const char *path, htpasswd_on_problem *on_problem, void *arg);
/* NULL is fine. Takes a struct htpasswd, as rcu_free_later wants it. */
void htpasswd_free(void *h);

/* NULL: nobody of that name. */
const struct htpasswd_user *htpasswd_find(const struct htpasswd *h, slice_t name);
/* Whose hash is computed for a name that nobody has, always the same one, so that time does not tell who is
 * in the file. NULL: the file is empty. */
const struct htpasswd_user *htpasswd_stand_in(const struct htpasswd *h, slice_t name);

/* Is that the password? Takes as long as the hash was made to take. `room` is the caller's, zeroed at first.
 */
bool htpasswd_verify(const char *hash, const char *password, struct crypt_data *room);

#endif
