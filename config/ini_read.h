/* ini_read.h: the lines of one ini file as sections and key-value pairs, with line numbers.
 *
 * inih takes the lines apart, but it is silent where a person errs: it splits long lines in two, cuts section
 * names, takes an indented line as more of the value above, accepts `key: value`, ignores what follows a `]`
 * and says nothing of an empty section. So the lines are numbered and checked here first and handed to inih
 * one by one through its reader callback; what is refused here reaches it as a blank line. Pure but for
 * inih's globals (set once, to allow longer lines): control thread only. Rejected: ini_parse_string on the
 * whole text, which loses the line numbers. */
#ifndef CONFIG_INI_READ_H
#define CONFIG_INI_READ_H

#include "core/base.h"
#include "core/slice.h"

#define INI_READ_MAX_LINE    4000 /* bytes; fewer if inih can not be told to take more than its 200 */
#define INI_READ_MAX_SECTION 49   /* inih's limit for a section name */

/* Callbacks. Slices and strings last only during the call. */
struct ini_read_events {
    void *user;
    /* A section begins. `head` is what stands between the brackets, trimmed. */
    void (*on_section)(void *user, int line, slice_t head);
    /* The head of a section could not be read: the pairs up to the next section are skipped. */
    void (*on_bad_section)(void *user, int line);
    void (*on_pair)(void *user, int line, const char *key, const char *value);
    /* `what` is "what is wrong; what would be right". */
    void (*on_problem)(void *user, int line, const char *what);
};

/* Reads `text` (a UTF-8 byte order mark, LF or CRLF line ends). false when memory is short. */
bool ini_read_text(slice_t text, const struct ini_read_events *events);

#endif
