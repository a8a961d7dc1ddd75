/* purge.h: the PURGE method: one URL out of the cache, from allowed addresses only. */
#ifndef PROXY_PURGE_H
#define PROXY_PURGE_H

#include "proxy/phase.h"

/* Answers a PURGE (or BAN, which this version refuses); part of phase ROUTE. */
enum phase_result purge_answer(struct exchange *x);

#endif
