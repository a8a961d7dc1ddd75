/* websocket_key.c: see websocket_key.h. The answer shows that the other end knows what a WebSocket is, and
 * did not merely repeat something; it keeps no secret, which is why SHA-1 does. */
#include "core/websocket_key.h"

#include <openssl/evp.h>

#include "core/hash.h"
#include "core/panic.h"

#define NONCE_BYTES  16
#define DIGEST_BYTES 20

/* EVP_EncodeBlock ends what it writes with a NUL. */
static void encode(char *out, size_t out_bytes, const unsigned char *in, int in_bytes)
{
    unsigned char text[WEBSOCKET_ACCEPT_BYTES + 1];
    ASSERT((size_t)EVP_EncodeBlock(text, in, in_bytes) == out_bytes);
    memcpy(out, text, out_bytes);
}

void websocket_key_make(char key[WEBSOCKET_KEY_BYTES])
{
    unsigned char nonce[NONCE_BYTES];
    hash_random(nonce, sizeof nonce);
    encode(key, WEBSOCKET_KEY_BYTES, nonce, sizeof nonce);
}

void websocket_key_answer(const char key[WEBSOCKET_KEY_BYTES], char accept[WEBSOCKET_ACCEPT_BYTES])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEBSOCKET_KEY_BYTES + sizeof guid - 1];
    unsigned char digest[DIGEST_BYTES];
    memcpy(text, key, WEBSOCKET_KEY_BYTES);
    memcpy(text + WEBSOCKET_KEY_BYTES, guid, sizeof guid - 1);
    ASSERT(EVP_Digest(text, sizeof text, digest, NULL, EVP_sha1(), NULL) == 1);
    encode(accept, WEBSOCKET_ACCEPT_BYTES, digest, sizeof digest);
}
