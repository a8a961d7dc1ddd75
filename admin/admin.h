/* admin.h: the control socket, the HTTP API and the metrics page, and the command line that talks to them.
 *
 * Two doors (door.h) on the control thread: the unix socket, trusted by its file mode, and, when configured,
 * [admin] address, with a token and a check of Host. It knows the cache and the balancer; what belongs to
 * the proxy it gets as callbacks at creation. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <jansson.h>

#include "balancer/balancer.h"
#include "cache/cache.h"
#include "config/config.h"
#include "core/worker.h"

#define ADMIN_SERVER_NAME_BYTES 1024

/* What somebody wants explained: a request as a client would send it. Borrowed. */
struct admin_question {
    const char *url;
    const char *method;        /* NULL: GET */
    const char *const *fields; /* "Name: value" */
    size_t field_count;
};

struct cache_purge_result;

/* Whom an answer goes to: once, which takes it over (NULL: no memory). Control thread. */
struct admin_reply {
    void (*on_answer)(void *to, json_t *answer);
    void *to;
};

/* A server that is to be added to a pool, or taken out of it, while the program runs. Borrowed. */
struct admin_server_change {
    const char *pool;
    const char *text;   /* to add it, as the ini file says it behind `server =`; NULL: */
    const char *server; /* the name of the one to take out */
    const char *who;    /* for the log */
    bool force;         /* also when nobody would be left to take requests */
};
enum admin_change_result {
    ADMIN_CHANGED,
    ADMIN_CHANGE_NO_POOL,
    ADMIN_CHANGE_NO_SERVER,
    ADMIN_CHANGE_LAST_ONE,
    ADMIN_CHANGE_REFUSED
};
struct admin_changed {
    enum admin_change_result result;
    char server[ADMIN_SERVER_NAME_BYTES]; /* the name it has in its pool */
    uint64_t in_flight;                   /* of one that was taken out: what still runs there */
    const char *error, *hint;             /* of REFUSED, static */
    json_t *problems; /* of REFUSED: what the configuration says to it; the caller's; or NULL */
};

/* What the proxy does on behalf of the admin; all on the control thread. `arg` is handed back. */
struct admin_ops {
    void *arg;
    struct cache *(*cache)(void *arg); /* NULL when store = off */
    struct balancer *(*balancer)(void *arg);
    struct config *(*config)(void *arg); /* borrowed: the current snapshot */
    /* Starts a reload; the outcome is known when it returns. false: refused, `problems` (JSON array of
     * strings) says why. */
    bool (*reload)(void *arg, json_t **problems);
    /* When it returns true, all requests that begin go by it. */
    bool (*change_servers)(void *arg, const struct admin_server_change *what, struct admin_changed *out);
    void (*stop)(void *arg); /* begins the drain; returns at once */
    /* Starts the program anew to take this process's place. true: an object goes to `reply` when that is
     * decided, {"pid", "version", "old_pid"} or {"error", "hint", "problems"}; false with texts in *error and
     * *hint, good until the next call, when nothing was started. */
    bool (*upgrade)(void *arg, const char *who, const struct admin_reply *reply, const char **error,
                    const char **hint);
    /* A socket that listens on this address already, which is the caller's then; -1: there is none. NULL:
     * never.
     */
    int (*inherit)(void *arg, const struct net_addr *addr);
    /* The key texts under which a URL may be stored, by the rules of the routes it may take, in the arena; 0:
     * out of memory. NULL: by the default rules. */
    size_t (*url_keys)(void *arg, const struct cache_url *url, struct arena *arena, slice_t **texts);
    /* What becomes of a purge that is shared with other nodes: "sent", "kept" (on disk until they can be
     * told) or "pending" (in memory until then). May wait for the disk, for a moment. */
    const char *(*purge_fate)(void *arg, const struct cache_purge_result *r);
    /* Adds the proxy's own part to the status object, which holds everything else already: "state" (running,
     * draining), "connections_limit" (max_connections, or what descriptors allow), "listeners" (array of
     * address texts), "tls" (array: "listen", "problem" (null, or why changed files are not used),
     * "certificates" with "file", "names" and when each expires), "redis" (null, or an object with "mode",
     * "trouble" and "servers"), "splits" (array: "route", "state", "stopped_at_ms", and "stable" and "canary"
     * with "pool", "weight", "requests", "failures", "p95_ms"), "upgrade" ("under_way", "problems"
     * of the last if it failed, "from": null, or "at_ms", "old_pid", "old_version", "old_serves"), and into
     * its "config" object "last_reload"
     * {"ok", "at_ms" (wall clock), "problems" (array of strings)} once there was one. */
    void (*status)(void *arg, json_t *into);
    /* Gives the canary of a route its share again; the route's object of "splits" in the status, NULL: no
     * such route is split. */
    json_t *(*resume)(void *arg, const char *route, const char *who);
    /* What would happen to this request now, and why. true: an object goes to `reply`, before this returns or
     * later, perhaps after admin_destroy; false with static texts in *error and *hint when the question makes
     * no request. */
    bool (*explain)(void *arg, const struct admin_question *q, const struct admin_reply *reply,
                    const char **error, const char **hint);
};

struct admin;

/* Binds socket and address of `c`; NULL and a message in `err` when that fails. */
struct admin *admin_create(struct worker *control, const struct admin_ops *ops, const struct config *c,
                           char *err, size_t err_bytes);
/* Takes over changed settings (socket path, address, token, hosts); on failure the old ones stay. */
bool admin_change(struct admin *a, const struct config *c, char *err, size_t err_bytes);
/* The bound address when [admin] address is on (port 0 resolved by the kernel); len 0 otherwise. */
struct net_addr admin_local_addr(const struct admin *a);
/* The listening socket of the unix socket, or of the address, and where it is by the configuration; -1: there
 * is none. It stays the admin's. */
int admin_listening(const struct admin *a, bool of_address, struct net_addr *addr);
/* What was inherited is this process's alone from now on; until then it could end and leave no trace. */
void admin_take_over(struct admin *a);
/* Another process answers now: nothing more is accepted, and what is asked on open connections is refused
 * with 503 and "moved". The file of the socket stays where that process has it. */
void admin_leave(struct admin *a, bool socket_is_kept);
void admin_destroy(struct admin *a);

/* The configuration every command reads that gets no -c FILE. */
#define ADMIN_DEFAULT_CONFIG "/etc/millpond/millpond.ini"

/* The client commands of the command line (client.c has their table). argv[0] is the command's name. Finds
 * the socket by -s SOCKET or from -c FILE (default as `run`). Prints for people on a terminal, JSON with
 * --json. Returns the exit status: 0 done, 1 refused or failed, 2 wrong usage. */
int admin_client_main(int argc, char **argv);

#endif
