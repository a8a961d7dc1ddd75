/* auth_file.c: see auth_file.h. */
#include "proxy/auth_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

struct reading {
    const struct config *config;
    const struct config_route *route;
    auth_file_on_problem *on_problem;
    void *arg;
};

static void on_line(void *arg, unsigned line, const char *what)
{
    const struct reading *r = arg;
    const struct config_origin at = config_route_origin(r->config, r->route, "basic_auth");
    char text[1024], where[16] = "";
    if (line > 0)
        snprintf(where, sizeof where, ":%u", line);
    snprintf(text, sizeof text, "%s:%d: [route %s] basic_auth: %s%s: %s", at.file, at.line, r->route->name,
             r->route->basic_auth, where, what);
    r->on_problem(r->arg, text);
}

bool auth_file_load(const struct config *c, const struct config_route *r, struct auth_file **out,
                    auth_file_on_problem *on_problem, void *arg)
{
    struct reading reading = {c, r, on_problem, arg};
    *out = NULL;
    if (r->basic_auth[0] == '\0')
        return true;
    struct auth_file *f = calloc(1, sizeof *f);
    if (f == NULL) {
        on_line(&reading, 0, "out of memory");
        return false;
    }
    f->read = f->found = tls_stamp_of(r->basic_auth); /* before it is read: a change meanwhile is seen */
    struct htpasswd *h = htpasswd_read(r->basic_auth, on_line, &reading);
    if (h == NULL) {
        free(f);
        return false;
    }
    atomic_init(&f->current, h);
    *out = f;
    return true;
}

void auth_file_free(struct auth_file *f)
{
    if (f == NULL)
        return;
    htpasswd_free(atomic_load_explicit(&f->current, memory_order_acquire));
    free(f);
}

static void log_problem(void *arg, const char *text)
{
    const bool *is_new = arg;
    if (*is_new)
        log_error("%s", text);
}

void auth_file_look(const struct config *c, const struct config_route *r, struct auth_file *f)
{
    const struct tls_stamp now = tls_stamp_of(r->basic_auth);
    bool is_new = !f->failed || memcmp(&now, &f->read, sizeof now) != 0;
    struct reading reading = {c, r, log_problem, &is_new};
    if (!tls_stamps_are_due(&now, &f->read, &f->found, 1, f->failed))
        return;
    struct htpasswd *fresh = htpasswd_read(r->basic_auth, on_line, &reading);
    f->failed = fresh == NULL; /* perhaps for want of descriptors: then nobody is to stay who was removed */
    if (fresh == NULL) {
        if (is_new)
            log_error("[route %s] basic_auth: the users read before stay in use", r->name);
        return;
    }
    struct htpasswd *old = atomic_exchange_explicit(&f->current, fresh, memory_order_acq_rel);
    rcu_free_later(&old->grave, htpasswd_free, old);
    log_info("[route %s] basic_auth: %s read anew, since it has changed: %zu users", r->name, r->basic_auth,
             fresh->count);
}
