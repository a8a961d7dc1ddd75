/* fuzz_stream_script.c: whatever Redis may answer to the scripts of the stream, and what a node makes of it.
 *
 * Beside memory errors it looks for broken promises: a page has texts that lie in the answer, and a follower
 * takes any page, and is inside only with an epoch. */
#include <hiredis/hiredis.h>
#include <stdlib.h>

#include "cache/stream_script.h"
#include "core/panic.h"
#include "core/redis_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct cache_inval_log inval_log;
static struct cache_stream_map map;
static struct cache_stream_queue *queue;

static uint64_t on_purge(void *arg, const struct cache_purge *items, size_t count)
{
    UNUSED(arg);
    return cache_inval_append(&inval_log, 1700000000000, items, count);
}

static void check_page(const struct redisReply *reply, struct cache_stream_follow *f)
{
    struct cache_stream_page p;
    size_t bytes = 0;
    if (cache_stream_page_open(&p, reply)) {
        for (size_t i = 0; i < p.count; i++) {
            for (size_t k = 0; k < p.entries[i].count; k++)
                bytes += p.entries[i].texts[k].len;
        }
        ASSERT(bytes <= MB);
        cache_stream_follow_take(f, p.epoch, p.entries, p.count, p.whole);
        ASSERT(f->state != CACHE_STREAM_INSIDE || f->epoch != 0);
    }
    cache_stream_page_close(&p);
}

static void check_nodes(const struct redisReply *reply)
{
    static struct cache_stream_node nodes[CACHE_STREAM_NODES_MAX];
    bool first;
    const size_t count = cache_stream_nodes_parse(reply, &first, nodes);
    ASSERT(count <= CACHE_STREAM_NODES_MAX);
    for (size_t i = 0; i < count; i++)
        ASSERT(nodes[i].name[0] != '\0' && nodes[i].age_ms >= 0);
}

static void open_node(void)
{
    ASSERT(cache_inval_open(&inval_log, 100));
    ASSERT(cache_stream_map_open(&map, 16));
    queue = cache_stream_queue_open(&(struct cache_stream_queue_settings){.map = &map,
                                                                          .log = &inval_log,
                                                                          .bytes_max = 4096,
                                                                          .events_max = 20,
                                                                          .linger_ms = 1,
                                                                          .no_thread = true});
    ASSERT(queue != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    redisReader *r = redis_reader_create();
    struct cache_stream_follow f;
    void *reply;
    if (r == NULL)
        return 0;
    if (queue == NULL)
        open_node();
    cache_stream_follow_init(&f, &(struct cache_stream_follow_settings){queue, on_purge, NULL});
    redisReaderFeed(r, (const char *)data, size);
    while (redisReaderGetReply(r, &reply) == 0 && reply != NULL) {
        check_page(reply, &f);
        check_nodes(reply);
        cache_stream_script_was_done(reply);
        freeReplyObject(reply);
    }
    redisReaderFree(r);
    cache_stream_queue_set_epoch(queue, 0);
    return 0;
}
