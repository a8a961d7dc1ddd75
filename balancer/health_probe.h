/* health_probe.h: asks one instance again and again whether it is well, and reports each answer.
 *
 * It keeps no verdict: how many answers make a state is instance.c's business. Control thread only. */
#ifndef BALANCER_HEALTH_PROBE_H
#define BALANCER_HEALTH_PROBE_H

#include <event2/event_struct.h>

#include "config/config.h"
#include "core/worker.h"

#define HEALTH_REASON_BYTES 96

/* Pointers are borrowed from a snapshot that outlives the next health_probe_start or _stop. */
struct health_settings {
    enum config_health kind;
    const char *path, *host;                /* target and Host of the request; http only */
    uint16_t port;                          /* behind the host; 0 = none */
    enum proxy_header_version proxy_header; /* sent first */
    struct tls_target *tls;                 /* NULL: plain */
    const char *tls_name;
    bool http2;
    const struct config_status_range *ranges;
    size_t range_count;
    const char *body; /* what the body must hold; NULL or "": anything */
    dur_ms_t interval_ms, timeout_ms;
    int rise, fall; /* for the owner */
};

enum health_verdict {
    HEALTH_OK,
    HEALTH_UNREACHABLE, /* no connection could be made */
    HEALTH_UNHEALTHY,   /* connected, but the answer was wrong, late or missing */
    HEALTH_SKIPPED      /* we lacked descriptors or memory: says nothing about the instance */
};

struct health_result {
    enum health_verdict verdict;
    char reason[HEALTH_REASON_BYTES];
};

/* idle -> connecting (-> handshake) -> sending -> reading (-> searching) -> draining -> idle, and from
 * everywhere to idle.
 */
enum health_phase {
    HEALTH_IDLE,
    HEALTH_CONNECTING,
    HEALTH_HANDSHAKE, /* of TLS */
    HEALTH_SENDING,
    HEALTH_READING,
    HEALTH_SEARCHING, /* the body, for what it must hold */
    HEALTH_DRAINING
};

struct health_exchange;

/* Embedded in its instance. */
struct health_probe {
    uint32_t magic;
    /* set once */
    struct worker *control;
    const struct net_addr *addr;
    void (*on_result)(struct health_probe *p, const struct health_result *result);
    /* control thread */
    bool started;
    struct health_settings settings;
    enum health_phase phase;
    mono_ms_t begun_ms; /* when the latest probe began */
    struct deadline next, limit;
    int fd;
    struct event event;
    struct health_exchange *exchange; /* while one is under way */
};

/* `on_result` is the last thing a probe does in its turn: it may stop the probe. */
void health_probe_init(struct health_probe *p, struct worker *control, const struct net_addr *addr,
                       void (*on_result)(struct health_probe *p, const struct health_result *result));
/* Probes from now on, the first time after `delay_ms`. Of a probe that was started before only the settings
 * change: an answer under way stays, and so does the schedule unless the interval is now shorter. `kind` is
 * not CONFIG_HEALTH_OFF. */
void health_probe_start(struct health_probe *p, const struct health_settings *settings, dur_ms_t delay_ms);
void health_probe_stop(struct health_probe *p);
/* Something looked wrong: brings the next probe forward, but keeps a tenth of the interval between two. */
void health_probe_hurry(struct health_probe *p);

#endif
