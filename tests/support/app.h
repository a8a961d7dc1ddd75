/* app.h: real programs around the one under test: Node's http module and Python's http.server as instances,
 * HAProxy in front or behind, on ports the kernel chose. */
#ifndef TESTS_SUPPORT_APP_H
#define TESTS_SUPPORT_APP_H

#include "tests/support/proc.h"

struct app {
    struct proc *proc;
    int port;
};

bool app_has(const char *program); /* it is in PATH; tests skip otherwise */
/* `handler` is the body of JavaScript `function (req, res) {...}`. */
struct app app_node(const char *handler);
/* A program of tests/apps, with `node` or `python3`, on 127.0.0.1:port (0: the kernel's choice). */
struct app app_shop(const char *interpreter, const char *file, int port);
/* Serves the files of `dir`. */
struct app app_python_files(const char *dir);

/* HAProxy before one server: options of its port, such as "accept-proxy"; the server's address and options,
 * such as "127.0.0.1:80 send-proxy"; and more lines, such as "mode tcp". */
struct app app_haproxy(const char *bind, const char *server, const char *lines);

#endif
