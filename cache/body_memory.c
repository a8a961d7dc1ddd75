/* body_memory.c: see body_memory.h. Places within the file are handed out by arenas of jemalloc of its own,
 * whose extents come from the mapping and never go back: an unused place costs address space only.
 *
 * An arena has locks, and who frees much at once, the thread that runs RCU's callbacks, may lose its
 * processor while it has them. So there are several arenas, each with its own part of the mapping; who frees
 * says in which, and who allocates takes another one.
 *
 * Rejected: MSG_ZEROCOPY (a completion per send, and loopback copies all the same) and a file per body
 * (descriptors). */
#include "cache/body_memory.h"

#include <stdlib.h>

#include "cache/account.h"

#ifdef MILLPOND_JEMALLOC
#include <fcntl.h>
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAP_BYTES_MOST  ((size_t)1 << 40)
#define MAP_BYTES_LEAST ((size_t)1 << 32)
#define PAGE_BYTES      ((uintptr_t)4096)
#define ARENAS          4

static struct {
    pthread_once_t once;
    int fd;
    char *base; /* NULL: ordinary memory only */
    size_t bytes;
    struct body_arena {
        extent_hooks_t hooks;
        int flags; /* of mallocx */
        _Atomic size_t used;
    } arenas[ARENAS];
    unsigned arena_count;
    _Atomic unsigned freeing; /* an arena in which somebody frees, ARENAS: none; a hint */
} body_map = {.once = PTHREAD_ONCE_INIT, .fd = -1, .freeing = ARENAS};

static size_t arena_bytes(void)
{
    return body_map.bytes / ARENAS;
}

/* Each send counts a reference to the open file; with one of its own a thread shares that count with nobody.
 * The threads that send live as long as the process, and so does this. */
static int file_of_thread(void)
{
    static _Thread_local int file = -1;
    if (UNLIKELY(file < 0)) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", body_map.fd);
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) /* no /proc, or no descriptor left */
            file = body_map.fd;
    }
    return file;
}

static void *extent_alloc(extent_hooks_t *hooks, void *at, size_t bytes, size_t alignment, bool *zero,
                          bool *commit, unsigned arena)
{
    UNUSED(arena);
    struct body_arena *a = CONTAINER_OF(hooks, struct body_arena, hooks);
    char *base = body_map.base + (size_t)(a - body_map.arenas) * arena_bytes();
    size_t used = atomic_load_explicit(&a->used, memory_order_relaxed), start;
    do {
        start = (used + alignment - 1) & ~(alignment - 1);
        if (start > arena_bytes() || arena_bytes() - start < bytes || (at != NULL && at != base + start))
            return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&a->used, &used, start + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    *zero = *commit = true;
    return base + start;
}

static bool extent_split(extent_hooks_t *hooks, void *at, size_t bytes, size_t a, size_t b, bool committed,
                         unsigned arena)
{
    UNUSED(hooks), UNUSED(at), UNUSED(bytes), UNUSED(a), UNUSED(b), UNUSED(committed), UNUSED(arena);
    return false; /* jemalloc's way to say: done */
}

static bool extent_merge(extent_hooks_t *hooks, void *a, size_t a_bytes, void *b, size_t b_bytes,
                         bool committed, unsigned arena)
{
    UNUSED(hooks), UNUSED(a), UNUSED(a_bytes), UNUSED(b), UNUSED(b_bytes), UNUSED(committed), UNUSED(arena);
    return false;
}

/* vm.overcommit_memory = 2: a page of the file can then fail when it is touched, where malloc fails in time.
 */
static bool memory_is_promised_strictly(void)
{
    char mode = '0';
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool known = read(fd, &mode, 1) == 1;
    close(fd);
    return known && mode == '2';
}

static bool map_open(void)
{
    struct rlimit most; /* ftruncate counts against it */
    if (memory_is_promised_strictly() || getrlimit(RLIMIT_FSIZE, &most) != 0)
        return false;
    body_map.fd = memfd_create("millpond-bodies", MFD_CLOEXEC);
    if (body_map.fd < 0)
        return false;
    for (size_t bytes = MAP_BYTES_MOST; bytes >= MAP_BYTES_LEAST; bytes /= 2) {
        if (bytes > most.rlim_cur || ftruncate(body_map.fd, (off_t)bytes) != 0)
            continue;
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, body_map.fd, 0);
        if (p == MAP_FAILED)
            continue;
        madvise(p, bytes, MADV_DONTDUMP);
        body_map.base = p;
        body_map.bytes = bytes;
        return true;
    }
    return false;
}

/* An arena over its part of the mapping. Its free pieces hold no pages, so there is nothing to purge. */
static bool arena_open(struct body_arena *a)
{
    a->hooks = (extent_hooks_t){.alloc = extent_alloc, .split = extent_split, .merge = extent_merge};
    extent_hooks_t *hooks = &a->hooks;
    unsigned arena;
    size_t size = sizeof arena;
    ssize_t never = -1;
    char name[64];
    if (mallctl("arenas.create", &arena, &size, &hooks, sizeof hooks) != 0)
        return false;
    snprintf(name, sizeof name, "arena.%u.dirty_decay_ms", arena);
    if (mallctl(name, NULL, NULL, &never, sizeof never) != 0)
        return false;
    a->flags = MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
    return true;
}

/* An arena that is there lies in the mapping itself and stays. */
static bool arenas_open(void)
{
    while (body_map.arena_count < ARENAS && arena_open(&body_map.arenas[body_map.arena_count]))
        body_map.arena_count++;
    return body_map.arena_count > 0;
}

static void body_map_open(void)
{
    if (map_open() && arenas_open())
        return;
    if (body_map.base != NULL)
        munmap(body_map.base, body_map.bytes);
    if (body_map.fd >= 0)
        close(body_map.fd);
    body_map.base = NULL;
    body_map.bytes = 0;
}

static bool is_mapped(const void *p)
{
    return (uintptr_t)p - (uintptr_t)body_map.base < body_map.bytes;
}

static struct body_arena *arena_next(void)
{
    static _Thread_local unsigned turn;
    unsigned k = turn++ % body_map.arena_count;
    if (k == atomic_load_explicit(&body_map.freeing, memory_order_relaxed))
        k = turn++ % body_map.arena_count;
    return &body_map.arenas[k];
}

static struct body_arena *arena_of(const void *p)
{
    return &body_map.arenas[(size_t)((const char *)p - body_map.base) / arena_bytes()];
}

void *body_memory_alloc(size_t bytes)
{
    pthread_once(&body_map.once, body_map_open);
    void *p = NULL;
    if (bytes >= BODY_MEMORY_LEAST && body_map.base != NULL && !cache_memory_should_fail())
        p = mallocx(bytes, arena_next()->flags);
    return p != NULL ? p : cache_memory_alloc(bytes);
}

void body_memory_free(void *p)
{
    if (!is_mapped(p)) {
        free(p);
        return;
    }
    /* A large allocation has its pages for itself, also the first and last that it covers in part. */
    uintptr_t first = (uintptr_t)p & ~(PAGE_BYTES - 1);
    uintptr_t end = ((uintptr_t)p + sallocx(p, 0) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    off_t offset = (off_t)(first - (uintptr_t)body_map.base);
    if (fallocate(body_map.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)(end - first)) != 0)
        return; /* The place is never used again: better lost than changed under a packet. */
    struct body_arena *a = arena_of(p);
    atomic_store_explicit(&body_map.freeing, (unsigned)(a - body_map.arenas), memory_order_relaxed);
    dallocx(p, a->flags);
    atomic_store_explicit(&body_map.freeing, ARENAS, memory_order_relaxed);
}

size_t body_memory_shrink(void *p, size_t bytes, size_t used)
{
    UNUSED(bytes);
    return xallocx(p, used, 0, is_mapped(p) ? arena_of(p)->flags : 0);
}

int cache_body_file(const void *piece, off_t *offset)
{
    if (!is_mapped(piece))
        return -1;
    *offset = (off_t)((uintptr_t)piece - (uintptr_t)body_map.base);
    return file_of_thread();
}

#else

void *body_memory_alloc(size_t bytes)
{
    return cache_memory_alloc(bytes);
}

void body_memory_free(void *p)
{
    free(p);
}

size_t body_memory_shrink(void *p, size_t bytes, size_t used)
{
    UNUSED(p);
    UNUSED(used);
    return cache_memory_rounded(bytes);
}

int cache_body_file(const void *piece, off_t *offset)
{
    UNUSED(piece);
    UNUSED(offset);
    return -1;
}

#endif
