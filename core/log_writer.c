/* log_writer.c: the writer thread: collects from all rings, writes to the sinks, sleeps.
 *
 * Sleep. With nothing to do it is ASLEEP until a ring is flushed. After work it dozes for DOZE_MS first and
 * is then woken only by a ring that is half full, so that under load there are some 50 wake-ups a second and
 * not one per request. The order of the stores is explained in log_ring.c.
 *
 * Trouble. A sink that cannot take lines (disk full, reader gone or stuck) holds up the rings for at most
 * LOG_SINK_STUCK_MS; then its lines are dropped and counted, so the other channel goes on. One warning at the
 * start and one at the end of the trouble go to the error log.
 *
 * Locks: LOCK_LOG guards the ring table's changes, replacement sinks and the running flag; never held during
 * I/O. The thread has all signals blocked. Rejected: a thread per channel (one more to stop and to account
 * for). */
#include "core/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/lock.h"
#include "core/panic.h"

#define DOZE_MS       20
#define STOP_MS       800 /* for writing the rest */
#define STOP_GRACE_MS 150 /* then the thread is given up */

enum writer_state { WRITER_AWAKE, WRITER_DOZING, WRITER_ASLEEP };

static struct lock log_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_LOG};
static struct {
    /* control thread */
    pthread_t thread;
    int done_fd;
    bool abandoned; /* a writer that never came back from write(2) still owns the sinks */
    /* writer thread */
    struct log_sink *sinks[LOG_CHANNELS];
    bool stop_seen;
    /* under log_lock */
    struct log_sink *replacement[LOG_CHANNELS];
    bool replaced[LOG_CHANNELS];
    /* atomic */
    _Atomic bool running;
    _Atomic int wake_fd; /* eventfd, made once and never closed: others may be about to write to it */
    _Atomic int state;   /* enum writer_state */
    _Atomic mono_ms_t stop_at_ms; /* 0 = run */
    _Atomic uint64_t dropped;
    _Atomic(struct log_site *) suppressed_sites;
    _Atomic(struct log_ring *) rings[LOG_RINGS_MAX]; /* changed under log_lock */
    _Atomic unsigned rings_high;                     /* places ever used */
} writer = {.wake_fd = -1, .done_fd = -1};

static void eventfd_raise(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    ASSERT(n == (ssize_t)sizeof one || errno == EAGAIN);
}

static void writer_wake_now(void)
{
    atomic_store(&writer.state, WRITER_AWAKE);
    eventfd_raise(atomic_load(&writer.wake_fd));
}

void log_writer_wake(bool urgent)
{
    int state = atomic_load_explicit(&writer.state, memory_order_seq_cst);
    if (state == WRITER_AWAKE || (state == WRITER_DOZING && !urgent))
        return;
    if (atomic_compare_exchange_strong(&writer.state, &state, WRITER_AWAKE))
        eventfd_raise(atomic_load(&writer.wake_fd));
}

bool log_writer_is_running(void)
{
    return atomic_load_explicit(&writer.running, memory_order_acquire);
}

size_t log_stamp(char *buf, size_t bytes, enum log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    wall_ms_t now_ms = clock_wall_ms();
    time_t now_s = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&now_s, &tm);
    int n = snprintf(buf, bytes, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s ", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now_ms % 1000), names[level]);
    return n < 0 ? 0 : MIN((size_t)n, bytes - 1);
}

static void note_own(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note_own(enum log_level level, const char *fmt, ...)
{
    char line[640];
    size_t n = log_stamp(line, sizeof line - 1, level);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - 1 - n, fmt, ap);
    va_end(ap);
    n += m < 0 ? 0 : MIN((size_t)m, sizeof line - 2 - n);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[n++] = '\n';
    if (writer.sinks[LOG_CHANNEL_ERROR] != NULL)
        log_sink_note(writer.sinks[LOG_CHANNEL_ERROR], slice_make(line, n));
}

/* ---- rings ---- */

bool log_writer_add_ring(struct log_ring *r)
{
    bool added = false;
    lock_take(&log_lock);
    for (unsigned i = 0; i < LOG_RINGS_MAX && !added; i++) {
        if (atomic_load(&writer.rings[i]) != NULL)
            continue;
        atomic_store(&writer.rings[i], r);
        if (i >= atomic_load(&writer.rings_high))
            atomic_store(&writer.rings_high, i + 1);
        added = true;
    }
    lock_drop(&log_lock);
    return added;
}

static void count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&writer.dropped, lines, memory_order_relaxed);
}

static void ring_reap_locked(unsigned place)
{
    struct log_ring *r = atomic_load(&writer.rings[place]);
    enum log_channel channel;
    slice_t line;
    for (; log_ring_peek(r, &channel, &line); log_ring_pop(r))
        count_dropped(1);
    count_dropped(atomic_load(&r->dropped));
    atomic_store(&writer.rings[place], NULL);
    log_ring_free(r);
}

/* Frees rings whose owner is gone; `all` also those that still hold lines. */
static void rings_reap(bool all)
{
    lock_take(&log_lock);
    for (unsigned i = 0; i < atomic_load(&writer.rings_high); i++) {
        struct log_ring *r = atomic_load(&writer.rings[i]);
        if (r != NULL && atomic_load(&r->detached) && (all || log_ring_waiting(r) == 0))
            ring_reap_locked(i);
    }
    lock_drop(&log_lock);
}

void log_writer_retire_ring(struct log_ring *r)
{
    atomic_store(&r->detached, true);
    if (log_writer_is_running())
        writer_wake_now();
    else if (!writer.abandoned)
        rings_reap(true);
}

uint64_t log_writer_dropped(void)
{
    lock_take(&log_lock);
    uint64_t sum = atomic_load(&writer.dropped);
    for (unsigned i = 0; i < atomic_load(&writer.rings_high); i++) {
        struct log_ring *r = atomic_load(&writer.rings[i]);
        if (r != NULL)
            sum += atomic_load_explicit(&r->dropped, memory_order_relaxed);
    }
    lock_drop(&log_lock);
    return sum;
}

static bool rings_wait(void)
{
    for (unsigned i = 0; i < atomic_load(&writer.rings_high); i++) {
        struct log_ring *r = atomic_load(&writer.rings[i]);
        if (r != NULL && (log_ring_waiting(r) > 0 || atomic_load(&r->detached)))
            return true;
    }
    return false;
}

/* ---- collecting and writing: writer thread ---- */

static void sink_write(struct log_sink *s, mono_ms_t now_ms)
{
    if (s->start < s->end)
        log_sink_write(s, now_ms);
}

/* False when the line must wait: its sink is full and not yet given up. */
static bool collect_line(enum log_channel channel, slice_t line, mono_ms_t now_ms)
{
    struct log_sink *s = writer.sinks[channel];
    if (s == NULL)
        return true;
    enum log_sink_put put = log_sink_put(s, line, now_ms);
    if (put == LOG_SINK_FULL) {
        sink_write(s, now_ms);
        put = log_sink_put(s, line, now_ms);
    }
    if (put == LOG_SINK_DROPPED)
        count_dropped(1);
    return put != LOG_SINK_FULL;
}

/* At most one ring's size from each ring, so that a busy worker does not starve the others. */
static bool collect(mono_ms_t now_ms, bool *held)
{
    bool any = false;
    for (unsigned i = 0; i < atomic_load(&writer.rings_high); i++) {
        struct log_ring *r = atomic_load(&writer.rings[i]);
        uint64_t bytes = 0;
        enum log_channel channel;
        slice_t line;
        while (r != NULL && bytes < r->size && log_ring_peek(r, &channel, &line)) {
            if (!collect_line(channel, line, now_ms)) {
                *held = true;
                return any;
            }
            any = true;
            bytes += line.len;
            log_ring_pop(r);
        }
    }
    return any;
}

static void tell_trouble(struct log_sink *s, mono_ms_t now_ms)
{
    static const char *const names[LOG_CHANNELS] = {"error", "access"};
    const char *name = names[s == writer.sinks[LOG_CHANNEL_ACCESS]];
    if (!s->told && (s->failed_errno != 0 || s->dropped > 0)) {
        s->told = true;
        if (s->failed_errno != 0)
            note_own(LOG_LEVEL_WARN, "the %s log %s cannot be written: %s; lines are dropped until it can",
                     name, s->path, strerror(s->failed_errno));
        else
            note_own(LOG_LEVEL_WARN, "the %s log %s is not read fast enough; lines are dropped until it is",
                     name, s->path);
    } else if (s->told && s->start == s->end && !log_sink_is_broken(s, now_ms)) {
        note_own(LOG_LEVEL_WARN, "the %s log %s is written again; %llu lines were lost", name, s->path,
                 (unsigned long long)s->dropped);
        s->told = false;
        s->dropped = 0;
    }
}

static void sinks_write(mono_ms_t now_ms)
{
    for (int i = LOG_CHANNELS - 1; i >= 0; i--) { /* the error log last: it takes the notes about the other */
        struct log_sink *s = writer.sinks[i];
        if (s == NULL)
            continue;
        sink_write(s, now_ms);
        tell_trouble(s, now_ms);
        sink_write(s, now_ms);
    }
}

static void sinks_replace(mono_ms_t now_ms)
{
    for (int i = 0; i < LOG_CHANNELS; i++) {
        lock_take(&log_lock);
        bool replaced = writer.replaced[i];
        struct log_sink *fresh = writer.replacement[i], *old = writer.sinks[i];
        writer.replaced[i] = false;
        writer.replacement[i] = NULL;
        lock_drop(&log_lock);
        if (!replaced)
            continue;
        if (old != NULL)
            sink_write(old, now_ms);
        if (old != NULL && fresh != NULL) {
            log_sink_take_over(fresh, old);
            fresh->told = old->told;
            fresh->dropped = old->dropped;
        } else if (old != NULL) {
            count_dropped(log_sink_lines_waiting(old));
        }
        writer.sinks[i] = fresh;
        log_sink_free(old);
    }
}

static void site_push(struct log_site *site)
{
    struct log_site *head = atomic_load(&writer.suppressed_sites);
    do
        site->next = head;
    while (!atomic_compare_exchange_weak(&writer.suppressed_sites, &head, site));
}

void log_writer_summarise(struct log_site *site)
{
    site_push(site);
    log_writer_wake(false);
}

/* A format for people: what differs from line to line is "...". */
static void format_for_people(const char *fmt, char *out, size_t out_bytes)
{
    size_t n = 0;
    while (*fmt != '\0' && n + sizeof "..." < out_bytes) {
        if (*fmt != '%' || fmt[1] == '%') {
            fmt += *fmt == '%';
            out[n++] = *fmt++;
            continue;
        }
        fmt += 1 + strcspn(fmt + 1, "diouxXcsp"); /* flags, width and length, then the letter */
        fmt += *fmt != '\0';
        if (n < 3 || memcmp(out + n - 3, "...", 3) != 0) /* one for several in a row */
            n += (size_t)snprintf(out + n, out_bytes - n, "...");
    }
    out[n] = '\0';
}

/* Tells of lines held back at their call sites once their second is over. */
static void sites_summarise(mono_ms_t now_ms, bool all)
{
    struct log_site *site = atomic_exchange(&writer.suppressed_sites, NULL), *next;
    for (; site != NULL; site = next) {
        next = site->next;
        if (!all && atomic_load(&site->window_s) == now_ms / 1000) {
            site_push(site);
            continue;
        }
        char text[80];
        format_for_people(atomic_load(&site->fmt), text, sizeof text);
        enum log_level level = (enum log_level)atomic_load(&site->level);
        uint32_t n = atomic_exchange(&site->suppressed, 0);
        note_own(level, "... %u more like this: %s", n, text);
    }
}

/* ---- sleeping: writer thread ---- */

static void writer_poll(mono_ms_t wait_ms)
{
    struct pollfd fds[1 + LOG_CHANNELS] = {{.fd = atomic_load(&writer.wake_fd), .events = POLLIN}};
    nfds_t n = 1;
    for (int i = 0; i < LOG_CHANNELS; i++) {
        if (writer.sinks[i] != NULL && log_sink_is_blocked(writer.sinks[i]))
            fds[n++] = (struct pollfd){.fd = writer.sinks[i]->fd, .events = POLLOUT};
    }
    if (poll(fds, n, (int)wait_ms) > 0 && (fds[0].revents & POLLIN) != 0) {
        uint64_t count;
        ssize_t got = read(fds[0].fd, &count, sizeof count);
        ASSERT(got == (ssize_t)sizeof count || errno == EAGAIN);
    }
}

/* Brings `wait_ms` (-1 = for ever) forward to `at_ms`. */
static void wait_until(mono_ms_t *wait_ms, mono_ms_t now_ms, mono_ms_t at_ms)
{
    mono_ms_t left_ms = MAX(at_ms - now_ms, 0);
    if (*wait_ms < 0 || left_ms < *wait_ms)
        *wait_ms = left_ms;
}

/* How long nothing needs doing, apart from what a wake-up or a writable sink announces. */
static mono_ms_t quiet_ms(mono_ms_t now_ms, bool held)
{
    mono_ms_t wait_ms = -1;
    mono_ms_t stop_at_ms = atomic_load(&writer.stop_at_ms);
    if (stop_at_ms != 0)
        wait_until(&wait_ms, now_ms, stop_at_ms);
    if (atomic_load(&writer.suppressed_sites) != NULL)
        wait_until(&wait_ms, now_ms, (now_ms / 1000 + 1) * 1000);
    for (int i = 0; i < LOG_CHANNELS; i++) {
        struct log_sink *s = writer.sinks[i];
        if (s == NULL)
            continue;
        if (s->failed_errno != 0)
            wait_until(&wait_ms, now_ms, s->retry_ms);
        else if (held && s->blocked_since_ms != 0)
            wait_until(&wait_ms, now_ms, s->blocked_since_ms + LOG_SINK_STUCK_MS);
    }
    return wait_ms;
}

static bool work_arrived(void)
{
    bool replaced = false;
    lock_take(&log_lock);
    for (int i = 0; i < LOG_CHANNELS; i++)
        replaced |= writer.replaced[i];
    lock_drop(&log_lock);
    return replaced || rings_wait() || (atomic_load(&writer.stop_at_ms) != 0 && !writer.stop_seen);
}

static void writer_sleep(mono_ms_t now_ms, bool busy, bool held)
{
    if (held) { /* producers need not wake us: we know that lines wait */
        writer_poll(quiet_ms(now_ms, held));
    } else if (busy) {
        atomic_store(&writer.state, WRITER_DOZING);
        mono_ms_t wait_ms = quiet_ms(now_ms, held);
        wait_until(&wait_ms, now_ms, now_ms + DOZE_MS);
        writer_poll(wait_ms);
    } else {
        atomic_store(&writer.state, WRITER_ASLEEP);
        if (!work_arrived())
            writer_poll(quiet_ms(now_ms, held));
    }
    atomic_store(&writer.state, WRITER_AWAKE);
}

/* ---- life ---- */

static void stop_begin(void)
{
    writer.stop_seen = true;
    for (int i = 0; i < LOG_CHANNELS; i++) { /* one more try for a sink in error, whose time had not come */
        if (writer.sinks[i] != NULL)
            writer.sinks[i]->retry_ms = 0;
    }
}

static bool writer_may_end(mono_ms_t now_ms)
{
    if (now_ms >= atomic_load(&writer.stop_at_ms))
        return true;
    for (int i = 0; i < LOG_CHANNELS; i++) {
        struct log_sink *s = writer.sinks[i];
        if (s != NULL && s->start < s->end && s->failed_errno == 0)
            return false;
    }
    return !rings_wait();
}

static void sinks_close(void)
{
    for (int i = 0; i < LOG_CHANNELS; i++) {
        if (writer.sinks[i] != NULL)
            count_dropped(log_sink_lines_waiting(writer.sinks[i]));
        log_sink_free(writer.sinks[i]);
        writer.sinks[i] = NULL;
    }
}

static void *writer_main(void *arg)
{
    UNUSED(arg);
    while (true) {
        mono_ms_t now_ms = clock_mono_ms();
        bool stopping = atomic_load(&writer.stop_at_ms) != 0, held = false;
        if (stopping && !writer.stop_seen)
            stop_begin();
        sinks_replace(now_ms);
        bool busy = collect(now_ms, &held);
        sites_summarise(now_ms, stopping);
        sinks_write(now_ms);
        rings_reap(false);
        now_ms = clock_mono_ms();
        if (stopping && writer_may_end(now_ms))
            break;
        if (!stopping || held || !busy)
            writer_sleep(now_ms, busy, held);
    }
    sinks_close();
    eventfd_raise(writer.done_fd);
    return NULL;
}

static bool writer_open_fds(void)
{
    if (atomic_load(&writer.wake_fd) < 0)
        atomic_store(&writer.wake_fd, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (writer.done_fd < 0)
        writer.done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return atomic_load(&writer.wake_fd) >= 0 && writer.done_fd >= 0;
}

bool log_writer_start(struct log_sink *sinks[LOG_CHANNELS], char *err, size_t err_bytes)
{
    ASSERT(!log_writer_is_running());
    if (writer.abandoned || !writer_open_fds()) {
        snprintf(err, err_bytes, "cannot start the log writer: %s",
                 writer.abandoned ? "an earlier one still waits for its output" : strerror(errno));
        return false;
    }
    memcpy(writer.sinks, sinks, sizeof writer.sinks);
    writer.stop_seen = false;
    atomic_store(&writer.stop_at_ms, 0);
    atomic_store(&writer.state, WRITER_AWAKE);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&writer.thread, NULL, writer_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        memset(writer.sinks, 0, sizeof writer.sinks);
        snprintf(err, err_bytes, "cannot start the log writer: %s", strerror(rc));
        return false;
    }
    atomic_store(&writer.running, true);
    return true;
}

void log_writer_stop(void)
{
    if (!log_writer_is_running())
        return;
    atomic_store(&writer.stop_at_ms, clock_mono_ms() + STOP_MS);
    writer_wake_now();
    struct pollfd p = {.fd = writer.done_fd, .events = POLLIN};
    mono_ms_t give_up_ms = clock_mono_ms() + STOP_MS + STOP_GRACE_MS, left_ms;
    int ready;
    do { /* looks once more when this thread itself was not run for so long */
        left_ms = MAX(give_up_ms - clock_mono_ms(), 0);
        ready = poll(&p, 1, (int)left_ms);
    } while (ready <= 0 && left_ms > 0);
    atomic_store(&writer.running, false);
    if (ready <= 0) {
        writer.abandoned = true;
        pthread_detach(writer.thread);
        return;
    }
    uint64_t count;
    ASSERT(read(writer.done_fd, &count, sizeof count) == (ssize_t)sizeof count);
    pthread_join(writer.thread, NULL);
    for (int i = 0; i < LOG_CHANNELS; i++)
        log_sink_free(writer.replacement[i]);
    memset(writer.replacement, 0, sizeof writer.replacement);
    memset(writer.replaced, 0, sizeof writer.replaced);
    rings_reap(true);
}

void log_writer_replace(enum log_channel channel, struct log_sink *sink)
{
    lock_take(&log_lock);
    struct log_sink *unused = writer.replacement[channel];
    writer.replacement[channel] = sink;
    writer.replaced[channel] = true;
    lock_drop(&log_lock);
    log_sink_free(unused);
    writer_wake_now();
}
