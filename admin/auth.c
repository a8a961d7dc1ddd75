/* auth.c: see auth.h.
 *
 * A browser on the operator's machine is the attacker to think of: any web page may make it send requests to
 * 127.0.0.1. The token is therefore taken from a header only, which a foreign page cannot set without a
 * preflight that is never answered, and not from the query, which ends up in logs and histories. The Host
 * check stops a page whose own name was rebound to the address. An empty list of hosts means localhost and IP
 * literals: rebinding needs a name. */
#include "admin/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/secret_file.h"

#define TOKEN_RANDOM_BYTES 16
#define TOKEN_MIN_CHARS    16
#define TOKEN_MAX_CHARS    256

struct admin_auth {
    /* set once */
    char *token;
    char *token_file;
    char **hosts;
    size_t host_count;
    bool read_open, metrics_open;
    bool made; /* the token is not of the configuration */
};

static bool token_is_sound(const char *text, size_t len)
{
    if (len < TOKEN_MIN_CHARS || len > TOKEN_MAX_CHARS)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    }
    return true;
}

static void token_make(char out[2 * TOKEN_RANDOM_BYTES + 1])
{
    unsigned char bytes[TOKEN_RANDOM_BYTES];
    hash_random(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool token_read(const char *path, char out[TOKEN_MAX_CHARS + 1])
{
    size_t len = secret_file_read(path, out, TOKEN_MAX_CHARS + 1);
    return token_is_sound(out, len);
}

/* Fills token and token_file; false when out of memory. What was made for this run stays for this run: a
 * reload is no reason to shut out those who read it. */
static bool token_obtain(struct admin_auth *a, const struct admin_auth *before, const struct config *c)
{
    char path[PATH_MAX], token[TOKEN_MAX_CHARS + 1];
    bool kept = false;
    if (snprintf(path, sizeof path, "%s/%s", c->main.state_dir, ADMIN_TOKEN_FILE) >= (int)sizeof path) {
        path[0] = '\0';
        errno = ENAMETOOLONG;
    } else {
        kept = token_read(path, token);
    }
    if (!kept) {
        token_make(token);
        kept = path[0] != '\0' && secret_file_write(path, token);
        const int error = errno;
        const bool stays = !kept && before != NULL && before->made;
        if (stays)
            strcpy(token, before->token);
        if (kept)
            log_info("made an admin token, kept in %s", path);
        else
            log_warn("the admin token cannot be kept in %s (%s); %s for this run, read it with: curl "
                     "--unix-socket %s http://localhost/api/token",
                     c->main.state_dir, strerror(error), stays ? "the one in use stays" : "one was made",
                     c->admin.socket);
    }
    a->made = true;
    a->token = strdup(token);
    a->token_file = strdup(kept ? path : "");
    return a->token != NULL && a->token_file != NULL;
}

static bool hosts_copy(struct admin_auth *a, const struct config_strings *from)
{
    a->hosts = calloc(from->count + 1, sizeof *a->hosts);
    if (a->hosts == NULL)
        return false;
    for (size_t i = 0; i < from->count; i++) {
        if ((a->hosts[i] = strdup(from->items[i])) == NULL)
            return false;
        a->host_count++;
    }
    return true;
}

struct admin_auth *admin_auth_create(const struct config *c, const struct admin_auth *before, char *err,
                                     size_t err_bytes)
{
    struct admin_auth *a = calloc(1, sizeof *a);
    bool ok = a != NULL && hosts_copy(a, &c->admin.allowed_hosts);
    if (ok) {
        a->read_open = c->admin.read_open;
        a->metrics_open = c->admin.metrics_open;
    }
    if (ok && c->admin.token[0] == '\0' && c->admin.address.len > 0) {
        ok = token_obtain(a, before, c);
    } else if (ok) {
        a->token = strdup(c->admin.token);
        a->token_file = strdup("");
        ok = a->token != NULL && a->token_file != NULL;
    }
    if (ok)
        return a;
    snprintf(err, err_bytes, "out of memory");
    admin_auth_free(a);
    return NULL;
}

void admin_auth_free(struct admin_auth *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->host_count; i++)
        free(a->hosts[i]);
    free(a->hosts);
    if (a->token != NULL)
        explicit_bzero(a->token, strlen(a->token));
    free(a->token);
    free(a->token_file);
    free(a);
}

/* Looks at every given byte whatever came before; only the length of the given text shows in the time. */
static bool equal_constant_time(slice_t given, slice_t secret)
{
    volatile unsigned char differs = (unsigned char)(given.len != secret.len);
    for (size_t i = 0; i < given.len; i++)
        differs |= (unsigned char)(given.ptr[i] ^ secret.ptr[i % secret.len]);
    return differs == 0;
}

bool admin_auth_token_ok(const struct admin_auth *a, const char *authorization)
{
    static const slice_t scheme = SLICE_LIT("bearer ");
    slice_t value = slice_trim(slice_str(authorization));
    if (a->token[0] == '\0' || value.len <= scheme.len ||
        !slice_ieq(slice_make(value.ptr, scheme.len), scheme))
        return false;
    slice_t given = slice_trim(slice_make(value.ptr + scheme.len, value.len - scheme.len));
    return equal_constant_time(given, slice_str(a->token));
}

/* Without the port; "[v6]" keeps its brackets. Empty when it is none of name, name:port, [v6], [v6]:port. */
static slice_t host_without_port(slice_t host)
{
    size_t end = 0;
    if (host.len > 0 && host.ptr[0] == '[') {
        end = slice_find(host, ']', 0);
        end = end == SIZE_MAX ? 0 : end + 1;
    } else {
        end = MIN(slice_find(host, ':', 0), host.len);
    }
    uint64_t port;
    if (end < host.len &&
        (host.ptr[end] != ':' || !slice_to_u64(slice_make(host.ptr + end + 1, host.len - end - 1), &port) ||
         port > UINT16_MAX))
        return SLICE_EMPTY;
    return slice_make(host.ptr, end);
}

static bool host_is_ip(slice_t host)
{
    struct net_addr addr;
    char text[INET6_ADDRSTRLEN + 8];
    int n = snprintf(text, sizeof text, SLICE_FMT ":0", SLICE_ARG(host));
    return n > 2 && n < (int)sizeof text && net_addr_parse(slice_make(text, (size_t)n), &addr);
}

bool admin_auth_host_ok(const struct admin_auth *a, const char *host)
{
    if (host == NULL)
        return false;
    slice_t name = host_without_port(slice_str(host));
    if (name.len == 0)
        return false;
    for (size_t i = 0; i < a->host_count; i++) {
        if (slice_ieq(name, host_without_port(slice_str(a->hosts[i]))))
            return true;
    }
    return a->host_count == 0 && (slice_ieq(name, SLICE_LIT("localhost")) || host_is_ip(name));
}

bool admin_auth_read_open(const struct admin_auth *a)
{
    return a->read_open;
}

bool admin_auth_metrics_open(const struct admin_auth *a)
{
    return a->metrics_open;
}

const char *admin_auth_token(const struct admin_auth *a)
{
    return a->token;
}

const char *admin_auth_token_file(const struct admin_auth *a)
{
    return a->token_file;
}
