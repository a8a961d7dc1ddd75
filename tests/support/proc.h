/* proc.h: child processes with their output captured line by line, and waits for that output.
 *
 * Each of stdout and stderr has a thread that collects it, so a test waits for a text to appear instead of
 * for time to pass. A capture can be told to stop reading: then the child meets a full pipe, as with a stuck
 * log reader. Children die with the test process (PR_SET_PDEATHSIG). Test thread. */
#ifndef TESTS_SUPPORT_PROC_H
#define TESTS_SUPPORT_PROC_H

#include <pthread.h>
#include <sys/types.h>

#include "tests/support/support.h"

/* One pipe from a child. */
struct capture {
    int fd;
    pthread_t reader;
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    char *text; /* NUL-terminated */
    size_t len;
    bool paused, ended;
};

struct proc {
    pid_t pid;
    int pidfd;
    bool reaped;
    int status; /* of waitpid, once reaped */
    struct capture out, err;
};

struct proc_options {
    const char *const *argv; /* argv[0] is searched in PATH */
    const char *const *env;  /* NAME=value to add, NULL-terminated; may be NULL */
    const char *cwd;         /* NULL = as is */
    unsigned max_fds;        /* RLIMIT_NOFILE; 0 = as is */
    uint64_t max_memory;     /* RLIMIT_AS in bytes; 0 = as is */
    int fd_3;                /* what it finds open as descriptor 3; 0 = nothing */
};

/* Starts; killed at the end of the test when still running. */
struct proc *proc_start(const struct proc_options *o);
/* A process of the same output takes its place, which the program has started itself: the test stands in for
 * whoever inherits orphans. Waits until the first has ended; returns its exit code as proc_exit_code does. */
#define proc_follow(p, pid) (SUPPORT_AT, proc_follow_(p, pid))
int proc_follow_(struct proc *p, pid_t pid);
bool proc_wait(struct proc *p, int wait_ms); /* false: still running */
void proc_signal(struct proc *p, int sig);
void proc_kill(struct proc *p);       /* SIGKILL and wait */
uint64_t proc_cpu_ms(struct proc *p); /* that it has used, while it lives or is not waited for */
/* Exit code, or 128 + signal. Waits; fails the test when the process does not end. One that computes, such as
 * an interpreter that starts on a busy machine, is waited for longer. */
#define proc_exit_code(p) (SUPPORT_AT, proc_exit_code_(p))
int proc_exit_code_(struct proc *p);

/* Waits until the captured text holds `needle` at least `times` times; a copy, valid until the test ends. */
#define capture_wait(c, needle, times) (SUPPORT_AT, capture_wait_(c, needle, times))
char *capture_wait_(struct capture *c, const char *needle, unsigned times);
/* The first words of a program that others wrote: four times as long, since its start takes a machine's whole
 * attention, and is not what is tested. */
#define capture_wait_begun(c, needle) (SUPPORT_AT, capture_wait_begun_(c, needle))
char *capture_wait_begun_(struct capture *c, const char *needle);
char *capture_text(struct capture *c); /* so far; a copy, valid until the test ends */
/* After the process ended: everything it wrote. */
char *capture_all(struct capture *c);
void capture_pause(struct capture *c, bool paused);

struct proc_result {
    int exit_code;
    char *out, *err; /* valid until the test ends */
};
/* Runs to the end. */
struct proc_result proc_run(const char *const *argv);

#endif
