/* names.c: see names.h. One thread reads a query, builds one or two replies and sends them. */
#include "tests/support/names.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>

#include "tests/support/gate.h"

#define HOSTS         16
#define TEXT_BYTES    4096
#define MESSAGE_BYTES 4096
enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28 };
enum { RCODE_FORMAT = 1, RCODE_SERVER = 2, RCODE_NAME = 3, RCODE_REFUSED = 5 };

struct host {
    char name[256], addresses[TEXT_BYTES];
    unsigned ttl_s, asked;
    bool known;
    unsigned seen[2]; /* NAMES_LATE: queries for A, for AAAA */
};

struct names {
    int fd, port;
    pthread_t thread;
    bool running; /* test thread */
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool stopping;
    enum names_manner manner;
    struct host hosts[HOSTS];
    unsigned flood;
};

struct query {
    uint8_t bytes[512];
    size_t len, question_end;
    char name[256];
    unsigned type, room;
    bool edns;
};

struct reply {
    uint8_t bytes[MESSAGE_BYTES];
    size_t len, room;
    unsigned records;
};

static bool query_read(struct query *q)
{
    size_t at = 12, n = 0;
    while (at < q->len && q->bytes[at] != 0 && n + q->bytes[at] + 1 < sizeof q->name) {
        memcpy(q->name + n, q->bytes + at + 1, q->bytes[at]);
        n += q->bytes[at];
        q->name[n++] = '.';
        at += q->bytes[at] + 1u;
    }
    if (n == 0 || at + 5 > q->len)
        return false;
    q->name[n - 1] = '\0';
    q->type = (unsigned)q->bytes[at + 1] << 8 | q->bytes[at + 2];
    q->question_end = at + 5;
    q->edns = q->bytes[11] > 0;
    q->room = q->edns && q->question_end + 5 <= q->len
                  ? (unsigned)q->bytes[q->question_end + 3] << 8 | q->bytes[q->question_end + 4]
                  : 512;
    return true;
}

/* The host of that name, made when there is none; under mtx. */
static struct host *host_of(struct names *s, const char *name)
{
    for (size_t i = 0; i < HOSTS; i++) {
        struct host *h = &s->hosts[i];
        if (h->name[0] == '\0')
            snprintf(h->name, sizeof h->name, "%s", name);
        if (strcasecmp(h->name, name) == 0)
            return h;
    }
    return &s->hosts[HOSTS - 1];
}

static void reply_begin(struct reply *r, const struct query *q, unsigned rcode)
{
    *r = (struct reply){.len = q->question_end, .room = MIN(q->room, MESSAGE_BYTES)};
    memcpy(r->bytes, q->bytes, q->question_end);
    r->bytes[2] = 0x81;
    r->bytes[3] = (uint8_t)(0x80 | rcode);
    memset(r->bytes + 6, 0, 6);
}

/* `owner_at`: where the name stands that owns the record. What has no room is left out, and TC says so. */
static void reply_add(struct reply *r, size_t owner_at, unsigned type, unsigned ttl_s, const void *data,
                      size_t len)
{
    if (r->len + 12 + len > r->room) {
        r->bytes[2] |= 0x02;
        return;
    }
    const uint8_t head[12] = {(uint8_t)(0xc0 | owner_at >> 8),
                              (uint8_t)owner_at,
                              0,
                              (uint8_t)type,
                              0,
                              1,
                              (uint8_t)(ttl_s >> 24),
                              (uint8_t)(ttl_s >> 16),
                              (uint8_t)(ttl_s >> 8),
                              (uint8_t)ttl_s,
                              0,
                              (uint8_t)len};
    memcpy(r->bytes + r->len, head, sizeof head);
    memcpy(r->bytes + r->len + 12, data, len);
    r->len += 12 + len;
    r->records++;
    r->bytes[6] = (uint8_t)(r->records >> 8);
    r->bytes[7] = (uint8_t)r->records;
}

static void reply_add_addresses(struct reply *r, const struct query *q, size_t owner_at, const struct host *h)
{
    char text[TEXT_BYTES], *save = NULL;
    snprintf(text, sizeof text, "%s", h->addresses);
    for (char *word = strtok_r(text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        uint8_t bytes[16];
        const bool v6 = strchr(word, ':') != NULL;
        if ((q->type == TYPE_AAAA) == v6 && inet_pton(v6 ? AF_INET6 : AF_INET, word, bytes) == 1)
            reply_add(r, owner_at, q->type, h->ttl_s, bytes, v6 ? 16 : 4);
    }
}

static void reply_add_alias(struct names *s, struct reply *r, const struct query *q, const struct host *h)
{
    uint8_t data[256];
    size_t len = 0;
    const char *label = h->addresses + 1;
    const size_t at = r->len + 12;
    while (*label != '\0') {
        const size_t n = strcspn(label, ".");
        data[len] = (uint8_t)n;
        memcpy(data + len + 1, label, n);
        len += n + 1;
        label += n + (label[n] == '.');
    }
    data[len++] = 0;
    reply_add(r, 12, TYPE_CNAME, h->ttl_s, data, len);
    reply_add_addresses(r, q, at, host_of(s, h->addresses + 1));
}

static void reply_flood(struct names *s, struct reply *r, const struct query *q)
{
    for (unsigned n = 0; q->type == TYPE_A && n < 40; n++) {
        const unsigned a = s->flood++;
        const uint8_t bytes[4] = {127, (uint8_t)(100 + (a >> 16) % 100), (uint8_t)(a >> 8), (uint8_t)a};
        reply_add(r, 12, TYPE_A, 0, bytes, sizeof bytes);
    }
}

static void reply_answer(struct names *s, struct reply *r, const struct query *q, const struct host *h)
{
    reply_begin(r, q, h->known ? 0 : RCODE_NAME);
    if (s->manner == NAMES_ALL_CHANGE)
        reply_flood(s, r, q);
    else if (h->known && h->addresses[0] == '=')
        reply_add_alias(s, r, q, h);
    else if (h->known)
        reply_add_addresses(r, q, 12, h);
}

struct peer {
    struct sockaddr_in in;
    socklen_t len;
};

static void send_to(const struct names *s, const struct peer *p, const struct reply *r)
{
    sendto(s->fd, r->bytes, r->len, MSG_NOSIGNAL, (const struct sockaddr *)&p->in, p->len);
}

static void send_fake(const struct names *s, const struct peer *p, const struct query *q, bool other_id)
{
    static const uint8_t wrong[16] = {127, 9, 9, 9};
    struct reply r;
    reply_begin(&r, q, 0);
    reply_add(&r, 12, q->type, 60, wrong, q->type == TYPE_A ? 4 : 16);
    r.bytes[other_id ? 0 : 13] ^= 1;
    send_to(s, p, &r);
}

/* Under mtx. */
static void answer(struct names *s, const struct peer *p, const struct query *q, struct host *h)
{
    struct reply r;
    const bool is_a = q->type == TYPE_A;
    reply_answer(s, &r, q, h);
    switch (s->manner) {
    case NAMES_SILENT:
        return;
    case NAMES_SERVFAIL:
        reply_begin(&r, q, RCODE_SERVER);
        break;
    case NAMES_REFUSED:
        reply_begin(&r, q, RCODE_REFUSED);
        break;
    case NAMES_GARBAGE:
        memset(r.bytes, 0xa5, sizeof r.bytes);
        break;
    case NAMES_WRONG_ID:
    case NAMES_OTHER:
        send_fake(s, p, q, s->manner == NAMES_WRONG_ID);
        break;
    case NAMES_CUT:
        reply_begin(&r, q, 0);
        r.bytes[2] |= 0x02;
        break;
    case NAMES_NO_EDNS:
    case NAMES_FORMERR:
        if (q->edns || s->manner == NAMES_FORMERR)
            reply_begin(&r, q, RCODE_FORMAT);
        break;
    case NAMES_V4_ONLY:
    case NAMES_V6_ONLY:
        if (is_a != (s->manner == NAMES_V4_ONLY))
            reply_begin(&r, q, RCODE_SERVER);
        break;
    case NAMES_LATE:
        if (h->seen[is_a]++ == 0)
            return;
        break;
    case NAMES_ANSWERED:
    case NAMES_ALL_CHANGE:
        break;
    }
    send_to(s, p, &r);
}

static void *names_main(void *arg)
{
    struct names *s = arg;
    for (;;) {
        struct query q = {0};
        struct peer p = {.len = sizeof p.in};
        ssize_t n = recvfrom(s->fd, q.bytes, sizeof q.bytes, 0, (struct sockaddr *)&p.in, &p.len);
        pthread_mutex_lock(&s->mtx);
        const bool stopping = s->stopping;
        q.len = n > 0 ? (size_t)n : 0;
        if (!stopping && n > 12 && query_read(&q)) {
            struct host *h = host_of(s, q.name);
            h->asked += q.type == TYPE_A;
            answer(s, &p, &q, h);
            pthread_cond_broadcast(&s->changed);
        }
        pthread_mutex_unlock(&s->mtx);
        if (stopping)
            return NULL;
    }
}

void names_stop(struct names *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    if (!s->running)
        return;
    s->running = false;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_mutex_lock(&s->mtx);
    s->stopping = true;
    pthread_mutex_unlock(&s->mtx);
    sendto(s->fd, "", 0, 0, (struct sockaddr *)&in, sizeof in);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void names_free(void *arg)
{
    struct names *s = arg;
    names_stop(s);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mtx);
    free(s);
}

struct names *names_start(void)
{
    struct names *s = calloc(1, sizeof *s);
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof in;
    if (s == NULL)
        abort();
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_mutex_init(&s->mtx, NULL);
    cond_init_mono(&s->changed);
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&in, sizeof in) != 0 ||
        getsockname(s->fd, (struct sockaddr *)&in, &len) != 0 ||
        pthread_create(&s->thread, NULL, names_main, s) != 0)
        support_fail("no name server: %s", strerror(errno));
    s->port = ntohs(in.sin_port);
    s->running = true;
    support_on_end(names_free, s);
    return s;
}

int names_port(const struct names *s)
{
    return s->port;
}

void names_set(struct names *s, const char *name, unsigned ttl_s, const char *addresses)
{
    pthread_mutex_lock(&s->mtx);
    struct host *h = host_of(s, name);
    h->ttl_s = ttl_s;
    h->known = addresses != NULL;
    snprintf(h->addresses, sizeof h->addresses, "%s", addresses != NULL ? addresses : "");
    pthread_mutex_unlock(&s->mtx);
}

void names_behave(struct names *s, enum names_manner manner)
{
    pthread_mutex_lock(&s->mtx);
    s->manner = manner;
    pthread_mutex_unlock(&s->mtx);
}

unsigned names_asked(struct names *s, const char *name)
{
    pthread_mutex_lock(&s->mtx);
    const unsigned asked = host_of(s, name)->asked;
    pthread_mutex_unlock(&s->mtx);
    return asked;
}

void names_wait_asked_(struct names *s, const char *name, unsigned n)
{
    const mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    bool in_time = true;
    pthread_mutex_lock(&s->mtx);
    const struct host *h = host_of(s, name);
    while (h->asked < n && in_time)
        in_time = cond_wait_until(&s->changed, &s->mtx, deadline);
    const unsigned asked = h->asked;
    pthread_mutex_unlock(&s->mtx);
    if (asked < n)
        support_fail("%s was asked for %u times, not %u", name, asked, n);
}
