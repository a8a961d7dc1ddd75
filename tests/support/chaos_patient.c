/* chaos_patient.c: the illnesses of chaos.h, each a few lines of an origin's script. */
#include <poll.h>

#include "tests/support/chaos.h"

#define PAGE_BYTES  2048
#define DRIP_BYTES  512
#define DRIP_EACH   16
#define DRIP_MS     2
#define RESET_AFTER 700 /* of PAGE_BYTES */

/* Its client waits for each piece, so that none comes with the next one. */
static void answer_slowly(struct origin_conn *c, const char *page)
{
    char answer[1024];
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%.*s",
                     DRIP_BYTES, DRIP_BYTES, page);
    for (int at = 0; at < n; at += DRIP_EACH) {
        if (!origin_send_bytes(c, answer + at, (size_t)MIN(DRIP_EACH, n - at)))
            return;
        poll(NULL, 0, DRIP_MS);
    }
}

static void answer_ill(struct origin_conn *c, enum chaos_illness illness, const char *page)
{
    switch (illness) {
    case CHAOS_SLOW:
        answer_slowly(c, page);
        return;
    case CHAOS_RESETS:
        origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%.*s",
                    PAGE_BYTES, RESET_AFTER, page);
        origin_reset(c);
        return;
    case CHAOS_DIES:
        origin_reset(c);
        return;
    case CHAOS_SILENT:
        origin_wait_peer_close(c);
        c->done = true;
        return;
    case CHAOS_GARBAGE:
        origin_send(c, "\x16\x03\x01 what a strange answer\r\n\r\n");
        origin_close(c);
        return;
    case CHAOS_WELL:
        break;
    }
    origin_respond(c, 200, "Cache-Control: no-store\r\n", page);
}

static void patient_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct chaos_patient *p = arg;
    char page[PAGE_BYTES + 1];
    memset(page, 'x', PAGE_BYTES);
    page[PAGE_BYTES] = '\0';
    struct chaos *book = p->book;
    enum chaos_illness illness = (enum chaos_illness)p->illness;
    const bool is_probe = strcmp(request->target, "/health") == 0;
    if (is_probe && p->probes_are_well)
        illness = CHAOS_WELL;
    if (!is_probe) {
        if (book != NULL)
            chaos_note(book, request->target, illness > CHAOS_SLOW);
        p->ill_answers += illness != CHAOS_WELL;
    }
    answer_ill(c, illness, page);
}

void chaos_patient_start(struct chaos_patient *p, int port)
{
    p->origin = origin_start_with(
        &(struct origin_options){.script = patient_script, .arg = p, .forgets = true, .port = port});
}
