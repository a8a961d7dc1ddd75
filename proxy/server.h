/* server.h: the whole program once it runs: control thread, workers, cache, balancer, admin, and what they
 * share.
 *
 *   STARTING -> RUNNING -> DRAINING -> STOPPED
 *
 * server.c starts and stops, server_listen.c opens sockets, server_reload.c changes the configuration under
 * way, server_upgrade.c lets another process take this one's place (and heir.c is what that one does),
 * server_files.c keeps the pid file and folders, server_admin.c answers the admin side. All but the functions
 * for workers belong to the control thread. */
#ifndef PROXY_SERVER_H
#define PROXY_SERVER_H

#include <jansson.h>

#include "admin/admin.h"
#include "config/change.h"
#include "config/config.h"
#include "core/net.h"
#include "core/tls_tickets.h"
#include "core/worker.h"
#include "proxy/admission.h"
#include "proxy/purge_twin.h"
#include "proxy/ticket_keys.h"

struct admin;
struct balancer;
struct arena;
struct cache;
struct cache_url;
struct client_conn;
struct event;
struct heir;
struct proxy_worker;
struct purge_share;
struct rate_table;
struct redis_link;
struct redis_watch;
struct server;
struct snapshot;
struct upgrade;
struct upstream_spill;

enum server_state { SERVER_STARTING, SERVER_RUNNING, SERVER_DRAINING, SERVER_STOPPED };

#define SERVER_SIGNALS 5

/* One traffic worker as the control thread sees it. */
struct server_worker {
    struct worker *worker;
    struct proxy_worker *proxy;
    struct mail done_mail; /* worker -> control: nothing left */
    struct server *server;
    bool started, done;
    _Atomic uint64_t generation; /* of the configuration that it works by; the worker's */
};

/* A bound address; the descriptors are the workers', who close them only when they are told to. */
struct server_listener {
    struct net_addr configured; /* as in the ini file */
    struct net_addr bound;      /* port 0 resolved by the kernel */
    char name[64];              /* of its section */
    int *fds;                   /* numbers, for handing them over */
    size_t fd_count;
    bool handed_over; /* another process serves it as well */
};

/* server_tls.c; control thread. */
struct server_tls {
    struct tls_tickets tickets; /* once made */
    bool tickets_made;
    struct ticket_keys keys;
    struct deadline rotation, look;
    mono_ms_t warned_ms;     /* last words about certificates that expire */
    wall_ms_t next_doubt_ms; /* an OCSP response ends */
};

/* Owned by server_main. Set once before the workers start, then control thread; `admission` is for any
 * thread. */
struct server {
    const char *config_path;
    enum server_state state;
    int exit_status;
    struct worker *control;
    struct server_worker *workers;
    size_t worker_count, workers_done;
    struct cache *cache;
    struct rate_table *limits;       /* of all routes with a rate_limit */
    struct purge_share *purge_share; /* NULL: this node is alone */
    struct balancer *balancer;
    struct upstream_spill *spill;
    struct redis_link *redis_link; /* NULL: no [redis], as the next */
    struct redis_watch *redis_watch;
    struct admin *admin;
    struct snapshot *snapshot;
    struct server_listener *listeners;
    size_t listener_count;
    struct event *signals[SERVER_SIGNALS];
    struct turn_hook reload_wanted; /* by SIGHUP */
    struct deadline shutdown_deadline;
    char pid_path[256];
    bool pid_written;     /* it is ours to remove */
    bool is_told_to_stop; /* when another process had taken over already */
    /* the last reload, for status */
    bool reload_tried, reload_ok;
    wall_ms_t reload_at_ms;
    json_t *reload_problems;
    struct config_changes changes; /* made at run time */
    struct heir *heir;             /* NULL: it was started by no other process of this program */
    struct upgrade *upgrade;       /* NULL: none is under way, nor was successful */
    json_t *upgrade_problems;      /* of the last, if it failed; else NULL */
    struct purge_twin twin;        /* the other process of an upgrade, older or newer */
    struct admission admission;
    struct server_tls tls;
};

/* Runs the configuration at `path` in the foreground until SIGTERM or SIGINT; `argv`, of the program, is what
 * an upgrade starts the next one with. Returns the exit status: 0
 * after a clean stop, 1 when something could not be started, 2 for a bad configuration. */
int server_main(const char *path, char *const *argv);

/* ---- for workers ---- */

struct upstream_spill *server_spill(struct server *s);
/* May one more client connection be taken (max_connections, max_connections_per_ip)? Counts it when it may.
 */
bool server_admit(struct server *s, const struct net_addr *peer, int max_per_ip, bool *by_ip);
/* The same for the address of a connection that was let in without counting one. */
bool server_admit_client(struct server *s, struct client_conn *c, int max_per_ip);
void server_release(struct server *s, const struct net_addr *peer, bool by_ip);
void server_connection_closed(struct server *s, const struct client_conn *c);
/* A draining worker has nothing left. */
void server_worker_done(struct server *s, struct proxy_worker *pw);

/* ---- between the server's files ---- */

/* Reads the file again and changes over, or refuses and changes nothing. When it returns, all workers go by
 * the new file, but for one that has been too busy for a second to take it up. */
bool server_reload(struct server *s, json_t **problems);
/* At the start: s->reload_wanted will be a reload at the end of its turn. */
void server_reload_begin(struct server *s);
/* Changes over to `c`, or adds to `problems` (an array of strings) and changes nothing. */
bool server_change_over(struct server *s, struct config *c, json_t *problems);

/* server_retired.c: once there is a balancer. */
void server_watch_retired(struct server *s);

/* server_change.c */
bool server_change_servers(void *arg, const struct admin_server_change *what, struct admin_changed *out);
/* After a reload: forgets the changes that the files have taken over, or whose pool is gone. */
void server_settle_changes(struct server *s);

/* cache_purge_request.url_keys by the routes in force; `arg` is the server. Control thread. */
size_t server_url_keys(void *arg, const struct cache_url *url, struct arena *arena, slice_t **texts);
/* Stops accepting and ends when open requests are done, or after shutdown_timeout; the second call ends at
 * once. */
void server_drain(struct server *s);
/* server_listen.c. Opens a listening descriptor per worker for one address; false with errno on failure.
 * `fds` has room for all workers. */
bool server_listen(struct server *s, const struct net_addr *addr, int *fds, struct net_addr *bound);
/* Both arrays are copied from. */
void server_set_listener(struct server_listener *l, const struct net_addr *configured,
                         const struct net_addr *bound, const char *name, const int *fds, size_t fd_count);
void server_log_listening(const struct net_addr *bound, const char *name);
/* At the start: those of the configuration, for workers that do not run yet. */
bool server_open_listeners(struct server *s, char *err, size_t err_bytes);
/* Just before workers run that took sockets over: those for whom there was none get theirs. */
void server_listen_by_all(struct server *s);
/* At the end: files of unix sockets that nobody serves any more are removed. */
void server_forget_listeners(struct server *s);
/* Its sockets, each once, into `fds`, which has room for fd_count; how many. */
size_t server_listener_sockets(const struct server_listener *l, int *fds);

/* server_files.c */
bool server_make_folder(const char *path, uid_t uid, gid_t gid, char *err, size_t err_bytes);
bool server_write_pid(struct server *s, char *err, size_t err_bytes);
/* Writes it again where somebody took it away. */
void server_renew_pid(struct server *s);
void server_remove_pid(struct server *s);
/* Becomes `user` and `group` (empty = stay) for good. */
bool server_drop_privileges(const struct config_main *m, char *err, size_t err_bytes);
bool server_find_user(const struct config_main *m, uid_t *uid, gid_t *gid, char *err, size_t err_bytes);
/* Tells systemd, when it asked to be told (NOTIFY_SOCKET). */
void server_notify(const char *state);
/* Raises the soft limit of descriptors to the hard one. Returns how many clients may be connected at a time:
 * max_connections, or fewer where these would leave instances none; then the log says so. */
uint32_t server_client_limit(int max_connections);
/* The same where there are `files`. */
uint32_t server_clients_of(uint64_t files, uint32_t max_connections);

/* server_tls.c */
bool server_tls_prepare(struct server *s);
void server_tls_start(struct server *s);
void server_tls_stop(struct server *s);
void server_tls_destroy(struct server *s);
/* The snapshot that server_build_snapshot made is in force. */
void server_tls_commit(struct server *s);
/* An array with an object for each listener that has TLS. */
json_t *server_tls_status(const struct server *s);
/* The same for each pool whose instances are spoken to by TLS. */
json_t *server_tls_pools_status(const struct server *s);
/* A snapshot with all it takes to serve it. NULL and a message on failure. */
struct snapshot *server_build_snapshot(struct server *s, struct config *c, char *err, size_t err_bytes);

/* server_admin.c */
struct admin *server_admin_create(struct server *s, char *err, size_t err_bytes);

#endif
