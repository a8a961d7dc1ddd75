/* redis_script.h: a Lua script that runs inside Redis: what several commands decide together, and nothing
 * comes between them.
 *
 * It is called by its SHA-1. A server that does not know it (yet; or any more, after a restart, a failover or
 * SCRIPT FLUSH) says so, and then whoever asked sends it whole, once: the server remembers. Nothing is kept
 * here to do that by itself, since whoever asked can tell the words again. In a Cluster all keys belong to
 * one slot. One worker's thread, but for a script itself, which is only read once it is made. */
#ifndef CORE_REDIS_SCRIPT_H
#define CORE_REDIS_SCRIPT_H

#include "core/redis.h"

#define REDIS_SCRIPT_WORDS_MAX 16 /* keys and other words */
#define REDIS_SHA1_TEXT        40

struct redis_script {
    slice_t text; /* borrowed for as long as the script is used */
    char sha1[REDIS_SHA1_TEXT];
};

enum redis_script_form { REDIS_BY_SHA1, REDIS_WHOLE };

void redis_script_init(struct redis_script *s, slice_t text);

/* As redis_call, to the server of the first key. `words` are the keys, at least one, then what else the
 * script reads (KEYS, then ARGV). */
bool redis_script_call(struct redis *r, struct redis_call *call, const struct redis_script *s,
                       enum redis_script_form form, size_t key_count, const slice_t *words,
                       size_t word_count);
/* The server did not know the script, and nothing was done: on_reply of a call by SHA-1 may send it whole. */
bool redis_script_is_unknown(enum redis_outcome o, const struct redisReply *reply);

#endif
