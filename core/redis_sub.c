/* redis_sub.c: see redis_sub.h. A node with one connection: it brings reconnecting, names and pauses along.
 */
#include "core/redis_sub.h"

#include <stdlib.h>

#include "core/panic.h"

#define REDIS_SUB_MAGIC 0x72647362u

enum sub_state { SUB_DOWN, SUB_ASKING, SUB_UP };

struct sub_call {
    struct redis_call call;
    struct redis_sub *sub;
};

/* Owned by who opened it; one worker's thread. */
struct redis_sub {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct redis_sub_settings settings;
    struct redis_node *node;
    /* worker's thread */
    enum sub_state state;
    size_t unconfirmed;
    struct deadline check;
    struct grave grave;
    struct sub_call calls[]; /* one SUBSCRIBE per channel: each is answered once */
};

static void sub_set_state(struct redis_sub *s, enum sub_state to)
{
    ASSERT(to == SUB_DOWN || to == s->state + 1);
    s->state = to;
}

static void sub_go_down(struct redis_sub *s, const char *reason)
{
    bool was_up = s->state == SUB_UP;
    for (size_t i = 0; i < s->settings.channel_count; i++)
        redis_call_cancel(&s->calls[i].call);
    sub_set_state(s, SUB_DOWN);
    if (was_up && s->settings.on_down != NULL)
        s->settings.on_down(s->settings.arg, reason);
}

static void sub_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_sub *s = CONTAINER_OF(call, struct sub_call, call)->sub;
    if (o != REDIS_ANSWERED) {
        sub_go_down(s, ""); /* the next check asks again */
        if (o == REDIS_REFUSED && s->settings.on_refused != NULL)
            s->settings.on_refused(s->settings.arg, redis_reply_text(reply));
        return;
    }
    if (--s->unconfirmed > 0)
        return;
    sub_set_state(s, SUB_UP);
    if (s->settings.on_up != NULL)
        s->settings.on_up(s->settings.arg);
}

static void sub_ask(struct redis_sub *s)
{
    sub_set_state(s, SUB_ASKING);
    s->unconfirmed = s->settings.channel_count;
    for (size_t i = 0; i < s->settings.channel_count; i++) {
        slice_t argv[] = {SLICE_LIT("SUBSCRIBE"), s->settings.channels[i]};
        s->calls[i] = (struct sub_call){.call.on_reply = sub_on_reply, .sub = s};
        if (!redis_node_call(s->node, &s->calls[i].call, argv, 2)) {
            sub_go_down(s, "");
            return;
        }
    }
}

static void sub_on_node_up(void *arg)
{
    struct redis_sub *s = arg;
    CHECK_MAGIC(s, REDIS_SUB_MAGIC);
    sub_ask(s);
}

static void sub_on_node_down(void *arg, const char *reason)
{
    struct redis_sub *s = arg;
    CHECK_MAGIC(s, REDIS_SUB_MAGIC);
    sub_go_down(s, reason);
}

static void sub_on_message(void *arg, slice_t channel, slice_t payload)
{
    struct redis_sub *s = arg;
    CHECK_MAGIC(s, REDIS_SUB_MAGIC);
    s->settings.on_message(s->settings.arg, channel, payload);
}

static void sub_on_check(struct deadline *d)
{
    struct redis_sub *s = CONTAINER_OF(d, struct redis_sub, check);
    slice_t ping = SLICE_LIT("PING");
    deadline_set(s->worker, &s->check, worker_now_ms(s->worker) + REDIS_SUB_CHECK_MS);
    if (s->state == SUB_UP)
        redis_node_call(s->node, NULL, &ping, 1); /* what counts is that any byte comes */
    else if (s->state == SUB_DOWN && redis_node_is_up(s->node))
        sub_ask(s);
}

struct redis_sub *redis_sub_open(struct worker *w, slice_t server, const struct redis_sub_settings *settings)
{
    ASSERT(settings->channel_count > 0);
    struct redis_sub *s = calloc(1, sizeof *s + settings->channel_count * sizeof s->calls[0]);
    if (s == NULL)
        return NULL;
    s->magic = REDIS_SUB_MAGIC;
    s->worker = w;
    s->settings = *settings;
    deadline_init(&s->check, sub_on_check);
    const struct redis_node_settings n = {
        .limits = {.connections = 1,
                   .calls_max = REDIS_CALLS_MAX,
                   .timeout_ms = settings->timeout_ms,
                   .connect_timeout_ms = settings->connect_timeout_ms,
                   .stall_timeout_ms = settings->timeout_ms},
        .login = settings->login,
        .on_up = sub_on_node_up,
        .on_down = sub_on_node_down,
        .on_message = sub_on_message,
        .arg = s,
    };
    s->node = redis_node_open(w, server, &n);
    if (s->node == NULL) {
        free(s);
        return NULL;
    }
    deadline_set(w, &s->check, worker_now_ms(w) + REDIS_SUB_CHECK_MS);
    return s;
}

void redis_sub_close(struct redis_sub **sp)
{
    struct redis_sub *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHECK_MAGIC(s, REDIS_SUB_MAGIC);
    s->settings.on_down = NULL;
    sub_go_down(s, "closed");
    redis_node_close(&s->node);
    deadline_clear(s->worker, &s->check);
    s->magic = 0;
    worker_bury(s->worker, &s->grave, free, s);
}

bool redis_sub_is_up(const struct redis_sub *s)
{
    return s->state == SUB_UP;
}
