/* app.h: real applications as instances: Node's http module and Python's http.server, on ports the kernel
 * chose. */
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
/* Serves the files of `dir`. */
struct app app_python_files(const char *dir);

#endif
