/* app.c: the applications are told port 0 and say on stdout which one they got. HAProxy is given a socket
 * that listens already, so nobody waits for it: who connects early is served once it is there. */
#include "tests/support/app.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

bool app_has(const char *program)
{
    const char *argv[] = {program, "--version", NULL};
    return proc_run(argv).exit_code == 0;
}

static struct app started(const char *const *argv)
{
    struct app a = {.proc = proc_start(&(struct proc_options){.argv = argv})};
    char *said = capture_wait_begun_(&a.proc->out, "\n");
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

struct app app_shop(const char *interpreter, const char *file, int port)
{
    const char *argv[] = {interpreter, textf("tests/apps/%s", file), textf("%d", port), NULL};
    return started(argv);
}

struct app app_python_files(const char *dir)
{
    const char *argv[] = {"python3", "-u",        "-m",          "http.server", "0",
                          "--bind",  "127.0.0.1", "--directory", dir,           NULL};
    return started(argv);
}

struct app app_haproxy(const char *bind_options, const char *server, const char *lines)
{
    static unsigned count;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        support_fail("cannot listen: %s", strerror(errno));
    char *cfg = support_path(textf("haproxy-%u.cfg", ++count));
    support_write_file(cfg, textf("defaults\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n"
                                  "listen x\n %s\n bind fd@3 %s\n server s %s\n",
                                  lines, bind_options, server));
    const char *argv[] = {"haproxy", "-db", "-q", "-f", cfg, NULL};
    struct app app = {.port = ntohs(a.sin_port)};
    app.proc = proc_start(&(struct proc_options){.argv = argv, .fd_3 = fd});
    close(fd);
    return app;
}
