/* websocket_key.h: the handshake of a WebSocket over HTTP/1.1 as its client makes it (RFC 6455 sections 4.1
 * and 4.2.2). Any thread. */
#ifndef CORE_WEBSOCKET_KEY_H
#define CORE_WEBSOCKET_KEY_H

#include "core/slice.h"

#define WEBSOCKET_KEY_BYTES    24
#define WEBSOCKET_ACCEPT_BYTES 28

/* A value of Sec-WebSocket-Key that nobody can foresee; not terminated. */
void websocket_key_make(char key[WEBSOCKET_KEY_BYTES]);

/* The value of Sec-WebSocket-Accept that answers it; not terminated. */
void websocket_key_answer(const char key[WEBSOCKET_KEY_BYTES], char accept[WEBSOCKET_ACCEPT_BYTES]);

#endif
