/* handover.h: what two processes of this program say to each other while the newer one takes the place of the
 * older: messages of a word and a few texts, some with descriptors, over a pair of sockets that keeps them
 * apart (SOCK_SEQPACKET).
 *
 * They may be of different versions, so a word that is not known is a message like any other, to be left
 * aside, and whoever gets a message has no use for closes its descriptors. Reading and writing the bytes is
 * pure; sending and receiving are one system call each. Any thread. */
#ifndef CORE_HANDOVER_H
#define CORE_HANDOVER_H

#include "core/slice.h"

#define HANDOVER_BYTES    8192 /* of a message */
#define HANDOVER_TEXTS    4    /* in a message, at most */
#define HANDOVER_FDS      250  /* with a message; the kernel takes 253 */
#define HANDOVER_VARIABLE "MILLPOND_HANDOVER"
#define HANDOVER_CHILD_FD 3 /* of the new process, as the variable says */

/* X(id, word, number of texts). Texts have no line feed, but for the last, which may have any byte. */
#define HANDOVER_KINDS(X)                                                                                    \
    /* the older one says */                                                                                 \
    X(HELLO, "hello", 2)     /* its version, its process id */                                               \
    X(LISTEN, "listen", 2)   /* section, address as configured; its sockets */                               \
    X(ADMIN, "admin", 1)     /* address as configured; its socket */                                         \
    X(TICKETS, "tickets", 1) /* keys of session tickets, the newest first */                                 \
    X(SERVER, "server", 4)   /* changed at run time: pool, server, "file" or "new", its text or "" */        \
    X(ORDER, "order", 4)     /* pool, server, "drain" or a weight, who drained it */                         \
    X(END, "end", 0)         /* of what is handed over */                                                    \
    X(GO, "go", 0)           /* serve */                                                                     \
    X(BACK, "back", 0)       /* nothing comes of it: end */                                                  \
    X(TAKEN, "taken", 0)     /* you are the one; I serve what I have and end */                              \
    X(PURGED, "purged", 0)   /* something is purged here; a descriptor to close once that is done there */   \
    /* the newer one says */                                                                                 \
    X(UNUSED, "unused", 1)   /* its configuration has no place for that LISTEN or ADMIN, counted from 0 */   \
    X(READY, "ready", 1)     /* its version; it could serve now */                                           \
    X(FAILED, "failed", 1)   /* why it could not */                                                          \
    X(SERVING, "serving", 0) /* after GO */

enum handover_kind {
#define X(id, word, texts) HANDOVER_##id,
    HANDOVER_KINDS(X)
#undef X
        HANDOVER_UNKNOWN,
    HANDOVER_KIND_COUNT = HANDOVER_UNKNOWN
};

struct handover {
    enum handover_kind kind;
    slice_t text[HANDOVER_TEXTS]; /* in the bytes that were read; empty beyond the kind's number */
};

/* Reads the bytes of one message. false: it is none, or has fewer texts than its kind. */
bool handover_parse(slice_t bytes, struct handover *out);
/* Writes one; how many bytes. 0: too long, or a text but the last has a line feed. */
size_t handover_write(char to[HANDOVER_BYTES], const struct handover *h);

/* Sends one, never waiting. false with errno: EAGAIN, the other has not read what came before; EMSGSIZE, it
 * cannot be written. */
bool handover_send(int fd, const struct handover *h, const int *fds, size_t fd_count);
/* The same without descriptors and with one text, which kinds with none leave aside. */
bool handover_say(int fd, enum handover_kind kind, slice_t text);
/* What came: 1, one message, with the texts in `bytes` and `*fd_count` descriptors, close-on-exec, the
 * caller's; 0, the other has ended; -1 with errno: EAGAIN, EBADMSG when it was no message, whose descriptors
 * are closed. */
int handover_receive(int fd, char bytes[HANDOVER_BYTES], struct handover *out, int fds[HANDOVER_FDS],
                     size_t *fd_count);
void handover_close(const int *fds, size_t count);

#endif
