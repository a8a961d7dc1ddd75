/* names.h: a name server of the test's own: UDP on 127.0.0.1, a thread that answers as the test says at the
 * moment. Names are looked up without regard to case; a name that was never set does not exist (NXDOMAIN).
 * Stopped at the end of the test at the latest. Test thread. */
#ifndef TESTS_SUPPORT_NAMES_H
#define TESTS_SUPPORT_NAMES_H

#include "tests/support/support.h"

struct names;

enum names_manner {
    NAMES_ANSWERED,
    NAMES_SILENT,
    NAMES_SERVFAIL,
    NAMES_REFUSED,
    NAMES_GARBAGE,  /* bytes that are no message, and then nothing */
    NAMES_WRONG_ID, /* another address under another id, and then the right answer */
    NAMES_OTHER,    /* another address for another question, and then the right answer */
    NAMES_CUT,      /* truncated, without any record */
    NAMES_NO_EDNS,  /* FORMERR to who brings EDNS, an answer to who does not */
    NAMES_FORMERR,  /* to everybody */
    NAMES_V4_ONLY,  /* SERVFAIL to AAAA */
    NAMES_V6_ONLY,  /* SERVFAIL to A */
    NAMES_LATE,     /* nothing to the first query of each name and type, which is answered after the second */
    NAMES_ALL_CHANGE /* each A answer has 40 addresses that were never there: a flood */
};

struct names *names_start(void);
void names_stop(struct names *s);
int names_port(const struct names *s);
/* What it says from now on of `name`: addresses, of both families, with blanks between them; "": it has none.
 * An "=other.name" instead makes it an alias of that. NULL: there is no such name. */
void names_set(struct names *s, const char *name, unsigned ttl_s, const char *addresses);
void names_behave(struct names *s, enum names_manner manner);
/* Queries of type A for that name so far, and a wait until there were that many. */
unsigned names_asked(struct names *s, const char *name);
#define names_wait_asked(s, name, n) (SUPPORT_AT, names_wait_asked_(s, name, n))
void names_wait_asked_(struct names *s, const char *name, unsigned n);

#endif
