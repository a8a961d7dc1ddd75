/* handing.c: see handing.h. */
#include "proxy/handing.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "balancer/balancer.h"
#include "core/handover.h"
#include "core/log.h"
#include "proxy/server.h"

#define SEND_MS 1000

static bool send_listener(struct handing *h)
{
    const struct server_listener *l = &h->s->listeners[h->index];
    char address[NET_ADDR_TEXT];
    int *fds = malloc(MAX(l->fd_count, 1) * sizeof *fds);
    const size_t count = fds != NULL ? server_listener_sockets(l, fds) : 0, from = h->part * HANDOVER_FDS,
                 n = MIN(count - MIN(from, count), HANDOVER_FDS);
    const struct handover m = {.kind = HANDOVER_LISTEN,
                               .text = {slice_str(l->name), net_addr_format(&l->configured, address)}};
    const bool ok = handover_send(h->fd, &m, fds + from, n);
    free(fds);
    if (!ok)
        return false;
    h->part = from + n < count ? h->part + 1 : 0;
    h->index += h->part == 0;
    return true;
}

static bool send_admin(struct handing *h)
{
    char address[NET_ADDR_TEXT];
    struct net_addr addr;
    const int fd = admin_listening(h->s->admin, h->index == 1, &addr);
    const struct handover m = {.kind = HANDOVER_ADMIN, .text = {net_addr_format(&addr, address)}};
    if (fd >= 0 && !handover_send(h->fd, &m, &fd, 1))
        return false;
    h->index++;
    return true;
}

/* Those of a file are read from there. */
static bool send_tickets(struct handing *h)
{
    struct tls_ticket_keys keys;
    if (h->s->tls.keys.in_use)
        return true;
    tls_tickets_get(&h->s->tls.tickets, &keys);
    const struct handover m = {
        .kind = HANDOVER_TICKETS,
        .text = {slice_make((const char *)keys.items, keys.count * sizeof keys.items[0])}};
    const bool ok = handover_send(h->fd, &m, NULL, 0);
    OPENSSL_cleanse(&keys, sizeof keys);
    return ok;
}

static bool send_server(struct handing *h)
{
    size_t at = 0;
    LIST_FOREACH (n, &h->s->changes.items) {
        const struct config_change *c = CONTAINER_OF(n, struct config_change, node);
        if (at++ != h->index)
            continue;
        const struct handover m = {.kind = HANDOVER_SERVER,
                                   .text = {slice_str(c->pool), slice_str(c->server),
                                            c->in_file ? SLICE_LIT("file") : SLICE_LIT("new"),
                                            slice_str(c->text != NULL ? c->text : "")}};
        if (!handover_send(h->fd, &m, NULL, 0))
            return false;
    }
    h->index++;
    return true;
}

static bool send_hello(struct handing *h)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    const struct handover m = {.kind = HANDOVER_HELLO, .text = {SLICE_LIT(MILLPOND_VERSION), slice_str(pid)}};
    return handover_send(h->fd, &m, NULL, 0);
}

/* How many messages a step has. */
static size_t step_length(const struct handing *h)
{
    switch (h->step) {
    case HANDING_LISTENERS:
        return h->s->listener_count;
    case HANDING_ADMIN:
        return 2;
    case HANDING_SERVERS:
        return h->s->changes.count;
    default:
        return 1;
    }
}

static bool send_one(struct handing *h)
{
    switch (h->step) {
    case HANDING_HELLO:
        return send_hello(h) && ++h->index;
    case HANDING_LISTENERS:
        return send_listener(h);
    case HANDING_ADMIN:
        return send_admin(h);
    case HANDING_TICKETS:
        return send_tickets(h) && ++h->index;
    case HANDING_SERVERS:
        return send_server(h);
    default:
        return handover_say(h->fd, HANDOVER_END, SLICE_EMPTY) && ++h->index;
    }
}

bool handing_go_on(struct handing *h)
{
    while (h->step != HANDING_DONE) {
        if (h->index >= step_length(h)) {
            h->step++;
            h->index = 0;
        } else if (!send_one(h)) {
            return false;
        }
    }
    return true;
}

/* Orders may have been given until now. The new process reads all the time. */
static void send_order(void *arg, const struct balancer_order *o)
{
    const struct handing *h = arg;
    char weight[16];
    struct pollfd p = {.fd = h->fd, .events = POLLOUT};
    snprintf(weight, sizeof weight, "%d", o->weight);
    const struct handover m = {.kind = HANDOVER_ORDER,
                               .text = {slice_str(o->pool), slice_str(o->server),
                                        o->kind == BALANCER_DRAIN ? SLICE_LIT("drain") : slice_str(weight),
                                        slice_str(o->who)}};
    if (!handover_send(h->fd, &m, NULL, 0) &&
        !(errno == EAGAIN && poll(&p, 1, SEND_MS) > 0 && handover_send(h->fd, &m, NULL, 0)))
        log_warn("%s/%s: the new process was not told what was ordered about it", o->pool, o->server);
}

void handing_orders(struct handing *h)
{
    balancer_each_order(h->s->balancer, send_order, h);
}
