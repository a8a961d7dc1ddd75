/* main.c: the command line. Each command has its own file; this one only finds it. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "config/config.h"
#include "core/base.h"
#include "core/tls_sleep.h"
#include "proxy/command_check.h"
#include "proxy/demo.h"
#include "proxy/demo_app.h"
#include "proxy/server.h"

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: millpond [COMMAND] [-c FILE]\n"
    "\n"
    "  run                  serve in the foreground (the default)\n"
    "  demo                 two sample instances behind a cache, to try things on\n"
    "  check                tell what is wrong with the configuration (also --json)\n"
    "  config               print the effective configuration and where each value comes from\n"
    "  status               what the running server does; pools: its instances; events: what changed\n"
    "  drain | ready        take an instance, POOL/SERVER, out of use or back; weight: how much it gets\n"
    "  add | remove         give a pool one instance more, or one less, while it runs\n"
    "  resume ROUTE         give a canary that was stopped its share again\n"
    "  reload | stop        change to the new configuration; stop after open requests\n"
    "  explain URL          what would happen to a request, why, and what would change it\n"
    "  purge URL...         make stored copies of a URL disappear\n"
    "  version\n"
    "\n"
    "-c FILE   configuration (default " ADMIN_DEFAULT_CONFIG ")\n"
    "-s SOCKET admin socket of the running server; --json prints JSON\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n"
    "See millpond(1) and millpond.ini(5).\n";

static int usage_error(const char *what, const char *arg)
{
    fprintf(stderr, "millpond: %s%s\nTry 'millpond help'.\n", what, arg);
    return EXIT_USAGE;
}

/* The options shared by run, check and config: only -c. `flag` (may be NULL) takes a long option's name. */
static int parse_config_option(int argc, char **argv, const char **path, const char **flag)
{
    *path = ADMIN_DEFAULT_CONFIG;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
            *path = argv[++i];
        else if (strcmp(argv[i], "-c") == 0)
            return usage_error("-c needs a file", "");
        else if (flag != NULL && strncmp(argv[i], "--", 2) == 0)
            *flag = argv[i];
        else
            return usage_error("unexpected argument: ", argv[i]);
    }
    return EXIT_DONE;
}

static int command_run(int argc, char **argv)
{
    const char *path;
    int rc = parse_config_option(argc, argv, &path, NULL);
    return rc != EXIT_DONE ? rc : server_main(path);
}

static int command_check(int argc, char **argv)
{
    const char *path, *flag = "";
    int rc = parse_config_option(argc, argv, &path, &flag);
    if (rc != EXIT_DONE)
        return rc;
    bool json = strcmp(flag, "--json") == 0;
    if (flag[0] != '\0' && !json)
        return usage_error("unexpected argument: ", flag);
    return command_check_file(path, json, stdout) ? EXIT_DONE : EXIT_USAGE;
}

static int command_config(int argc, char **argv)
{
    const char *path, *flag = "";
    int rc = parse_config_option(argc, argv, &path, &flag);
    if (rc != EXIT_DONE)
        return rc;
    if (strcmp(flag, "--markdown") == 0) {
        config_print_markdown(stdout);
        return EXIT_DONE;
    }
    if (strcmp(flag, "--man") == 0) {
        config_print_man(stdout);
        return EXIT_DONE;
    }
    if (flag[0] != '\0')
        return usage_error("unexpected argument: ", flag);
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

static const struct command {
    const char *name;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"run", command_run},           {"check", command_check},
    {"config", command_config},     {"demo", demo_main},
    {"demo-app", demo_app_main},    {"version", command_version},
    {"--version", command_version}, {"help", command_help},
    {"--help", command_help},       {"-h", command_help},
    {"status", admin_client_main},  {"reload", admin_client_main},
    {"stop", admin_client_main},    {"purge", admin_client_main},
    {"add", admin_client_main},     {"remove", admin_client_main},
    {"drain", admin_client_main},   {"ready", admin_client_main},
    {"resume", admin_client_main},  {"weight", admin_client_main},
    {"pools", admin_client_main},   {"explain", admin_client_main},
    {"events", admin_client_main},
};

static bool is_planned(const char *name)
{
    static const char *const planned[] = {"top", "upgrade", "history", "rollback"};
    for (size_t i = 0; i < ARRAY_LEN(planned); i++) {
        if (strcmp(name, planned[i]) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    tls_sleep_init();
    if (argc < 2 || strcmp(argv[1], "-c") == 0)
        return command_run(argc, argv);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    }
    if (is_planned(argv[1]))
        return usage_error("this version does not have the command yet: ", argv[1]);
    return usage_error("no such command: ", argv[1]);
}
