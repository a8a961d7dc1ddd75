/* foreign.h: what other proxies call things that are keys and sections here, so that a file written from
 * memory of nginx, HAProxy, Varnish, Caddy or Traefik is answered with the word that is meant. Constant data:
 * any thread. */
#ifndef CONFIG_FOREIGN_H
#define CONFIG_FOREIGN_H

#include "config/option.h"

/* A key, whole, without case, and with blanks and dashes for underscores; NULL: not known. */
const struct foreign_key {
    const char *name;
    enum option_section section; /* where what is meant stands */
    const char *key;             /* a key of that section */
    const char *how;             /* how to write it, when its own kind of value does not say; "" */
} * foreign_key_find(slice_t name);

/* The section that is meant; false: not known. */
bool foreign_section_find(slice_t name, enum option_section *out);

#endif
