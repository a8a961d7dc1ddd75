/* fuzz_redis_reply.c: whatever a server may answer, to all that reads answers: maps of slots, roles,
 * addresses of masters, and, of errors, redirections.
 *
 * Beside memory errors it looks for broken promises: a slot's owner is one of the servers, covered slots are
 * as many as said, redirections name a slot that exists, and the host of a server's text is the host that
 * went in. */
#include <hiredis/hiredis.h>
#include <stdlib.h>

#include "core/panic.h"
#include "core/redis_node.h"
#include "core/redis_slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_server(const struct redis_server *s)
{
    char text[REDIS_SERVER_TEXT];
    ASSERT(s->port != 0);
    if (!redis_server_format(s, SLICE_LIT("self"), text)) {
        ASSERT(text[0] == '\0');
        return;
    }
    slice_t host = s->host.len > 0 ? s->host : SLICE_LIT("self");
    ASSERT(slice_eq(redis_server_host(slice_str(text)), host) || slice_starts(host, SLICE_LIT("unix")) ||
           host.ptr[0] == '[');
    redis_server_is_valid(slice_str(text));
}

static void check_slots(const redisReply *reply)
{
    static struct redis_slots slots;
    unsigned covered = 0;
    if (!redis_slots_parse(reply, &slots))
        return;
    ASSERT(slots.server_count <= REDIS_SERVERS_MAX);
    for (size_t i = 0; i < REDIS_SLOTS; i++) {
        ASSERT(slots.owner[i] == REDIS_NO_SERVER || slots.owner[i] < slots.server_count);
        covered += slots.owner[i] != REDIS_NO_SERVER;
    }
    ASSERT(covered == slots.covered);
    for (size_t i = 0; i < slots.server_count; i++)
        check_server(&slots.servers[i]);
}

static void check(const redisReply *reply)
{
    struct redis_server server;
    struct redis_redirect redirect;
    check_slots(reply);
    redis_role_is_master(reply);
    if (redis_master_addr_parse(reply, &server))
        check_server(&server);
    if (!redis_redirect_parse(redis_reply_text(reply), &redirect))
        return;
    ASSERT(redirect.slot < REDIS_SLOTS);
    check_server(&redirect.server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    redisReader *r = redis_reader_create();
    void *reply;
    if (r == NULL)
        return 0;
    ASSERT(redis_key_slot(slice_make((const char *)data, size)) < REDIS_SLOTS);
    redisReaderFeed(r, (const char *)data, size);
    while (redisReaderGetReply(r, &reply) == 0 && reply != NULL) {
        check(reply);
        freeReplyObject(reply);
    }
    redisReaderFree(r);
    return 0;
}
