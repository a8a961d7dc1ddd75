/* tls.h: certificates made for one test, and a client that speaks TLS to the program under test.
 *
 * Authorities, keys and certificates are made in the process and written below the test's directory. The
 * client blocks, for support_wait_ms at most. Test thread. */
#ifndef TESTS_SUPPORT_TLS_H
#define TESTS_SUPPORT_TLS_H

#include <openssl/ssl.h>

#include "tests/support/support.h"

struct tls_server;
struct tls_tickets;

/* A certificate with its key; NAME.pem and NAME-key.pem. Lives until the test ends. */
struct tls_cert {
    char *file, *key_file;
    X509 *x509;
    EVP_PKEY *key;
};

struct tls_cert_options {
    const char *names;             /* "a.test,*.b.test"; NULL: localhost and test */
    const struct tls_cert *issuer; /* NULL: itself */
    bool rsa;                      /* else ECDSA */
    bool authority;
    bool alone;          /* the file has no chain */
    int days;            /* until it ends; 0: 90; negative: it ended */
    int rsa_bits;        /* 0: 2048 */
    const char *purpose; /* extended key usage, such as "serverAuth"; NULL: none */
};
/* tls_cert_make("name", .names = "a.test") */
#define tls_cert_make(name, ...) (SUPPORT_AT, tls_cert_make_(name, &(struct tls_cert_options){__VA_ARGS__}))
struct tls_cert *tls_cert_make_(const char *name, const struct tls_cert_options *o);
/* The lines "tls_certificate = ..." and "tls_key = ...". */
char *tls_cert_lines(const struct tls_cert *c);

/* Writes an authority's word on `cert` to the file: `status` is V_OCSP_CERTSTATUS_...; good for so many
 * seconds from `since_s` before now. */
struct tls_ocsp_options {
    const struct tls_cert *cert, *issuer, *signer; /* signer NULL: the issuer */
    int status;
    long since_s, for_s; /* for_s 0: it does not say */
};
void tls_ocsp_write(const char *path, const struct tls_ocsp_options *o);

struct tls_client_options {
    const char *name;            /* SNI; NULL: none */
    const char *alpn;            /* one protocol; NULL: none */
    const char *algorithms;      /* of signatures, such as "RSA-PSS+SHA256" */
    int max_version;             /* TLS1_2_VERSION; 0: any */
    int rcvbuf_bytes;            /* 0: as the kernel likes */
    SSL_SESSION *session;        /* to go on with */
    const struct tls_cert *cert; /* to show; NULL: none */
    bool ocsp;                   /* ask for the response of an authority */
    const char *preface;         /* bytes before TLS begins; NULL: none */
    size_t preface_bytes;
    const struct client *over; /* a connection that is open already, which stays its owner's; NULL: none */
};

struct tls_client {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    bool ok;              /* the handshake succeeded */
    char *error;          /* or why not */
    SSL_SESSION *session; /* the newest the server gave out */
    char *text;           /* received and not yet taken */
    size_t len;
    bool clean_end; /* close_notify came */
};

/* Connects to 127.0.0.1:port and shakes hands; look at `ok`. Certificates are not checked. */
#define tls_client_open(port, ...)                                                                           \
    (SUPPORT_AT, tls_client_open_(port, &(struct tls_client_options){__VA_ARGS__}))
struct tls_client *tls_client_open_(int port, const struct tls_client_options *o);
void tls_client_close(struct tls_client *c); /* without a word; idempotent */
bool tls_client_send(struct tls_client *c, const char *bytes, size_t n);
/* One response by its Content-Length, head and body as they came; what came of it before the end otherwise.
 */
char *tls_client_read(struct tls_client *c);
/* GET over this connection, with Host "test"; the response. */
char *tls_client_get(struct tls_client *c, const char *target, const char *fields);
/* The next `n` bytes, decoded by nobody; fewer when they do not come. */
char *tls_client_wait_bytes(struct tls_client *c, size_t n);
/* Reads to the end of the connection; how much that was. */
size_t tls_client_drain(struct tls_client *c);
/* How long the OCSP response is that came with the certificate; 0: there was none. */
size_t tls_client_ocsp_bytes(struct tls_client *c);
/* "CN" or first name of the server's certificate. */
char *tls_client_peer(struct tls_client *c);

/* What a client says first; its length. */
size_t tls_hello(unsigned char *buf, size_t room);

/* A server of this process, with a certificate of its own for "test"; `sessions` is whose they are. */
struct tls_server *tls_server_make(struct tls_tickets *tickets, const char *sessions);

#endif
