/* h2_frames.h: frames of HTTP/2 as bytes: made for either side of a connection, and looked for in what came.
 * Static functions, one program each. Include it behind cmocka.h. */
#ifndef TESTS_UNIT_PROXY_H2_FRAMES_H
#define TESTS_UNIT_PROXY_H2_FRAMES_H

#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <string.h>

/* What is going to be sent. */
struct frames {
    unsigned char bytes[4096];
    size_t n;
};

static inline void frames_put(struct frames *f, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
                              size_t n)
{
    const unsigned char head[9] = {0, (unsigned char)(n >> 8),  (unsigned char)n, type, flags, 0,
                                   0, (unsigned char)(id >> 8), (unsigned char)id};
    assert_true(f->n + sizeof head + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, head, sizeof head);
    memcpy(f->bytes + f->n + sizeof head, payload, n);
    f->n += sizeof head + n;
}

/* A client's preface, with these settings, and an ACK of those it will be sent. */
static inline void frames_preface(struct frames *f, const void *settings, size_t n)
{
    memcpy(f->bytes, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    f->n = NGHTTP2_CLIENT_MAGIC_LEN;
    frames_put(f, NGHTTP2_SETTINGS, 0, 0, settings, n);
    frames_put(f, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
}

/* Names and values in turn, NULL behind them; each shorter than 127 bytes. */
static inline void frames_head(struct frames *f, uint32_t id, bool ends, const char *const *fields)
{
    unsigned char block[1024];
    size_t n = 0;
    for (const char *const *s = fields; *s != NULL; s++) {
        const size_t len = strlen(*s);
        assert_true(len < 127 && n + len + 2 <= sizeof block);
        if ((s - fields) % 2 == 0)
            block[n++] = 0; /* literal, not indexed */
        block[n++] = (unsigned char)len;
        memcpy(block + n, *s, len);
        n += len;
    }
    frames_put(f, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | (ends ? NGHTTP2_FLAG_END_STREAM : 0), id, block,
               n);
}

static inline void frames_window(struct frames *f, uint32_t id, uint32_t by)
{
    const unsigned char payload[4] = {0, (unsigned char)(by >> 16), (unsigned char)(by >> 8),
                                      (unsigned char)by};
    frames_put(f, NGHTTP2_WINDOW_UPDATE, 0, id, payload, sizeof payload);
}

/* One of those that came. */
struct frame {
    uint8_t type, flags;
    uint32_t id;
    const unsigned char *payload;
    size_t n;
};

/* The next whole one at *at, which it moves on. */
static inline bool frames_next(const void *bytes, size_t n, size_t *at, struct frame *out)
{
    const unsigned char *p = (const unsigned char *)bytes + *at;
    if (n - *at < 9)
        return false;
    out->n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
    out->type = p[3];
    out->flags = p[4];
    out->id = (uint32_t)p[7] << 8 | p[8];
    out->payload = p + 9;
    if (n - *at - 9 < out->n)
        return false;
    *at += 9 + out->n;
    return true;
}

/* All heads of a stream, a line per field, into `text`. */
static inline void frames_heads(const void *bytes, size_t n, uint32_t id, char *text, size_t text_bytes)
{
    nghttp2_hd_inflater *in;
    struct frame f;
    size_t len = 0;
    *text = '\0';
    assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
    for (size_t at = 0; frames_next(bytes, n, &at, &f);) {
        const uint8_t *p = f.payload, *end = f.payload + f.n;
        int flags = 0;
        if (f.type != NGHTTP2_HEADERS && f.type != NGHTTP2_CONTINUATION)
            continue;
        do {
            nghttp2_nv nv;
            ssize_t used = nghttp2_hd_inflate_hd2(in, &nv, &flags, p, (size_t)(end - p),
                                                  (f.flags & NGHTTP2_FLAG_END_HEADERS) != 0);
            assert_true(used >= 0);
            p += used;
            if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && f.id == id && len < text_bytes)
                len += (size_t)snprintf(text + len, text_bytes - len, "%.*s: %.*s\n", (int)nv.namelen,
                                        (const char *)nv.name, (int)nv.valuelen, (const char *)nv.value);
        } while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0 &&
                 (p < end || (flags & NGHTTP2_HD_INFLATE_EMIT) != 0));
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            nghttp2_hd_inflate_end_headers(in);
    }
    nghttp2_hd_inflate_del(in);
}

#endif
