/* purge.h: PURGE, PURGEKEYS and BAN on the listeners, from allowed addresses only. */
#ifndef PROXY_PURGE_H
#define PROXY_PURGE_H

#include "proxy/phase.h"

static inline bool purge_is_asked(const struct exchange *x)
{
    return x->req.method == HTTP_PURGE || x->req.method == HTTP_PURGEKEYS || x->req.method == HTTP_BAN;
}

/* Answers such a request; part of phase ROUTE. */
enum phase_result purge_answer(struct exchange *x);

#endif
