/* health_body.c: see health_body.h. The search is that of Knuth, Morris and Pratt, since it never looks back:
 * what is looked for may lie across pieces and chunks. */
#include "balancer/health_body.h"

#include <string.h>

#include "core/panic.h"

static void body_prepare(struct health_body *b)
{
    size_t k = 0;
    b->back[0] = 0;
    for (size_t i = 1; i < b->wanted_bytes; i++) {
        while (k > 0 && b->wanted[i] != b->wanted[k])
            k = b->back[k - 1];
        k += b->wanted[i] == b->wanted[k];
        b->back[i] = (uint8_t)k;
    }
}

void health_body_look_for(struct health_body *b, const char *wanted)
{
    *b = (struct health_body){.wanted_bytes = strlen(wanted)};
    ASSERT(b->wanted_bytes > 0 && b->wanted_bytes <= HEALTH_BODY_WANTED_MAX);
    memcpy(b->wanted, wanted, b->wanted_bytes);
    body_prepare(b);
}

bool health_body_begin(struct health_body *b, const struct http_head *head, const char *wanted)
{
    health_body_look_for(b, wanted);
    if (h1_response_framing(head, HTTP_GET, &b->framing) != H1_OK)
        return false;
    b->left = b->framing.length;
    return true;
}

bool health_body_search(struct health_body *b, slice_t data)
{
    for (size_t i = 0; i < data.len; i++) {
        while (b->matched > 0 && data.ptr[i] != b->wanted[b->matched])
            b->matched = b->back[b->matched - 1];
        b->matched += data.ptr[i] == b->wanted[b->matched];
        if (b->matched == b->wanted_bytes)
            return true;
    }
    return false;
}

static enum health_body_verdict body_take_chunks(struct health_body *b, const char *bytes, size_t len)
{
    for (;;) {
        size_t used;
        slice_t data = SLICE_EMPTY;
        switch (h1_chunked_next(&b->chunked, bytes, len, &used, &data)) {
        case H1_CHUNK_MORE:
            return HEALTH_BODY_MORE;
        case H1_CHUNK_DATA:
            if (health_body_search(b, data))
                return HEALTH_BODY_FOUND;
            break;
        case H1_CHUNK_TRAILERS:
            return HEALTH_BODY_MISSING;
        case H1_CHUNK_FAIL:
            return HEALTH_BODY_BROKEN;
        }
        bytes += used;
        len -= used;
    }
}

enum health_body_verdict health_body_take(struct health_body *b, const char *bytes, size_t len)
{
    switch (b->framing.kind) {
    case H1_BODY_NONE:
        return HEALTH_BODY_MISSING;
    case H1_BODY_CHUNKED:
        return body_take_chunks(b, bytes, len);
    case H1_BODY_LENGTH:
        len = MIN(len, b->left);
        b->left -= len;
        break;
    case H1_BODY_UNTIL_CLOSE:
        break;
    }
    if (health_body_search(b, slice_make(bytes, len)))
        return HEALTH_BODY_FOUND;
    return b->framing.kind == H1_BODY_LENGTH && b->left == 0 ? HEALTH_BODY_MISSING : HEALTH_BODY_MORE;
}

enum health_body_verdict health_body_close(const struct health_body *b)
{
    return b->framing.kind == H1_BODY_UNTIL_CLOSE ? HEALTH_BODY_MISSING : HEALTH_BODY_BROKEN;
}
