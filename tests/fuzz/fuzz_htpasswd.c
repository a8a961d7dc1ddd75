/* fuzz_htpasswd.c: files of users. Whoever is in what was read is found by name, with a hash that has no more
 * than its line. */
#include <stdlib.h>

#include "core/htpasswd.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_problem(void *arg, unsigned line, const char *what)
{
    ASSERT(strlen(what) > 0 && (line > 0 || strcmp(what, "out of memory") == 0));
    ++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned problems = 0;
    char *text = malloc(size + 1); /* exactly as long, so that reading beyond it is seen */
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    struct htpasswd *h = htpasswd_parse(slice_make(text, size), count_problem, &problems);
    ASSERT((h != NULL) == (problems == 0));
    for (size_t i = 0; h != NULL && i < h->count; i++) {
        ASSERT(htpasswd_find(h, h->users[i].name) == &h->users[i]);
        ASSERT(strlen(h->users[i].hash) <= HTPASSWD_HASH_MAX && h->users[i].hash[0] == '$');
    }
    htpasswd_free(h);
    free(text);
    return 0;
}
