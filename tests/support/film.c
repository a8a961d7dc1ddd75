/* film.c: see film.h. */
#include "tests/support/film.h"

static char byte_at(int version, uint64_t at)
{
    return (char)('a' + (at + at / 26 + at / 4099 + (uint64_t)version * 5) % 26);
}

static int version_at(const struct film *f, uint64_t at)
{
    return f->version + (f->change_from > 0 && at >= f->change_from);
}

struct asked {
    uint64_t first, last;
    bool range;
};

static struct asked read_range(const struct film *f, const struct message *request)
{
    struct asked a = {0, f->size - 1, false};
    const char *range = message_field(request, "Range");
    unsigned long long first, last;
    if (range == NULL || strchr(range, ',') != NULL || sscanf(range, "bytes=%llu-%llu", &first, &last) != 2)
        return a;
    return (struct asked){first, MIN(last, f->size - 1), true};
}

static void send_body(struct origin_conn *c, const struct film *f, uint64_t first, uint64_t n)
{
    char *out = malloc(n + 1);
    const int version = version_at(f, first);
    const uint64_t half = f->half != NULL ? n / 2 : n;
    for (uint64_t i = 0; i < n; i++)
        out[i] = byte_at(version, first + i);
    origin_send_bytes(c, out, half);
    if (half < n) {
        gate_pass(f->half);
        origin_send_bytes(c, out + half, n - half);
    }
    free(out);
}

static void film_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct film *f = arg;
    const int number = atomic_fetch_add(&f->requests, 1);
    struct asked a = read_range(f, request);
    const bool named = message_field(request, f->named) != NULL;
    if (number == f->gate_at)
        gate_pass(f->gate);
    const bool odd = a.first >= f->odd_from;
    const int fails = !odd ? 0 : named && f->fails == 0 ? f->fails_named : f->fails;
    const int manner = !odd ? FILM_SERVES : named && f->manner == FILM_SERVES ? f->manner_named : f->manner;
    if (fails != 0) {
        origin_respond(c, fails, f->fail_fields, "it fails");
        return;
    }
    if (manner == FILM_IGNORES)
        a = (struct asked){0, f->size - 1, false};
    if (a.range && a.first >= f->size) {
        char range[64];
        snprintf(range, sizeof range, "Content-Range: bytes */%llu\r\n", (unsigned long long)f->size);
        origin_respond(c, 416, range, "");
        return;
    }
    char etag[64];
    if (f->etag != NULL)
        snprintf(etag, sizeof etag, "%s", f->etag);
    else
        snprintf(etag, sizeof etag, "ETag: \"v%d\"\r\n", version_at(f, a.first));
    const char *known = message_field(request, "If-None-Match");
    if (known != NULL && strstr(etag, known) != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s%s\r\n", etag, f->fields);
        return;
    }
    if (a.range && manner == FILM_SHIFTS)
        a.first++;
    const uint64_t n = a.last - a.first + 1;
    if (a.range)
        origin_send(c, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %llu-%llu/%llu\r\n",
                    (unsigned long long)a.first, (unsigned long long)a.last,
                    (unsigned long long)f->size + (manner == FILM_MISSTATES ? (unsigned)number : 0));
    else
        origin_send(c, "HTTP/1.1 200 OK\r\n");
    origin_send(c, "%s%sContent-Type: video/mp4\r\nContent-Length: %llu\r\n\r\n", etag, f->fields,
                (unsigned long long)n);
    send_body(c, f, a.first, number == f->cut_at ? n / 2 : n);
    if (number == f->cut_at)
        origin_close(c);
}

struct film *film_new(uint64_t size)
{
    struct film *f = calloc(1, sizeof *f);
    support_on_end(free, f);
    f->size = size;
    f->fields = "Cache-Control: max-age=600\r\nCache-Tag: films\r\n";
    f->version = 1;
    f->named = "Authorization";
    f->fail_fields = "Cache-Control: no-store\r\n";
    f->gate_at = f->cut_at = -1;
    f->gate = gate_new();
    f->origin = origin_start(film_script, f);
    return f;
}

struct millpond *film_start_listening(struct film *f, const char *cache, const char *listen)
{
    return millpond_start_(&(struct millpond_options){
        .listen = textf("protocols = h2, http/1.1, h2c\n%s", listen),
        .cache = cache,
        .rest = textf("%s[route all]\npool = app\nslice = 64K\n", pool_lines("app", 1, f->origin))});
}

struct millpond *film_start(struct film *f, const char *cache)
{
    return film_start_listening(f, cache, "");
}

struct message *film_ask(struct millpond *m, uint64_t first, uint64_t last, const char *fields)
{
    return client_ask_(
        m->port, "GET", "/film",
        textf("Range: bytes=%llu-%llu\r\n%s", (unsigned long long)first, (unsigned long long)last, fields),
        "");
}

bool film_is(const struct film *f, const char *bytes, uint64_t from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (bytes[i] != byte_at(f->version, from + i))
            return false;
    }
    return true;
}

void film_expect_(const struct film *f, const struct message *r, uint64_t first, uint64_t last)
{
    message_expect_status(r, 206);
    message_expect_field(r, "Content-Range",
                         textf("bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
                               (unsigned long long)f->size),
                         false);
    assert_int_equal(r->body_len, last - first + 1);
    assert_true(film_is(f, r->body, first, r->body_len));
}

void film_expect_whole_(const struct film *f, const struct message *r)
{
    message_expect_status(r, 200);
    assert_int_equal(r->body_len, f->size);
    assert_true(film_is(f, r->body, 0, f->size));
}
