/* compress.c: routes with `compress`: what is compressed and what is not, for whom, that it is stored once
 * per coding, and that neither conditions nor ranges get confused by it. */
#include "tests/e2e/compress.h"

/* ---- what is compressed, for whom ---- */

static void each_coding_is_stored_once(void **state)
{
    static const struct {
        const char *accept, *likewise;
        enum coding coding;
    } rows[] = {{"gzip", "x-gzip;q=0.1, deflate", CODING_GZIP},
                {"gzip, deflate, br", "br, br;q=0.9, identity;q=0.1", CODING_BR},
                {"gzip, deflate, br, zstd", "*", CODING_ZSTD},
                {"", "identity, gzip;q=0", CODING_IDENTITY}};
    struct answer answers[] = {
        {"/p", LONG HTML "Accept-Ranges: bytes\r\nContent-MD5: x\r\nX-Own: 1\r\n", 5000, .etag = "\"v1\""},
        {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        const bool plain = rows[i].coding == CODING_IDENTITY;
        struct message *r = get(m, "/p", rows[i].accept);
        expect_coded(r, rows[i].coding, 5000);
        expect_field_in(r, "Cache-Status", "stored");
        r = get(m, "/p", rows[i].likewise);
        expect_coded(r, rows[i].coding, 5000);
        expect_field_in(r, "Cache-Status", "hit");
        expect_field(r, "Vary", "Accept-Encoding");
        expect_field(r, "ETag", plain ? "\"v1\"" : "W/\"v1\"");
        expect_field(r, "Content-Length", textf("%zu", r->body_len));
        expect_field(r, "X-Own", "1");
        assert_int_equal(message_field_count(r, "Content-MD5"), plain);
        struct client *c = client_open(m->port);
        client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\nAccept-Encoding: %s\r\n\r\n", rows[i].accept);
        struct message *head = client_read_no_body(c);
        expect_field(head, "Content-Length", textf("%zu", r->body_len));
        assert_int_equal(coding_of(head), rows[i].coding);
        assert_int_equal(origin_requests(origin), i + 1);
        assert_string_equal(asked_for(i), plain ? "" : coding_name(rows[i].coding).ptr);
    }
    assert_int_equal(millpond_figure(m, "compress_received_bytes"), 3 * 5000);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    expect_in(millpond_admin(m, "GET", "/metrics")->body, "millpond_compressed_total{coding=\"br\"} 1\n");
    millpond_purge(m, url_of("/p"));
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        expect_field_in(get(m, "/p", rows[i].accept), "Cache-Status", "fwd=");
    millpond_stop(m);
}

static void what_is_compressed_and_what_is_not(void **state)
{
    static struct answer answers[] = {
        {"/html", HTML, .bytes = 3000},
        {"/chunked", "Content-Type: application/json\r\n", 10, .chunked = true},
        {"/not-found", HTML, 3000, .status = 404},
        {"/forbidden", HTML, 3000, .status = 403},
        {"/error", HTML, 3000, .status = 500},
        {"/cookie", HTML "Set-Cookie: a=b\r\n", .bytes = 3000},
        {"/vary", HTML "Vary: Accept\r\n", .bytes = 3000},
        {"/until-small", HTML, .bytes = 255},
        {"/png", "Content-Type: image/png\r\n", .bytes = 3000},
        {"/no-type", "", .bytes = 3000},
        {"/two-types", HTML HTML, .bytes = 3000},
        {"/events", "Content-Type: text/event-stream\r\n", .bytes = 3000},
        {"/coded", HTML "Content-Encoding: gzip\r\n", .bytes = 3000},
        {"/as-it-is", HTML "Cache-Control: public, no-transform\r\n", .bytes = 3000},
        {"/range", HTML "Content-Range: bytes 0-2999/3000\r\n", .bytes = 3000},
        {"/moved", HTML "Location: /\r\n", 3000, .status = 301},
        {0}};
    UNUSED(state);
    struct millpond *m = start(answers, "compress = gzip\n");
    for (unsigned i = 0; answers[i].path != NULL; i++) {
        const struct answer *a = &answers[i];
        const bool is = i <= 6;
        for (unsigned head = 0; head < 2; head++) {
            struct client *c = client_open(m->port);
            client_send(c, "%s %s HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n",
                        head ? "HEAD" : "GET", a->path);
            struct message *r = head ? client_read_no_body(c) : client_read(c);
            const char *coding = message_field(r, "Content-Encoding");
            if (is != (coding != NULL && strcmp(a->path, "/coded") != 0))
                FAIL("%s: %s", a->path, r->head);
            if (!head && strcmp(a->path, "/coded") != 0)
                expect_text_(r->body, r->body_len, is ? CODING_GZIP : CODING_IDENTITY, a->bytes);
            if (is)
                expect_no_field(r, "Content-Length");
            else
                expect_no_field(r, "Vary");
        }
        /* who takes no coding gets it as it came, and is told that it depends */
        struct message *r = get(m, a->path, "");
        expect_text_(r->body, r->body_len, CODING_IDENTITY, a->bytes);
        assert_int_equal(message_field(r, "Vary") != NULL, is);
    }
    assert_int_equal(message_field_count(get(m, "/vary", "gzip"), "Vary"), 2);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

/* It answers what it is asked for by itself, and is believed. */
static void codes_itself(struct origin_conn *c, const struct message *request, void *arg)
{
    const char *accept = message_field(request, "Accept-Encoding");
    UNUSED(arg);
    origin_send(c,
                "HTTP/1.1 200 OK\r\n" LONG HTML
                "Vary: Accept-Encoding\r\nETag: \"own\"\r\n%s%s%sContent-Length: "
                "300\r\n\r\n%300s",
                accept != NULL ? "Content-Encoding: " : "", accept != NULL ? accept : "",
                accept != NULL ? "\r\n" : "", "own");
}

static void what_the_application_codes_stays_so(void **state)
{
    UNUSED(state);
    origin = origin_start(codes_itself, NULL);
    struct millpond *m = millpond_before(origin, "[route all]\ncompress = br, gzip\n");
    static const char *const accepts[] = {"gzip, br", "br;q=1, gzip;q=0.5"};
    for (unsigned i = 0; i < 2; i++) {
        struct message *r = get(m, "/", accepts[i]);
        expect_field(r, "Content-Encoding", "br");
        expect_field(r, "ETag", "\"own\"");
        assert_int_equal(message_field_count(r, "Vary"), 1);
        assert_int_equal(r->body_len, 300);
    }
    assert_int_equal(origin_requests(origin), 1);
    assert_int_equal(millpond_figure(m, "compress_received_bytes"), 0);
    millpond_stop(m);
}

static void other_routes_are_left_alone(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, .bytes = 3000}, {"/own/p", LONG HTML, .bytes = 3000}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, "path = /p\ncompress = gzip\n[route other]\n");
    struct message *r = get(m, "/own/p", "gzip, br");
    expect_coded(r, CODING_IDENTITY, 3000);
    expect_no_field(r, "Vary");
    assert_string_equal(asked_for(0), "gzip, br");
    expect_coded(get(m, "/p", "gzip, br"), CODING_GZIP, 3000);
    millpond_stop(m);
}

/* What was stored plain is not given to who could have it compressed by then; nor the other way round. */
static void a_reload_takes_effect_at_once(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, .bytes = 3000}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, "");
    const char *pool = pool_lines("app", 1, origin);
    expect_coded(get(m, "/p", "br"), CODING_IDENTITY, 3000);
    millpond_write_ini(m, .rest = textf("%s[route all]\n" ALL, pool));
    assert_int_equal(millpond_cli(m, "reload", (char *)NULL).exit_code, 0);
    expect_coded(get(m, "/p", "br"), CODING_BR, 3000);
    expect_coded(get(m, "/p", "gzip"), CODING_GZIP, 3000);
    millpond_write_ini(m, .rest = textf("%s[route all]\n", pool));
    assert_int_equal(millpond_cli(m, "reload", (char *)NULL).exit_code, 0);
    struct message *r = get(m, "/p", "br");
    expect_coded(r, CODING_IDENTITY, 3000);
    expect_field_in(r, "Cache-Status", "hit");
    millpond_stop(m);
}

/* ---- conditions and ranges ---- */

static void conditions_hold_from_end_to_end(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, 3000, .etag = "\"v1\"", .confirm = ""},
                               {"/q", LONG HTML, 3000, .etag = "\"v1\""},
                               {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    expect_status(client_get(m->port, "/q", "Accept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n"),
                  304); /* miss */
    expect_coded(get(m, "/p", "gzip"), CODING_GZIP, 3000);
    struct message *r = client_get(m->port, "/p", "Accept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n");
    expect_status(r, 304);
    expect_field(r, "ETag", "W/\"v1\"");
    expect_field(r, "Vary", "Accept-Encoding");
    expect_no_field(r, "Content-Encoding");
    r = client_get(m->port, "/p", "Accept-Encoding: gzip\r\nIf-None-Match: \"v2\"\r\n");
    expect_coded(r, CODING_GZIP, 3000);
    const unsigned before = origin_requests(origin);
    client_ask(m->port, "PUT", "/p", "If-Match: W/\"v1\", \"W/\" , W/\"v2\"\r\n", "new");
    assert_string_equal(message_field(origin_request(origin, before), "If-Match"), "\"v1\", \"W/\" , \"v2\"");
    millpond_stop(m);
}

static void a_304_confirms_each_coding(void **state)
{
    struct answer answers[] = {{"/p", STALE HTML "Vary: Accept\r\n", 3000, .etag = "\"v1\"",
                                .confirm = LONG "Vary: Accept\r\nAccept-Ranges: bytes\r\nX-New: 1\r\n"},
                               {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    struct message *r = get(m, "/p", "gzip");
    expect_text_(r->body, r->body_len, CODING_GZIP, 3000);
    r = get(m, "/p", "gzip");
    expect_field_in(r, "Cache-Status", "fwd-status=304");
    expect_field(r, "X-New", "1");
    expect_field(r, "Accept-Ranges", "none");
    expect_text_(r->body, r->body_len, CODING_GZIP, 3000);
    assert_string_equal(message_field(origin_request(origin, 1), "If-None-Match"), "W/\"v1\"");
    r = get(m, "/p", "gzip");
    expect_field_in(r, "Cache-Status", "hit");
    expect_text_(r->body, r->body_len, CODING_GZIP, 3000);
    r = get(m, "/p", ""); /* whatever the 304 said of Vary, it is for nobody else */
    expect_text_(r->body, r->body_len, CODING_IDENTITY, 3000);
    r = get(m, "/p", "br");
    expect_text_(r->body, r->body_len, CODING_BR, 3000);
    millpond_stop(m);
}

static void a_head_confirms_it(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML "ETag: \"v1\"\r\n", .bytes = 3000}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL "ignore_client_cache_control = no\n");
    expect_coded(get(m, "/p", "br"), CODING_BR, 3000);
    struct client *c = client_open(m->port);
    client_send(c,
                "HEAD /p HTTP/1.1\r\nHost: test\r\nAccept-Encoding: br\r\nCache-Control: no-cache\r\n\r\n");
    struct message *r = client_read_no_body(c);
    expect_field(r, "Content-Encoding", "br");
    expect_field_in(r, "Cache-Status", "fwd=request; fwd-status=200");
    r = get(m, "/p", "br");
    expect_coded(r, CODING_BR, 3000);
    expect_field_in(r, "Cache-Status", "hit");
    r = client_ask(m->port, "POST", "/p", "Accept-Encoding: br\r\n",
                   "x"); /* any method's answer is compressed */
    expect_coded(r, CODING_BR, 3000);
    millpond_stop(m);
}

static void it_is_served_stale_and_renewed(void **state)
{
    struct answer answers[] = {
        {"/p", "Cache-Control: max-age=600, stale-while-revalidate=600\r\nAge: 700\r\n" HTML, .bytes = 3000},
        {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    expect_coded(get(m, "/p", "br"), CODING_BR, 3000);
    expect_coded(get(m, "/p", "br"), CODING_BR, 3000);
    origin_wait_requests(origin, 2);
    assert_string_equal(asked_for(1), "br");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    expect_coded(get(m, "/p", "gzip, br"), CODING_BR, 3000);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    const unsigned before = origin_requests(origin);
    for (unsigned i = 0; i < 2; i++) /* a coding that is not among the bytes of the request */
        expect_coded(get(m, "/p?any", "*"), CODING_ZSTD, 3000);
    origin_wait_requests(origin, before + 2);
    assert_string_equal(asked_for(before + 1), "zstd");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

static void ranges_are_of_what_is_plain(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML "Accept-Ranges: bytes\r\n", 3000, .etag = "\"v1\""}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    expect_coded(get(m, "/p", "gzip"), CODING_GZIP, 3000);
    for (unsigned i = 0; i < 2; i++) { /* fetched, then stored */
        struct message *r = client_get(m->port, "/p", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n");
        expect_status(r, 206);
        expect_body(r, "line 0 of ");
        expect_field(r, "ETag", "\"v1\"");
        expect_field(r, "Vary", "Accept-Encoding");
        expect_no_field(r, "Content-Encoding");
    }
    struct message *r =
        client_get(m->port, "/p", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: W/\"v1\"\r\n");
    expect_status(r, 200);
    expect_coded(r, CODING_GZIP, 3000);
    r = client_get(m->port, "/p", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: \"v1\"\r\n");
    expect_status(r, 206);
    assert_int_equal(origin_requests(origin), 2);
    millpond_stop(m);
}

/* An origin without ETags, that serves ranges, and what may not be stored. */
static void only_parts(struct origin_conn *c, const struct message *request, void *arg)
{
    const bool part = message_field(request, "Range") != NULL;
    char *text = text_of(3000);
    UNUSED(arg);
    origin_send(c,
                "HTTP/1.1 %s\r\nCache-Control: private\r\n" HTML
                "Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n%sContent-Length: %d\r\n\r\n",
                part ? "206 Partial Content" : "200 OK", part ? "Content-Range: bytes 10-2999/3000\r\n" : "",
                part ? 2990 : 3000);
    origin_send_bytes(c, text + (part ? 10 : 0), part ? 2990 : 3000);
    free(text);
}

/* Who has the beginning of what was compressed does not get the rest of what was not, passed on or stored. */
static void parts_are_not_mixed(void **state)
{
    const char *dated = "If-Range: Sat, 01 Jan 2022 00:00:00 GMT\r\nRange: bytes=10-\r\n";
    UNUSED(state);
    origin = origin_start(only_parts, NULL);
    struct millpond *m = millpond_before(origin, "[route all]\n" ALL);
    for (unsigned i = 0; i < 2; i++) {
        struct message *r = client_get(m->port, "/p", textf("Accept-Encoding: br\r\n%s", dated));
        expect_status(r, 200);
        expect_coded(r, CODING_BR, 3000);
    }
    expect_status(client_get(m->port, "/p", dated), 206);
    millpond_stop(m);
}

/* What may not be stored is confirmed by the instance to the client, who has it with a weak tag. */
static void a_304_for_the_client_is_as_weak(void **state)
{
    struct answer answers[] = {
        {"/p", "Cache-Control: private\r\n" HTML, 3000, .etag = "\"v1\"", .confirm = ""}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    expect_field(get(m, "/p", "gzip"), "ETag", "W/\"v1\"");
    struct message *r =
        client_get(m->port, "/p", "Accept-Encoding: gzip\r\nIf-None-Match: \"v0\", W/\"v1\"\r\n");
    expect_status(r, 304);
    expect_field(r, "ETag", "W/\"v1\"");
    expect_field(r, "Vary", "Accept-Encoding");
    r = client_get(m->port, "/p", "Accept-Encoding: gzip\r\nIf-None-Match: \"v1\", W/\"v0\"\r\n");
    expect_status(r, 304);
    expect_field(r, "ETag", "\"v1\""); /* it has the plain one, or what is never compressed */
    expect_no_field(r, "Vary");
    millpond_stop(m);
}

static const char *explained(struct millpond *m, const char *field)
{
    json_t *answer = json_loads(
        millpond_cli(m, "explain", url_of("/p"), "--json", "-H", field, (char *)NULL).out, 0, NULL);
    assert_non_null(answer);
    json_t *stored = json_object_get(answer, "stored");
    const char *coding = json_string_value(json_object_get(stored, "content_encoding"));
    char *text = textf("%s; %s", json_string_value(json_object_get(answer, "coding")),
                       !json_is_object(stored) ? "nothing"
                       : coding != NULL        ? coding
                                               : "plain");
    json_decref(answer);
    return text;
}

static void explain_says_which_coding(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, .bytes = 3000}, {0}};
    UNUSED(state);
    struct millpond *m = start(answers, "compress = br, gzip\n");
    assert_string_equal(explained(m, "Accept-Encoding: gzip, br"), "br; nothing");
    get(m, "/p", "br");
    get(m, "/p", "");
    assert_string_equal(explained(m, "Accept-Encoding: gzip, br"), "br; br");
    assert_string_equal(explained(m, "Accept-Encoding: *"), "br; br");
    assert_string_equal(explained(m, "Accept-Encoding: gzip"), "gzip; nothing");
    expect_in(explained(m, "Accept-Encoding: zstd"), "none: Accept-Encoding takes none");
    expect_in(explained(m, "X: y"), "none: the request has no Accept-Encoding; plain");
    expect_in(millpond_cli(m, "explain", url_of("/p"), "-H", "Accept-Encoding: br", (char *)NULL).out,
              "coding    br\n");
    millpond_stop(m);
}

static void curl_understands_it(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, .bytes = 100000}, {0}};
    UNUSED(state);
    if (!app_has("curl"))
        skip();
    struct millpond *m = start(answers, ALL);
    for (unsigned i = 0; i < 2; i++) {
        char *out = support_path("out");
        const char *url = textf("http://127.0.0.1:%d/p", m->port);
        const char *const argv[] = {"curl", "-sS", "--compressed", "-o", out, url, NULL};
        struct proc_result r = proc_run(argv);
        EXPECT(r.exit_code == 0, "curl: %d", r.exit_code);
        char *text = text_of(100000);
        assert_string_equal(support_read_file(out), text);
        free(text);
    }
    assert_true(millpond_figure(m, "compress_received_bytes") == 100000);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(each_coding_is_stored_once),
        E2E_TEST(what_is_compressed_and_what_is_not),
        E2E_TEST(what_the_application_codes_stays_so),
        E2E_TEST(other_routes_are_left_alone),
        E2E_TEST(a_reload_takes_effect_at_once),
        E2E_TEST(conditions_hold_from_end_to_end),
        E2E_TEST(a_304_confirms_each_coding),
        E2E_TEST(a_head_confirms_it),
        E2E_TEST(it_is_served_stale_and_renewed),
        E2E_TEST(ranges_are_of_what_is_plain),
        E2E_TEST(parts_are_not_mixed),
        E2E_TEST(a_304_for_the_client_is_as_weak),
        E2E_TEST(explain_says_which_coding),
        E2E_TEST(curl_understands_it),
    };
    return E2E_RUN("compress", tests);
}
