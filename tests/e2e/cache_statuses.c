/* cache_statuses.c: what a status means for storing, and for the body of the stored response. */
#include "tests/support/millpond.h"

#define LONG "Cache-Control: max-age=600\r\n"

/* Answers "/STATUS/BODY" so; nothing but the head where the status has no body. */
static void status_script(struct origin_conn *c, const struct message *request, void *arg)
{
    int status = atoi(request->target + 1);
    const char *body = strchr(request->target + 1, '/') + 1;
    UNUSED(arg);
    if (status == 204 || *body == '-')
        origin_send(c, "HTTP/1.1 %d Scripted\r\n" LONG "%s\r\n", status,
                    status == 204 ? "" : "Content-Length: 0\r\n");
    else
        origin_respond(c, status, LONG, body);
}

static void stored_answers_keep_status_and_body(void **state)
{
    static const struct {
        const char *target;
        int status;
        const char *body, *length; /* NULL: no such field */
        bool stored;
    } rows[] = {
        {"/200/ok", 200, "ok", "2", true},        {"/204/-", 204, "", NULL, true},
        {"/205/-", 205, "", "0", true},           {"/226/delta", 226, "delta", "5", true},
        {"/299/odd", 299, "odd", "3", true},      {"/308/there", 308, "there", "5", true},
        {"/404/none", 404, "none", "4", true},    {"/421/wrong", 421, "wrong", "5", true},
        {"/599/odd", 599, "odd", "3", true},      {"/428/if", 428, "if", "2", false},
        {"/429/slow", 429, "slow", "4", false},   {"/431/big", 431, "big", "3", false},
        {"/511/login", 511, "login", "5", false},
    };
    struct millpond *m = millpond_before(origin_start(status_script, NULL), "");
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int again = 0; again < 2; again++) {
            struct client *c = client_open(m->port);
            client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", rows[i].target);
            struct message *r = client_read(c);
            expect_status(r, rows[i].status);
            expect_body(r, rows[i].body);
            if (rows[i].length != NULL)
                expect_field(r, "Content-Length", rows[i].length);
            else
                expect_no_field(r, "Content-Length");
            expect_no_field(r, "Transfer-Encoding");
            expect_field_in(r, "Cache-Status", !rows[i].stored ? "detail=" : again ? "hit" : "stored");
            client_send(c, "HEAD %s HTTP/1.1\r\nHost: test\r\n\r\n", rows[i].target);
            r = client_read_no_body(c); /* nothing was left of the body before */
            expect_status(r, rows[i].status);
            expect_field_in(r, "Cache-Status", rows[i].stored ? "hit" : "detail=");
        }
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(stored_answers_keep_status_and_body),
    };
    return E2E_RUN("cache_statuses", tests);
}
