/* to_https.c: see to_https.h. Worker thread.
 *
 * A challenge's file is read where it is asked for, on the worker: it is one of less than a page, and asked
 * for a few times a month. Its name is a token of base64url, so it cannot lead out of the folder. Rejected:
 * keeping challenges in memory; ACME clients write files. */
#include "proxy/to_https.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/client_conn.h"
#include "proxy/client_identity.h"
#include "proxy/purge.h"
#include "proxy/unkeyed.h"

#define CHALLENGES      "/.well-known/acme-challenge/"
#define TOKEN_MAX       128
#define CHALLENGE_BYTES 4096
#define LOCATION_MAX    (16 * KB)

static bool token_is_plain(slice_t token)
{
    for (size_t i = 0; i < token.len; i++) {
        char c = ascii_lower(token.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return token.len > 0 && token.len <= TOKEN_MAX;
}

/* The content; `.ptr` is NULL when there is none. */
static slice_t challenge_read(struct exchange *x, slice_t token)
{
    char path[1024];
    struct stat st;
    slice_t none = {NULL, 0};
    int n = snprintf(path, sizeof path, "%s" CHALLENGES SLICE_FMT, x->listen->acme_webroot, SLICE_ARG(token));
    int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return none;
    char *buf = arena_alloc(&x->arena, CHALLENGE_BYTES);
    ssize_t got = -1;
    if (buf != NULL && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= CHALLENGE_BYTES)
        got = read(fd, buf, CHALLENGE_BYTES);
    close(fd);
    return got >= 0 ? slice_make(buf, (size_t)got) : none;
}

static enum phase_result challenge_answer(struct exchange *x, slice_t token)
{
    bool read = x->req.method == HTTP_GET || x->req.method == HTTP_HEAD;
    slice_t content = read && token_is_plain(token) ? challenge_read(x, token) : (slice_t){NULL, 0};
    if (content.ptr == NULL)
        return phase_answer_error(x, 404, "there is no such challenge in acme_webroot");
    return phase_answer(x, 200, SLICE_LIT("application/octet-stream"), content);
}

/* The name without its port: https is on its own. */
static slice_t host_name(slice_t host)
{
    slice_t name;
    uint16_t port;
    return net_host_port_split(host, &name, &port) && name.len > 0 ? name : host;
}

static enum phase_result redirect_answer(struct exchange *x)
{
    if (x->host.len == 0)
        return phase_answer_error(x, 400, "the request does not say for which host it is");
    bool query = x->target.query.ptr != NULL, star = slice_eq(x->target.path, SLICE_LIT("*"));
    slice_t name = host_name(x->host);
    x->location = arena_printf(&x->arena, "https://" SLICE_FMT SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(name),
                               SLICE_ARG(star ? SLICE_EMPTY : x->target.path), query ? "?" : "",
                               SLICE_ARG(query ? x->target.query : SLICE_EMPTY));
    if (x->location.ptr == NULL)
        return phase_answer_error(x, 503, "out of memory");
    if (x->location.len > LOCATION_MAX)
        return phase_answer_error(x, 414, "the address to redirect to would be too long");
    return phase_answer_error(x, 308, "The page is at its https address.");
}

/* Came by https already, to a proxy in front that we trust. */
static bool was_secure(const struct exchange *x)
{
    const struct http_field *f = http_head_get(&x->req, HTTP_FIELD_X_FORWARDED_PROTO);
    return x->secure || (x->peer_trusted && f != NULL && slice_ieq(f->value, SLICE_LIT("https")));
}

bool to_https_answers(struct exchange *x, enum phase_result *result)
{
    slice_t path = x->target.path, challenges = SLICE_LIT(CHALLENGES);
    bool challenge = slice_starts(path, challenges);
    if (client_identity_is_missing(x)) {
        x->keep_alive = false;
        x->close_reason = CLOSE_NO_KEEP_ALIVE;
        *result = phase_answer_error(
            x, 421, "this connection is older than the need for a certificate: connect anew");
        return true;
    }
    if (challenge && x->listen->acme_webroot[0] != '\0') {
        *result = challenge_answer(x, slice_make(path.ptr + challenges.len, path.len - challenges.len));
        return true;
    }
    if (challenge || !x->listen->redirect_to_https || was_secure(x) || purge_is_asked(x))
        return false;
    *result = redirect_answer(x);
    return true;
}
