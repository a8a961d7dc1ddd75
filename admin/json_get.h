/* json_get.h: members of a JSON object for who prints it: what is not there (in another version's answer) is
 * 0 or "". Any thread. */
#ifndef ADMIN_JSON_GET_H
#define ADMIN_JSON_GET_H

#include <jansson.h>

static inline json_int_t int_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static inline const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

#endif
