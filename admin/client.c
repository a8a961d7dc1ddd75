/* client.c: the client commands of the command line: status, pools, drain, reload, purge and so on. See
 * admin.h and client.h.
 *
 * Each command is one request to the admin socket; what it answers is printed for people, or as it came with
 * --json. The socket comes from -s, else from the configuration. */
#include "admin/client.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/client_explain.h"
#include "admin/client_help.h"
#include "admin/client_http.h"
#include "admin/client_order.h"
#include "admin/client_purge.h"
#include "admin/client_server.h"
#include "admin/client_socket.h"
#include "admin/client_wait.h"
#include "admin/events.h"
#include "admin/status_text.h"

#define EXIT_DONE    0
#define EXIT_REFUSED 1
#define EXIT_WRONG   2

#define ASK_TIMEOUT_MS    10000
#define RELOAD_TIMEOUT_MS 60000  /* names are resolved meanwhile */
#define UPGRADE_MAX_MS    640000 /* upgrade_timeout at its longest, and some */
#define MOVED_TRIES       20     /* the socket is a new process's by now */
#define MOVED_PAUSE_MS    25
#define DRAIN_WAIT_MS     300000
#define DRAIN_EVERY_MS    100

struct client { /* lives during one command */
    FILE *out, *err;
    const char *command;
    const char *config_path; /* NULL: the default */
    char socket[256];
    bool json;
    char *target; /* explain: of the request; on the heap */
    json_t *wish; /* the body of the request */
    bool waits;   /* purge: for all nodes; drain: for the last request */
    bool force;   /* drain, weight, remove */
    bool saves;   /* add, remove: in the ini file, too */
    /* purge */
    const char *purge_option;   /* the last option of purge that was given */
    bool all, any_query, named; /* named: by an option that takes a text */
    bool not_utf8;
};

static int wrong(struct client *c, const char *what, const char *which)
{
    fprintf(c->err, "millpond %s: %s%s\nTry 'millpond %s --help'.\n", c->command, what, which, c->command);
    return EXIT_WRONG;
}

/* ---- asking ---- */

static void print_refusal(struct client *c, const json_t *answer, unsigned status)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *hint = json_string_value(json_object_get(answer, "hint"));
    size_t i;
    json_t *problem;
    if (error != NULL)
        fprintf(c->err, "millpond %s: %s%s%s\n", c->command, error, hint != NULL ? "; " : "",
                hint != NULL ? hint : "");
    else
        fprintf(c->err, "millpond %s: refused with status %u\n", c->command, status);
    json_array_foreach(json_object_get(answer, "problems"), i, problem)
    {
        if (json_is_string(problem))
            fprintf(c->err, "  %s\n", json_string_value(problem));
    }
}

static void pause_ms(dur_ms_t ms)
{
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

/* As client_http_ask, with the answer's JSON, or NULL. Who answers may have handed over to another process,
 * which has the socket by the next try. */
static bool ask_whoever_serves(struct client *c, const char *method, const char *target, slice_t body,
                               dur_ms_t timeout_ms, struct client_answer *answer, json_t **value)
{
    char problem[512];
    for (int tries = 1;; tries++) {
        if (!client_http_ask(c->socket, method, target, body, timeout_ms, answer, problem, sizeof problem)) {
            fprintf(c->err, "millpond %s: %s\n", c->command, problem);
            return false;
        }
        *value = json_loadb(answer->body.ptr, answer->body.len, 0, NULL);
        if (tries == MOVED_TRIES || !json_is_true(json_object_get(*value, "moved")))
            return true;
        json_decref(*value);
        client_answer_free(answer);
        pause_ms(MOVED_PAUSE_MS);
    }
}

/* Asks, and prints refusals and (with --json) the answer. The JSON answer of a success, else NULL with
 * *exit_status set. */
static json_t *ask(struct client *c, const char *method, const char *target, slice_t body,
                   dur_ms_t timeout_ms, int *exit_status)
{
    struct client_answer answer;
    json_t *value;
    *exit_status = EXIT_REFUSED;
    if (!ask_whoever_serves(c, method, target, body, timeout_ms, &answer, &value))
        return NULL;
    if (c->json && value != NULL)
        fprintf(c->out, SLICE_FMT "\n", SLICE_ARG(answer.body));
    if (answer.status == 200 && json_is_object(value)) {
        *exit_status = EXIT_DONE;
    } else {
        if (!c->json || value == NULL)
            print_refusal(c, value, answer.status);
        json_decref(value);
        value = NULL;
    }
    client_answer_free(&answer);
    return value;
}

static int run_status(struct client *c)
{
    int status;
    json_t *o = ask(c, "GET", "/api/status", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        admin_status_print(o, clock_wall_ms(), c->out);
    json_decref(o);
    return status;
}

static int run_pools(struct client *c)
{
    int status;
    json_t *o = ask(c, "GET", "/api/pools", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        admin_pools_print(json_object_get(o, "pools"), clock_wall_ms(), c->out);
    json_decref(o);
    return status;
}

static int run_events(struct client *c)
{
    int status;
    json_t *o = ask(c, "GET", "/api/events", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        admin_events_print(json_object_get(o, "events"), c->out);
    json_decref(o);
    return status;
}

static int run_reload(struct client *c)
{
    int status;
    json_t *o = ask(c, "POST", "/api/reload", SLICE_EMPTY, RELOAD_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        fprintf(c->out, "reloaded; configuration generation %" JSON_INTEGER_FORMAT " is in use\n",
                json_integer_value(json_object_get(o, "generation")));
    json_decref(o);
    return status;
}

static int run_stop(struct client *c)
{
    int status;
    json_t *o = ask(c, "POST", "/api/stop", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        fprintf(c->out, "stopping; open requests have up to %" JSON_INTEGER_FORMAT " s\n",
                json_integer_value(json_object_get(o, "shutdown_timeout_ms")) / 1000);
    json_decref(o);
    return status;
}

static int run_upgrade(struct client *c)
{
    int status;
    json_t *o = ask(c, "POST", "/api/upgrade", SLICE_EMPTY, UPGRADE_MAX_MS, &status);
    const char *version = json_string_value(json_object_get(o, "version"));
    if (o != NULL && !c->json)
        fprintf(c->out,
                "upgraded; process %" JSON_INTEGER_FORMAT
                ", millpond %s, serves; process %" JSON_INTEGER_FORMAT " ends its open requests\n",
                json_integer_value(json_object_get(o, "pid")), version != NULL ? version : "?",
                json_integer_value(json_object_get(o, "old_pid")));
    json_decref(o);
    return status;
}

static int run_explain(struct client *c)
{
    int status;
    json_t *o = ask(c, "GET", c->target, SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        client_explain_print(o, c->out);
    json_decref(o);
    return status;
}

/* Until no request runs at the server that was drained; the exit status. */
static int wait_for_drain(struct client *c, const char *name)
{
    const mono_ms_t until_ms = clock_mono_ms() + DRAIN_WAIT_MS;
    const bool json = c->json;
    for (;; pause_ms(DRAIN_EVERY_MS)) {
        int status;
        c->json = false;
        json_t *o = ask(c, "GET", "/api/pools", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
        c->json = json;
        if (o == NULL)
            return status;
        json_int_t running;
        const json_t *server = client_order_find(o, name, &running);
        const char *state = json_string_value(json_object_get(server, "state"));
        const bool drains = state != NULL && strcmp(state, "draining") == 0;
        json_decref(o);
        if (drains && running > 0 && clock_mono_ms() < until_ms)
            continue;
        if (!drains)
            fprintf(c->err, "millpond drain: %s is not drained any more\n", name);
        else if (running > 0)
            fprintf(c->err, "millpond drain: %" JSON_INTEGER_FORMAT " requests still run there\n", running);
        else if (!json)
            fprintf(c->out, "no request runs there any more\n");
        return drains && running == 0 ? EXIT_DONE : EXIT_REFUSED;
    }
}

static int run_order(struct client *c)
{
    int status;
    char target[32];
    const char *name = json_string_value(json_object_get(c->wish, "server"));
    if (c->force)
        json_object_set_new(c->wish, "force", json_true());
    char *body = json_dumps(c->wish, JSON_COMPACT);
    snprintf(target, sizeof target, "/api/%s", c->command);
    json_t *o = ask(c, "POST", target, slice_str(body != NULL ? body : ""), ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        client_order_print(o, c->out);
    fflush(c->out);
    if (o != NULL && c->waits)
        status = wait_for_drain(c, name);
    json_decref(o);
    free(body);
    return status;
}

/* What the file is to say is known to be right before anybody is asked, and written once it is in use. */
static int save(struct client *c, struct config_edit *edit, bool adds)
{
    char why[CONFIG_EDIT_WHY];
    if (!config_edit_commit(edit, why)) {
        fprintf(c->err, "millpond %s: this is in use, but not saved: %s\n", c->command, why);
        return EXIT_REFUSED;
    }
    if (!c->json && edit->path == NULL)
        fprintf(c->out, "nothing to save: %s does not name %s/%s\n", edit->main_file, edit->pool,
                edit->server);
    else if (!c->json)
        fprintf(c->out, "saved: line %d %s %s\n", edit->line, adds ? "of" : "is gone from", edit->path);
    return EXIT_DONE;
}

static int change_server(struct client *c, struct config_edit *edit)
{
    const bool adds = strcmp(c->command, "add") == 0;
    const char *name = json_string_value(json_object_get(c->wish, "server"));
    int status;
    if (c->waits) {
        c->command = "drain";
        status = run_order(c);
        c->command = "remove";
        if (status != EXIT_DONE)
            return status;
    }
    if (c->force)
        json_object_set_new(c->wish, "force", json_true());
    char *body = json_dumps(c->wish, JSON_COMPACT);
    json_t *o = ask(c, "POST", adds ? "/api/add" : "/api/remove", slice_str(body != NULL ? body : ""),
                    RELOAD_TIMEOUT_MS, &status);
    if (o != NULL && !c->json && adds)
        client_order_print(o, c->out);
    else if (o != NULL && !c->json)
        client_server_print_removed(name, o, c->out);
    if (o != NULL && c->saves)
        status = save(c, edit, adds);
    json_decref(o);
    free(body);
    return status;
}

static int run_change(struct client *c)
{
    char why[CONFIG_EDIT_WHY], pool[CLIENT_POOL_BYTES];
    struct config_edit edit = {.line = 0};
    const char *path = c->config_path != NULL ? c->config_path : ADMIN_DEFAULT_CONFIG;
    int status = EXIT_REFUSED;
    if (c->saves && !client_server_edit(&edit, path, c->wish, pool, why))
        fprintf(c->err, "millpond %s: nothing is changed, since it cannot be saved: %s\n", c->command, why);
    else
        status = change_server(c, &edit);
    config_edit_free(&edit);
    return status;
}

/* Until all nodes have applied what was purged just now. */
static int wait_for_nodes(struct client *c, const json_t *answer)
{
    struct client_wait w = {.number = json_integer_value(json_object_get(answer, "stream_number"))};
    const mono_ms_t until_ms = clock_mono_ms() + CLIENT_WAIT_MS;
    for (;;) {
        int status;
        const bool json = c->json;
        c->json = false; /* only the last one is printed */
        json_t *o = ask(c, "GET", "/api/status", SLICE_EMPTY, ASK_TIMEOUT_MS, &status);
        c->json = json;
        if (o == NULL)
            return status;
        const json_t *purges = json_object_get(o, "purges");
        const enum client_wait_state state = client_wait_look(&w, purges);
        if (state != CLIENT_WAIT_GO_ON || clock_mono_ms() >= until_ms) {
            if (!c->json)
                client_wait_print(&w, purges, c->out);
            else if (json_dumpf(purges, c->out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
                fputc('\n', c->out);
            json_decref(o);
            return state == CLIENT_WAIT_REACHED ? EXIT_DONE : EXIT_REFUSED;
        }
        json_decref(o);
        pause_ms(CLIENT_WAIT_EVERY_MS);
    }
}

/* All of it is one request, which is done as a whole or not at all. */
static int run_purge(struct client *c)
{
    int status = EXIT_REFUSED;
    char *body = c->not_utf8 ? NULL : json_dumps(c->wish, JSON_COMPACT);
    if (body == NULL) {
        fprintf(c->err, "millpond %s: there is something that is not valid UTF-8; percent-encode it\n",
                c->command);
        return EXIT_REFUSED;
    }
    json_t *o = ask(c, "POST", "/api/purge", slice_str(body), ASK_TIMEOUT_MS, &status);
    if (o != NULL && !c->json)
        client_purge_print(o, c->out);
    if (o != NULL && c->waits)
        status = wait_for_nodes(c, o);
    json_decref(o);
    free(body);
    return status;
}

/* ---- arguments ---- */

struct command {
    const char *name;
    int (*run)(struct client *c);
};

static const struct command commands[] = {
    {"status", run_status}, {"pools", run_pools},     {"reload", run_reload}, {"stop", run_stop},
    {"purge", run_purge},   {"explain", run_explain}, {"drain", run_order},   {"ready", run_order},
    {"weight", run_order},  {"events", run_events},   {"add", run_change},    {"remove", run_change},
    {"resume", run_order},  {"upgrade", run_upgrade},
};

enum client_option {
    OPT_JSON = 256,
    OPT_WAIT,
    OPT_FORCE,
    OPT_SAVE,
    OPT_ALL,
    OPT_SOFT,
    OPT_ANY_QUERY,
    OPT_TAG,
    OPT_PREFIX,
    OPT_GLOB,
    OPT_HOST
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {"all", no_argument, NULL, OPT_ALL},
    {"soft", no_argument, NULL, OPT_SOFT},
    {"any-query", no_argument, NULL, OPT_ANY_QUERY},
    {"wait", no_argument, NULL, OPT_WAIT},
    {"force", no_argument, NULL, OPT_FORCE},
    {"save", no_argument, NULL, OPT_SAVE},
    {"tag", required_argument, NULL, OPT_TAG},
    {"prefix", required_argument, NULL, OPT_PREFIX},
    {"glob", required_argument, NULL, OPT_GLOB},
    {"host", required_argument, NULL, OPT_HOST},
    {NULL, 0, NULL, 0},
};

/* An option that only purge has. */
static int parse_purge_option(struct client *c, int opt, int index)
{
    static const char *const members[] = {"tags", "prefix", "glob", "host"};
    c->purge_option = long_options[index].name;
    c->all |= opt == OPT_ALL;
    c->any_query |= opt == OPT_ANY_QUERY;
    if (opt >= OPT_TAG) {
        c->named = true;
        c->not_utf8 |= !client_purge_add(c->wish, members[opt - OPT_TAG], optarg);
    } else {
        json_object_set_new(c->wish, opt == OPT_ANY_QUERY ? "any_query" : long_options[index].name,
                            json_true());
    }
    return -1;
}

/* -1: go on; otherwise the exit status. */
static int parse_option(struct client *c, int opt, int index, char **argv)
{
    char text[64];
    if (opt >= OPT_ALL)
        return parse_purge_option(c, opt, index);
    switch (opt) {
    case 'c':
        c->config_path = optarg;
        return -1;
    case 's':
        if (optarg[0] == '\0' || strlen(optarg) >= sizeof c->socket)
            return wrong(c, "this is no path of a socket: ", optarg);
        strcpy(c->socket, optarg);
        return -1;
    case OPT_JSON:
        c->json = true;
        return -1;
    case OPT_WAIT:
        c->waits = true;
        return -1;
    case OPT_FORCE:
        c->force = true;
        return -1;
    case OPT_SAVE:
        c->saves = true;
        return -1;
    case 'h':
        client_help_print(c->command, c->out);
        return EXIT_DONE;
    case ':':
        return wrong(c, "a value is missing after ", argv[optind - 1]);
    default:
        snprintf(text, sizeof text, "-%c", optopt);
        return wrong(c, "unknown option ", optopt > 0 && optopt < 256 ? text : argv[optind - 1]);
    }
}

/* What purge is about. -1: go on; otherwise the exit status. */
static int parse_purge(struct client *c, int argc, char **argv)
{
    bool urls = argc > optind;
    for (int i = optind; i < argc; i++)
        c->not_utf8 |= !client_purge_add(c->wish, "url", argv[i]);
    if (c->all && (urls || c->named))
        return wrong(c, "either --all or what to purge", "");
    if (!c->all && !urls && !c->named)
        return wrong(c, "name at least one URL, --tag, --prefix, --glob or --host, or --all", "");
    if (c->any_query && !urls)
        return wrong(c, "--any-query goes with a URL", "");
    return -1;
}

static bool is_one_of(const char *word, const char *words)
{
    const char *at = strstr(words, word);
    return at != NULL && (at == words || at[-1] == ' ') &&
           (at[strlen(word)] == ' ' || at[strlen(word)] == '\0');
}

/* What is wrong with the options that only some commands have; NULL: nothing. */
static const char *misplaced_option(const struct client *c)
{
    if (c->waits && !is_one_of(c->command, "purge drain remove"))
        return "this is an option of purge, drain and remove: --wait";
    if (c->force && !is_one_of(c->command, "drain weight remove"))
        return "this is an option of drain, weight and remove: --force";
    if (c->saves && !is_one_of(c->command, "add remove"))
        return "this is an option of add and remove: --save";
    if (c->saves && c->socket[0] != '\0' && c->config_path == NULL)
        return "--save needs the file as well: -c FILE";
    return NULL;
}

static int parse(struct client *c, const struct command *command, int argc, char **argv)
{
    int opt, index = 0;
    optind = 0;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":c:s:h", long_options, &index)) != -1) {
        int status = parse_option(c, opt, index, argv);
        if (status >= 0)
            return status;
    }
    const char *misplaced = misplaced_option(c);
    if (misplaced != NULL)
        return wrong(c, misplaced, "");
    if (command->run == run_purge)
        return parse_purge(c, argc, argv);
    if (c->purge_option != NULL)
        return wrong(c, "this is an option of purge: --", c->purge_option);
    if (command->run == run_order) {
        const char *problem = client_order_read(c->wish, c->command, argc - optind, argv + optind);
        return problem == NULL ? -1 : wrong(c, problem, "");
    }
    if (command->run == run_change) {
        const char *problem = client_server_read(c->wish, c->command, argc - optind, argv + optind);
        return problem == NULL ? -1 : wrong(c, problem, "");
    }
    return argc > optind ? wrong(c, "unexpected argument: ", argv[optind]) : -1;
}

static int run(struct client *c, int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, c->command) != 0)
            continue;
        int status = parse(c, &commands[i], argc, argv);
        if (status >= 0)
            return status;
        return c->socket[0] != '\0' ||
                       client_socket_find(c->command, c->config_path, c->socket, sizeof c->socket, c->err)
                   ? commands[i].run(c)
                   : EXIT_WRONG;
    }
    return wrong(c, "unknown command", "");
}

int admin_client_run(int argc, char **argv, FILE *out, FILE *err)
{
    struct client c = {.out = out, .err = err, .command = argc > 0 ? argv[0] : ""};
    const char *problem;
    if (strcmp(c.command, "explain") == 0 &&
        (c.target = client_explain_target(&argc, argv, &problem)) == NULL)
        return wrong(&c, problem, "");
    c.wish = json_object();
    int status = run(&c, argc, argv);
    json_decref(c.wish);
    free(c.target);
    return status;
}

int admin_client_main(int argc, char **argv)
{
    return admin_client_run(argc, argv, stdout, stderr);
}
