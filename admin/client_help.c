/* client_help.c: see client_help.h. A command's own words, then the options that all have. The manual page
 * says more. What is accepted is client.c's business; a test holds the two together. */
#include "admin/client_help.h"

#include <string.h>

#include "admin/admin.h"
#include "core/base.h"

#define NEXT_LINE "\n                       " /* below the words of the line before */

const struct client_help_option client_help_common[] = {
    {'c', "config", "FILE",
     "the server's configuration, which says where its socket is" NEXT_LINE "(default " ADMIN_DEFAULT_CONFIG
     ")"},
    {'s', "socket", "SOCKET", "the admin socket itself"},
    {0, "json", NULL, "print the answer as JSON"},
    {'h', "help", NULL, "print this"},
    {0, NULL, NULL, NULL},
};

static const struct client_help helps[] = {
    {"status", "", "Shows what the running server does: requests, errors, latency, cache, instances.", {{0}}},
    {"pools", "", "Shows the instances of each pool: their state, since when, and why.", {{0}}},
    {"events", "", "Shows what changed since the program started, the newest at the end.", {{0}}},
    {"reload", "", "Has the server read its configuration anew. One with errors changes nothing.", {{0}}},
    {"upgrade",
     "",
     "Has the program started anew, from the file that lies in its place now, with all sockets handed over.\n"
     "No request is lost. Returns when the new process serves; if it cannot, the running one goes on.",
     {{0}}},
    {"stop", "", "Has the server stop accepting, finish open requests, and end. Returns at once.", {{0}}},
    {"drain",
     " POOL/SERVER [--wait] [--force]",
     "Gives a server no new requests; those that run there end.",
     {{0, "wait", NULL, "return when they have, or fail after 5 minutes"},
      {0, "force", NULL, "also the last one of its pool that takes requests"}}},
    {"ready", " POOL/SERVER", "Takes a drained server back into use.", {{0}}},
    {"weight",
     " POOL/SERVER N|configured [--force]",
     "Gives a server another weight (0 to 1000), or the configured one again.",
     {{0, "force", NULL, "also 0 for the last one of its pool that takes requests"}}},
    {"add",
     " POOL ADDRESS [WEIGHT] [name=...] [--save]",
     "Gives a pool one server more, written as in the ini file. It outlives reloads.",
     {{0, "save", NULL, "write it into the ini file, too"}}},
    {"remove",
     " POOL/SERVER [--save] [--wait] [--force]",
     "Takes a server out of its pool: no new requests; those that run there end.",
     {{0, "save", NULL, "take it out of the ini file, too"},
      {0, "wait", NULL, "drain it first, and wait"},
      {0, "force", NULL, "also the last one of its pool that takes requests"}}},
    {"resume", " ROUTE", "Gives a canary that was stopped its share of the route's requests again.", {{0}}},
    {"explain",
     " URL [-H 'Name: value']... [-X METHOD]",
     "Says what would happen to a request now, why, and what would change it. Asks no instance.",
     {{'H', NULL, "'Name: value'", "a field of the request; may be repeated"},
      {'X', NULL, "METHOD", "its method (default GET)"}}},
    {"purge",
     " URL... [--any-query] | --tag T... | --prefix P | --glob G | --host H | --all",
     "Makes stored responses disappear: no request that starts afterwards gets them.",
     {{0, "any-query", NULL, "the URLs, whatever their query"},
      {0, "tag", "TAG", "what carries this tag; like the next three, may be repeated"},
      {0, "prefix", "URL", "what begins with this URL"},
      {0, "glob", "PATTERN", "URLs by a pattern: * is any text, ? any one character"},
      {0, "host", "HOST", "everything of one host"},
      {0, "all", NULL, "everything"},
      {0, "soft", NULL, "only end the freshness: stale where it may be, fetched anew"},
      {0, "wait", NULL, "until all nodes have applied it, 30 s at most"}}},
};

const struct client_help *client_help_at(size_t nth)
{
    return nth < ARRAY_LEN(helps) ? &helps[nth] : NULL;
}

const struct client_help *client_help_find(const char *command)
{
    for (size_t i = 0; i < ARRAY_LEN(helps); i++) {
        if (strcmp(helps[i].command, command) == 0)
            return &helps[i];
    }
    return NULL;
}

static void print_options(const struct client_help_option *o, FILE *out)
{
    for (; o->text != NULL; o++) {
        char word[40];
        const char letter[] = {'-', o->letter, '\0'};
        snprintf(word, sizeof word, "%s%s%s%s%s", o->letter != '\0' ? letter : "  ",
                 o->name == NULL     ? ""
                 : o->letter != '\0' ? ", --"
                                     : "  --",
                 o->name != NULL ? o->name : "", o->value != NULL ? " " : "",
                 o->value != NULL ? o->value : "");
        fprintf(out, "  %-20s %s\n", word, o->text);
    }
}

void client_help_print(const char *command, FILE *out)
{
    const struct client_help *help = client_help_find(command);
    if (help == NULL)
        return;
    fprintf(out, "usage: millpond %s%s\n%s\n\n", command, help->arguments, help->text);
    print_options(help->options, out);
    print_options(client_help_common, out);
    fputs("Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n", out);
}
