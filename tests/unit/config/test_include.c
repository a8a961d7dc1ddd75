/* test_include.c: files that read others: order, place, circles, depth, limits. Each test has a folder of its
 * own. */
#include "config_test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static int set_up(void **state)
{
    struct folder *f = malloc(sizeof *f);
    strcpy(f->path, "/tmp/millpond-include-XXXXXX");
    *state = f;
    return mkdtemp(f->path) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct folder *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    int rc = system(command);
    free(f);
    return rc;
}

static const char *path_of(const struct folder *f, const char *name, char buf[256])
{
    snprintf(buf, 256, "%s/%s", f->path, name);
    return buf;
}

static void put_bytes(const struct folder *f, const char *name, const char *text, size_t len)
{
    char path[256];
    FILE *out = fopen(path_of(f, name, path), "w");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    fclose(out);
}

static void put(const struct folder *f, const char *name, const char *text)
{
    put_bytes(f, name, text, strlen(text));
}

static void make_folder(const struct folder *f, const char *name)
{
    char path[256];
    assert_int_equal(mkdir(path_of(f, name, path), 0755), 0);
}

static struct config *load(const struct folder *f, struct config_problems *p)
{
    char path[256];
    return config_load(path_of(f, "main.ini", path), p);
}

static struct config *load_fine(const struct folder *f)
{
    struct config_problems p;
    struct config *c = load(f, &p);
    if (c == NULL)
        print_problems(&p);
    assert_non_null(c);
    config_problems_free(&p);
    return c;
}

static void expect_bad(const struct folder *f, size_t errors, const char *name, const char *part)
{
    struct config_problems p;
    char start[256];
    bool found = false;
    assert_null(load(f, &p));
    path_of(f, name, start);
    for (size_t i = 0; i < p.count; i++)
        found = found || (strncmp(p.items[i].text, start, strlen(start)) == 0 &&
                          strstr(p.items[i].text, part) != NULL);
    if (!found || p.errors != errors)
        print_problems(&p);
    assert_true(found);
    assert_int_equal(p.errors, errors);
    config_problems_free(&p);
}

static void test_name_order_at_the_place(void **state)
{
    const struct folder *f = *state;
    make_folder(f, "conf.d");
    put(f, "main.ini", "[millpond]\ninclude = conf.d/*.ini\nworkers = 2\n[route last]\n");
    put(f, "conf.d/b.ini", "[route b]\npath = /b\n");
    put(f, "conf.d/a.ini", APP "[route a]\npath = /a\n");
    put(f, "conf.d/B.ini", "[route upper]\npath = /c\n");
    put(f, "conf.d/skipped.txt", "nonsense\n");
    struct config *c = load_fine(f);
    char path[256];
    assert_int_equal(c->main.workers, 2);
    assert_int_equal(c->route_count, 4);
    assert_string_equal(c->routes[0].name, "upper"); /* by bytes */
    assert_string_equal(c->routes[1].name, "a");
    assert_string_equal(c->routes[2].name, "b");
    assert_string_equal(c->routes[3].name, "last");
    assert_string_equal(c->pools[0].origin.file, path_of(f, "conf.d/a.ini", path));
    assert_int_equal(c->pools[0].origin.line, 1);
    config_unref(c);
}

static void test_lists_and_single_files(void **state)
{
    const struct folder *f = *state;
    char text[512], path[256];
    put(f, "a.ini", APP);
    put(f, "b.ini", "[log]\nlevel = debug\n");
    put(f, "c.ini", "[route c]\n");
    snprintf(text, sizeof text, "[millpond]\ninclude = a.ini, %s\ninclude = c.ini\n",
             path_of(f, "b.ini", path));
    put(f, "main.ini", text);
    struct config *c = load_fine(f);
    assert_int_equal(c->log.level, CONFIG_LOG_DEBUG);
    assert_string_equal(c->routes[0].name, "c");
    config_unref(c);
}

static void test_relative_to_the_including_file(void **state)
{
    const struct folder *f = *state;
    make_folder(f, "x");
    make_folder(f, "x/y");
    put(f, "main.ini", "[millpond]\ninclude = x/one.ini\n");
    put(f, "x/one.ini", "[millpond]\ninclude = y/two.ini\n");
    put(f, "x/y/two.ini", APP);
    config_unref(load_fine(f));
}

static void test_sections_without_name_go_on(void **state)
{
    const struct folder *f = *state;
    put(f, "main.ini", "[millpond]\nworkers = 2\ninclude = a.ini\ntrusted_proxies = ::1\n" APP);
    put(f, "a.ini", "[millpond]\nmax_connections = 5\ntrusted_proxies = 10.0.0.0/8\n");
    struct config *c = load_fine(f);
    assert_int_equal(c->main.workers, 2);
    assert_int_equal(c->main.max_connections, 5);
    assert_int_equal(c->main.trusted_proxies.count, 2);
    config_unref(c);
    put(f, "a.ini", "[millpond]\nworkers = 3\n");
    expect_bad(f, 1, "a.ini:2:", "workers: the key was already given at");
    put(f, "a.ini", APP);
    expect_bad(f, 1, "main.ini:5:", "the section [pool app] was already begun at");
    put(f, "a.ini", "[log]\n[log]\n");
    expect_bad(f, 1, "a.ini:2:", "the section [log] was already begun at");
}

static void test_problems_name_their_file(void **state)
{
    const struct folder *f = *state;
    struct config_problems p;
    put(f, "main.ini", "[millpond]\ninclude = a.ini\n" APP "retries = x\n");
    put(f, "a.ini", "[log]\n\nlevel = loud\n");
    assert_null(load(f, &p));
    assert_int_equal(p.errors, 2);
    assert_int_equal(count_containing(&p, "main.ini:5: [pool app] retries: "), 1);
    assert_int_equal(count_containing(&p, "a.ini:3: [log] level: "), 1);
    config_problems_free(&p);
}

static void test_circles(void **state)
{
    const struct folder *f = *state;
    char path[256], link_path[256];
    put(f, "main.ini", "[millpond]\ninclude = main.ini\n" APP);
    expect_bad(f, 1, "main.ini:2:", "includes itself");
    put(f, "main.ini", "[millpond]\ninclude = a.ini\n" APP);
    put(f, "a.ini", "[millpond]\ninclude = link.ini\n");
    assert_int_equal(symlink(path_of(f, "main.ini", path), path_of(f, "link.ini", link_path)), 0);
    expect_bad(f, 1, "a.ini:2:", "includes itself");
    put(f, "main.ini", "[millpond]\ninclude = a.ini, a.ini\n" APP);
    put(f, "a.ini", "[log]\n");
    expect_bad(f, 1, "main.ini:2:", "was already read");
}

static void test_depth(void **state)
{
    const struct folder *f = *state;
    char name[32], text[64];
    put(f, "main.ini", "[millpond]\ninclude = 1.ini\n" APP);
    for (int i = 1; i <= 8; i++) {
        snprintf(name, sizeof name, "%d.ini", i);
        snprintf(text, sizeof text, i < 8 ? "[millpond]\ninclude = %d.ini\n" : "[log]\n", i + 1);
        put(f, name, text);
    }
    config_unref(load_fine(f));
    put(f, "8.ini", "[millpond]\ninclude = 9.ini\n");
    put(f, "9.ini", "[log]\n");
    expect_bad(f, 1, "8.ini:2:", "more than 8 files deep");
}

static void test_missing_and_unreadable(void **state)
{
    const struct folder *f = *state;
    struct config_problems p;
    put(f, "main.ini", "[millpond]\ninclude = none.ini\n" APP);
    expect_bad(f, 1, "main.ini:2:", "No such file or directory; name a readable file");
    put(f, "main.ini", "[millpond]\ninclude = none*.ini\n" APP);
    struct config *c = load(f, &p);
    assert_non_null(c);
    assert_int_equal(count_containing(&p, "matches no file"), 1);
    assert_true(p.items[0].warning);
    config_problems_free(&p);
    config_unref(c);
    put(f, "main.ini", "[millpond]\ninclude = a.ini,\n" APP);
    put(f, "a.ini", "[log]\n");
    expect_bad(f, 2, "main.ini:2:", "the path is empty");
    make_folder(f, "folder.ini");
    put(f, "main.ini", "[millpond]\ninclude = *.ini\n" APP);
    expect_bad(f, 2, "main.ini:2:", "Is a directory");
}

static void test_main_file_missing(void **state)
{
    const struct folder *f = *state;
    expect_bad(f, 1, "main.ini: ", "the file cannot be read: No such file or directory");
    make_folder(f, "main.ini");
    expect_bad(f, 1, "main.ini: ", "Is a directory");
}

static void test_size_limit(void **state)
{
    const struct folder *f = *state;
    size_t limit = 1 << 20;
    char *text = malloc(limit + 1);
    size_t head = (size_t)snprintf(text, limit, APP);
    memset(text + head, '\n', limit + 1 - head);
    put_bytes(f, "main.ini", text, limit);
    config_unref(load_fine(f));
    put_bytes(f, "main.ini", text, limit + 1);
    expect_bad(f, 1, "main.ini: ", "larger than 1M; split it up with include");
    free(text);
}

static void test_only_in_millpond_and_not_from_text(void **state)
{
    UNUSED(state);
    expect_error(APP "include = a.ini\n", "it belongs in [millpond]");
    expect_error(APP "[millpond]\ninclude = /etc/hostname\n", "only a file can include others");
}

static void *write_pipe(void *path)
{
    FILE *out = fopen(path, "w");
    if (out != NULL) {
        fputs("[pool app]\nserver = 127.0.0.1:1\n", out);
        fflush(out);
        fputs("server = 127.0.0.1:2\n", out);
        fclose(out);
    }
    return NULL;
}

/* The thread that reads has more to do than to wait for somebody to write. */
static void test_pipes_have_a_moment(void **state)
{
    struct folder *f = *state;
    struct config_problems p = {0};
    char path[256];
    put(f, "main.ini", "[millpond]\ninclude = pipe\n");
    assert_int_equal(mkfifo(path_of(f, "pipe", path), 0600), 0);
    assert_null(load(f, &p)); /* and not as if it were empty */
    bool told = false;
    for (size_t i = 0; i < p.count; i++)
        told |= strstr(p.items[i].text, "pipe cannot be read: it is a pipe, and nobody wrote") != NULL;
    assert_true(told);
    config_problems_free(&p);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_pipe, path), 0);
    struct config *c = load(f, &p);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_non_null(c);
    assert_int_equal(c->pools[0].server_count, 2);
    config_unref(c);
    config_problems_free(&p);
}

int main(void)
{
#define WITH_FOLDER(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_name_order_at_the_place),
        WITH_FOLDER(test_lists_and_single_files),
        WITH_FOLDER(test_relative_to_the_including_file),
        WITH_FOLDER(test_sections_without_name_go_on),
        WITH_FOLDER(test_problems_name_their_file),
        WITH_FOLDER(test_circles),
        WITH_FOLDER(test_depth),
        WITH_FOLDER(test_missing_and_unreadable),
        WITH_FOLDER(test_main_file_missing),
        WITH_FOLDER(test_size_limit),
        WITH_FOLDER(test_pipes_have_a_moment),
        cmocka_unit_test(test_only_in_millpond_and_not_from_text),
    };
    return cmocka_run_group_tests_name("config/include", tests, NULL, NULL);
}
