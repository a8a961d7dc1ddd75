/* client_complete.c: see client_complete.h.
 *
 * The scripts of the shells (packaging/completion.*) know nothing of Millpond: they hand over the words, and
 * show what comes back. So what is offered is what this very program has: its commands from the table that
 * --help prints (client_help.h) and from the one that main() calls by, the names from the server that is
 * asked. The rejected design, scripts that list words, are three that go stale.
 *
 * An answer that does not come is no error: then nothing is offered. Names that a shell would have to quote
 * are left out, so that none reaches the line as anything but a name. */
#include "admin/client_complete.h"

#include <jansson.h>
#include <string.h>

#include "admin/client_help.h"
#include "admin/client_http.h"
#include "admin/client_socket.h"
#include "admin/json_get.h"
#include "core/base.h"

#define ASK_MS 500

enum value_kind { VALUE_NONE, VALUE_FILE, VALUE_OTHER };

struct completion { /* lives during one call; all borrowed */
    FILE *out;
    const char *typed;              /* of the word to complete */
    const struct client_help *help; /* the command, which is one of these two */
    const struct client_complete_command *other;
    const char *config_path, *socket; /* as given before; NULL: not */
    int place;                        /* of the word among those that are no options */
};

static void offer(const struct completion *c, const char *word, const char *text)
{
    if (strncmp(word, c->typed, strlen(c->typed)) == 0)
        fprintf(c->out, "%s\t%.*s\n", word, (int)strcspn(text, "\n"), text);
}

/* ---- options ---- */

static enum value_kind kind_in(const struct client_help_option *o, const char *word)
{
    for (; o->text != NULL; o++) {
        const bool is_letter = word[1] == o->letter && word[1] != '\0' && word[2] == '\0';
        if (!is_letter && (o->name == NULL || word[1] != '-' || strcmp(word + 2, o->name) != 0))
            continue;
        if (o->value == NULL)
            return VALUE_NONE;
        return strcmp(o->value, "FILE") == 0 || strcmp(o->value, "SOCKET") == 0 ? VALUE_FILE : VALUE_OTHER;
    }
    return VALUE_NONE;
}

/* What the word behind the option `word` is. */
static enum value_kind value_kind(const struct completion *c, const char *word)
{
    if (c->help != NULL) {
        const enum value_kind kind = kind_in(c->help->options, word);
        return kind != VALUE_NONE ? kind : kind_in(client_help_common, word);
    }
    for (const struct option *o = c->other->options; o != NULL && o->name != NULL; o++) {
        const bool is_letter = word[1] == o->val && word[1] != '\0' && word[2] == '\0';
        if (!is_letter && (word[1] != '-' || strcmp(word + 2, o->name) != 0))
            continue;
        if (o->has_arg == no_argument)
            return VALUE_NONE;
        return strcmp(o->name, "config") == 0 ? VALUE_FILE : VALUE_OTHER;
    }
    return VALUE_NONE;
}

static void offer_option(const struct completion *c, char letter, const char *name, const char *text)
{
    char word[40];
    if (name != NULL)
        snprintf(word, sizeof word, "--%s", name);
    else
        snprintf(word, sizeof word, "-%c", letter);
    offer(c, word, text);
}

static void offer_options(const struct completion *c)
{
    if (c->other != NULL) {
        for (const struct option *o = c->other->options; o != NULL && o->name != NULL; o++)
            offer_option(c, '\0', o->name, "");
        offer_option(c, '\0', "help", "");
        return;
    }
    for (const struct client_help_option *o = c->help->options; o->text != NULL; o++)
        offer_option(c, o->letter, o->name, o->text);
    for (const struct client_help_option *o = client_help_common; o->text != NULL; o++)
        offer_option(c, o->letter, o->name, o->text);
}

/* ---- names, from the running server ---- */

static bool needs_no_quotes(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/[]@%+,-")] ==
           '\0';
}

static void offer_name(const struct completion *c, const char *name, const char *text)
{
    if (name[0] != '\0' && name[0] != '-' && needs_no_quotes(name))
        offer(c, name, text);
}

/* The answer, to be given back; NULL when there is none. */
static json_t *ask(const struct completion *c, const char *target)
{
    char found[256], problem[512];
    const char *socket = c->socket;
    FILE *nowhere = fopen("/dev/null", "we");
    if (socket == NULL && nowhere != NULL &&
        client_socket_find("complete", c->config_path, found, sizeof found, nowhere))
        socket = found;
    if (nowhere != NULL)
        fclose(nowhere);
    struct client_answer answer;
    if (socket == NULL ||
        !client_http_ask(socket, "GET", target, SLICE_EMPTY, ASK_MS, &answer, problem, sizeof problem))
        return NULL;
    json_t *o = answer.status == 200 ? json_loadb(answer.body.ptr, answer.body.len, 0, NULL) : NULL;
    client_answer_free(&answer);
    return o;
}

/* A server of several addresses has a row for each, one behind the other. */
static void offer_servers_of(const struct completion *c, const json_t *pool, bool drained_only)
{
    char name[512];
    size_t i;
    const char *last = "";
    json_t *instance;
    json_array_foreach(json_object_get(pool, "instances"), i, instance)
    {
        const char *server = text_of(instance, "server"), *state = text_of(instance, "state");
        const int len = snprintf(name, sizeof name, "%s/%s", text_of(pool, "name"), server);
        if (strcmp(server, last) != 0 && len < (int)sizeof name &&
            (!drained_only || strcmp(state, "draining") == 0))
            offer_name(c, name, state);
        last = server;
    }
}

static void offer_pools(const struct completion *c, bool servers)
{
    size_t i;
    json_t *pool, *o = ask(c, "/api/pools");
    json_array_foreach(json_object_get(o, "pools"), i, pool)
    {
        if (servers)
            offer_servers_of(c, pool, strcmp(c->help->command, "ready") == 0);
        else
            offer_name(c, text_of(pool, "name"), "");
    }
    json_decref(o);
}

static void offer_splits(const struct completion *c)
{
    size_t i;
    json_t *split, *o = ask(c, "/api/status");
    json_array_foreach(json_object_get(o, "splits"), i, split)
    {
        offer_name(c, text_of(split, "route"), text_of(split, "state"));
    }
    json_decref(o);
}

/* By what stands at that place of the command's arguments, as in " POOL/SERVER N|configured [--force]". */
static void offer_argument(const struct completion *c)
{
    const char *word = c->help->arguments, *bar;
    size_t len = 0;
    for (int i = 0; i <= c->place; i++) {
        word += len;
        word += strspn(word, " ");
        len = strcspn(word, " ");
    }
    slice_t argument = slice_make(word, len);
    if (slice_eq(argument, SLICE_LIT("POOL/SERVER")))
        offer_pools(c, true);
    else if (slice_eq(argument, SLICE_LIT("POOL")))
        offer_pools(c, false);
    else if (slice_eq(argument, SLICE_LIT("ROUTE")))
        offer_splits(c);
    else if (len > 2 && (bar = memchr(word, '|', len - 1)) != NULL) {
        char literal[40];
        snprintf(literal, sizeof literal, "%.*s", (int)(word + len - bar - 1), bar + 1);
        offer(c, literal, "");
    }
}

/* ---- which command, and where in it ---- */

static void offer_commands(const struct completion *c, const struct client_complete_command *others,
                           size_t other_count)
{
    const struct client_help *help;
    for (size_t i = 0; i < other_count; i++)
        offer(c, others[i].name, others[i].text);
    for (size_t i = 0; (help = client_help_at(i)) != NULL; i++)
        offer(c, help->command, help->text);
}

/* What the words before the last say; true when that is the value of an option. */
static bool read_words(struct completion *c, int word_count, char *const *words, enum value_kind *kind)
{
    for (int i = 0; i < word_count - 1; i++) {
        if (words[i][0] != '-') {
            c->place++;
            continue;
        }
        *kind = value_kind(c, words[i]);
        if (*kind == VALUE_NONE)
            continue;
        if (++i == word_count - 1)
            return true;
        if (strcmp(words[i - 1], "-c") == 0 || strcmp(words[i - 1], "--config") == 0)
            c->config_path = words[i];
        else if (strcmp(words[i - 1], "-s") == 0 || strcmp(words[i - 1], "--socket") == 0)
            c->socket = words[i];
    }
    return false;
}

void client_complete(const struct client_complete_command *others, size_t other_count, int word_count,
                     char *const *words, FILE *out)
{
    struct completion c = {.out = out, .typed = word_count > 0 ? words[word_count - 1] : ""};
    enum value_kind kind;
    if (word_count < 2 && c.typed[0] != '-') {
        offer_commands(&c, others, other_count);
        return;
    }
    const bool runs = words[0][0] == '-'; /* `millpond -c FILE` is `millpond run -c FILE` */
    const char *command = runs ? "run" : words[0];
    for (size_t i = 0; i < other_count; i++) {
        if (strcmp(others[i].name, command) == 0)
            c.other = &others[i];
    }
    c.help = client_help_find(command);
    if (c.other == NULL && c.help == NULL)
        return;
    if (read_words(&c, word_count - !runs, words + !runs, &kind)) {
        if (kind == VALUE_FILE)
            fputs(":files\n", out);
    } else if (c.typed[0] == '-') {
        offer_options(&c);
    } else if (c.help != NULL) {
        offer_argument(&c);
    }
}
