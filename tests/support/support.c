/* support.c: the fixture of a test. State is one static struct: cmocka runs the tests of a binary one after
 * the other on one thread, and only that thread comes here. Memory and cleanups form one list that is undone
 * from its end, so a test that jumped out in the middle is tidied like one that passed. A cleanup registered
 * with cmocka's state pointer was rejected: helpers would all have to carry it. */
#include "tests/support/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct cleanup {
    struct cleanup *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    char dir[64];
    struct cleanup *cleanups;
    const char *file;
    int line;
} fixture;

bool support_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    const char *san = getenv("SAN");
    return san != NULL && (strstr(san, "address") != NULL || strstr(san, "thread") != NULL);
#endif
}

int support_wait_ms(void)
{
    const char *set = getenv("TEST_WAIT_MS");
    if (set != NULL)
        return atoi(set);
    return support_sanitized() ? 60000 : 20000;
}

void support_at(const char *file, int line)
{
    fixture.file = file;
    fixture.line = line;
}

_Noreturn void support_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char text[8192];
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    print_error("%s\n", text);
    _fail(fixture.file != NULL ? fixture.file : __FILE__, fixture.line);
    abort();
}

int support_setup(void **state)
{
    UNUSED(state);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    fixture.file = NULL;
    fixture.line = 0;
    const char *parent = getenv("TMPDIR"); /* short: socket paths end at 107 bytes */
    snprintf(fixture.dir, sizeof(fixture.dir), "%s/millpond-test-XXXXXX", parent != NULL ? parent : "/tmp");
    return mkdtemp(fixture.dir) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    UNUSED(st);
    UNUSED(flag);
    UNUSED(ftw);
    return remove(path);
}

int support_teardown(void **state)
{
    UNUSED(state);
    while (fixture.cleanups != NULL) {
        struct cleanup *c = fixture.cleanups;
        fixture.cleanups = c->next;
        c->fn(c->arg);
        free(c);
    }
    nftw(fixture.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

void support_on_end(void (*fn)(void *arg), void *arg)
{
    struct cleanup *c = malloc(sizeof(*c));
    if (c == NULL)
        abort();
    *c = (struct cleanup){fixture.cleanups, fn, arg};
    fixture.cleanups = c;
}

const char *support_dir(void)
{
    return fixture.dir;
}

char *textf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    support_on_end(free, text);
    return text;
}

char *text_repeat(char c, size_t n)
{
    char *text = malloc(n + 1);
    if (text == NULL)
        abort();
    memset(text, c, n);
    text[n] = '\0';
    support_on_end(free, text);
    return text;
}

void support_expect_in(const char *haystack, const char *needle, bool wanted)
{
    if ((strstr(haystack, needle) != NULL) != wanted)
        support_fail("%s \"%s\" in:\n%s", wanted ? "expected" : "did not expect", needle, haystack);
}

char *support_path(const char *name)
{
    return textf("%s/%s", fixture.dir, name);
}

void support_write_file(const char *path, const char *content)
{
    char *tmp = textf("%s.new", path);
    FILE *f = fopen(tmp, "w");
    if (f == NULL || fputs(content, f) < 0 || fclose(f) != 0 || rename(tmp, path) != 0)
        support_fail("cannot write %s: %s", path, strerror(errno));
}

char *support_read_file(const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *in = fopen(path, "r");
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL)
        abort();
    char piece[4096];
    size_t n;
    while (in != NULL && (n = fread(piece, 1, sizeof(piece), in)) > 0)
        fwrite(piece, 1, n, out);
    fclose(out);
    if (in != NULL)
        fclose(in);
    support_on_end(free, text);
    return text;
}

unsigned support_count(const char *haystack, const char *needle)
{
    unsigned n = 0;
    size_t len = strlen(needle);
    for (const char *p = haystack; (p = strstr(p, needle)) != NULL; p += len)
        n++;
    return n;
}

char *support_file_wait(const char *path, const char *needle, unsigned times)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (in < 0 || inotify_add_watch(in, fixture.dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        support_fail("inotify: %s", strerror(errno));
    for (;;) {
        char *content = support_read_file(path);
        mono_ms_t left = deadline - clock_mono_ms();
        if (support_count(content, needle) >= times || left <= 0) {
            close(in);
            if (left <= 0)
                support_fail("%s does not hold \"%s\" %u times:\n%s", path, needle, times, content);
            return content;
        }
        struct pollfd p = {.fd = in, .events = POLLIN};
        poll(&p, 1, (int)left);
        char events[4096];
        while (read(in, events, sizeof(events)) > 0)
            ;
    }
}
