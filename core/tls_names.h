/* tls_names.h: which certificates answer for which server name (SNI, RFC 6066 section 3).
 *
 * Of each kind of key one certificate can answer for a name, the client's algorithms decide between them: so
 * a name has a choice, one certificate per kind. An exact name goes before a wildcard, which stands for one
 * label (RFC 6125 section 6.4.3), and among equals the first that was added wins. Names that have the same
 * certificates share a choice. Pure but for memory; filled by one thread, then read by any. */
#ifndef CORE_TLS_NAMES_H
#define CORE_TLS_NAMES_H

#include "core/slice.h"

enum tls_key_kind { TLS_KEY_RSA, TLS_KEY_EC, TLS_KEY_ED25519, TLS_KEY_OTHER, TLS_KEY_KINDS };

/* Numbers of certificates; -1: none of this kind. */
struct tls_choice {
    int by_kind[TLS_KEY_KINDS];
};

struct tls_name {
    char *text; /* lower case; may begin with "*." */
    unsigned certificate;
    enum tls_key_kind kind;
    unsigned choice; /* once finished */
};

struct tls_names {
    struct tls_name *items; /* once finished, sorted and each text once */
    size_t count, capacity;
    struct tls_choice *choices; /* the first is for whoever asks for another name, or for none */
    size_t choice_count;
};

/* Certificate number `certificate` (0 is the first), whose key is of this kind, has this name. false when out
 * of memory. */
bool tls_names_add(struct tls_names *n, const char *text, enum tls_key_kind kind, unsigned certificate);
/* All names are there: works out the choices. `first_kind` is the kind of the first certificate's key, which
 * may have no name. false when out of memory. */
bool tls_names_finish(struct tls_names *n, enum tls_key_kind first_kind);
/* The index of a choice; 0 when no certificate has that name. Any case; a dot at the end is left out. */
unsigned tls_names_find(const struct tls_names *n, slice_t host);
void tls_names_free(struct tls_names *n);

#endif
