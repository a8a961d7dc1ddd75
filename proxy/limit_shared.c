/* limit_shared.c: see limit_shared.h. Pure but for limit_shared_ask. */
#include "proxy/limit_shared.h"

#include <stdio.h>

#include "core/digest.h"
#include "core/panic.h"
#include "core/redis_reply.h"
#include "core/text.h"

/* ARGV: step and room in microseconds. Doubles hold a time to a quarter of a microsecond. */
static const char script[] =
    "local time = redis.call('TIME')\n"
    "local now, step, room = time[1] * 1000000 + time[2], tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local tat = tonumber(redis.call('GET', KEYS[1]) or '') or now\n"
    "tat = math.max(now, math.min(tat, now + room))\n"
    "if tat + step > now + room then return {0, tat - now} end\n"
    "tat = tat + step\n"
    "redis.call('SET', KEYS[1], string.format('%.2f', tat), 'PX', math.ceil((tat - now) / 1000))\n"
    "return {1, tat - now}\n";

static void digest_add_text(struct digest *d, slice_t text)
{
    const uint64_t len = text.len;
    digest_add(d, &len, sizeof len);
    digest_add(d, text.ptr, text.len);
}

slice_t limit_shared_name(char buf[LIMIT_SHARED_NAME_BYTES], slice_t prefix, const struct limit_shared_key *k)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t value[DIGEST_BYTES];
    struct digest *d = digest_new();
    ASSERT(prefix.len <= LIMIT_SHARED_PREFIX_MAX);
    if (d != NULL) {
        digest_add_text(d, k->route);
        digest_add(d, &k->rate, sizeof k->rate);
        digest_add_text(d, k->by);
        digest_add_text(d, k->who);
    }
    if (!digest_end(&d, value))
        return SLICE_EMPTY;
    struct text t = text_make(buf, LIMIT_SHARED_NAME_BYTES);
    text_put(&t, prefix);
    text_put(&t, SLICE_LIT("limit:"));
    for (size_t i = 0; i < 16; i++) {
        text_put_char(&t, digits[value[i] >> 4]);
        text_put_char(&t, digits[value[i] & 15]);
    }
    return text_slice(&t);
}

static slice_t microseconds(char buf[32], rate_ns_t ns)
{
    snprintf(buf, 32, "%lld.%03d", (long long)(ns / 1000), (int)(ns % 1000));
    return slice_str(buf);
}

bool limit_shared_ask(struct redis *r, struct redis_call *call, slice_t name, const struct rate_limit *l)
{
    char step[32], room[32];
    const slice_t argv[] = {SLICE_LIT("EVAL"),
                            slice_make(script, sizeof script - 1),
                            SLICE_LIT("1"),
                            name,
                            microseconds(step, l->step_ns),
                            microseconds(room, l->room_ns)};
    return redis_call(r, call, name, argv, ARRAY_LEN(argv));
}

bool limit_shared_read(const struct redisReply *reply, struct limit_shared_answer *out)
{
    int64_t passed, used_us;
    *out = (struct limit_shared_answer){false, 0};
    if (redis_reply_count(reply) != 2 || !redis_reply_integer(redis_reply_at(reply, 0), &passed) ||
        !redis_reply_integer(redis_reply_at(reply, 1), &used_us))
        return false;
    out->passed = passed == 1;
    return passed >= 0 && passed <= 1 && used_us >= 0 &&
           !__builtin_mul_overflow(used_us, 1000, &out->used_ns);
}
