/* cache_interplay.c: what goes wrong only where two features of the cache meet. Each has its own tests
 * elsewhere. */
#include "tests/support/pages.h"
#include "tests/support/site.h"

#define expect_page(m, target, fields, body) (SUPPORT_AT, expect_page_(m, target, fields, body))
static struct message *expect_page_(struct millpond *m, const char *target, const char *fields,
                                    const char *body)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_body(r, body);
    return r;
}

/* ---- tags
 * ------------------------------------------------------------------------------------------------------- */

/* Answers that share a write are all right, whatever lines a client is shown. */
static void pipelined_answers_show_their_own_tags(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/a", .fields = LONG "Surrogate-Key: tag-of-a\r\n"},
                           {.path = "/b", .fields = LONG "Surrogate-Key: tag-of-b\r\n"},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_page(m, "/a", "", "/a#1");
    expect_page(m, "/b", "", "/b#1");
    struct client *c = client_open(m->port);
    const char *get = "GET %s HTTP/1.1\r\nHost: test\r\nFastly-Debug: 1\r\n\r\n";
    client_send(c, "%s%s%s", textf(get, "/a"), textf(get, "/b"), textf(get, "/a"));
    expect_field(client_read(c), "Surrogate-Key", "tag-of-a");
    expect_field(client_read(c), "Surrogate-Key", "tag-of-b");
    expect_field(client_read(c), "Surrogate-Key", "tag-of-a");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(pipelined_answers_show_their_own_tags),
    };
    return E2E_RUN("cache_interplay", tests);
}
