/* redis_script.c: see redis_script.h. EVALSHA and EVAL. */
#include "core/redis_script.h"

#include <openssl/sha.h>

#include "core/panic.h"

_Static_assert(REDIS_SCRIPT_WORDS_MAX + 3 <= REDIS_ARGC_MAX, "a call is one command");

void redis_script_init(struct redis_script *s, slice_t text)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[SHA_DIGEST_LENGTH];
    s->text = text;
    SHA1((const unsigned char *)text.ptr, text.len, sum);
    for (size_t i = 0; i < REDIS_SHA1_TEXT; i++)
        s->sha1[i] = digits[sum[i / 2] >> (i % 2 == 0 ? 4 : 0) & 0xf];
}

bool redis_script_call(struct redis *r, struct redis_call *call, const struct redis_script *s,
                       enum redis_script_form form, size_t key_count, const slice_t *words, size_t word_count)
{
    ASSERT(key_count >= 1 && key_count <= word_count && word_count <= REDIS_SCRIPT_WORDS_MAX);
    char count[20];
    slice_t argv[REDIS_SCRIPT_WORDS_MAX + 3] = {
        form == REDIS_WHOLE ? SLICE_LIT("EVAL") : SLICE_LIT("EVALSHA"),
        form == REDIS_WHOLE ? s->text : slice_make(s->sha1, sizeof s->sha1),
        {count, slice_put_u64(count, key_count)}};
    for (size_t i = 0; i < word_count; i++)
        argv[3 + i] = words[i];
    return redis_call(r, call, words[0], argv, 3 + word_count);
}

bool redis_script_is_unknown(enum redis_outcome o, const struct redisReply *reply)
{
    return o == REDIS_REFUSED && slice_starts(redis_reply_text(reply), SLICE_LIT("NOSCRIPT"));
}
