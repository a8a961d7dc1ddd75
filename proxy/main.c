/* main.c: the command line. Each command has its own file; this one only finds it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/client_complete.h"
#include "config/config.h"
#include "config/option.h"
#include "core/base.h"
#include "core/tls_sleep.h"
#include "proxy/command_check.h"
#include "proxy/demo.h"
#include "proxy/demo_app.h"
#include "proxy/h2_sleep.h"
#include "proxy/server.h"

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: millpond [COMMAND] [-c FILE]\n"
    "\n"
    "  run                  serve in the foreground (the default)\n"
    "  demo                 two sample instances behind a cache, to try things on (--port, --admin-port)\n"
    "  check                tell what is wrong with the configuration (also --json)\n"
    "  config               print the effective configuration and where each value comes from\n"
    "  status               what the running server does; pools: its instances; events: what changed\n"
    "  drain | ready        take an instance, POOL/SERVER, out of use or back; weight: how much it gets\n"
    "  add | remove         give a pool one instance more, or one less, while it runs\n"
    "  resume ROUTE         give a canary that was stopped its share again\n"
    "  reload | stop        change to the new configuration; stop after open requests\n"
    "  upgrade              let the program's new version take over, without losing a request\n"
    "  explain URL          what would happen to a request, why, and what would change it\n"
    "  purge URL...         make stored copies of a URL disappear\n"
    "  version\n"
    "\n"
    "-c FILE   configuration (default " ADMIN_DEFAULT_CONFIG ")\n"
    "-s SOCKET admin socket of the running server; --json prints JSON\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n"
    "status and those below it have a --help of their own. See millpond(1) and millpond.ini(5).\n";

static char *const *program_arguments; /* of main */

static int usage_error(const char *what, const char *arg)
{
    fprintf(stderr, "millpond: %s%s\nTry 'millpond help'.\n", what, arg);
    return EXIT_USAGE;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static int unexpected(const char *arg)
{
    if (!ends_with(arg, ".ini"))
        return usage_error("unexpected argument: ", arg);
    fprintf(stderr, "millpond: a file is named by -c: -c %s\n", arg);
    return EXIT_USAGE;
}

/* The options of run, check and config: -c FILE, and the command's own flags in `options`, of which the last
 * that was given is told by its value. */
static int parse_options(int argc, char **argv, const struct option *options, const char **path, int *flag)
{
    int opt;
    char text[8];
    *path = ADMIN_DEFAULT_CONFIG;
    *flag = 0;
    optind = 0;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        snprintf(text, sizeof text, "-%c", optopt);
        if (opt == ':')
            return usage_error(argv[optind - 1], " needs a file");
        if (opt == '?')
            return usage_error("unknown option ", optopt > 0 && optopt < 256 ? text : argv[optind - 1]);
        if (opt == 'c')
            *path = optarg;
        else
            *flag = opt;
    }
    return optind == argc ? EXIT_DONE : unexpected(argv[optind]);
}

static const struct option run_options[] = {{"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
static const struct option check_options[] = {
    {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
static const struct option config_options[] = {{"config", required_argument, NULL, 'c'},
                                               {"markdown", no_argument, NULL, 'd'},
                                               {"man", no_argument, NULL, 'm'},
                                               {NULL, 0, NULL, 0}};
static const struct option version_options[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};

static int command_run(int argc, char **argv)
{
    const char *path;
    int flag, rc = parse_options(argc, argv, run_options, &path, &flag);
    return rc != EXIT_DONE ? rc : server_main(path, program_arguments);
}

static int command_check(int argc, char **argv)
{
    const char *path;
    int flag, rc = parse_options(argc, argv, check_options, &path, &flag);
    if (rc != EXIT_DONE)
        return rc;
    return command_check_file(path, flag == 'j', stdout) ? EXIT_DONE : EXIT_USAGE;
}

static int print_config(const char *path)
{
    struct config_problems problems = {0};
    struct config *c = config_load(path, &problems);
    for (size_t i = 0; c == NULL && i < problems.count; i++)
        fprintf(stderr, "%s\n", problems.items[i].text);
    config_problems_free(&problems);
    if (c == NULL)
        return EXIT_USAGE;
    config_print(c, stdout);
    config_unref(c);
    return EXIT_DONE;
}

static int command_config(int argc, char **argv)
{
    const char *path;
    int flag, rc = parse_options(argc, argv, config_options, &path, &flag);
    if (rc != EXIT_DONE)
        return rc;
    if (flag == 0)
        return print_config(path);
    if (flag == 'd')
        config_print_markdown(stdout);
    else
        config_print_man(stdout);
    return EXIT_DONE;
}

static int command_version(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json)
        return usage_error("unexpected argument: ", argv[1]);
    command_print_version(json, stdout);
    return EXIT_DONE;
}

static int command_help(int argc, char **argv)
{
    UNUSED(argc);
    UNUSED(argv);
    fputs(usage_text, stdout);
    return EXIT_DONE;
}

static int command_complete(int argc, char **argv);

static const struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *text;             /* what shells say of it; NULL: nothing, or what its --help says */
    const struct option *options; /* of those with a text; NULL: none */
} commands[] = {
    {"run", command_run, "Serves in the foreground until it is told to stop.", run_options},
    {"check", command_check, "Tells what is wrong with the configuration.", check_options},
    {"config", command_config, "Prints the effective configuration.", config_options},
    {"demo", demo_main, "Runs two sample instances behind a cache, to try things on.", demo_options},
    {"version", command_version, "Prints the version.", version_options},
    {"help", command_help, "Prints all commands.", NULL},
    {"complete", command_complete, NULL, NULL},
    {"demo-app", demo_app_main, NULL, NULL},
    {"--version", command_version, NULL, NULL},
    {"-v", command_version, NULL, NULL},
    {"-V", command_version, NULL, NULL},
    {"--help", command_help, NULL, NULL},
    {"-h", command_help, NULL, NULL},
    {"status", admin_client_main, NULL, NULL},
    {"reload", admin_client_main, NULL, NULL},
    {"stop", admin_client_main, NULL, NULL},
    {"purge", admin_client_main, NULL, NULL},
    {"add", admin_client_main, NULL, NULL},
    {"remove", admin_client_main, NULL, NULL},
    {"drain", admin_client_main, NULL, NULL},
    {"ready", admin_client_main, NULL, NULL},
    {"resume", admin_client_main, NULL, NULL},
    {"weight", admin_client_main, NULL, NULL},
    {"pools", admin_client_main, NULL, NULL},
    {"explain", admin_client_main, NULL, NULL},
    {"events", admin_client_main, NULL, NULL},
    {"upgrade", admin_client_main, NULL, NULL},
};

static int command_complete(int argc, char **argv)
{
    struct client_complete_command others[ARRAY_LEN(commands)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].text != NULL)
            others[count++] =
                (struct client_complete_command){commands[i].name, commands[i].text, commands[i].options};
    }
    client_complete(others, count, argc - 1, argv + 1, stdout);
    return EXIT_DONE;
}

/* Words that other programs have for it. */
static const struct {
    const char *word, *command;
} foreign_commands[] = {
    {"-t", "check"},  {"test", "check"}, {"validate", "check"}, {"configtest", "check"}, {"lint", "check"},
    {"start", "run"}, {"serve", "run"},  {"quit", "stop"},      {"shutdown", "stop"},    {"ban", "purge"},
    {"-s", "reload"}, {"log", "events"}, {"disable", "drain"},  {"enable", "ready"},
};

static int unknown_command(const char *name)
{
    struct option_guess guess = {.word = slice_str(name)};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].text != NULL || commands[i].main == admin_client_main)
            option_guess_offer(&guess, commands[i].name);
    }
    for (size_t i = 0; i < ARRAY_LEN(foreign_commands); i++) {
        if (strcmp(foreign_commands[i].word, name) == 0)
            guess.best = foreign_commands[i].command;
    }
    if (ends_with(name, ".ini"))
        return unexpected(name);
    if (guess.best == NULL)
        return usage_error("no such command: ", name);
    fprintf(stderr, "millpond: no such command: %s; did you mean 'millpond %s'?\n", name, guess.best);
    return EXIT_USAGE;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

static bool is_planned(const char *name)
{
    static const char *const planned[] = {"top", "history", "rollback"};
    for (size_t i = 0; i < ARRAY_LEN(planned); i++) {
        if (strcmp(name, planned[i]) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    program_arguments = argv;
    tls_sleep_init();
    h2_sleep_init();
    if (argc < 2 || strncmp(argv[1], "-c", 2) == 0 || strncmp(argv[1], "--config", strlen("--config")) == 0)
        return command_run(argc, argv);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        bool has_own_help = commands[i].main == admin_client_main || commands[i].main == command_complete;
        return !has_own_help && asks_for_help(argc, argv) ? command_help(argc, argv)
                                                          : commands[i].main(argc - 1, argv + 1);
    }
    if (is_planned(argv[1]))
        return usage_error("this version does not have the command yet: ", argv[1]);
    return unknown_command(argv[1]);
}
