/* test_redis_conn.c: calls and replies in order, given up, refused, cut; against a server that the test plays
 * itself at the other end of a unix socket. */
#include "core/redis_conn.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct asked {
    struct redis_call call;
    int ended;
    enum redis_outcome outcome;
    char text[64];
};

static struct worker *w;
static char folder[] = "/tmp/millpond-redis-XXXXXX";
static struct redis_login login;
static struct redis_endpoint endpoint;
static struct redis_conn *conn;
static int listener, peer;
static int ready, down, messages;
static char message[64];
static char reason[REDIS_REASON_TEXT];
static char got[256 * KB];
static size_t got_bytes;

static void on_ready(void *arg)
{
    UNUSED(arg);
    ready++;
}

static void on_down(void *arg, const char *why)
{
    UNUSED(arg);
    down++;
    snprintf(reason, sizeof reason, "%s", why);
}

static void on_message(void *arg, slice_t channel, slice_t payload)
{
    UNUSED(arg);
    assert_true(slice_eq(channel, SLICE_LIT("c")));
    snprintf(message, sizeof message, SLICE_FMT, SLICE_ARG(payload));
    messages++;
}

static void on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    a->ended++;
    a->outcome = o;
    if (reply != NULL)
        snprintf(a->text, sizeof a->text, "%s", reply->str);
}

static void stop(struct worker *worker, struct mail *m)
{
    UNUSED(m);
    worker_stop(worker);
}

static void turn(void)
{
    struct mail m = {.on_mail = stop};
    worker_post(w, &m);
    w->stopping = false;
    worker_run(w);
}

/* Until the server has seen a text that ends so. */
static void server_reads(const char *end)
{
    size_t n = strlen(end);
    while (got_bytes < n || memcmp(got + got_bytes - n, end, n) != 0) {
        ssize_t r = recv(peer, got + got_bytes, sizeof got - got_bytes, MSG_DONTWAIT);
        if (r > 0)
            got_bytes += (size_t)r;
        else
            turn();
    }
}

static void server_says(const char *text)
{
    assert_int_equal(write(peer, text, strlen(text)), strlen(text));
}

static void open_conn(struct redis_conn_settings s)
{
    s.on_ready = on_ready;
    s.on_down = on_down;
    s.connect_timeout_ms = s.connect_timeout_ms != 0 ? s.connect_timeout_ms : 60000;
    s.stall_timeout_ms = s.stall_timeout_ms != 0 ? s.stall_timeout_ms : 60000;
    worker_refresh_clock(w);
    conn = redis_conn_open(w, &endpoint, &s);
    assert_non_null(conn);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
}

static void log_in(void)
{
    server_reads("PING\r\n");
    server_says("+PONG\r\n");
    while (!ready)
        turn();
    assert_true(redis_conn_is_ready(conn));
    got_bytes = 0;
}

static bool ask(struct asked *a, const char *word, dur_ms_t timeout_ms)
{
    *a = (struct asked){.call.on_reply = on_reply};
    slice_t argv[] = {SLICE_LIT("GET"), {word, strlen(word)}};
    return redis_conn_call(conn, &a->call, timeout_ms, argv, 2);
}

static int setup(void **state)
{
    UNUSED(state);
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    char text[128];
    int n = snprintf(text, sizeof text, "unix:%s/redis", folder);
    login = (struct redis_login){.database = 0};
    endpoint = (struct redis_endpoint){.login = &login};
    assert_true(net_addr_parse(slice_make(text, (size_t)n), &endpoint.addr));
    listener = net_listen(&endpoint.addr, 4, false);
    assert_true(listener >= 0);
    assert_int_equal(fcntl(listener, F_SETFL, 0), 0);
    w = worker_create(0);
    assert_non_null(w);
    ready = down = messages = 0;
    got_bytes = 0;
    peer = -1;
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    redis_conn_close(&conn);
    worker_drain(w);
    worker_destroy(w);
    close(listener);
    if (peer >= 0)
        close(peer);
    unlink(endpoint.addr.un.sun_path);
    rmdir(folder);
    return 0;
}

static void logs_in_before_it_is_ready(void **state)
{
    UNUSED(state);
    login.username = SLICE_LIT("millpond");
    login.password = SLICE_LIT("secret");
    login.database = 3;
    struct asked a;
    open_conn((struct redis_conn_settings){0});
    server_reads("PING\r\n");
    got[got_bytes] = '\0';
    assert_string_equal(got, "*3\r\n$4\r\nAUTH\r\n$8\r\nmillpond\r\n$6\r\nsecret\r\n"
                             "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n");
    server_says("+OK\r\n+OK\r\n");
    assert_false(ask(&a, "early", 1000));
    log_in();
}

static void refused_login_is_told(void **state)
{
    UNUSED(state);
    login.password = SLICE_LIT("wrong");
    open_conn((struct redis_conn_settings){0});
    server_reads("PING\r\n");
    server_says("-WRONGPASS invalid password\r\n");
    while (!down)
        turn();
    assert_string_equal(reason, "WRONGPASS invalid password");
    assert_int_equal(ready, 0);
}

/* A server without AUTH quotes what it was sent. */
static void password_is_not_repeated(void **state)
{
    static const char *const answers[] = {
        "-ERR unknown command 'AUTH', with args beginning with: 'millpond' 'sec\r\n",
        "-NO 'secret' is wrong\r\n",
    };
    UNUSED(state);
    login = (struct redis_login){.username = SLICE_LIT("millpond"), .password = SLICE_LIT("secret")};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        down = 0;
        got_bytes = 0;
        open_conn((struct redis_conn_settings){0});
        server_reads("PING\r\n");
        server_says(answers[i]);
        while (!down)
            turn();
        assert_string_equal(reason, "the server does not know AUTH as we say it");
        redis_conn_close(&conn);
        close(peer);
    }
    peer = -1;
}

static void server_that_loads_is_not_ready(void **state)
{
    UNUSED(state);
    open_conn((struct redis_conn_settings){0});
    server_reads("PING\r\n");
    server_says("-LOADING Redis is loading the dataset in memory\r\n");
    while (!down)
        turn();
    assert_int_equal(ready, 0);
}

static void replies_belong_to_the_oldest_call(void **state)
{
    UNUSED(state);
    struct asked a, b, c;
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&a, "a", 60000) && ask(&b, "b", 60000) && ask(&c, "c", 60000));
    assert_int_equal(redis_conn_load(conn), 3);
    server_reads("$1\r\nc\r\n");
    server_says("$1\r\nA\r\n-ERR no\r\n$1");
    while (!b.ended)
        turn();
    assert_string_equal(a.text, "A");
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    assert_int_equal(b.outcome, REDIS_REFUSED);
    assert_string_equal(b.text, "ERR no");
    assert_int_equal(c.ended, 0);
    server_says("\r\nC\r\n");
    while (!c.ended)
        turn();
    assert_string_equal(c.text, "C");
    assert_int_equal(redis_conn_load(conn), 0);
}

static void late_reply_does_not_reach_the_next_call(void **state)
{
    UNUSED(state);
    struct asked late, cancelled, next;
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&late, "late", 1) && ask(&cancelled, "cancelled", 60000));
    redis_call_cancel(&cancelled.call);
    while (!late.ended)
        turn();
    assert_int_equal(late.outcome, REDIS_TIMEOUT);
    assert_true(ask(&next, "next", 60000));
    server_reads("next\r\n");
    server_says("+LATE\r\n+CANCELLED\r\n+NEXT\r\n");
    while (!next.ended)
        turn();
    assert_string_equal(next.text, "NEXT");
    assert_int_equal(late.ended, 1);
    assert_int_equal(cancelled.ended, 0);
}

static void end_of_the_connection_ends_its_calls(void **state)
{
    UNUSED(state);
    struct asked a, b;
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&a, "a", 60000) && ask(&b, "b", 60000));
    server_reads("$1\r\nb\r\n");
    server_says("+A\r\n+hal");
    shutdown(peer, SHUT_RDWR);
    while (!down)
        turn();
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    assert_int_equal(b.ended, 1);
    assert_int_equal(b.outcome, REDIS_LOST);
    assert_false(ask(&a, "a", 60000));
}

static void closing_ends_calls_and_says_no_more(void **state)
{
    UNUSED(state);
    struct asked a;
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&a, "a", 60000));
    redis_conn_close(&conn);
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(down, 0);
    turn();
}

static void garbage_ends_the_connection(void **state)
{
    UNUSED(state);
    struct asked a;
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&a, "a", 60000));
    server_says("HTTP/1.1 400 Bad Request\r\n");
    while (!down)
        turn();
    assert_int_equal(a.outcome, REDIS_PROTOCOL);
}

static void message_is_no_answer(void **state)
{
    UNUSED(state);
    struct asked a;
    open_conn((struct redis_conn_settings){.on_message = on_message});
    log_in();
    server_says("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\none\r\n");
    while (messages < 1)
        turn();
    assert_string_equal(message, "one");
    assert_true(ask(&a, "a", 60000));
    server_reads("a\r\n");
    server_says("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\ntwo\r\n+A\r\n");
    while (!a.ended)
        turn();
    assert_string_equal(a.text, "A");
    assert_string_equal(message, "two");
    assert_int_equal(down, 0);
}

static void unasked_reply_ends_the_connection(void **state)
{
    UNUSED(state);
    open_conn((struct redis_conn_settings){0});
    log_in();
    server_says("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\none\r\n");
    while (!down)
        turn();
    assert_string_equal(reason, "a reply that nobody asked for");
}

static void only_a_master_will_do(void **state)
{
    UNUSED(state);
    static const char *const roles[] = {"*1\r\n$6\r\nmaster\r\n", "*1\r\n$5\r\nslave\r\n", "+master\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        open_conn((struct redis_conn_settings){.master_only = true});
        server_reads("*1\r\n$4\r\nROLE\r\n*1\r\n$4\r\nPING\r\n");
        server_says(roles[i]);
        server_says("+PONG\r\n");
        while (!ready && !down)
            turn();
        assert_int_equal(ready, i == 0);
        if (down)
            assert_string_equal(reason, "the server is not a master");
        redis_conn_close(&conn);
        close(peer);
        got_bytes = 0;
        ready = down = 0;
    }
    peer = -1;
}

/* What hooks do with a MOVED: the same command over another connection, which ends the call. */
static struct redis_conn *other_conn;
static bool asking;

static bool on_outcome_go_elsewhere(void *arg, struct redis_call *call, enum redis_outcome o,
                                    const struct redisReply *r)
{
    UNUSED(arg);
    return o == REDIS_REFUSED && r->str[0] == 'M' && redis_conn_call_again(other_conn, call, asking);
}

static void refused_call_goes_elsewhere(bool with_asking, const char *wanted)
{
    struct asked a;
    asking = with_asking;
    open_conn((struct redis_conn_settings){0});
    log_in();
    int other_peer = peer;
    other_conn = conn;
    ready = 0;
    open_conn((struct redis_conn_settings){.keep_commands = true, .on_outcome = on_outcome_go_elsewhere});
    log_in();
    assert_true(ask(&a, "key", 60000));
    server_reads("key\r\n");
    server_says("-MOVED 1 127.0.0.1:1\r\n");
    while (redis_conn_load(other_conn) == 0)
        turn();
    assert_int_equal(a.ended, 0);
    assert_int_equal(redis_conn_load(conn), 0);
    int first_peer = peer;
    peer = other_peer;
    got_bytes = 0;
    server_reads("key\r\n");
    got[got_bytes] = '\0';
    assert_string_equal(got, wanted);
    server_says(with_asking ? "+OK\r\n+here\r\n" : "+here\r\n");
    while (!a.ended)
        turn();
    assert_string_equal(a.text, "here");
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    assert_null(a.call.command);
    redis_conn_close(&other_conn);
    close(first_peer);
}

static void kept_command_goes_out_again(void **state)
{
    UNUSED(state);
    refused_call_goes_elsewhere(false, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
}

static void kept_command_goes_out_again_asking(void **state)
{
    UNUSED(state);
    refused_call_goes_elsewhere(true, "*1\r\n$6\r\nASKING\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
}

static void cancelled_call_lets_its_command_go(void **state)
{
    UNUSED(state);
    struct asked a;
    open_conn((struct redis_conn_settings){.keep_commands = true});
    log_in();
    assert_true(ask(&a, "key", 60000));
    assert_non_null(a.call.command);
    redis_call_cancel(&a.call);
    assert_null(a.call.command);
    server_reads("key\r\n"); /* it goes out all the same */
}

static void login_is_nobody_s_call(void **state)
{
    UNUSED(state);
    open_conn((struct redis_conn_settings){.on_outcome = on_outcome_go_elsewhere});
    server_reads("PING\r\n");
    asking = false;
    other_conn = NULL; /* would be used */
    server_says("-MOVED 1 127.0.0.1:1\r\n");
    while (!down)
        turn();
}

static void oversized_reply_is_not_taken(void **state)
{
    UNUSED(state);
    struct asked a;
    static char piece[64 * KB];
    open_conn((struct redis_conn_settings){0});
    log_in();
    assert_true(ask(&a, "a", 60000));
    server_says("$100000000\r\n");
    memset(piece, 'x', sizeof piece);
    while (!down) {
        ssize_t n = send(peer, piece, sizeof piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        UNUSED(n);
        turn();
    }
    assert_int_equal(a.outcome, REDIS_PROTOCOL);
    assert_string_equal(reason, "a reply is too large");
}

static void silent_server_is_given_up(void **state)
{
    UNUSED(state);
    struct asked a;
    open_conn((struct redis_conn_settings){.stall_timeout_ms = 1});
    log_in();
    assert_true(ask(&a, "a", 60000));
    while (!down)
        turn();
    assert_int_equal(a.outcome, REDIS_TIMEOUT);
    redis_conn_close(&conn);
    close(peer);
    down = 0;
    open_conn((struct redis_conn_settings){.connect_timeout_ms = 1});
    while (!down)
        turn();
    assert_string_equal(reason, "connecting took too long");
}

/* A length that is not true: all that comes, answers to later calls, would be taken for the rest of that
 * reply, and the connection be of no use for as long as it lasts. */
static void reply_that_swallows_others_is_given_up(void **state)
{
    UNUSED(state);
    struct asked a;
    mono_ms_t said_ms = 0;
    open_conn((struct redis_conn_settings){.stall_timeout_ms = 100});
    log_in();
    assert_true(ask(&a, "a", 60000));
    server_says("$16000000\r\n");
    while (!down) { /* some kilobytes per second, for ever */
        if (said_ms != clock_mono_ms()) {
            said_ms = clock_mono_ms();
            server_says("+PONG\r\n");
        }
        turn();
    }
    assert_int_equal(a.outcome, REDIS_TIMEOUT);
}

static void calls_under_way_are_limited(void **state)
{
    UNUSED(state);
    static struct asked many[REDIS_CALLS_MAX + 1];
    open_conn((struct redis_conn_settings){0});
    log_in();
    for (size_t i = 0; i < REDIS_CALLS_MAX; i++)
        assert_true(ask(&many[i], "k", 60000));
    assert_false(ask(&many[REDIS_CALLS_MAX], "k", 60000));
    redis_conn_close(&conn);
    assert_int_equal(many[0].ended + many[REDIS_CALLS_MAX - 1].ended, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logs_in_before_it_is_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_login_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(password_is_not_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(server_that_loads_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(replies_belong_to_the_oldest_call, setup, teardown),
        cmocka_unit_test_setup_teardown(late_reply_does_not_reach_the_next_call, setup, teardown),
        cmocka_unit_test_setup_teardown(end_of_the_connection_ends_its_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_ends_calls_and_says_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_ends_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(message_is_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(unasked_reply_ends_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_master_will_do, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_command_goes_out_again, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_command_goes_out_again_asking, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_call_lets_its_command_go, setup, teardown),
        cmocka_unit_test_setup_teardown(login_is_nobody_s_call, setup, teardown),
        cmocka_unit_test_setup_teardown(oversized_reply_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_server_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(reply_that_swallows_others_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(calls_under_way_are_limited, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
