/* film.h: an instance with one large document, each byte of which tells its place and version, and what a
 * test asks of answers that are put together from slices of it. */
#ifndef TESTS_SUPPORT_FILM_H
#define TESTS_SUPPORT_FILM_H

#include <stdatomic.h>

#include "tests/support/millpond.h"

#define SLICE (64 * 1024)

/* What it does with ranges. */
enum film_manner {
    FILM_SERVES,   /* as it should */
    FILM_IGNORES,  /* answers with the whole */
    FILM_SHIFTS,   /* other bytes than asked for, and says so */
    FILM_MISSTATES /* says another size each time */
};

struct film {
    struct origin *origin;
    /* what a test may change while requests come */
    _Atomic uint64_t size;
    const char *_Atomic etag, *_Atomic fields;
    _Atomic int version;              /* of what is sent; tells its ETag too, unless that is given */
    _Atomic int manner, manner_named; /* enum film_manner; of requests with `named` */
    _Atomic int fails, fails_named;   /* status of the answers; 0: they do not */
    const char *_Atomic named;        /* a field that tells who asks; Authorization */
    const char *_Atomic fail_fields;  /* of such answers */
    _Atomic uint64_t odd_from;        /* manner and failures are for ranges from this byte on */
    struct gate *half;                /* NULL, or where each body waits when half of it is out */
    _Atomic int gate_at,
        cut_at; /* number of a request that waits before its answer, or whose answer is cut */
    _Atomic uint64_t change_from; /* from this byte on it is of the version after; 0: nowhere */
    struct gate *gate;
    _Atomic int requests;
};

/* Lives until the test ends; the origin is started. */
struct film *film_new(uint64_t size);
/* Before it, on a route with slice = 64K; `cache` are lines of [cache]. */
struct millpond *film_start(struct film *f, const char *cache);
/* With further lines of the listener. */
struct millpond *film_start_listening(struct film *f, const char *cache, const char *listen);
/* GET /film with this range. */
struct message *film_ask(struct millpond *m, uint64_t first, uint64_t last, const char *fields);

/* Are these bytes the film's, of its version now? */
bool film_is(const struct film *f, const char *bytes, uint64_t from, uint64_t n);
#define film_expect(f, r, first, last) (SUPPORT_AT, film_expect_(f, r, first, last))
#define film_expect_whole(f, r)        (SUPPORT_AT, film_expect_whole_(f, r))
#define FILM_ASKED(f, n, range)        expect_field(origin_request((f)->origin, n), "Range", range)
void film_expect_(const struct film *f, const struct message *r, uint64_t first, uint64_t last);
void film_expect_whole_(const struct film *f, const struct message *r);

#endif
