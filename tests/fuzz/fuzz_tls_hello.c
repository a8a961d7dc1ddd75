/* fuzz_tls_hello.c: any bytes as the first that a client sends to a TLS listener with several certificates.
 * The first byte says after how many the rest comes separately.
 *
 * OpenSSL's own parser is others' to fuzz; ours are the callbacks it calls (names, ALPN, tickets), the BIO
 * beneath it, and what is made of each outcome. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/panic.h"
#include "core/tls_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct tls_tickets tickets;
static struct tls_server *server;
static struct tls_out *out;

static void certificate_write(const char *path, EVP_PKEY *key, const char *names)
{
    X509 *x = X509_new();
    FILE *f = fopen(path, "w");
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    ASSERT(x != NULL && f != NULL && key != NULL && e != NULL);
    X509_set_version(x, 2);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_add_ext(x, e, -1);
    ASSERT(X509_sign(x, key, EVP_sha256()) > 0);
    ASSERT(PEM_write_X509(f, x) == 1 && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(f);
    X509_EXTENSION_free(e);
    X509_free(x);
    EVP_PKEY_free(key);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    UNUSED(argc);
    UNUSED(argv);
    char paths[2][32] = {"/tmp/fuzz-tls-XXXXXX", "/tmp/fuzz-tls-XXXXXX"};
    struct tls_problem problem;
    close(mkstemp(paths[0]));
    close(mkstemp(paths[1]));
    certificate_write(paths[0], EVP_EC_gen("P-256"), "DNS:a.test,DNS:*.b.test");
    certificate_write(paths[1], EVP_RSA_gen(2048), "DNS:c.test,DNS:a.test");
    const struct tls_pair pairs[] = {{paths[0], paths[0]}, {paths[1], paths[1]}};
    ASSERT(tls_tickets_init(&tickets));
    server = tls_server_new(&(struct tls_settings){.pairs = pairs,
                                                   .pair_count = 2,
                                                   .ciphers = "intermediate",
                                                   .groups = "intermediate",
                                                   .sessions = "fuzz",
                                                   .tickets = &tickets},
                            &problem);
    out = calloc(1, sizeof *out);
    unlink(paths[0]);
    unlink(paths[1]);
    ASSERT(server != NULL && out != NULL);
    return 0;
}

static void feed(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        size -= (size_t)n;
    }
}

static void check(const struct tls_conn *t, enum tls_step step, const uint8_t *data, size_t size)
{
    ASSERT(out->used == 0 && ERR_peek_error() == 0);
    ASSERT(step != TLS_STEP_DONE); /* nobody who cannot read our answers gets through */
    ASSERT((step == TLS_STEP_NO_TLS) == (size > 0 && data[0] != 0x16));
    ASSERT(step != TLS_STEP_FAILED || t->why != NULL);
    ASSERT(step != TLS_STEP_NO_TLS || t->wire_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tls_conn t;
    int fds[2];
    if (size < 2)
        return 0;
    size_t first = MIN(data[0], size - 1);
    data++;
    size--;
    first = MAX(first, 1);
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    ASSERT(tls_conn_open(&t, server, fds[0], out));
    feed(fds[1], data, first);
    enum tls_step step = tls_conn_handshake(&t);
    check(&t, step, data, first);
    if (step == TLS_STEP_WAIT) {
        feed(fds[1], data + first, size - first);
        shutdown(fds[1], SHUT_WR);
        tls_conn_on_event(&t, true);
        step = tls_conn_handshake(&t);
        check(&t, step, data, size);
        ASSERT(step == TLS_STEP_FAILED);
    }
    tls_conn_close(&t);
    tls_conn_free(&t);
    close(fds[0]);
    close(fds[1]);
    return 0;
}
