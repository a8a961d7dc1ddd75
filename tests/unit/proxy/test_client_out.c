/* test_client_out.c: what is gathered arrives whole and in order, whatever the kernel takes at a time, and
 * every reference on a cached object that an unfinished write took is given back. */
#include "cache/purge.h"
#include "fixture.h"

#define BIG (300 * KB)

struct out_fix {
    struct proxy_fix f;
    struct client_conn *c;
    int other;
    char *want, *got;
    size_t want_bytes, got_bytes;
};

static void start(struct out_fix *o, bool small_buffer)
{
    int bytes = 1;
    fix_start(&o->f, FIX_APP, true);
    o->c = fix_client(&o->f, "192.0.2.7:1", &o->other);
    if (small_buffer)
        assert_int_equal(setsockopt(o->c->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    o->want = calloc(1, 4 * BIG);
    o->got = calloc(1, 4 * BIG);
    o->want_bytes = o->got_bytes = 0;
    assert_true(o->want != NULL && o->got != NULL);
}

static void end(struct out_fix *o)
{
    client_conn_close(o->c, CLOSE_CLIENT_CLOSED);
    close(o->other);
    free(o->want);
    free(o->got);
    fix_end(&o->f);
}

static void receive(struct out_fix *o, size_t at_most)
{
    while (at_most > 0) {
        ssize_t n = read(o->other, o->got + o->got_bytes, MIN(at_most, 4 * BIG - o->got_bytes));
        if (n <= 0)
            return;
        o->got_bytes += (size_t)n;
        at_most -= (size_t)n;
    }
}

/* Reads in pieces of `step` and lets the connection go on, until nothing waits. */
static void receive_all(struct out_fix *o, size_t step)
{
    unsigned rounds = 0;
    while (o->c->left != NULL) {
        receive(o, step);
        client_out_resume(o->c);
        assert_true(++rounds < 1000000);
    }
    receive(o, SIZE_MAX);
    assert_int_equal(o->got_bytes, o->want_bytes);
    assert_memory_equal(o->got, o->want, o->want_bytes);
}

static void want(struct out_fix *o, const void *data, size_t bytes)
{
    assert_true(o->want_bytes + bytes <= 4 * BIG);
    memcpy(o->want + o->want_bytes, data, bytes);
    o->want_bytes += bytes;
}

static void put_text(struct out_fix *o, const char *text)
{
    size_t n = strlen(text);
    char *p = client_out_reserve(o->c, n + 10);
    assert_non_null(p);
    memcpy(p, text, n);
    client_out_commit(o->c, n);
    want(o, text, n);
}

static void put_piece(struct out_fix *o, const void *data, size_t bytes, struct cache_object *owner)
{
    assert_true(client_out_add(o->c, data, bytes, owner));
    want(o, data, bytes);
}

static struct cache_key key_of(const char *path)
{
    static char key_text[64];
    struct cache_key key;
    cache_key_build(key_text, SLICE_LIT("http"), SLICE_LIT("h"), slice_str(path), (slice_t){NULL, 0}, &key);
    return key;
}

/* The object stored for `path`, with a reference, and its body. */
static struct cache_object *stored(struct out_fix *o, const char *path, struct iovec *iov, size_t *pieces)
{
    const struct cache_key key = key_of(path);
    struct arena scratch;
    static const struct http_head none;
    enum no_store_reason pass;
    arena_init(&scratch, NULL, 0, 64 * KB);
    rcu_enter();
    struct cache_object *obj = cache_find(o->f.cache, &key, &none, &scratch, &pass);
    assert_non_null(obj);
    cache_object_ref(obj);
    rcu_leave();
    arena_reset(&scratch);
    *pieces = cache_object_iov(obj, 0, iov, *pieces);
    return obj;
}

static char *long_text(size_t bytes, char first)
{
    char *t = malloc(bytes + 1);
    assert_non_null(t);
    for (size_t i = 0; i < bytes; i++)
        t[i] = (char)(first + (char)(i * 7 / 3 % 26));
    t[bytes] = '\0';
    return t;
}

static uint64_t live_objects(struct out_fix *o)
{
    struct cache_stats s;
    rcu_flush();
    cache_get_stats(o->f.cache, &s);
    return s.live_objects;
}

/* How many pieces can be added before a flush is due. */
static unsigned room(const struct client_conn *c)
{
    const struct out_batch *b = &c->pw->out;
    return b->conn == c ? OUT_MAX_IOV - b->count : OUT_MAX_IOV;
}

static void test_one_write(void **state)
{
    UNUSED(state);
    struct out_fix o;
    start(&o, false);
    put_text(&o, "head one ");
    put_text(&o, "and more, ");
    assert_int_equal(o.f.pw->out.count, 1); /* neighbours in the scratch are one piece */
    put_piece(&o, "a literal, ", 11, NULL);
    put_piece(&o, "", 0, NULL); /* nothing is no piece */
    assert_int_equal(o.f.pw->out.count, 2);
    put_text(&o, "the end");
    receive(&o, SIZE_MAX);
    assert_int_equal(o.got_bytes, 0); /* nothing leaves before the flush */
    assert_true(client_out_flush(o.c));
    receive_all(&o, SIZE_MAX);
    assert_int_equal(o.c->bytes_out, o.want_bytes);
    assert_null(o.f.pw->out.conn);
    assert_true(client_out_flush(o.c)); /* with nothing to do */
    end(&o);
}

static void test_full_batch_flushes(void **state)
{
    UNUSED(state);
    struct out_fix o;
    start(&o, false);
    assert_int_equal(room(o.c), OUT_MAX_IOV);
    for (int i = 0; i < 3 * OUT_MAX_IOV; i++)
        put_piece(&o, i % 2 ? "x" : "yz", i % 2 ? 1 : 2, NULL);
    for (int i = 0; i < 200; i++) {
        char *t = long_text(1000, 'a');
        put_text(&o, t);
        free(t);
    }
    assert_null(client_out_reserve(o.c, OUT_SCRATCH_BYTES + 1));
    assert_true(client_out_flush(o.c));
    receive_all(&o, SIZE_MAX);
    end(&o);
}

static void test_ready(void **state)
{
    UNUSED(state);
    struct out_fix o;
    start(&o, false);
    for (int i = 0; i < OUT_MAX_IOV - 2; i++)
        put_piece(&o, "x", 1, NULL);
    assert_true(client_out_ready(o.c, 2, 100));
    assert_int_equal(room(o.c), 2); /* it was ready: no flush */
    assert_true(client_out_ready(o.c, 3, 100));
    assert_int_equal(room(o.c), OUT_MAX_IOV);
    char *t = long_text(OUT_SCRATCH_BYTES - 100, 'a');
    put_text(&o, t);
    free(t);
    assert_true(client_out_ready(o.c, 1, 50));
    assert_int_equal(room(o.c), OUT_MAX_IOV - 1);
    assert_true(client_out_ready(o.c, 1, 200));
    assert_int_equal(room(o.c), OUT_MAX_IOV);
    receive_all(&o, SIZE_MAX);
    end(&o);
}

/* Copied and object-owned pieces in turn, through a socket that takes little, read in odd steps. The pieces'
 * memory is overwritten and the objects purged as soon as the flush returned. */
static void short_writes(size_t step, bool owned)
{
    struct out_fix o;
    struct iovec iov[64];
    size_t pieces = ARRAY_LEN(iov);
    start(&o, true);
    char *body = long_text(BIG, 'A'), *mine = long_text(20000, 'a');
    fix_store(&o.f, "h", "/big", "HTTP/1.1 200 OK\r\n", body);
    struct cache_object *obj = stored(&o, "/big", iov, &pieces);
    put_text(&o, "head\r\n\r\n");
    for (size_t i = 0; i < pieces; i++) {
        put_piece(&o, iov[i].iov_base, iov[i].iov_len, obj);
        put_piece(&o, mine + 100 * i, 1000, NULL);
        put_text(&o, "\r\n7d0\r\n");
    }
    put_piece(&o, mine, 20000, NULL);
    put_text(&o, "0\r\n\r\n");
    assert_false(client_out_flush(o.c));
    assert_true(client_out_is_blocked(o.c));
    assert_false(o.c->writable);
    assert_true(deadline_is_set(&o.c->deadline)); /* write_timeout */
    memset(mine, '!', 20000);
    memset(o.f.pw->out.scratch, '?', OUT_SCRATCH_BYTES);
    cache_object_unref(&obj);
    const struct cache_key key = key_of("/big"); /* an exact URL is freed at once, all else by the sweeper */
    assert_int_equal(cache_purge_url(o.f.cache, &key), 1);
    assert_int_equal(live_objects(&o), 1); /* the unfinished write holds it */
    receive(&o, step);
    client_out_resume(o.c);
    if (owned && o.c->left != NULL) {
        assert_true(client_out_own(o.c));
        assert_int_equal(live_objects(&o), 0);
        assert_true(client_out_is_blocked(o.c));
    }
    assert_true(client_out_is_blocked(o.c));
    assert_null(client_out_reserve(o.c, 1));
    assert_false(client_out_add(o.c, "x", 1, NULL));
    assert_false(client_out_ready(o.c, 1, 1));
    assert_false(client_out_flush(o.c));
    receive_all(&o, step);
    assert_int_equal(live_objects(&o), 0);
    assert_true(client_out_ready(o.c, 1, 1));
    assert_true(client_out_flush(o.c));
    free(body);
    free(mine);
    end(&o);
}

static void test_short_writes(void **state)
{
    UNUSED(state);
    short_writes(4096, false);
    short_writes(997, false);
    short_writes(4096, true);
    short_writes(997, true);
}

/* Another connection may write while this one waits. */
static void test_two_connections(void **state)
{
    UNUSED(state);
    struct out_fix o;
    int fd;
    char got[64];
    start(&o, true);
    struct client_conn *c = fix_client(&o.f, "192.0.2.8:1", &fd);
    char *text = long_text(BIG, 'a');
    put_piece(&o, text, BIG, NULL);
    assert_false(client_out_flush(o.c));
    assert_true(client_out_add(c, "other", 5, NULL));
    assert_false(client_out_flush(o.c)); /* not its batch */
    assert_true(client_out_flush(c));
    fix_received(fd, got, sizeof got);
    assert_string_equal(got, "other");
    receive_all(&o, SIZE_MAX);
    free(text);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(fd);
    end(&o);
}

static void test_broken_peer(void **state)
{
    UNUSED(state);
    struct out_fix o;
    start(&o, false);
    close(o.other);
    o.other = -1;
    put_text(&o, "to nobody");
    assert_false(client_out_flush(o.c));
    assert_true(o.c->broken && o.c->left == NULL);
    assert_int_equal(o.c->close_reason, CLOSE_CLIENT_RESET);
    assert_null(o.f.pw->out.conn);
    assert_null(client_out_reserve(o.c, 1));
    assert_false(client_out_add(o.c, "x", 1, NULL));
    assert_false(client_out_flush(o.c));
    assert_false(client_out_resume(o.c));
    end(&o);
}

/* The peer goes while much waits: what was held is let go, by the failed write or by the discard. */
static void peer_leaves(bool writes_again)
{
    struct out_fix o;
    struct iovec iov[64];
    size_t pieces = ARRAY_LEN(iov);
    start(&o, true);
    char *body = long_text(BIG, 'A');
    fix_store(&o.f, "h", "/big", "HTTP/1.1 200 OK\r\n", body);
    struct cache_object *obj = stored(&o, "/big", iov, &pieces);
    for (size_t i = 0; i < pieces; i++)
        put_piece(&o, iov[i].iov_base, iov[i].iov_len, obj);
    assert_false(client_out_flush(o.c));
    receive(&o, 5000);
    client_out_resume(o.c);
    cache_object_unref(&obj);
    const struct cache_purge purge = {.kind = CACHE_PURGE_URL, .text = SLICE_LIT("http://h/big")};
    struct cache_purge_result result;
    assert_true(cache_purge(o.f.cache, &purge, 1, &result));
    assert_int_equal(result.removed, 1);
    close(o.other);
    o.other = -1;
    if (writes_again) {
        assert_false(client_out_resume(o.c));
        assert_true(o.c->broken);
    } else {
        client_out_discard(o.c);
    }
    assert_null(o.c->left);
    assert_int_equal(live_objects(&o), 0);
    free(body);
    end(&o);
}

static void test_peer_leaves(void **state)
{
    UNUSED(state);
    peer_leaves(true);
    peer_leaves(false);
}

/* Closing a connection drops its batch, or the next one's first piece would meet it there. */
static void test_close_drops_batch(void **state)
{
    UNUSED(state);
    struct out_fix o;
    int fd;
    start(&o, false);
    struct client_conn *c = fix_client(&o.f, "192.0.2.8:1", &fd);
    assert_true(client_out_add(c, "never", 5, NULL));
    client_conn_close(c, CLOSE_SHUTDOWN);
    close(fd);
    put_text(&o, "sent");
    assert_true(client_out_flush(o.c));
    receive_all(&o, SIZE_MAX);
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_write),       cmocka_unit_test(test_full_batch_flushes),
        cmocka_unit_test(test_ready),           cmocka_unit_test(test_short_writes),
        cmocka_unit_test(test_two_connections), cmocka_unit_test(test_broken_peer),
        cmocka_unit_test(test_peer_leaves),     cmocka_unit_test(test_close_drops_batch),
    };
    return cmocka_run_group_tests_name("proxy/client_out", tests, fix_group_setup, fix_group_teardown);
}
