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

static const char *build_server_word(struct build *b, const char *what, slice_t text)
{
    if (value_is_name(text) && text.len <= 64)
        return build_text(b, text);
    build_wrong(b, "%s=%.*s is not a name; write at most 64 letters, digits, - _ and .", what,
                PROBLEM_TEXT(text));
    return "";
}

static void build_server_unknown(struct build *b, slice_t word)
{
    char best[64];
    struct option_guess guess = {.word = word};
    size_t equals = slice_find(word, '=', 0);
    if (equals != SIZE_MAX)
        guess.word.len = equals;
    option_guess_offer_words(&guess, "weight backup name zone max_connections", best, sizeof best);
    if (guess.best != NULL && !slice_eq(slice_str(guess.best), guess.word))
        build_wrong(b, "there is no \"%.*s\" for a server; did you mean \"%s\"?", PROBLEM_TEXT(word),
                    guess.best);
    else if (net_host_port_split(word, &(slice_t){0}, &(uint16_t){0}))
        build_wrong(b, "\"%.*s\" looks like a second server; write each on a line of its own",
                    PROBLEM_TEXT(word));
    else
        build_wrong(b, "there is no \"%.*s\" for a server; there are weight=1, backup and name=...",
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
    else if (slice_eq(name, SLICE_LIT("max_connections")) || slice_eq(name, SLICE_LIT("zone")))
        build_wrong(b, "%.*s= is not supported by this version of millpond yet; remove it",
                    PROBLEM_TEXT(name));
    else
        build_server_unknown(b, word);
}

void build_server(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_pool *pool = (void *)base;
    struct config_server server = {.origin = b->value->origin, .weight = 1}, *slot;
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
