/* app.c: both programs are told port 0 and say on stdout which one they got. */
#include "tests/support/app.h"

bool app_has(const char *program)
{
    const char *argv[] = {program, "--version", NULL};
    return proc_run(argv).exit_code == 0;
}

static struct app started(const char *const *argv)
{
    struct app a = {.proc = proc_start(&(struct proc_options){.argv = argv})};
    char *said = capture_wait_(&a.proc->out, "\n", 1);
    const char *at = strstr(said, "port ");
    a.port = at != NULL ? atoi(at + strlen("port ")) : 0;
    if (a.port == 0)
        support_fail("%s did not name its port: %s", argv[0], said);
    return a;
}

struct app app_node(const char *handler)
{
    const char *argv[] = {"node", "-e",
                          textf("const s = require('http').createServer(function (req, res) { %s });"
                                "s.listen(0, '127.0.0.1', () => console.log('port ' + s.address().port));",
                                handler),
                          NULL};
    return started(argv);
}

struct app app_python_files(const char *dir)
{
    const char *argv[] = {"python3", "-u",        "-m",          "http.server", "0",
                          "--bind",  "127.0.0.1", "--directory", dir,           NULL};
    return started(argv);
}
