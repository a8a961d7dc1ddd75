/* balance_servers.c: `millpond add` and `remove` on real instances: nobody notices but the instances, it
 * stays so across a reload, and is written into the ini file when that is asked for. */
#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "store = off"

struct named {
    const char *name;
    struct gate *gate;
};
static struct named names[3];
static struct origin *origins[3];

static void named_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct named *n = arg;
    if (strcmp(request->target, "/held") == 0)
        gate_pass(n->gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", n->name);
}

static const char *app(const char *lines)
{
    return textf("[pool app]\n; the shop\nhealth_check = off\n%sserver = 127.0.0.1:%d name=a\n", lines,
                 origin_port(origins[0]));
}

static struct millpond *start(const char *lines)
{
    static const char *const texts[] = {"a", "b", "c"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        names[i] = (struct named){texts[i], gate_new()};
        origins[i] = origin_start(named_script, &names[i]);
    }
    return millpond_start(.cache = NO_STORE, .rest = app(lines));
}

static void finish(struct millpond *m)
{
    millpond_stop(m);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        origin_stop(origins[i]);
}

static const char *address(int i)
{
    return textf("127.0.0.1:%d", origin_port(origins[i]));
}

static const char *seen(struct millpond *m, int count, const char *fields)
{
    const char *all = "";
    for (int i = 0; i < count; i++)
        all = textf("%s%s", all, client_get(m->port, "/", fields)->body);
    return all;
}

static void done(struct proc_result r, const char *out)
{
    EXPECT(r.exit_code == 0, "exit code %d: %s%s", r.exit_code, r.out, r.err);
    expect_in(r.out, out);
}

static void refused(struct proc_result r, const char *err)
{
    EXPECT(r.exit_code == 1, "exit code %d: %s%s", r.exit_code, r.out, r.err);
    expect_in(r.err, err);
}

static void added_ones_take_part_and_removed_ones_end_in_peace(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    done(millpond_cli(m, "add", "app", address(1), "3", "name=b", NULL), "app/b: up, with weight 3\n");
    assert_int_equal(support_count(seen(m, 8, ""), "b"), 6);
    expect_in(millpond_cli(m, "pools", NULL).out, "(added at run time) health_check = off");
    done(millpond_cli(m, "reload", NULL), "");
    assert_int_equal(support_count(seen(m, 8, ""), "b"), 6);

    struct client *held[8];
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        held[i] = client_open(m->port);
        client_send(held[i], "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    gate_wait_arrived(names[0].gate, 2);
    gate_wait_arrived(names[1].gate, 6);
    done(millpond_cli(m, "remove", "app/b", NULL), "app/b: removed; no new requests, 6 still run\n");
    assert_string_equal(seen(m, 8, ""), "aaaaaaaa");
    gate_open(names[0].gate);
    gate_open(names[1].gate);
    const char *bodies = "";
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        bodies = textf("%s%s", bodies, client_read(held[i])->body);
    assert_int_equal(support_count(bodies, "b"), 6);

    /* One of the file, too; it stays out when the file is read again. */
    done(millpond_cli(m, "add", "app", address(2), "name=c", NULL), "app/c: up");
    done(millpond_cli(m, "remove", "app/a", "--wait", NULL),
         "app/a: removed; no new requests, 0 still run\n");
    done(millpond_cli(m, "reload", NULL), "");
    assert_string_equal(seen(m, 4, ""), "cccc");
    done(millpond_cli(m, "remove", "app/a", NULL), "app/a: removed"); /* it is so already */
    done(millpond_cli(m, "events", NULL), "order    app/a: taken out by user ");
    millpond_wait_log(m, textf("app/c: added by user %u: %s name=c", (unsigned)getuid(), address(2)), 1);
    finish(m);
}

static void visitors_of_a_removed_one_move(void **state)
{
    UNUSED(state);
    struct millpond *m = start("sticky_cookie = srv\n");
    done(millpond_cli(m, "add", "app", address(1), "name=b", NULL), "");
    struct message *first = client_get(m->port, "/", "");
    const char *field = message_field(first, "Set-Cookie"), *name = first->body;
    const char *cookie = textf("Cookie: %.*s\r\n", (int)strcspn(field, ";"), field);
    assert_string_equal(seen(m, 3, cookie), textf("%s%s%s", name, name, name));
    done(millpond_cli(m, "remove", textf("app/%s", name), NULL), "");
    struct message *moved = client_get(m->port, "/", cookie);
    assert_string_equal(moved->body, strcmp(name, "a") == 0 ? "b" : "a");
    assert_non_null(message_field(moved, "Set-Cookie"));
    finish(m);
}

static void changes_under_load_cost_nobody_anything(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct load *l = load_start(m->port, 4, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        load_wait(l, 100);
        done(millpond_cli(m, "add", "app", address(1), "name=b", NULL), "");
        done(millpond_cli(m, "remove", "app/a", NULL), "");
        load_wait(l, 100);
        done(millpond_cli(m, "add", "app", address(0), "name=a", NULL), "");
        done(millpond_cli(m, "remove", "app/b", NULL), "");
    }
    struct load_result r = load_stop(l);
    EXPECT(r.answered == r.by_class[2] && r.broken + r.refused == 0, "%s", r.first_problem);
    finish(m);
}

static void saving_edits_one_line(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    char *before = support_read_file(m->ini);
    done(millpond_cli(m, "add", "app", address(1), "name=b", "--save", "-c", m->ini, NULL), "saved: line ");
    const char *added = textf("server = %s name=b\n", address(1));
    const char *after = support_read_file(m->ini);
    expect_in(after, added);
    expect_in(after, "; the shop\n");
    assert_int_equal(strlen(after), strlen(before) + strlen(added));
    done(millpond_cli(m, "reload", NULL), "");
    expect_not_in(millpond_cli(m, "pools", NULL).out, "(added at run time)"); /* the file has it now */
    assert_int_equal(support_count(seen(m, 8, ""), "b"), 4);
    done(millpond_cli(m, "remove", "app/b", "--save", "-c", m->ini, NULL), " is gone from ");
    assert_string_equal(support_read_file(m->ini), before);
    finish(m);
}

/* It was added, saved and removed, all of it between two reloads. */
static void removed_ones_stay_away_though_they_were_saved(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    done(millpond_cli(m, "add", "app", address(1), "name=b", "--save", "-c", m->ini, NULL), "saved: line ");
    done(millpond_cli(m, "remove", "app/b", NULL), "app/b: removed");
    done(millpond_cli(m, "reload", NULL), "");
    assert_string_equal(seen(m, 4, ""), "aaaa");
    done(millpond_cli(m, "add", "app", address(1), "name=b", NULL), "app/b: ");
    done(millpond_cli(m, "reload", NULL), "");
    assert_int_equal(support_count(seen(m, 8, ""), "b"), 4);
    finish(m);
}

static struct proc *begin(struct millpond *m, const char *order, const char *a, const char *b, const char *c)
{
    const char *words[] = {getenv("MILLPOND"), order, a, b, c, "--save", "-c", m->ini, "-s", m->socket, NULL};
    return proc_start(&(struct proc_options){.argv = words});
}

static void ends_well(struct proc *p, const char *out)
{
    const int code = proc_exit_code(p);
    EXPECT(code == 0, "exit code %d: %s", code, capture_all(&p->err));
    expect_in(capture_all(&p->out), out);
}

/* While the command waits for the last request of the server. */
static void what_an_editor_saves_meanwhile_stays(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    done(millpond_cli(m, "add", "app", address(1), "9", "name=b", "--save", "-c", m->ini, NULL), "saved: ");
    struct client *held[2];
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        held[i] = client_open(m->port);
        client_send(held[i], "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    gate_wait_arrived(names[1].gate, 1);
    struct proc *removal = begin(m, "remove", "app/b", "--wait", "--force");
    capture_wait(&removal->out, " still run\n", 1);
    const char *edited = textf("; a line\n%s; another one\n", support_read_file(m->ini));
    support_write_file(m->ini, edited);
    gate_open(names[0].gate);
    gate_open(names[1].gate);
    ends_well(removal, " is gone from ");
    const char *now = support_read_file(m->ini);
    expect_in(now, "; a line\n");
    expect_in(now, "; another one\n");
    expect_not_in(now, "name=b");
    done(millpond_cli(m, "reload", NULL), "");
    assert_string_equal(seen(m, 4, ""), "aaaa");
    finish(m);
}

static void many_save_at_once(void **state)
{
    UNUSED(state);
    struct proc *p[6];
    struct millpond *m = start("");
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        p[i] = begin(m, "add", "app", address(1), textf("name=n%zu", i));
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        ends_well(p[i], "saved: line ");
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        expect_in(support_read_file(m->ini), textf("name=n%zu\n", i));
    done(millpond_cli(m, "reload", NULL), "");
    expect_not_in(millpond_cli(m, "pools", NULL).out, "(added at run time)");
    finish(m);
}

static void what_the_file_never_named_is_removed_all_the_same(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    char *before = support_read_file(m->ini);
    done(millpond_cli(m, "add", "app", address(1), "name=b", NULL), "");
    struct proc_result r = millpond_cli(m, "remove", "app/b", "--save", "-c", m->ini, NULL);
    done(r, "app/b: removed; no new requests, 0 still run\n");
    expect_in(r.out, textf("nothing to save: %s does not name app/b\n", m->ini));
    assert_string_equal(seen(m, 4, ""), "aaaa");
    assert_string_equal(support_read_file(m->ini), before);
    refused(millpond_cli(m, "remove", "app/b", "--save", "-c", m->ini, NULL), "the pool has no such server");
    done(millpond_cli(m, "add", "app", address(1), "name=b", NULL), "");
    refused(millpond_cli(m, "remove", "app/a", "--save", "-c", m->ini, NULL), "a is the only server that ");
    assert_int_equal(support_count(seen(m, 8, ""), "a"), 4);
    finish(m);
}

/* The file comes to name only what was removed: visitors notice nothing, and who reloads is told what to do.
 */
static void a_reload_does_not_empty_a_pool(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    char *before = support_read_file(m->ini);
    done(millpond_cli(m, "add", "app", address(1), "name=b", "--save", "-c", m->ini, NULL), "saved: ");
    done(millpond_cli(m, "reload", NULL), "");
    done(millpond_cli(m, "remove", "app/a", NULL), "");
    done(millpond_cli(m, "reload", NULL), "");
    millpond_wait_log(m, "app/a: stays out as it was removed at run time", 1);
    support_write_file(m->ini, before);
    refused(
        millpond_cli(m, "reload", NULL),
        textf("[pool app] server: a was removed at run time, and no other one would be left; write another "
              "one, or take it back: millpond add app %s name=a\n",
              address(0)));
    assert_string_equal(seen(m, 4, ""), "bbbb");
    done(millpond_cli(m, "add", "app", address(0), "name=a", NULL), "app/a: up");
    done(millpond_cli(m, "reload", NULL), "");
    assert_string_equal(seen(m, 4, ""), "aaaa");
    finish(m);
}

static void mistakes_change_nothing(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    char *before = support_read_file(m->ini);
    refused(millpond_cli(m, "add", "apq", "127.0.0.1:1", NULL), "there is no such pool; there is app/a\n");
    refused(millpond_cli(m, "add", "app", "127.0.0.1:1", "name=a", NULL), "a server of this name already");
    refused(millpond_cli(m, "add", "app", "127.0.0.1", NULL), "added at run time: [pool app] server: ");
    refused(millpond_cli(m, "add", "app", "x:1", "wieght=2", "--save", "-c", m->ini, NULL),
            "did you mean \"weight\"?");
    refused(millpond_cli(m, "remove", "app/b", NULL), "the pool has no such server; there is app/a\n");
    refused(millpond_cli(m, "remove", "app/a", "--force", NULL), "it is the only server of its pool");
    done(millpond_cli(m, "add", "app", address(1), "0", "name=b", NULL), "");
    refused(millpond_cli(m, "remove", "app/a", NULL), "it is the last one of its pool that takes requests");
    assert_string_equal(seen(m, 4, ""), "aaaa");
    assert_string_equal(support_read_file(m->ini), before);
    /* A file with a mistake in it does not come into force by an order, nor stop it. */
    support_write_file(m->ini, textf("%snonsense = 1\n", before));
    done(millpond_cli(m, "add", "app", address(2), "name=c", NULL), "app/c: up");
    refused(millpond_cli(m, "reload", NULL), "nonsense");
    assert_int_equal(support_count(seen(m, 8, ""), "c"), 4);
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(added_ones_take_part_and_removed_ones_end_in_peace),
        E2E_TEST(visitors_of_a_removed_one_move),
        E2E_TEST(changes_under_load_cost_nobody_anything),
        E2E_TEST(saving_edits_one_line),
        E2E_TEST(removed_ones_stay_away_though_they_were_saved),
        E2E_TEST(what_an_editor_saves_meanwhile_stays),
        E2E_TEST(many_save_at_once),
        E2E_TEST(what_the_file_never_named_is_removed_all_the_same),
        E2E_TEST(a_reload_does_not_empty_a_pool),
        E2E_TEST(mistakes_change_nothing),
    };
    return E2E_RUN("balance_servers", tests);
}
