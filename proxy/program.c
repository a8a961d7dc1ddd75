/* program.c: see program.h. Rejected: /proc/self/exe when it is needed; it then names a file that was
 * replaced as "(deleted)", and never the link that leads to the newest version. */
#include "proxy/program.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/handover.h"

/* Set once. */
static char program[PATH_MAX];
static char *const *program_argv;

/* Taken when it is the file that runs now. */
static bool program_is_at(const char *path)
{
    struct stat running, there;
    char here[PATH_MAX] = "";
    if (strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/", 5) == 0 ||
        stat("/proc/self/exe", &running) != 0 || stat(path, &there) != 0 || running.st_dev != there.st_dev ||
        running.st_ino != there.st_ino || (path[0] != '/' && getcwd(here, sizeof here) == NULL))
        return false;
    const int n = snprintf(program, sizeof program, "%s%s%s", here, here[0] != '\0' ? "/" : "", path);
    return n < (int)sizeof program;
}

/* The name it was called by may be a link that is turned to the next version, so that comes first; for a name
 * without a slash, PATH was searched, and the kernel knows the result. */
void program_remember(char *const *argv)
{
    char path[PATH_MAX];
    const char *called = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    program_argv = argv;
    if ((strchr(argv[0], '/') != NULL && program_is_at(argv[0])) || (called != NULL && program_is_at(called)))
        return;
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[MAX(n, 0)] = '\0';
    if (n <= 0 || !program_is_at(path))
        program[0] = '\0';
}

const char *program_path(void)
{
    return program;
}

/* An array on the heap of borrowed texts; NULL: no memory. */
static char **environment_for_child(void)
{
    static char told[64];
    const size_t name = strlen(HANDOVER_VARIABLE);
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **env = calloc(count + 2, sizeof *env);
    for (size_t i = 0; env != NULL && i < count; i++) {
        if (strncmp(environ[i], HANDOVER_VARIABLE, name) != 0 || environ[i][name] != '=')
            env[kept++] = environ[i];
    }
    snprintf(told, sizeof told, HANDOVER_VARIABLE "=%d", HANDOVER_CHILD_FD);
    if (env != NULL)
        env[kept] = told;
    return env;
}

/* It finds standard input and output, and the channel; no other descriptor, whoever opened it. A group of its
 * own, so that what it starts in its turn can be ended with it. */
int program_spawn(int channel, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    char **env = environment_for_child();
    if (env == NULL)
        return ENOMEM;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int error = posix_spawn_file_actions_adddup2(&files, channel, HANDOVER_CHILD_FD);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(&files, HANDOVER_CHILD_FD + 1);
    if (error == 0)
        error = posix_spawn(pid, program, &files, &how, program_argv, env);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    free(env);
    return error;
}
