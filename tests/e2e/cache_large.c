/* cache_large.c: a large object is stored in bounded memory, and ranges of what has come are served while the
 * rest is on its way. The document is made of numbered blocks, so that each byte tells where it belongs. */
#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define BLOCK (64 * KB)

struct large {
    uint64_t blocks;
    struct gate *half; /* passed in the middle */
};

static uint64_t large_blocks(void)
{
    return (support_sanitized() ? 24 * MB : 200 * MB) / BLOCK;
}

static void fill_block(char *block, uint64_t number)
{
    memset(block, 'a' + (int)(number % 23), BLOCK);
    snprintf(block, 24, "%020llu", (unsigned long long)number);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    const struct large *l = arg;
    char *block = malloc(BLOCK);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %llu\r\n\r\n",
                (unsigned long long)(l->blocks * BLOCK));
    for (uint64_t i = 0; i < l->blocks; i++) {
        if (i == l->blocks / 2)
            gate_pass(l->half);
        fill_block(block, i);
        if (!origin_send_bytes(c, block, BLOCK))
            break;
    }
    free(block);
}

static void ask_block(struct client *c, const char *target, uint64_t number)
{
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\nRange: bytes=%llu-%llu\r\n\r\n", target,
                (unsigned long long)(number * BLOCK), (unsigned long long)(number * BLOCK + BLOCK - 1));
}

static void expect_block(struct message *r, uint64_t number)
{
    char *block = malloc(BLOCK);
    support_on_end(free, block);
    fill_block(block, number);
    message_expect_status(r, 206);
    assert_int_equal(r->body_len, BLOCK);
    assert_memory_equal(r->body, block, BLOCK);
}

static void a_large_object_serves_ranges_while_it_comes(void **state)
{
    UNUSED(state);
    struct large l = {large_blocks(), gate_new()};
    struct origin *o = origin_start(large_script, &l);
    struct millpond *m = millpond_start(.cache = "memory_size = 256M\nmax_object_size = 256M",
                                        .rest = pool_lines("app", 1, o));
    for (int round = 0; round < 3; round++) { /* two of them do not fit together */
        const char *target = textf("/%d", round);
        struct client *reader = client_open(m->port), *late = client_open(m->port);
        gate_shut(l.half);
        client_send(reader, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
        expect_status(client_read_head(reader), 200); /* takes no more: the fetch goes on */
        gate_wait_arrived(l.half, (unsigned)round + 1);
        ask_block(late, target, l.blocks - 1);
        struct message *last = client_read_head(late);
        struct client *c = client_open(m->port);
        for (unsigned i = 0; i < 4; i++) {
            ask_block(c, target, l.blocks / 8 * i);
            expect_block(client_read(c), l.blocks / 8 * i);
        }
        assert_true(client_is_silent(late));
        gate_open(l.half);
        wire_read_body(&late->wire, last);
        expect_block(last, l.blocks - 1);
        millpond_wait_figure(m, "cache_stored", round + 1);
        ask_block(c, target, l.blocks / 2 + 1);
        expect_block(client_read(c), l.blocks / 2 + 1);
        if (round == 0) { /* the body once, for all readers */
            uint64_t highest = millpond_memory(m, "VmHWM");
            EXPECT(support_sanitized() || highest < l.blocks * BLOCK + 40 * MB, "memory rose to %llu KB",
                   (unsigned long long)(highest / KB));
        }
        int64_t used = json_integer_value(json_find(millpond_status(m), "bytes_used"));
        assert_true(used <= 256 * (int64_t)MB);
        client_close_all();
    }
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
    origin_stop(o);
}

#define PAGE (300 * KB)

static void page_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n", (int)PAGE);
    origin_send_bytes(c, arg, PAGE);
}

/* There is less memory than memory_size promises: what is stored gives way, so that storing goes on, and
 * hardly anybody's response is cut meanwhile: whose memory is to come from what is evicted waits for no grace
 * period, which takes its time on a busy machine. */
static void memory_that_is_not_there_cuts_few(void **state)
{
    UNUSED(state);
    if (support_sanitized()) /* they need terabytes of address space */
        return;
    char *page = text_repeat('p', PAGE);
    unsigned cut = 0;
    struct origin *o = origin_start_with(&(struct origin_options){page_script, page, .forgets = true});
    struct millpond *m =
        millpond_start(.max_memory = 300 * MB, .main = "workers = 2\n", .log = "access = off\n",
                       .cache = "memory_size = 1G\n", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    for (int i = 0; i < 1500; i++) {
        client_send(c, "GET /%d HTTP/1.1\r\nHost: test\r\n\r\n", i);
        assert_int_equal(client_read_head(c)->status, 200);
        if (wire_discard(&c->wire, PAGE) < PAGE) {
            cut++;
            client_close(c);
            c = client_open(m->port);
        }
    }
    print_message("%u of 1500 were cut\n", cut);
    EXPECT(cut < 150, "%u of 1500 were cut", cut);
    int64_t stored = millpond_figure(m, "cache_stored");
    EXPECT(stored > 1000 && stored < 1500, "%lld of 1500 were stored", (long long)stored);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_large_object_serves_ranges_while_it_comes),
        E2E_TEST(memory_that_is_not_there_cuts_few),
    };
    return E2E_RUN("cache_large", tests);
}
