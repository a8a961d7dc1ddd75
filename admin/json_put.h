/* json_put.h: one member more of a JSON object, for all that answers in JSON. Any thread; what cannot be had
 * for want of memory is left out. */
#ifndef ADMIN_JSON_PUT_H
#define ADMIN_JSON_PUT_H

#include <jansson.h>
#include <stdint.h>

static inline void admin_put_int(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* UTF-8; what is none is left out, too. */
static inline void admin_put_text(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, json_string(text));
}

#endif
