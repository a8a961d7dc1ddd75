/* panic.c: the last words of a process that found itself broken.
 * Writes with write(2) only: the heap, stdio and the log may be what broke. */
#include "core/panic.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void panic_at(const char *file, int line, const char *func, const char *what)
{
    char msg[512];
    int n = snprintf(msg, sizeof msg, "millpond: panic at %s:%d in %s: %s\n", file, line, func, what);
    if (n > 0 && write(STDERR_FILENO, msg, MIN((size_t)n, sizeof msg - 1)) < 0)
        abort();
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
    abort();
}
