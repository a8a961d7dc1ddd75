/* outcome.c: names and sentences of the outcome tables. */
#include "core/outcome.h"

#include "core/panic.h"

#define NAME(id, name, text) name,
#define TEXT(id, name, text) text,

#define OUTCOME_FUNCTIONS(fn, type, TABLE, count)                                                            \
    const char *outcome_##fn##_name(enum type v)                                                             \
    {                                                                                                        \
        static const char *const names[] = {TABLE(NAME)};                                                    \
        ASSERT((unsigned)v < (count));                                                                       \
        return names[v];                                                                                     \
    }                                                                                                        \
    const char *outcome_##fn##_text(enum type v)                                                             \
    {                                                                                                        \
        static const char *const texts[] = {TABLE(TEXT)};                                                    \
        ASSERT((unsigned)v < (count));                                                                       \
        return texts[v];                                                                                     \
    }

OUTCOME_FUNCTIONS(verdict, cache_verdict, OUTCOME_CACHE_VERDICTS, VERDICT_COUNT)
#define NO_STORE_SAID(X)                OUTCOME_NO_STORE(X) OUTCOME_NO_STORE(X##_REMEMBERED)
#define NAME_REMEMBERED(id, name, text) "remembered_" name,
#define TEXT_REMEMBERED(id, name, text)                                                                      \
    "an earlier response for this key could not be stored; not queued: " text,
OUTCOME_FUNCTIONS(no_store, no_store_reason, NO_STORE_SAID, NO_STORE_SAID_COUNT)
OUTCOME_FUNCTIONS(close, close_reason, OUTCOME_CLOSES, CLOSE_COUNT)
OUTCOME_FUNCTIONS(purge_kind, purge_kind, OUTCOME_PURGE_KINDS, PURGE_KIND_COUNT)
OUTCOME_FUNCTIONS(purge_source, purge_source, OUTCOME_PURGE_SOURCES, PURGE_SOURCE_COUNT)
OUTCOME_FUNCTIONS(rate_limit, rate_outcome, OUTCOME_RATE_LIMITS, RATE_OUTCOME_COUNT)
OUTCOME_FUNCTIONS(basic_auth, auth_outcome, OUTCOME_BASIC_AUTH, AUTH_OUTCOME_COUNT)
OUTCOME_FUNCTIONS(remote_load, remote_load, OUTCOME_REMOTE_LOADS, REMOTE_LOAD_COUNT)
OUTCOME_FUNCTIONS(remote_save, remote_save, OUTCOME_REMOTE_SAVES, REMOTE_SAVE_COUNT)

#undef NAME
#undef TEXT
#define NAME(id, name, status, text) name,
#define TEXT(id, name, status, text) text,
OUTCOME_FUNCTIONS(fetch, fetch_error, OUTCOME_FETCH_ERRORS, FETCH_ERROR_COUNT)

unsigned outcome_fetch_status(enum fetch_error e)
{
#define X(id, name, status, text) status,
    static const uint16_t statuses[] = {OUTCOME_FETCH_ERRORS(X)};
#undef X
    ASSERT((unsigned)e < FETCH_ERROR_COUNT);
    return statuses[e];
}
