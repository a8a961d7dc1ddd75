/* cache_leak.c: a response made for one client is never given to another (docs/leak-guard.md). The
 * application answers every request for whoever asks, by Cookie or by Authorization, and says so in a field,
 * a body, an entity tag and a cookie; clients ask for the same URLs in every order, at the same time, by
 * range, HEAD and condition, and while the application fails. */
#include "tests/support/millpond.h"

enum trouble { TROUBLE_NONE, TROUBLE_503, TROUBLE_RESET };

/* What the application says about caching, none of which lets two clients have the same response. */
static const struct saying {
    const char *fields;
    bool etag, sets_cookie;
    const char *only_cred, *only_route; /* NULL: with any */
} sayings[] = {
    {"", false, false, NULL, NULL},
    {"", true, false, NULL, NULL},
    {"Cache-Control: max-age=0\r\n", true, false, NULL, NULL},
    {"Cache-Control: max-age=0, must-revalidate\r\n", true, false, NULL, NULL},
    {"Cache-Control: no-cache\r\n", true, false, NULL, NULL},
    {"Cache-Control: no-cache, must-revalidate\r\n", true, false, NULL, NULL},
    {"Cache-Control: public, no-cache\r\n", true, false, NULL, NULL},
    {"Cache-Control: private\r\n", true, false, NULL, NULL},
    {"Cache-Control: private, max-age=60\r\n", false, false, NULL, NULL},
    {"Cache-Control: private, s-maxage=60, public\r\n", false, false, NULL, NULL},
    {"Cache-Control: no-store\r\n", true, false, NULL, NULL},
    {"Cache-Control: no-store, public, max-age=60\r\n", false, false, NULL, NULL},
    {"Cache-Control: max-age=60, s-maxage=0\r\n", true, false, NULL, NULL},
    {"Cache-Control: junk\r\n", false, false, NULL, NULL},
    {"Cache-Control: public, max-age=60\r\nCDN-Cache-Control: private\r\n", false, false, NULL, NULL},
    {"Cache-Control: public, max-age=60\r\nMillpond-Cache-Control: no-store\r\n", false, false, NULL, NULL},
    {"Expires: 0\r\n", true, false, NULL, NULL},
    {"Pragma: no-cache\r\n", true, false, NULL, NULL},
    {"Cache-Control: max-age=60\r\nVary: Cookie, Authorization\r\n", true, false, NULL, NULL},
    {"Cache-Control: public, max-age=60\r\nVary: *\r\n", true, false, NULL, NULL},
    {"Cache-Control: max-age=60\r\n", false, true, NULL, NULL},
    {"Cache-Control: public, s-maxage=60\r\n", true, true, NULL, NULL},
    {"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", false, false, NULL, "ttl"},
    {"Cache-Control: max-age=60\r\n", true, false, "token", NULL},
    {"Cache-Control: max-age=60, proxy-revalidate\r\n", true, false, "token", NULL},
    {"Expires: Fri, 01 Jan 2100 00:00:00 GMT\r\n", true, false, "token", NULL},
};

#define ROUTES                                                                                               \
    "[route ttl]\npath = /ttl/*\nttl = 1h\nttl_404 = 1h\nttl_5xx = 1h\n"                                     \
    "[route min]\npath = /min/*\nmin_ttl = 1h\n"                                                             \
    "[route rest]\n"
static const char *const routes[] = {"ttl", "min", "rest"};
static const char *const creds[] = {"cookie", "token"};
static const int statuses[] = {200, 404, 500, 301};
#define CASES_EACH (ARRAY_LEN(routes) * ARRAY_LEN(creds) * ARRAY_LEN(statuses))
#define LINES      8 /* connections of a step */

struct app {
    _Atomic int trouble;
    struct gate *gate; /* before the answer to /.../held */
};

/* Who asks: the value of the cookie sid, or of the token. */
static void who_asks(const struct message *request, char *who)
{
    const char *token = message_field(request, "Authorization"), *cookie = message_field(request, "Cookie");
    const char *sid = cookie != NULL ? strstr(cookie, "sid=") : NULL;
    strcpy(who, "nobody");
    if (token != NULL)
        sscanf(token, "Bearer %15[a-z]", who);
    else if (sid != NULL)
        sscanf(sid, "sid=%15[a-z]", who);
}

/* "/ROUTE/CREDENTIALS/STATUS/SAYING/..." */
static void personal_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct app *app = arg;
    char who[16];
    int status = 0;
    size_t n = 0;
    who_asks(request, who);
    sscanf(request->target, "/%*[^/]/%*[^/]/%d/%zu", &status, &n);
    const struct saying *s = &sayings[n];
    if (strstr(request->target, "/held") != NULL)
        gate_pass(app->gate);
    if (app->trouble == TROUBLE_RESET) {
        origin_reset(c);
        return;
    }
    char fields[512], tag[32], body[32];
    snprintf(body, sizeof body, "for:%s", who);
    snprintf(tag, sizeof tag, "\"%s\"", who);
    snprintf(fields, sizeof fields, "%sX-For: %s\r\nContent-Type: text/html\r\n%s%s%s%s%s%s", s->fields, who,
             s->etag ? "ETag: " : "", s->etag ? tag : "", s->etag ? "\r\n" : "",
             s->sets_cookie ? "Set-Cookie: was=" : "", s->sets_cookie ? who : "",
             s->sets_cookie ? "\r\n" : "");
    const char *known = message_field(request, "If-None-Match");
    if (app->trouble == TROUBLE_503)
        origin_respond(c, 503, fields, body);
    else if (s->etag && known != NULL && strstr(known, tag) != NULL)
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s\r\n", fields);
    else
        origin_respond(c, status, fields, body);
}

/* ---- the matrix ---- */

static struct app *app_new(void)
{
    struct app *app = calloc(1, sizeof *app);
    app->gate = gate_new();
    support_on_end(free, app);
    return app;
}

static struct millpond *start(struct app *app, struct origin **origin, const char *cache)
{
    *origin = origin_start(personal_script, app);
    return millpond_start(.main = "workers = 1\n", .cache = cache,
                          .rest = textf("%sretries = 0\n" ROUTES, pool_lines("app", 1, *origin)));
}

static const char *as(const char *cred, const char *who)
{
    if (strcmp(who, "nobody") == 0)
        return "";
    return strcmp(cred, "token") == 0 ? textf("Authorization: Bearer %s\r\n", who)
                                      : textf("Cookie: theme=dark; sid=%s\r\n", who);
}

/* RFC 9111 section 3.5 is about what is stored for a request with Authorization, not about what is stored
 * otherwise: those that say max-age are for a token, too, when nobody's request brought them. */
static bool is_open_to_tokens(const char *target)
{
    size_t n = 0;
    return sscanf(target, "/%*[^/]/%*[^/]/%*d/%zu", &n) == 1 && sayings[n].only_cred != NULL;
}

/* The answer is this client's own, or none that was made for somebody. */
static void expect_own(const struct message *r, const char *who, const char *target, const char *what)
{
    const char *made_for = message_field(r, "X-For"), *cookie = message_field(r, "Set-Cookie");
    const char *body = strstr(r->body, "for:");
    if (is_open_to_tokens(target) && made_for != NULL && strcmp(made_for, "nobody") == 0)
        who = "nobody";
    bool own = (made_for == NULL || strcmp(made_for, who) == 0) &&
               (body == NULL || strcmp(body + 4, who) == 0) &&
               (cookie == NULL || strcmp(cookie, textf("was=%s", who)) == 0);
    if (!own || r->end != MESSAGE_COMPLETE || (made_for == NULL && r->status != 502 && r->status != 412))
        support_fail("%s, asked by %s:\n%s%s", what, who, r->head, r->body);
}

struct matrix {
    struct millpond *m;
    size_t count;
    const char *cred[ARRAY_LEN(sayings) * CASES_EACH], *target[ARRAY_LEN(sayings) * CASES_EACH];
};

/* The same step with all targets, as no case concerns another's: pipelined over a few connections, since a
 * connection for each of more than ten thousand requests is what this would spend its time with. */
static void ask(const struct matrix *all, const char *who, const char *method, const char *end,
                const char *more)
{
    struct client *lines[LINES];
    for (size_t i = 0; i < LINES; i++)
        lines[i] = client_open(all->m->port);
    for (size_t i = 0; i < all->count; i++)
        client_send(lines[i % LINES], "%s %s%s HTTP/1.1\r\nHost: test\r\n%s%s\r\n", method, all->target[i],
                    end, as(all->cred[i], who), more);
    for (size_t i = 0; i < all->count; i++) {
        struct client *c = lines[i % LINES];
        const struct message *r = strcmp(method, "HEAD") == 0 ? client_read_no_body(c) : client_read(c);
        expect_own(r, who, all->target[i],
                   textf("%s %s%s with %s %s", method, all->target[i], end, all->cred[i], more));
    }
    for (size_t i = 0; i < LINES; i++)
        client_close(lines[i]);
}

static void ask_in_every_way(const struct matrix *all, const char *who, const char *end)
{
    ask(all, who, "GET", end, "");
    ask(all, who, "GET", end, "Range: bytes=0-\r\n");
    ask(all, who, "HEAD", end, "");
    ask(all, who, "GET", end, "If-None-Match: \"alice\"\r\n");
    ask(all, who, "GET", end, "If-Match: \"alice\"\r\n");
    ask(all, who, "GET", end, "Cache-Control: max-stale, only-if-cached\r\n");
}

typedef void case_fn(struct millpond *m, const char *cred, const char *target, void *arg);

/* Every saying, on every route, by either kind of credentials. */
static void for_all(struct millpond *m, bool all_statuses, const char *end, case_fn *fn, void *arg)
{
    for (size_t n = 0; n < ARRAY_LEN(sayings); n++) {
        const struct saying *s = &sayings[n];
        for (size_t i = 0; i < CASES_EACH; i++) {
            const char *cred = creds[i % ARRAY_LEN(creds)];
            const char *route = routes[i / ARRAY_LEN(creds) % ARRAY_LEN(routes)];
            int status = statuses[i / ARRAY_LEN(creds) / ARRAY_LEN(routes)];
            if ((status != 200 && !all_statuses) ||
                (s->only_cred != NULL && strcmp(s->only_cred, cred) != 0) ||
                (s->only_route != NULL && strcmp(s->only_route, route) != 0))
                continue;
            fn(m, cred, textf("/%s/%s/%d/%zu%s", route, cred, status, n, end), arg);
        }
    }
}

static void matrix_add(struct millpond *m, const char *cred, const char *target, void *arg)
{
    struct matrix *all = arg;
    all->m = m;
    all->cred[all->count] = cred;
    all->target[all->count++] = target;
}

static struct matrix *matrix_of(struct millpond *m, bool all_statuses)
{
    struct matrix *all = calloc(1, sizeof *all);
    support_on_end(free, all);
    for_all(m, all_statuses, "", matrix_add, all);
    return all;
}

static void one_after_the_other(const struct matrix *all)
{
    const char *personal_first = "/a", *shared_first = "/b";
    ask(all, "alice", "GET", personal_first, "");
    ask_in_every_way(all, "bob", personal_first);
    ask_in_every_way(all, "nobody", personal_first);
    ask(all, "alice", "GET", personal_first, "");
    ask(all, "nobody", "GET", shared_first, "");
    ask_in_every_way(all, "bob", shared_first);
    ask(all, "alice", "GET", shared_first, "");
    ask(all, "nobody", "GET", shared_first, "");
}

static void while_it_fails(const struct matrix *all)
{
    ask(all, "bob", "GET", "/a", "");
    ask(all, "nobody", "GET", "/a", "");
    ask(all, "alice", "GET", "/b", "");
}

static void matrix(const char *cache, bool all_statuses)
{
    struct app *app = app_new();
    struct origin *o;
    struct millpond *m = start(app, &o, cache);
    const struct matrix *plain = matrix_of(m, false);
    one_after_the_other(all_statuses ? matrix_of(m, true) : plain);
    app->trouble = TROUBLE_503;
    while_it_fails(plain);
    app->trouble = TROUBLE_RESET;
    while_it_fails(plain);
    assert_true(millpond_figure(m, "cache_stored") > 0); /* the cache took part */
    millpond_stop(m);
}

static void nobody_gets_what_was_made_for_another(void **state)
{
    UNUSED(state);
    matrix("", true);
}

static void nor_with_a_default_ttl(void **state)
{
    UNUSED(state);
    matrix("default_ttl = 1h\nstale_while_revalidate = 1h\n", false);
}

/* ---- at the same time ---- */

struct crowd {
    struct client *clients[512];
    const char *who[512], *target[512];
    size_t count;
};

static void crowd_ask(struct crowd *c, struct millpond *m, const char *cred, const char *who,
                      const char *target)
{
    assert_true(c->count < ARRAY_LEN(c->clients));
    struct client *k = client_open(m->port);
    client_send(k, "GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", target, as(cred, who));
    c->clients[c->count] = k;
    c->who[c->count] = who;
    c->target[c->count++] = target;
}

static void crowd_alice(struct millpond *m, const char *cred, const char *target, void *arg)
{
    crowd_ask(arg, m, cred, "alice", target);
}

static void crowd_nobody(struct millpond *m, const char *cred, const char *target, void *arg)
{
    crowd_ask(arg, m, cred, "nobody", target);
}

static void crowd_bob(struct millpond *m, const char *cred, const char *target, void *arg)
{
    crowd_ask(arg, m, cred, "bob", target);
}

/* One of them leads everywhere, the others come while he is being answered. */
static void everybody_at_once(const char *cache, enum trouble trouble, case_fn *leader, case_fn *other)
{
    struct app *app = app_new();
    struct origin *o;
    struct millpond *m = start(app, &o, cache);
    struct crowd *crowd = calloc(1, sizeof *crowd);
    support_on_end(free, crowd);
    for_all(m, false, "/held", leader, crowd);
    origin_wait_requests(o, (unsigned)crowd->count);
    for_all(m, false, "/held", crowd_bob, crowd);
    for_all(m, false, "/held", other, crowd);
    millpond_wait_figure(m, "requests_in_flight", (int64_t)crowd->count);
    app->trouble = trouble;
    gate_open(app->gate);
    for (size_t i = 0; i < crowd->count; i++) {
        struct message *r = client_read(crowd->clients[i]);
        expect_own(r, crowd->who[i], crowd->target[i], "at the same time");
    }
    millpond_stop(m);
}

static void followers_get_nothing_made_for_the_leader(void **state)
{
    UNUSED(state);
    everybody_at_once("", TROUBLE_NONE, crowd_alice, crowd_nobody);
    everybody_at_once("default_ttl = 1h\n", TROUBLE_NONE, crowd_alice, crowd_nobody);
    everybody_at_once("", TROUBLE_503, crowd_alice, crowd_nobody);
}

static void nor_anything_made_for_nobody(void **state)
{
    UNUSED(state);
    everybody_at_once("", TROUBLE_NONE, crowd_nobody, crowd_alice);
    everybody_at_once("default_ttl = 1h\n", TROUBLE_NONE, crowd_nobody, crowd_alice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(nobody_gets_what_was_made_for_another),
        E2E_TEST(nor_with_a_default_ttl),
        E2E_TEST(followers_get_nothing_made_for_the_leader),
        E2E_TEST(nor_anything_made_for_nobody),
    };
    return E2E_RUN("cache_leak", tests);
}
