/* client_help.c: see client_help.h. A command's own words, then the options that all have. The manual page
 * says more. */
#include "admin/client_help.h"

#include <string.h>

#include "admin/admin.h"
#include "core/base.h"

static const char common_options[] =
    "  -c, --config FILE    the server's configuration, which says where its socket is\n"
    "                       (default " ADMIN_DEFAULT_CONFIG ")\n"
    "  -s, --socket SOCKET  the admin socket itself\n"
    "      --json           print the answer as JSON\n"
    "  -h, --help           print this\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n";

static const struct {
    const char *command, *arguments, *text, *options;
} helps[] = {
    {"status", "", "Shows what the running server does: requests, errors, latency, cache, instances.\n", ""},
    {"pools", "", "Shows the instances of each pool: their state, since when, and why.\n", ""},
    {"events", "", "Shows what changed since the program started, the newest at the end.\n", ""},
    {"reload", "", "Has the server read its configuration anew. One with errors changes nothing.\n", ""},
    {"upgrade", "",
     "Has the program started anew, from the file that lies in its place now, with all sockets handed over.\n"
     "No request is lost. Returns when the new process serves; if it cannot, the running one goes on.\n",
     ""},
    {"stop", "", "Has the server stop accepting, finish open requests, and end. Returns at once.\n", ""},
    {"drain", " POOL/SERVER [--wait] [--force]",
     "Gives a server no new requests; those that run there end.\n",
     "      --wait           return when they have, or fail after 5 minutes\n"
     "      --force          also the last one of its pool that takes requests\n"},
    {"ready", " POOL/SERVER", "Takes a drained server back into use.\n", ""},
    {"weight", " POOL/SERVER N|configured [--force]",
     "Gives a server another weight (0 to 1000), or the configured one again.\n",
     "      --force          also 0 for the last one of its pool that takes requests\n"},
    {"add", " POOL ADDRESS [WEIGHT] [name=...] [--save]",
     "Gives a pool one server more, written as in the ini file. It outlives reloads.\n",
     "      --save           write it into the ini file, too\n"},
    {"remove", " POOL/SERVER [--save] [--wait] [--force]",
     "Takes a server out of its pool: no new requests; those that run there end.\n",
     "      --save           take it out of the ini file, too\n"
     "      --wait           drain it first, and wait\n"
     "      --force          also the last one of its pool that takes requests\n"},
    {"resume", " ROUTE", "Gives a canary that was stopped its share of the route's requests again.\n", ""},
    {"explain", " URL [-H 'Name: value']... [-X METHOD]",
     "Says what would happen to a request now, why, and what would change it. Asks no instance.\n",
     "  -H 'Name: value'     a field of the request; may be repeated\n"
     "  -X METHOD            its method (default GET)\n"},
    {"purge", " URL... [--any-query] | --tag T... | --prefix P | --glob G | --host H | --all",
     "Makes stored responses disappear: no request that starts afterwards gets them.\n",
     "      --any-query      the URLs, whatever their query\n"
     "      --tag TAG        what carries this tag; like the next three, may be repeated\n"
     "      --prefix URL     what begins with this URL\n"
     "      --glob PATTERN   URLs by a pattern: * is any text, ? any one character\n"
     "      --host HOST      everything of one host\n"
     "      --all            everything\n"
     "      --soft           only end the freshness: stale where it may be, fetched anew\n"
     "      --wait           until all nodes have applied it, 30 s at most\n"},
};

void client_help_print(const char *command, FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(helps); i++) {
        if (strcmp(helps[i].command, command) == 0)
            fprintf(out, "usage: millpond %s%s\n%s\n%s%s", command, helps[i].arguments, helps[i].text,
                    helps[i].options, common_options);
    }
}
