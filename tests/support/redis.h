/* redis.h: real Redis servers for a test: alone, with replicas and Sentinels, as a Cluster; and what can
 * happen to them.
 *
 * Each server listens on 127.0.0.1, on a port that the test holds for it (a bound socket that never listens),
 * so that a restart finds it free; and on a unix socket, over which the test itself talks to it, also when
 * its port speaks TLS or is cut off. Servers die with the test process. Whatever has to come about is waited
 * for in what the servers write, or asked for again until it is so; a wait that does not end fails the test.
 * Test thread. */
#ifndef TESTS_SUPPORT_REDIS_H
#define TESTS_SUPPORT_REDIS_H

#include "tests/support/proc.h"

struct redisContext;

enum redis_kind { REDIS_ALONE, REDIS_AS_SENTINEL, REDIS_IN_CLUSTER };

struct redis_server_options {
    enum redis_kind kind;
    const char *user;         /* an ACL user beside the default one; NULL = none */
    const char *password;     /* of both; NULL = none is needed */
    bool tls;                 /* the port speaks TLS, with the certificate of redis_tls_file */
    const char *const *lines; /* more lines of configuration, NULL-terminated; may be NULL */
};

/* Lives until the test ends. */
struct redis_process {
    const char *name; /* of its folder below the test's directory */
    uint16_t port, bus_port;
    char *address; /* "127.0.0.1:port" */
    char *unix_address;
    struct proc *proc;
    /* of the helper */
    char *folder, *socket_path;
    const char *password;
    enum redis_kind kind;
    struct redisContext *link;
};

/* Returns when it takes connections. */
#define redis_start(...) (SUPPORT_AT, redis_start_(__VA_ARGS__))
struct redis_process *redis_start_(const char *name, const struct redis_server_options *o);
void redis_kill(struct redis_process *p); /* SIGKILL */
void redis_freeze(struct redis_process *p);
void redis_thaw(struct redis_process *p);
/* After redis_kill, on the same port, with what redis_save wrote, or `empty`. */
void redis_restart(struct redis_process *p, bool empty);
void redis_save(struct redis_process *p);

/* The answer as text, valid until the test ends: elements separated by spaces, "(nil)", errors with "-"
 * before. The command is as for hiredis' redisCommand. */
char *redis_do(struct redis_process *p, const char *command, ...);
/* Asks again until the answer holds `wanted`. */
#define redis_until(p, wanted, ...) (SUPPORT_AT, redis_until_(p, wanted, __VA_ARGS__))
char *redis_until_(struct redis_process *p, const char *wanted, const char *command, ...);

/* PEM file that certifies itself for "localhost" and 127.0.0.1, with its key in redis_tls_key_file. */
char *redis_tls_file(void);
char *redis_tls_key_file(void);

/* ---- a primary, its replicas, three Sentinels that call it "millpond" ---- */

#define REDIS_SENTINELS 3

struct redis_group {
    struct redis_process *primary; /* the first one, whatever it is now */
    struct redis_process *replicas[2];
    struct redis_process *sentinels[REDIS_SENTINELS];
};
/* With `replicas` (0..2) in step, known to each Sentinel, as each Sentinel is. A primary that is silent for
 * `down_after_ms` is replaced. `o` is for the primary and its replicas, `sentinel_o` for the Sentinels;
 * either may be NULL. */
void redis_group_start(struct redis_group *g, unsigned replicas, int down_after_ms,
                       const struct redis_server_options *o, const struct redis_server_options *sentinel_o);
/* Makes the replica the primary, and waits until each Sentinel says so. */
void redis_group_fail_over(struct redis_group *g);
void redis_group_wait_for_primary(struct redis_group *g, const struct redis_process *primary);

/* ---- a Cluster of three masters ---- */

#define REDIS_MASTERS 3

struct redis_cluster_group {
    struct redis_process *masters[REDIS_MASTERS];  /* each with a third of the slots, in order */
    struct redis_process *replicas[REDIS_MASTERS]; /* or NULL */
};
void redis_cluster_group_start(struct redis_cluster_group *g, bool replicas, int node_timeout_ms,
                               const struct redis_server_options *o);
/* A further master without slots. */
struct redis_process *redis_cluster_group_join(struct redis_cluster_group *g, const char *name);
/* Until it is the master of its slots. */
void redis_cluster_take_over(struct redis_process *replica);
/* Keys of the slot are asked for at `from`, and at `to` when they are not there, until it is finished. */
void redis_slot_begin_move(struct redis_process *from, struct redis_process *to, unsigned slot);
void redis_slot_move_keys(struct redis_process *from, struct redis_process *to, unsigned slot);
void redis_slot_finish_move(struct redis_process *from, struct redis_process *to, unsigned slot);

#endif
