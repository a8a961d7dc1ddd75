/* build_pool.c: values that only [pool] has. */
#include "config/build.h"
#include "config/value.h"

static void build_server_weight(struct build *b, slice_t text, struct config_server *server)
{
    int64_t weight;
    if (value_parse_count(text, &weight) != NULL || weight > 1000)
        build_wrong(b, "weight=%.*s is not a weight; write a number from 0 to 1000", PROBLEM_TEXT(text));
    else
        server->weight = (int)weight;
}

static void build_server_limit(struct build *b, slice_t text, struct config_server *server)
{
    int64_t most;
    if (value_parse_count(text, &most) != NULL || most > 1000000)
        build_wrong(b, "max_connections=%.*s is no limit; write a number from 0 (none) to 1000000",
                    PROBLEM_TEXT(text));
    else
        server->max_connections = (int)most;
}

static const char *build_server_word(struct build *b, const char *what, slice_t text)
{
    if (value_is_name(text) && text.len <= 64)
        return build_text(b, text);
    build_wrong(b, "%s=%.*s is not a name; write at most 64 letters, digits, - _ and .", what,
                PROBLEM_TEXT(text));
    return "";
}

static void build_server_resolve(struct build *b, slice_t text, struct config_server *server)
{
    server->resolve_one = slice_eq(text, SLICE_LIT("one"));
    if (!server->resolve_one && !slice_eq(text, SLICE_LIT("all")))
        build_wrong(b, "resolve=%.*s is not known; write all or one, of the addresses that a name has",
                    PROBLEM_TEXT(text));
}

static void build_server_unknown(struct build *b, slice_t word)
{
    char best[64];
    struct option_guess guess = {.word = word};
    size_t equals = slice_find(word, '=', 0);
    if (equals != SIZE_MAX)
        guess.word.len = equals;
    option_guess_offer_words(&guess, "weight backup name zone max_connections resolve", best, sizeof best);
    if (guess.best != NULL && !slice_eq(slice_str(guess.best), guess.word))
        build_wrong(b, "there is no \"%.*s\" for a server; did you mean \"%s\"?", PROBLEM_TEXT(word),
                    guess.best);
    else if (net_host_port_split(word, &(slice_t){0}, &(uint16_t){0}))
        build_wrong(b, "\"%.*s\" looks like a second server; write each on a line of its own",
                    PROBLEM_TEXT(word));
    else
        build_wrong(
            b,
            "there is no \"%.*s\" for a server; there are weight=1, backup, max_connections=0, resolve=all "
            "and name=...",
            PROBLEM_TEXT(word));
}

static void build_server_option(struct build *b, slice_t word, struct config_server *server)
{
    size_t equals = slice_find(word, '=', 0);
    slice_t name = slice_make(word.ptr, equals == SIZE_MAX ? word.len : equals);
    slice_t text =
        equals == SIZE_MAX ? SLICE_EMPTY : slice_make(word.ptr + equals + 1, word.len - equals - 1);
    if (slice_eq(word, SLICE_LIT("backup")))
        server->backup = true;
    else if (equals != SIZE_MAX && slice_eq(name, SLICE_LIT("weight")))
        build_server_weight(b, text, server);
    else if (equals != SIZE_MAX && slice_eq(name, SLICE_LIT("name")))
        server->name = build_server_word(b, "name", text);
    else if (equals != SIZE_MAX && slice_eq(name, SLICE_LIT("max_connections")))
        build_server_limit(b, text, server);
    else if (equals != SIZE_MAX && slice_eq(name, SLICE_LIT("resolve")))
        build_server_resolve(b, text, server);
    else if (slice_eq(name, SLICE_LIT("zone")))
        build_wrong(b, "%.*s= is not supported by this version of millpond yet; remove it",
                    PROBLEM_TEXT(name));
    else
        build_server_unknown(b, word);
}

void build_server(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_pool *pool = (void *)base;
    struct config_server server = {
        .origin = b->value->origin, .weight = 1, .added = b->value->origin.file == source_added};
    struct config_server *slot;
    slice_t address = value_next_word(&item), host;
    UNUSED(o);
    if (address.ptr[address.len - 1] == ',') {
        build_wrong(b, "a comma follows the address; write each server on a line of its own");
        return;
    }
    if (!build_ok(b, address, value_parse_server_address(address, &host)))
        return;
    server.address = server.name = build_text(b, address);
    server.host = build_text(b, host);
    for (slice_t word = value_next_word(&item); word.len > 0; word = value_next_word(&item))
        build_server_option(b, word, &server);
    for (size_t i = 0; i < pool->server_count; i++) {
        const struct config_server *other = &pool->servers[i];
        if (strcmp(other->name, server.name) == 0) {
            build_wrong(b, "the server \"%.*s\" is already there, on line %d; give one of them another name=",
                        PROBLEM_TEXT(slice_str(server.name)), other->origin.line);
            return;
        }
    }
    slot = build_push(b, &pool->servers, &pool->server_count, sizeof *slot);
    if (slot != NULL)
        *slot = server;
}

void build_resolver(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct dns_servers *list = (void *)(base + o->offset);
    struct net_addr addr;
    if (list->count == DNS_SERVERS)
        build_wrong(b, "there may be %d name servers at most; leave some out", DNS_SERVERS);
    else if (dns_address_parse(item, DNS_PORT, &addr) ||
             (net_addr_parse(item, &addr) && addr.sa.sa_family != AF_UNIX && net_addr_port(&addr) != 0 &&
              item.ptr[0] != ':'))
        list->items[list->count++] = addr;
    else
        build_wrong(b,
                    "\"%.*s\" is no name server; write its numeric address, such as 10.0.0.2 or "
                    "127.0.0.1:5353",
                    PROBLEM_TEXT(item));
}

void build_hash_on(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    static const struct {
        slice_t text;
        enum config_hash_on on;
    } kinds[] = {{SLICE_LIT("client_ip"), CONFIG_HASH_ON_CLIENT_IP},
                 {SLICE_LIT("path"), CONFIG_HASH_ON_PATH},
                 {SLICE_LIT("header:"), CONFIG_HASH_ON_HEADER},
                 {SLICE_LIT("cookie:"), CONFIG_HASH_ON_COOKIE}};
    struct config_pool *pool = (void *)base;
    UNUSED(o);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        bool named = slice_ends(kinds[i].text, SLICE_LIT(":")) && slice_starts(item, kinds[i].text);
        slice_t name =
            named ? slice_make(item.ptr + kinds[i].text.len, item.len - kinds[i].text.len) : SLICE_EMPTY;
        if (named ? !value_is_token(name) : !slice_eq(item, kinds[i].text))
            continue;
        pool->hash_on = kinds[i].on;
        pool->hash_name = build_text(b, name);
        return;
    }
    build_wrong(b,
                "\"%.*s\" is nothing to go by; write client_ip, path, header:NAME or cookie:NAME, such as "
                "cookie:session",
                PROBLEM_TEXT(item));
}

void build_cookie_name(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (value_is_token(item) && slice_find(item, '*', 0) == SIZE_MAX && !slice_eq(item, SLICE_LIT("all")))
        *(const char **)(void *)(base + o->offset) = build_text(b, item);
    else
        build_wrong(b, "\"%.*s\" is no name of a cookie; write letters, digits, - and _, such as server",
                    PROBLEM_TEXT(item));
}

void build_statuses(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_pool *pool = (void *)base;
    struct config_status_range range, *slot;
    UNUSED(o);
    if (!build_ok(b, item, value_parse_status_range(item, &range)))
        return;
    slot = build_push(b, &pool->health_status, &pool->health_status_count, sizeof *slot);
    if (slot != NULL)
        *slot = range;
}

void build_retry_on(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    static const unsigned bits[] = {CONFIG_RETRY_CONNECT, CONFIG_RETRY_RESET, CONFIG_RETRY_502,
                                    CONFIG_RETRY_503, CONFIG_RETRY_504};
    unsigned *set = (void *)(base + o->offset);
    int index = option_word_index(o->words, item);
    if (index >= 0 && index < (int)ARRAY_LEN(bits))
        *set |= bits[index];
    else if (index < 0)
        build_wrong(b, "there is no \"%.*s\"; write any of connect, reset, 502, 503, 504, or off",
                    PROBLEM_TEXT(item));
    else if (strcmp(b->value->text, "off") != 0)
        build_wrong(b, "off stands beside other words; write it alone");
}

void build_protocol(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    static const unsigned bits[] = {CONFIG_PROTOCOL_H2, CONFIG_PROTOCOL_HTTP_1, CONFIG_PROTOCOL_H2C};
    unsigned *set = (void *)(base + o->offset);
    int index = option_word_index(o->words, item);
    if (index >= 0)
        *set |= bits[index];
    else
        build_wrong(b, "there is no \"%.*s\"; write any of h2, http/1.1 and h2c", PROBLEM_TEXT(item));
}
