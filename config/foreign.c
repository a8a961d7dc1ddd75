/* foreign.c: see foreign.h. The table is for messages only: nothing is ever read by a foreign name, since a
 * name that is nearly right has a value that is nearly right (60 for 60s, seconds for milliseconds). Looked
 * through from its beginning, once for each mistake. Rejected: more words for the same option in
 * option_tbl.h; the manual would have to list them. */
#include "config/foreign.h"

#include <string.h>

static const struct foreign_key foreign_keys[] = {
#define X(name, section, key, how) {(name), OPTION_##section, (key), (how)},
#include "config/foreign_tbl.h"
#undef X
};

static const struct {
    const char *name;
    enum option_section section;
} foreign_sections[] = {
    {"upstream", OPTION_POOL},   {"upstreams", OPTION_POOL},    {"backend", OPTION_POOL},
    {"backends", OPTION_POOL},   {"cluster", OPTION_POOL},      {"balancer", OPTION_POOL},
    {"frontend", OPTION_LISTEN}, {"server", OPTION_LISTEN},     {"listener", OPTION_LISTEN},
    {"bind", OPTION_LISTEN},     {"ssl", OPTION_LISTEN},        {"tls", OPTION_LISTEN},
    {"location", OPTION_ROUTE},  {"router", OPTION_ROUTE},      {"rule", OPTION_ROUTE},
    {"vhost", OPTION_ROUTE},     {"virtualhost", OPTION_ROUTE}, {"site", OPTION_ROUTE},
    {"global", OPTION_MILLPOND}, {"main", OPTION_MILLPOND},     {"events", OPTION_MILLPOND},
    {"logging", OPTION_LOG},     {"logs", OPTION_LOG},          {"stats", OPTION_ADMIN},
    {"api", OPTION_ADMIN},       {"dashboard", OPTION_ADMIN},   {"metrics", OPTION_ADMIN},
};

static bool foreign_is(slice_t word, const char *name)
{
    if (word.len != strlen(name))
        return false;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.ptr[i] == ' ' || word.ptr[i] == '-' ? '_' : ascii_lower(word.ptr[i]);
        if (c != name[i])
            return false;
    }
    return true;
}

const struct foreign_key *foreign_key_find(slice_t name)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign_keys); i++) {
        if (foreign_is(name, foreign_keys[i].name))
            return &foreign_keys[i];
    }
    return NULL;
}

bool foreign_section_find(slice_t name, enum option_section *out)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign_sections); i++) {
        if (foreign_is(name, foreign_sections[i].name)) {
            *out = foreign_sections[i].section;
            return true;
        }
    }
    return false;
}
