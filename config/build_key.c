/* build_key.c: the key_ options of [route]: what of a request tells stored responses apart. */
#include "config/build.h"
#include "config/value.h"

#define KEY_NAMES_MAX     16 /* fields, cookies */
#define KEY_LANGUAGES_MAX 32
#define KEY_LANGUAGE_LEN  35 /* RFC 5646 section 4.4.1 */

/* What advertisers, mailers and analytics append to links, and read in the browser only. */
static const char *const campaign_params[] = {
    "utm_*",          "gclid",       "gclsrc",    "dclid",     "gbraid",        "wbraid",  "gad_source",
    "gad_campaignid", "srsltid",     "_ga",       "_gl",       "fbclid",        "igshid",  "igsh",
    "msclkid",        "ttclid",      "twclid",    "li_fat_id", "epik",          "rdt_cid", "ScCid",
    "yclid",          "ysclid",      "_openstat", "mc_cid",    "mc_eid",        "mkt_tok", "_hsenc",
    "_hsmi",          "__hssc",      "__hstc",    "__hsfp",    "hsCtaTracking", "hsa_*",   "mtm_*",
    "pk_campaign",    "pk_kwd",      "pk_source", "pk_medium", "pk_content",    "vero_id", "vero_conv",
    "oly_enc_id",     "oly_anon_id", "wickedid",  "irclickid", "cjevent",       "s_kwcid", "ef_id",
};

bool config_is_campaign_param(slice_t name)
{
    for (size_t i = 0; i < ARRAY_LEN(campaign_params); i++) {
        slice_t one = slice_str(campaign_params[i]);
        bool prefix = slice_ends(one, SLICE_LIT("*"));
        one.len -= prefix;
        if (prefix ? slice_starts(name, one) : slice_eq(name, one))
            return true;
    }
    return false;
}

static void build_key_param(struct build *b, struct config_key *key, slice_t name)
{
    bool prefix = slice_ends(name, SLICE_LIT("*"));
    name.len -= prefix;
    bool wrong = name.len == 0;
    for (size_t i = 0; i < name.len; i++)
        wrong = wrong || (unsigned char)name.ptr[i] <= ' ' || (unsigned char)name.ptr[i] >= 0x7f ||
                strchr("&=#;*", name.ptr[i]) != NULL;
    if (wrong) {
        build_wrong(b,
                    "\"%.*s\" is no name of a parameter; write names as they stand in a URL, with at most a "
                    "star at the end, such as utm_*",
                    PROBLEM_TEXT(name));
        return;
    }
    struct config_key_param *slot = build_push(b, &key->params, &key->param_count, sizeof *slot);
    if (slot != NULL)
        *slot = (struct config_key_param){build_text(b, name), name.len, prefix};
}

void build_key_query(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_key *key = (void *)(base + o->offset);
    size_t colon = slice_find(item, ':', 0);
    slice_t word = slice_trim(slice_make(item.ptr, MIN(colon, item.len)));
    int which = option_word_index("all none only except", word);
    if (which < 0 || (which <= CONFIG_QUERY_NONE) != (colon == SIZE_MAX)) {
        build_wrong(
            b, "\"%.*s\" is no choice of parameters; write all, none, only: a, b or except: utm_*, fbclid",
            PROBLEM_TEXT(item));
        return;
    }
    key->query = (enum config_key_query)which;
    for (size_t from = colon; from < item.len;) {
        size_t end = MIN(slice_find(item, ',', from + 1), item.len);
        slice_t name = slice_trim(slice_make(item.ptr + from + 1, end - from - 1));
        bool ready = which == CONFIG_QUERY_EXCEPT && slice_eq(name, SLICE_LIT("campaign"));
        for (size_t i = 0; ready && i < ARRAY_LEN(campaign_params); i++)
            build_key_param(b, key, slice_str(campaign_params[i]));
        if (!ready)
            build_key_param(b, key, name);
        from = end;
    }
}

static void build_key_push(struct build *b, struct config_strings *list, slice_t item, const char *text,
                           size_t max)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            build_wrong(b, "\"%.*s\" is there twice; write it once", PROBLEM_TEXT(item));
            return;
        }
    }
    if (list->count >= max) {
        build_wrong(b, "there are more than %zu; each one multiplies the stored responses, so name fewer",
                    max);
        return;
    }
    const char **slot = build_push(b, &list->items, &list->count, sizeof *slot);
    if (slot != NULL)
        *slot = text;
}

void build_key_header(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_ok(b, item, value_parse_field_name(item)))
        build_key_push(b, (void *)(base + o->offset), item, build_text_lower(b, item), KEY_NAMES_MAX);
}

void build_key_cookie(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (value_is_token(item))
        build_key_push(b, (void *)(base + o->offset), item, build_text(b, item), KEY_NAMES_MAX);
    else
        build_wrong(b, "\"%.*s\" is no name of a cookie; write it as the browser sends it, such as currency",
                    PROBLEM_TEXT(item));
}

static bool is_language_tag(slice_t s)
{
    size_t subtag = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        if (c == '-' && subtag > 0)
            subtag = 0;
        else if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
            return false;
        else if (++subtag > 8)
            return false;
    }
    return subtag > 0 && s.len <= KEY_LANGUAGE_LEN;
}

void build_key_language(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (is_language_tag(item))
        build_key_push(b, (void *)(base + o->offset), item, build_text(b, item), KEY_LANGUAGES_MAX);
    else
        build_wrong(b, "\"%.*s\" is no language; write tags such as en, de or pt-BR", PROBLEM_TEXT(item));
}
