/* millpond.h: the real program under test ($MILLPOND), started on ports the kernel chooses and stopped again.
 *
 * A test gives pools and routes; what every test needs (a runtime directory of its own, port 0, an admin
 * address and token, the access log on stdout) is added here. Both logs are captured. Test thread; failures
 * fail the test. */
#ifndef TESTS_SUPPORT_MILLPOND_H
#define TESTS_SUPPORT_MILLPOND_H

#include <jansson.h>

#include "tests/support/client.h"
#include "tests/support/origin.h"
#include "tests/support/proc.h"

#define MILLPOND_TOKEN "token-of-the-tests"

struct millpond {
    struct proc *proc;
    char *ini;    /* path of the configuration */
    char *socket; /* path of the admin socket */
    char *dir;    /* runtime and state directory */
    int port, admin_port;
};

/* Lines for the sections that every configuration has; a key given here replaces the one the harness would
 * write. NULL means none. */
struct millpond_options {
    const char *name; /* of its folder below the test's, for one of several; NULL: that folder itself */
    const char *main, *log, *listen, *cache, *admin;
    const char *rest; /* whole sections: pools, routes, more listeners */
    const char *const *env;
    const char *program; /* NULL: $MILLPOND */
    unsigned max_fds;
    uint64_t max_memory; /* address space in bytes; not with sanitizers */
    bool stderr_unread;  /* nobody reads its stderr once it is ready */
};

/* The text of a configuration, for millpond_write_ini and for `check`. */
char *millpond_ini(const struct millpond_options *o);
/* Writes the configuration anew without telling the program. */
#define millpond_write_ini(m, ...) millpond_write_ini_(m, &(struct millpond_options){__VA_ARGS__})
void millpond_write_ini_(struct millpond *m, const struct millpond_options *o);

/* millpond_start(.cache = "...", .rest = ...) */
#define millpond_start(...) (SUPPORT_AT, millpond_start_(&(struct millpond_options){__VA_ARGS__}))
struct millpond *millpond_start_(const struct millpond_options *o);
/* In front of one origin, without probes; `sections` follows the pool's own lines, so it may begin with keys
 * of it. */
#define millpond_before(origin, sections) (SUPPORT_AT, millpond_before_(origin, sections))
struct millpond *millpond_before_(struct origin *origin, const char *sections);
/* The lines "[pool NAME]", one server each and health_check = off. `count` origins follow. */
char *pool_lines(const char *name, unsigned count, ...);

/* Closes the test's clients, so that there is nothing to drain, then SIGTERM; the program must end with
 * status 0, have reported nothing to a sanitizer, and left no socket or pid file. */
#define millpond_stop(m) (SUPPORT_AT, millpond_stop_(m))
void millpond_stop_(struct millpond *m);
/* What millpond_stop checks after the end of the process, for tests that end it in another way. */
#define millpond_expect_clean_end(m) (SUPPORT_AT, millpond_expect_clean_end_(m))
void millpond_expect_clean_end_(struct millpond *m);

int millpond_port(struct millpond *m, const char *listen_name);
/* Waits for a text in the error log (stderr), or in the access log (stdout), `times` times. */
#define millpond_wait_log(m, text, times)    (SUPPORT_AT, capture_wait_(&(m)->proc->err, text, times))
#define millpond_wait_access(m, text, times) (SUPPORT_AT, capture_wait_(&(m)->proc->out, text, times))
/* The access log's JSON line that holds `text`, after waiting for it. */
#define millpond_access_line(m, text) (SUPPORT_AT, millpond_access_line_(m, text))
json_t *millpond_access_line_(struct millpond *m, const char *text);

/* Runs `millpond ARGS... -s SOCKET`; the list ends with NULL. millpond_run takes exactly the arguments given.
 */
struct proc_result millpond_cli(struct millpond *m, ...);
struct proc_result millpond_run(const char *first, ...);
/* The same, and it must succeed. */
#define millpond_purge(m, url) (SUPPORT_AT, millpond_purge_(m, url))
void millpond_purge_(struct millpond *m, const char *url);

/* `millpond status --json`; valid until the test ends. */
#define millpond_status(m) (SUPPORT_AT, millpond_status_(m))
json_t *millpond_status_(struct millpond *m);
/* The first member of that name anywhere in the document, or NULL. */
json_t *json_find(json_t *root, const char *name);
/* A number of the status, of its counters (named as in core/metrics_tbl.h) before any other; fails when it is
 * not there. The second waits until it is that value. */
#define millpond_figure(m, name)             (SUPPORT_AT, millpond_figure_(m, name))
#define millpond_wait_figure(m, name, value) (SUPPORT_AT, millpond_wait_figure_(m, name, value))
int64_t millpond_figure_(struct millpond *m, const char *name);
void millpond_wait_figure_(struct millpond *m, const char *name, int64_t value);
/* Everything that lives for a request or a connection is gone. */
#define millpond_wait_idle(m) (SUPPORT_AT, millpond_wait_idle_(m))
void millpond_wait_idle_(struct millpond *m);
/* A text that the API's list of pools has for the instance of that name: "state", "reason". The second waits
 * until the state is that one. */
#define millpond_instance_text(m, name, key) (SUPPORT_AT, millpond_instance_text_(m, name, key))
#define millpond_wait_state(m, name, wanted) (SUPPORT_AT, millpond_wait_state_(m, name, wanted))
const char *millpond_instance_text_(struct millpond *m, const char *name, const char *key);
void millpond_wait_state_(struct millpond *m, const char *name, const char *wanted);
/* An HTTP request to the admin address with the token. */
struct message *millpond_admin(struct millpond *m, const char *method, const char *target);

/* From /proc: "VmRSS", "VmHWM" (the highest so far) or "RssAnon" in bytes; open descriptors; CPU time used.
 */
uint64_t millpond_memory(struct millpond *m, const char *which);
void millpond_reset_high_water(struct millpond *m);
unsigned millpond_fds(struct millpond *m);
uint64_t millpond_cpu_ms(struct millpond *m);

/* http://test:PORT/... as clients of these tests ask for it (Host: test): the URL to purge. */
char *url_of(const char *target);

#endif
