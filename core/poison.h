/* poison.h: memory that must not be touched for a while, though it is ours: AddressSanitizer reports who
 * does. Without it, nothing. Any thread. */
#ifndef CORE_POISON_H
#define CORE_POISON_H

#include "core/base.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON_IS_SEEN 1
#else
#define POISON_IS_SEEN                       0
#define __asan_poison_memory_region(at, n)   UNUSED(n)
#define __asan_unpoison_memory_region(at, n) UNUSED(n)
#define __asan_address_is_poisoned(at)       0
#endif

static inline void poison(void *at, size_t bytes)
{
#if POISON_IS_SEEN
    __asm__("" : "+r"(at)); /* gcc takes this for a read, and warns of what malloc gave */
#endif
    UNUSED(at);
    __asan_poison_memory_region(at, bytes);
}

static inline void unpoison(void *at, size_t bytes)
{
    UNUSED(at);
    __asan_unpoison_memory_region(at, bytes);
}

static inline bool is_poisoned(const void *at)
{
    UNUSED(at);
    return __asan_address_is_poisoned(at) != 0;
}

#endif
