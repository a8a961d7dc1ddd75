/* list.h: an intrusive, circular, doubly linked list. The node lies inside the element, so linking
 * allocates nothing. A node that is in no list points at itself. One thread, or the owner's mutex. */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include "core/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_insert_between(struct list *n, struct list *prev, struct list *next)
{
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}

static inline void list_push_back(struct list *head, struct list *n)
{
    list_insert_between(n, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *n)
{
    list_insert_between(n, head, head->next);
}

/* Safe on a node that is in no list. */
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

static inline struct list *list_pop_front(struct list *head)
{
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_remove(n);
    return n;
}

/* Moves all of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_FOREACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define LIST_FOREACH_SAFE(it, tmp, head)                                                                     \
    for (struct list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

#endif
