/* base.h: the few macros everything uses. No code, no state. */
#ifndef CORE_BASE_H
#define CORE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a)                 (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, mem) ((type *)(void *)((char *)(ptr)-offsetof(type, mem)))
#define LIKELY(x)                    __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                  __builtin_expect(!!(x), 0)
#define NOINLINE                     __attribute__((noinline)) /* rare: out of the way of what is not */
#define MIN(a, b)                    ((a) < (b) ? (a) : (b))
#define MAX(a, b)                    ((a) > (b) ? (a) : (b))
#define UNUSED(x)                    ((void)(x))
#define PRINTF_LIKE(fmt, args)       __attribute__((format(printf, fmt, args)))
#define KB                           ((size_t)1024)
#define MB                           (1024 * KB)

/* Cache line size assumed when separating data written by different threads. */
#define CACHE_LINE 64

#endif
