/* pages.c: see pages.h. The body goes out after the gate and with a Content-Length that covers it, so a test
 * can act while an answer is half way. */
#include "tests/support/pages.h"

static struct page *page_find(struct page *pages, const char *target)
{
    size_t n = strcspn(target, "?");
    for (struct page *p = pages; p->path != NULL; p++)
        if (strlen(p->path) == n && strncmp(p->path, target, n) == 0)
            return p;
    return NULL;
}

void pages_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct page *p = page_find(arg, request->target);
    if (p == NULL) {
        origin_respond(c, 404, "", "no such page");
        return;
    }
    const char *fields = p->fields, *etag = p->etag;
    char etag_line[128] = "";
    if (etag != NULL)
        snprintf(etag_line, sizeof(etag_line), "ETag: %s\r\n", etag);
    const char *known = message_field(request, "If-None-Match");
    if (etag != NULL && known != NULL && strstr(known, etag) != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s%s\r\n", fields, etag_line);
        return;
    }
    const char *value = p->vary_on != NULL ? message_field(request, p->vary_on) : NULL;
    char body[512];
    snprintf(body, sizeof(body), "%s#%u%s%s", p->path, ++p->served, p->vary_on != NULL ? " " : "",
             value != NULL        ? value
             : p->vary_on != NULL ? "none"
                                  : "");
    origin_send(c, "HTTP/1.1 %d Scripted\r\n%s%sContent-Length: %zu\r\n\r\n",
                p->status != 0 ? p->status : 200, fields, etag_line, strlen(body));
    if (p->gate != NULL)
        gate_pass(p->gate);
    if (strcmp(request->method, "HEAD") != 0)
        origin_send(c, "%s", body);
}
