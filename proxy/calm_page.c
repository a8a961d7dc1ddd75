/* calm_page.c: see calm_page.h. The file is read once per configuration: while all is down is no time to look
 * for it. */
#include "proxy/calm_page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/proxy_worker.h"
#include "proxy/snapshot.h"

/* Owned by its route; immutable. */
struct calm_page {
    slice_t type;
    size_t len;
    char bytes[];
};

/* NULL: the suffix says nothing. */
static const char *page_type(slice_t path)
{
    static const struct {
        slice_t suffix;
        const char *type;
    } types[] = {
        {SLICE_LIT(".html"), "text/html; charset=utf-8"}, {SLICE_LIT(".htm"), "text/html; charset=utf-8"},
        {SLICE_LIT(".txt"), "text/plain; charset=utf-8"}, {SLICE_LIT(".json"), "application/json"},
        {SLICE_LIT(".xml"), "application/xml"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (slice_ends(path, types[i].suffix))
            return types[i].type;
    return NULL;
}

/* NULL, and what is wrong in *why. */
static struct calm_page *page_read(int fd, const char **why)
{
    struct stat st;
    struct calm_page *p = malloc(sizeof *p + CALM_PAGE_MAX_BYTES + 1);
    ssize_t n = 1;
    *why = p == NULL ? "out of memory" : NULL;
    if (p != NULL && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        *why = "it is no file; name one";
    for (size_t len = 0; *why == NULL && n > 0; p->len = len) {
        n = read(fd, p->bytes + len, CALM_PAGE_MAX_BYTES + 1 - len);
        len += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EINTR)
            *why = "it cannot be read; name a readable file";
        else if (len > CALM_PAGE_MAX_BYTES)
            *why = "it is larger than 256K; make it smaller";
        n = n < 0 ? 1 : n;
    }
    if (*why != NULL) {
        free(p);
        return NULL;
    }
    struct calm_page *fitting = realloc(p, sizeof *p + p->len);
    return fitting != NULL ? fitting : p;
}

bool calm_page_load(const struct config *c, const struct config_route *r, struct calm_page **out, char *err,
                    size_t err_bytes)
{
    *out = NULL;
    if (r->calm_page[0] == '\0')
        return true;
    const struct config_origin at = config_route_origin(c, r, "calm_page");
    const char *type = page_type(slice_str(r->calm_page)), *why = NULL;
    int fd = type != NULL ? open(r->calm_page, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    char reason[128];
    if (type == NULL)
        why = "its suffix says no type; name a .html, .txt, .json or .xml file";
    else if (fd < 0) {
        snprintf(reason, sizeof reason, "%s; name a readable file", strerror(errno));
        why = reason;
    } else if ((*out = page_read(fd, &why)) != NULL)
        (*out)->type = slice_str(type);
    if (fd >= 0)
        close(fd);
    if (why != NULL)
        snprintf(err, err_bytes, "%s:%d: [route %s] calm_page: %s: %s", at.file, at.line, r->name,
                 r->calm_page, why);
    return why == NULL;
}

void calm_page_free(struct calm_page *p)
{
    free(p);
}

static bool page_is_for(enum fetch_error e)
{
    switch (e) {
    case FETCH_NO_INSTANCE:
    case FETCH_QUEUE_FULL:
    case FETCH_QUEUE_TIMEOUT:
    case FETCH_QUEUE_SHED:
    case FETCH_CONNECT_REFUSED:
    case FETCH_CONNECT_FAILED:
    case FETCH_CONNECT_TIMEOUT:
        return true;
    default:
        return false;
    }
}

enum phase_result calm_page_or_error(struct exchange *x, enum fetch_error e, unsigned status)
{
    const struct calm_page *p = x->route->calm;
    if (p == NULL || x->grpc != NULL || !page_is_for(e)) /* a program would not read it */
        return phase_answer_error(x, status, outcome_fetch_text(e));
    proxy_count(x->pw, METRIC_CALM_PAGES, 1);
    return phase_answer(x, 503, p->type, slice_make(p->bytes, p->len));
}
