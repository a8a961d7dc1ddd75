/* dns_lookup.c: see dns_lookup.h.
 *
 *     hosts file has it -------------------------------------------------> READY
 *     ASKING --- addresses, or certainly none --------------------------->   |  on_done
 *        |                                                                   v
 *        +-- no server, no reply, cut, no such name: SYSTEM (getaddrinfo) -> READY
 *                                                 (not with servers of one's own)
 *
 * Both questions go out together, from a socket that is opened anew for each try: who wants to forge a reply
 * has to guess its port and two random numbers (RFC 5452 section 9). What is no reply to them is dropped, and
 * the wait goes on. A try ends when both questions are answered, a server fails, or after its time; the next
 * one asks the next server for what is still open, DNS_TRIES_MAX times altogether. A server that answers for
 * IPv4 and not for IPv6 is believed in the end; the other way round it is not, for a pool must not change
 * the family it uses because of one lost datagram.
 *
 * Rejected: libevent's evdns. It asks without EDNS, so some thirty addresses are its limit, and cannot say
 * what was cut; it keeps one port for ever; cancelled requests call back later, when their owner is gone, and
 * freeing it needs a loop that still runs; and building a set has to wait for names where no loop may run.
 * What is not here either is TCP: an answer that is cut is asked for again by the system's own resolver,
 * which has it, and what came whole is used where servers of one's own are given. */
#include "core/dns_lookup.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/dns_message.h"
#include "core/hash.h"
#include "core/panic.h"

#define DNS_MAGIC     0x444e5351u
#define DNS_DATAGRAMS 32 /* taken at a time; what floods us waits, or is lost */

enum dns_state { DNS_ASKING, DNS_SYSTEM, DNS_READY, DNS_TOLD };

struct dns_question {
    enum dns_type type;
    uint16_t id;
    bool answered; /* by `reply`, for good */
    bool failed;   /* in this try */
    enum dns_reply reply;
    struct dns_addresses found;
};

struct dns_lookup {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    void (*on_done)(void *arg, const struct dns_answer *answer); /* NULL: nobody wants it */
    void *arg;
    uint16_t port;
    bool own_servers;
    struct dns_system system;
    /* thread of the worker */
    enum dns_state state;
    struct dns_name name; /* the one that is asked for now */
    unsigned candidate;   /* of `system.search`, with the host as it is among them */
    unsigned tries;
    bool plain; /* without EDNS: a server wanted that */
    int fd;     /* -1: none */
    struct event *event;
    struct deadline deadline; /* the end of a try; READY: tell */
    struct dns_question questions[2];
    struct resolve_job *job; /* in SYSTEM */
    struct dns_answer answer;
    struct grave grave;
    char host[];
};

static void dns_go_on(struct dns_lookup *l);

/* Each state but ASKING is entered once, and none again. */
static void dns_set_state(struct dns_lookup *l, enum dns_state to)
{
    ASSERT(to > l->state);
    l->state = to;
}

static void dns_free(void *obj)
{
    struct dns_lookup *l = obj;
    CHECK_MAGIC(l, DNS_MAGIC);
    free(l->answer.addresses);
    l->magic = 0;
    free(l);
}

static void dns_close_socket(struct dns_lookup *l)
{
    if (l->event != NULL)
        event_free(l->event);
    if (l->fd >= 0)
        close(l->fd);
    l->event = NULL;
    l->fd = -1;
}

/* Ends it; what is on the stack above may still look at it. */
static void dns_bury(struct dns_lookup *l)
{
    dns_close_socket(l);
    deadline_clear(l->worker, &l->deadline);
    resolve_cancel(&l->job);
    l->on_done = NULL;
    dns_set_state(l, DNS_TOLD);
    worker_bury(l->worker, &l->grave, dns_free, l);
}

/* ---- the end ---- */

static void dns_ready(struct dns_lookup *l)
{
    dns_close_socket(l);
    dns_set_state(l, DNS_READY);
    deadline_set(l->worker, &l->deadline, worker_now_ms(l->worker));
}

static void dns_fail(struct dns_lookup *l, const char *error)
{
    l->answer = (struct dns_answer){.error = error};
    dns_ready(l);
}

/* Room for `count` addresses in the answer; false: it failed for want of memory. */
static bool dns_make_room(struct dns_lookup *l)
{
    l->answer = (struct dns_answer){.addresses = calloc(RESOLVE_MAX_ADDRESSES, sizeof(struct net_addr))};
    if (l->answer.addresses == NULL)
        dns_fail(l, "out of memory");
    return l->answer.addresses != NULL;
}

static void dns_on_system(void *arg, const struct resolve_answer *answer)
{
    struct dns_lookup *l = arg;
    CHECK_MAGIC(l, DNS_MAGIC);
    l->job = NULL;
    if (answer->count == 0) {
        dns_fail(l, answer->error);
        return;
    }
    if (!dns_make_room(l))
        return;
    memcpy(l->answer.addresses, answer->addresses, answer->count * sizeof *answer->addresses);
    l->answer.count = answer->count;
    l->answer.ttl_ms = DNS_TTL_UNKNOWN;
    dns_ready(l);
}

/* The name servers could not tell, and why. */
static void dns_ask_system(struct dns_lookup *l, const char *why)
{
    dns_close_socket(l);
    if (l->own_servers) {
        dns_fail(l, why);
        return;
    }
    deadline_clear(l->worker, &l->deadline);
    dns_set_state(l, DNS_SYSTEM);
    l->job = resolve_start(l->worker, slice_str(l->host), l->port, dns_on_system, l);
    if (l->job == NULL)
        dns_fail(l, "no thread for the lookup");
}

static void dns_take(struct dns_lookup *l)
{
    dur_ms_t ttl_ms = INT64_MAX;
    if (!dns_make_room(l))
        return;
    for (size_t q = 0; q < ARRAY_LEN(l->questions); q++) {
        const struct dns_addresses *found = &l->questions[q].found;
        const size_t count =
            l->questions[q].answered ? MIN(found->count, RESOLVE_MAX_ADDRESSES - l->answer.count) : 0;
        if (count == 0)
            continue;
        memcpy(l->answer.addresses + l->answer.count, found->items, count * sizeof found->items[0]);
        l->answer.count += count;
        ttl_ms = MIN(ttl_ms, (dur_ms_t)found->ttl_s * 1000);
    }
    l->answer.ttl_ms = ttl_ms;
    dns_ready(l);
}

/* ---- asking ---- */

/* The next name to ask for, of the host and what it may be short for; false: there is none left. */
static bool dns_next_name(struct dns_lookup *l)
{
    const slice_t host = slice_str(l->host);
    const struct dns_system *s = &l->system;
    unsigned dots = 0;
    for (size_t i = 0; i < host.len; i++)
        dots += host.ptr[i] == '.';
    const bool whole = l->own_servers || host.ptr[host.len - 1] == '.';
    const size_t search = whole ? 0 : s->search_count;
    const size_t as_it_is = dots >= s->ndots ? 0 : search; /* its place among the candidates */
    while (l->candidate <= search) {
        const size_t c = l->candidate++;
        const bool plain = c == as_it_is;
        const slice_t suffix = plain ? SLICE_EMPTY : slice_str(s->search[c > as_it_is ? c - 1 : c]);
        if (dns_name_make(host, suffix, &l->name))
            return true;
    }
    return false;
}

static void dns_begin_name(struct dns_lookup *l)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_AAAA};
    for (size_t q = 0; q < ARRAY_LEN(types); q++)
        l->questions[q] = (struct dns_question){.type = types[q]};
}

static bool dns_send(struct dns_lookup *l)
{
    uint8_t query[DNS_QUERY_BYTES];
    for (size_t q = 0; q < ARRAY_LEN(l->questions); q++) {
        struct dns_question *question = &l->questions[q];
        question->failed = false;
        if (question->answered)
            continue;
        hash_random(&question->id, sizeof question->id);
        size_t len = dns_query_write(query, question->id, &l->name, question->type, !l->plain);
        if (send(l->fd, query, len, MSG_NOSIGNAL) != (ssize_t)len)
            return false;
    }
    return true;
}

static void dns_on_readable(evutil_socket_t fd, short what, void *arg);

/* One try at one server. false: it cannot be reached at all. */
static bool dns_try(struct dns_lookup *l, const struct net_addr *server)
{
    dns_close_socket(l);
    l->fd = socket(server->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || connect(l->fd, &server->sa, server->len) != 0)
        return false;
    l->event = event_new(l->worker->base, l->fd, EV_READ | EV_PERSIST, dns_on_readable, l);
    if (l->event == NULL || event_add(l->event, NULL) != 0 || !dns_send(l))
        return false;
    deadline_set(l->worker, &l->deadline, clock_mono_ms() + l->system.timeout_ms);
    return true;
}

/* Asks the next server for what is open. */
static void dns_next_try(struct dns_lookup *l)
{
    const size_t servers = l->system.servers.count;
    const unsigned most = (unsigned)MIN(servers * l->system.attempts, DNS_TRIES_MAX);
    while (l->tries < most)
        if (dns_try(l, &l->system.servers.items[l->tries++ % servers]))
            return;
    if (l->questions[0].answered && l->questions[0].found.count > 0)
        dns_take(l);
    else
        dns_ask_system(l, servers == 0 ? "there is no name server" : "no answer from the name servers");
}

/* Both questions have their answer. */
static void dns_conclude(struct dns_lookup *l)
{
    const struct dns_question *q = l->questions;
    const bool cut = q[0].reply == DNS_REPLY_CUT || q[1].reply == DNS_REPLY_CUT;
    if (cut && !l->own_servers)
        dns_ask_system(l, "the answer is too long");
    else if (q[0].found.count + q[1].found.count > 0)
        dns_take(l);
    else if (dns_next_name(l)) {
        dns_begin_name(l);
        l->tries = 0;
        dns_next_try(l);
    } else if (q[0].reply == DNS_REPLY_NO_NAME || q[1].reply == DNS_REPLY_NO_NAME)
        dns_ask_system(l, "there is no such name");
    else
        dns_ask_system(l, cut ? "the answer is too long" : "name has no IP address");
}

static void dns_take_reply(struct dns_lookup *l, const uint8_t *message, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(l->questions); i++) {
        struct dns_question *q = &l->questions[i];
        if (q->answered)
            continue;
        q->reply = dns_reply_parse(message, len, q->id, &l->name, q->type, l->port, &q->found);
        if (q->reply == DNS_REPLY_FOREIGN)
            continue;
        if (q->reply == DNS_REPLY_PLAIN && !l->plain) {
            l->plain = true;
            l->tries -= l->tries > 0; /* the same server again */
        }
        q->failed = q->reply == DNS_REPLY_PLAIN || q->reply == DNS_REPLY_FAILED;
        q->answered = !q->failed;
        return;
    }
}

/* After what has come: is the try over? */
static void dns_go_on(struct dns_lookup *l)
{
    const struct dns_question *q = l->questions;
    if (q[0].answered && q[1].answered)
        dns_conclude(l);
    else if ((q[0].answered || q[0].failed) && (q[1].answered || q[1].failed))
        dns_next_try(l);
}

static void dns_read(struct dns_lookup *l)
{
    uint8_t message[DNS_MESSAGE_BYTES];
    for (unsigned n = 0; n < DNS_DATAGRAMS; n++) {
        ssize_t len = recv(l->fd, message, sizeof message, 0);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (len < 0) { /* nobody listens there; what came before counts */
            for (size_t q = 0; q < ARRAY_LEN(l->questions); q++)
                l->questions[q].failed = !l->questions[q].answered;
            break;
        }
        dns_take_reply(l, message, (size_t)len);
    }
    dns_go_on(l);
}

static void dns_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct dns_lookup *l = arg;
    UNUSED(fd);
    UNUSED(what);
    CHECK_MAGIC(l, DNS_MAGIC);
    worker_refresh_clock(l->worker);
    dns_read(l);
}

static void dns_on_deadline(struct deadline *d)
{
    struct dns_lookup *l = CONTAINER_OF(d, struct dns_lookup, deadline);
    CHECK_MAGIC(l, DNS_MAGIC);
    if (l->state == DNS_ASKING) {
        dns_next_try(l);
        return;
    }
    ASSERT(l->state == DNS_READY);
    void (*on_done)(void *arg, const struct dns_answer *answer) = l->on_done;
    void *arg = l->arg;
    dns_bury(l);
    on_done(arg, &l->answer);
}

/* ---- for others ---- */

static void dns_begin(struct dns_lookup *l)
{
    struct net_addr found[RESOLVE_MAX_ADDRESSES];
    const size_t count = dns_hosts_find(slice_str(l->host), l->port, found, ARRAY_LEN(found));
    if (count > 0) {
        if (!dns_make_room(l))
            return;
        memcpy(l->answer.addresses, found, count * sizeof found[0]);
        l->answer.count = count;
        l->answer.ttl_ms = DNS_TTL_UNKNOWN;
        dns_ready(l);
        return;
    }
    if (!dns_next_name(l)) {
        dns_fail(l, "this cannot be a name");
        return;
    }
    dns_begin_name(l);
    dns_next_try(l);
}

struct dns_lookup *dns_start(struct worker *worker, slice_t host, uint16_t port,
                             const struct dns_servers *servers,
                             void (*on_done)(void *arg, const struct dns_answer *answer), void *arg)
{
    struct dns_lookup *l = calloc(1, sizeof *l + host.len + 1);
    if (l == NULL)
        return NULL;
    l->magic = DNS_MAGIC;
    l->worker = worker;
    l->on_done = on_done;
    l->arg = arg;
    l->port = port;
    l->fd = -1;
    memcpy(l->host, host.ptr, host.len);
    deadline_init(&l->deadline, dns_on_deadline);
    dns_system_read(&l->system);
    l->own_servers = servers != NULL && servers->count > 0;
    if (l->own_servers)
        l->system.servers = *servers;
    dns_begin(l);
    return l;
}

/* Takes what has come, or waits for it for at most `wait_ms`. */
static void dns_wait_for_reply(struct dns_lookup *l, dur_ms_t wait_ms)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    mono_ms_t now_ms = clock_mono_ms();
    dur_ms_t try_ms = MAX(l->deadline.at_ms - now_ms, 0);
    int n = poll(&p, 1, (int)MIN(try_ms, wait_ms));
    if (n > 0)
        dns_read(l);
    else if (clock_mono_ms() >= l->deadline.at_ms)
        dns_next_try(l);
}

bool dns_wait(struct dns_lookup **lookup, mono_ms_t until_ms, struct dns_answer *answer)
{
    struct dns_lookup *l = *lookup;
    CHECK_MAGIC(l, DNS_MAGIC);
    for (mono_ms_t now_ms = clock_mono_ms();; now_ms = clock_mono_ms()) {
        if (l->state != DNS_ASKING)
            break;
        dns_wait_for_reply(l, MAX(until_ms - now_ms, 0));
        if (now_ms >= until_ms)
            break;
    }
    struct resolve_answer found;
    if (l->state == DNS_SYSTEM && resolve_wait(&l->job, until_ms, &found)) {
        dns_on_system(l, &found);
        free(found.addresses);
    }
    if (l->state != DNS_READY)
        return false;
    *answer = l->answer;
    l->answer.addresses = NULL;
    *lookup = NULL;
    dns_bury(l);
    return true;
}

void dns_cancel(struct dns_lookup **lookup)
{
    struct dns_lookup *l = *lookup;
    if (l == NULL)
        return;
    CHECK_MAGIC(l, DNS_MAGIC);
    *lookup = NULL;
    dns_bury(l);
}
