/* panic.h: assertions for our own bugs (never for peer input, limits or lack of memory).
 * They stay on in release builds. A failed one prints file, line and backtrace to stderr and aborts. */
#ifndef CORE_PANIC_H
#define CORE_PANIC_H

#include "core/base.h"

_Noreturn void panic_at(const char *file, int line, const char *func, const char *what);

#define ASSERT(x)   (LIKELY(x) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #x))
#define PANIC(what) panic_at(__FILE__, __LINE__, __func__, what)

/* Every long-lived object starts with `uint32_t magic`; callbacks and exported functions check it. */
#define CHECK_MAGIC(obj, m) ASSERT((obj) != NULL && (obj)->magic == (m))

#endif
