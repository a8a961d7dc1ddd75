/* tls_names.c: see tls_names.h. A sorted array: looked into once per handshake, twice when a wildcard
 * answers. */
#include "core/tls_names.h"

#include <stdlib.h>
#include <string.h>

#define HOST_MAX 255

bool tls_names_add(struct tls_names *n, const char *text, enum tls_key_kind kind, unsigned certificate)
{
    if (n->count == n->capacity) {
        size_t capacity = MAX(2 * n->capacity, 8);
        struct tls_name *items = realloc(n->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        n->items = items;
        n->capacity = capacity;
    }
    char *copy = strdup(text);
    if (copy == NULL)
        return false;
    n->items[n->count++] = (struct tls_name){.text = copy, .certificate = certificate, .kind = kind};
    return true;
}

static int name_compare(const void *a, const void *b)
{
    const struct tls_name *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c != 0 ? c : (x->certificate > y->certificate) - (x->certificate < y->certificate);
}

/* The first item of that text; NULL: none. */
static const struct tls_name *name_first(const struct tls_names *n, const char *text)
{
    size_t from = 0, to = n->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(n->items[middle].text, text) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from < n->count && strcmp(n->items[from].text, text) == 0 ? &n->items[from] : NULL;
}

/* "*.example.com" of "www.example.com"; false when there is nothing above. */
static bool wildcard_of(const char *text, char *out)
{
    const char *dot = strchr(text, '.');
    if (dot == NULL || text[0] == '*' || dot[1] == '\0')
        return false;
    out[0] = '*';
    strcpy(out + 1, dot);
    return true;
}

static void choice_fill(const struct tls_names *n, const char *text, struct tls_choice *c)
{
    const struct tls_name *end = n->items + n->count;
    for (const struct tls_name *i = name_first(n, text); i != NULL && i < end && strcmp(i->text, text) == 0;
         i++) {
        if (c->by_kind[i->kind] < 0)
            c->by_kind[i->kind] = (int)i->certificate;
    }
}

static unsigned choice_intern(struct tls_names *n, const struct tls_choice *c)
{
    for (size_t i = 0; i < n->choice_count; i++) {
        if (memcmp(&n->choices[i], c, sizeof *c) == 0)
            return (unsigned)i;
    }
    n->choices[n->choice_count] = *c;
    return (unsigned)n->choice_count++;
}

static struct tls_choice choice_of(const struct tls_names *n, const char *text)
{
    struct tls_choice c = {{-1, -1, -1, -1}};
    char wildcard[HOST_MAX + 2];
    choice_fill(n, text, &c);
    if (strlen(text) <= HOST_MAX && wildcard_of(text, wildcard))
        choice_fill(n, wildcard, &c);
    return c;
}

/* Each text once from here on. */
static void names_unite(struct tls_names *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++) {
        if (kept > 0 && strcmp(n->items[kept - 1].text, n->items[i].text) == 0)
            free(n->items[i].text);
        else
            n->items[kept++] = n->items[i];
    }
    n->count = kept;
}

bool tls_names_finish(struct tls_names *n, enum tls_key_kind first_kind)
{
    const char *first = n->count > 0 && n->items[0].certificate == 0 ? n->items[0].text : NULL;
    n->choices = calloc(n->count + 1, sizeof *n->choices);
    if (n->choices == NULL)
        return false;
    if (n->count > 0)
        qsort(n->items, n->count, sizeof *n->items, name_compare);
    struct tls_choice c = {{-1, -1, -1, -1}};
    if (first != NULL)
        c = choice_of(n, first);
    c.by_kind[first_kind] = 0;
    choice_intern(n, &c);
    for (size_t i = 0; i < n->count; i++) {
        c = choice_of(n, n->items[i].text);
        n->items[i].choice = choice_intern(n, &c);
    }
    names_unite(n);
    return true;
}

unsigned tls_names_find(const struct tls_names *n, slice_t host)
{
    char text[HOST_MAX + 1], wildcard[HOST_MAX + 2];
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > HOST_MAX || host.ptr[0] == '*')
        return 0;
    for (size_t i = 0; i < host.len; i++)
        text[i] = ascii_lower(host.ptr[i]);
    text[host.len] = '\0';
    const struct tls_name *found = name_first(n, text);
    if (found == NULL && wildcard_of(text, wildcard))
        found = name_first(n, wildcard);
    return found != NULL ? found->choice : 0;
}

void tls_names_free(struct tls_names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i].text);
    free(n->items);
    free(n->choices);
    *n = (struct tls_names){.items = NULL};
}
