/* test_list.c: order, removal, splicing, and loops that remove what they stand on. */
#include "core/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

struct item {
    char name;
    struct list node;
};

/* Forwards and backwards, so that both chains are checked. */
static void assert_order(struct list *head, const char *want)
{
    size_t n = 0;
    LIST_FOREACH (it, head) {
        assert_true(n < strlen(want));
        assert_int_equal(CONTAINER_OF(it, struct item, node)->name, want[n++]);
    }
    assert_int_equal(n, strlen(want));
    for (struct list *it = head->prev; it != head; it = it->prev)
        assert_int_equal(CONTAINER_OF(it, struct item, node)->name, want[--n]);
    assert_int_equal(n, 0);
    assert_int_equal(list_empty(head), want[0] == '\0');
}

static void test_push_pop_remove(void **state)
{
    UNUSED(state);
    struct list head;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    list_init(&head);
    assert_order(&head, "");
    assert_null(list_pop_front(&head));
    list_push_back(&head, &b.node);
    list_push_back(&head, &c.node);
    list_push_front(&head, &a.node);
    assert_order(&head, "abc");
    list_remove(&b.node);
    assert_order(&head, "ac");
    assert_true(list_empty(&b.node));
    list_remove(&b.node); /* in no list: harmless */
    assert_order(&head, "ac");
    assert_ptr_equal(list_pop_front(&head), &a.node);
    assert_true(list_empty(&a.node));
    assert_ptr_equal(list_pop_front(&head), &c.node);
    assert_order(&head, "");
}

static void test_splice(void **state)
{
    UNUSED(state);
    struct list to, from;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    list_init(&to);
    list_init(&from);
    list_splice(&to, &from);
    assert_order(&to, "");
    list_push_back(&from, &b.node);
    list_push_back(&from, &c.node);
    list_push_back(&to, &a.node);
    list_splice(&to, &from);
    assert_order(&to, "abc");
    assert_order(&from, "");
    list_splice(&from, &to); /* into an empty one */
    assert_order(&from, "abc");
    assert_order(&to, "");
}

static void test_remove_in_loop(void **state)
{
    UNUSED(state);
    struct list head;
    struct item items[6];
    list_init(&head);
    for (int i = 0; i < 6; i++) {
        items[i].name = (char)('a' + i);
        list_push_back(&head, &items[i].node);
    }
    LIST_FOREACH_SAFE (it, tmp, &head) {
        if ((CONTAINER_OF(it, struct item, node)->name - 'a') % 2 == 0)
            list_remove(it);
    }
    assert_order(&head, "bdf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_pop_remove),
        cmocka_unit_test(test_splice),
        cmocka_unit_test(test_remove_in_loop),
    };
    return cmocka_run_group_tests_name("core/list", tests, NULL, NULL);
}
