/* check_tls.c: rules about TLS, of listeners and of pools, that need no file: those of the files themselves
 * are known when they are read (proxy/tls_site.c). */
#include "config/build.h"

/* The index-th value of a key that was given, for its line. */
static const struct source_value *nth_value(const struct source_section *section, const char *key,
                                            size_t index)
{
    for (const struct source_value *v = section->first; v != NULL; v = v->next) {
        if (strcmp(v->option->key, key) == 0 && v->origin.file != NULL && index-- == 0)
            return v;
    }
    return NULL;
}

static void check_pairs(struct build *b, const struct config_listen *l, const struct source_section *section)
{
    size_t certificates = l->tls_certificates.count, keys = l->tls_keys.count;
    bool more_keys = keys > certificates;
    const char *key = more_keys ? "tls_key" : "tls_certificate";
    const struct source_value *v = nth_value(section, key, MIN(keys, certificates));
    if (certificates == keys || v == NULL)
        return;
    problem_add(b->source->problems, false, v->origin, section->label, key,
                more_keys
                    ? "there is no certificate for this key; write one tls_certificate for each tls_key, "
                      "in the same order"
                    : "there is no key for this certificate; write one tls_key for each "
                      "tls_certificate, in the same order");
}

/* What does nothing without a certificate. */
static void check_unused(struct build *b, const struct source_section *section)
{
    static const char *const keys[] = {"tls_min_version",   "tls_ciphers", "tls_groups", "tls_client_ca",
                                       "tls_client_verify", "tls_ocsp",    "hsts"};
    if (source_value_given(section, "tls_certificate") != NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct source_value *v = source_value_given(section, keys[i]);
        if (v != NULL)
            problem_add(b->source->problems, true, v->origin, section->label, keys[i],
                        "it does nothing without tls_certificate and tls_key; add these, or remove the line");
    }
}

/* By us, or by whoever is believed to stand in front. */
static bool is_tls_ended(const struct config *c)
{
    for (size_t i = 0; i < c->listen_count; i++) {
        if (c->listens[i].tls_certificates.count > 0)
            return true;
    }
    return c->main.trusted_proxies.count > 0;
}

/* A redirect to itself, seen from a client, or to nobody. */
static void check_redirect(struct build *b, const struct config_listen *l,
                           const struct source_section *section)
{
    const struct source_value *v = source_value_given(section, "redirect_to_https");
    if (l->redirect_to_https && l->tls_certificates.count > 0 && v != NULL)
        problem_add(b->source->problems, true, v->origin, section->label, "redirect_to_https",
                    "it does nothing where all requests come over TLS; write it in the section of port 80");
    else if (l->redirect_to_https && v != NULL && b->source->problems->errors == 0 &&
             !is_tls_ended(b->config))
        problem_add(
            b->source->problems, true, v->origin, section->label, "redirect_to_https",
            "nobody answers what clients are sent to, since no [listen] has a certificate; add one with "
            "tls_certificate and tls_key, or name in trusted_proxies who ends TLS in front");
}

/* Whom to believe is said by whoever asks, and the other way round. */
static void check_clients(struct build *b, const struct config_listen *l,
                          const struct source_section *section)
{
    const struct source_value *ca = source_value_given(section, "tls_client_ca"),
                              *verify = source_value_given(section, "tls_client_verify");
    if (l->tls_client_verify != TLS_VERIFY_OFF && l->tls_client_ca[0] == '\0' && verify != NULL)
        problem_add(
            b->source->problems, false, verify->origin, section->label, "tls_client_verify",
            "nothing says whose certificates are good; add tls_client_ca = FILE with the authorities");
    if (ca != NULL && verify == NULL)
        problem_add(
            b->source->problems, true, ca->origin, section->label, "tls_client_ca",
            "no client is asked for a certificate; add tls_client_verify = required (or optional), or "
            "remove the line");
}

/* A certificate for instances takes its key, and TLS. */
static void check_pool_pair(struct build *b, const struct config_pool *p,
                            const struct source_section *section)
{
    static const char *const keys[] = {"tls_certificate", "tls_key"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct source_value *v = source_value_given(section, keys[i]);
        if (v == NULL || (i == 0 ? p->tls_certificate : p->tls_key)[0] == '\0')
            continue;
        if (!p->tls)
            problem_add(b->source->problems, false, v->origin, section->label, keys[i],
                        "instances are shown a certificate over TLS only, and tls is off; add tls = yes, or "
                        "remove the line");
        else if (source_value_given(section, keys[1 - i]) == NULL)
            problem_add(b->source->problems, false, v->origin, section->label, keys[i],
                        "a certificate takes its key, and %s is missing; write both, or neither",
                        keys[1 - i]);
        return;
    }
}

/* Of a pool. */
void check_pool_tls(struct build *b, const struct config_pool *p, const struct source_section *section)
{
    static const char *const keys[] = {"tls_verify", "tls_ca", "tls_sni"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct source_value *v = source_value_given(section, keys[i]);
        if (v != NULL && source_value_given(section, "tls") == NULL)
            problem_add(b->source->problems, true, v->origin, section->label, keys[i],
                        "it does nothing without tls = yes; add that, or remove the line");
    }
    check_pool_pair(b, p, section);
    const struct source_value *ca = source_value_given(section, "tls_ca"),
                              *sni = source_value_given(section, "tls_sni");
    if (ca != NULL && p->tls && !p->tls_verify)
        problem_add(b->source->problems, true, ca->origin, section->label, "tls_ca",
                    "nothing is checked against it with tls_verify = no; remove one of the two");
    if (sni != NULL && p->tls_sni[0] != '[' && strchr(p->tls_sni, ':') != NULL)
        problem_add(b->source->problems, false, sni->origin, section->label, "tls_sni",
                    "a certificate is for a name, without a port; write the name alone");
}

void check_listen_tls(struct build *b, const struct config_listen *l, const struct source_section *section)
{
    check_pairs(b, l, section);
    check_unused(b, section);
    check_redirect(b, l, section);
    check_clients(b, l, section);
}
