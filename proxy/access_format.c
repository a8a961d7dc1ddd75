/* access_format.c: compiles `json`, `combined` and templates into pieces, once per configuration. Cold code;
 * the hot half is access_log.c. json and combined are nothing special: the one is made from the table of
 * fields, the other is a template of ours. */
#include "proxy/access_format.h"

#include <stdlib.h>

#define FORMAT_NAME_MAX 32

static const struct field {
    const char *name;
    uint8_t kind;
    uint16_t offset;
    const char *type, *help;
} fields[] = {
#define X(name, kind, member, type, help)                                                                    \
    {name, ACCESS_KIND_##kind, offsetof(struct access_record, member), type, help},
    ACCESS_FIELDS(X)
#undef X
};

static const char combined_template[] =
    "%{client} - - [%{time_clf}] \"%{method} %{target} %{version}\" %{status} %{response_bytes} "
    "\"%{referer}\" \"%{user_agent}\"";

static size_t edit_distance(slice_t a, slice_t b)
{
    size_t row[FORMAT_NAME_MAX + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            diagonal = row[j];
            row[j] = MIN(MIN(row[j] + 1, row[j - 1] + 1), change);
        }
    }
    return row[b.len];
}

static const struct field *field_find(slice_t name, char *err, size_t err_bytes)
{
    const struct field *nearest = &fields[0];
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        slice_t known = slice_str(fields[i].name);
        if (slice_eq(known, name))
            return &fields[i];
        size_t distance = edit_distance(slice_make(name.ptr, MIN(name.len, FORMAT_NAME_MAX)), known);
        if (distance < best) {
            best = distance;
            nearest = &fields[i];
        }
    }
    snprintf(err, err_bytes, "unknown field %%{%.*s}; did you mean %%{%s}?",
             (int)MIN(name.len, FORMAT_NAME_MAX), name.ptr, nearest->name);
    return NULL;
}

static bool kind_is_number(uint8_t kind)
{
    return kind == ACCESS_KIND_UINT || kind == ACCESS_KIND_U64 || kind == ACCESS_KIND_OPT;
}

/* ---- building ---- */

struct builder {
    struct access_format *f;
    char text[ACCESS_PIECE_TEXT]; /* literal not yet in a piece */
    size_t text_bytes;
    bool full;
};

static void build_field(struct builder *b, const struct field *field, bool quoted)
{
    struct access_format *f = b->f;
    if (f->piece_count == ACCESS_PIECES_MAX) {
        b->full = true;
        return;
    }
    struct access_piece *p = &f->pieces[f->piece_count++];
    *p = (struct access_piece){.text_bytes = (uint8_t)b->text_bytes, .quoted = quoted};
    memcpy(p->text, b->text, b->text_bytes);
    b->text_bytes = 0;
    f->fixed_max += p->text_bytes + quoted;
    if (field == NULL)
        return;
    p->kind = field->kind;
    p->offset = field->offset;
    if (p->kind == ACCESS_KIND_TEXT) {
        f->texts++;
        f->fixed_max += 1; /* the "-" of an empty one */
    } else {
        f->fixed_max += ACCESS_VALUE_MAX;
    }
}

static void build_text(struct builder *b, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (b->text_bytes == sizeof b->text)
            build_field(b, NULL, false);
        b->text[b->text_bytes++] = text[i];
    }
}

static void build_json(struct builder *b)
{
    b->f->skip_absent = true;
    build_text(b, "{", 1);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].kind == ACCESS_KIND_CLF)
            continue;
        bool quoted = !kind_is_number(fields[i].kind);
        if (i > 0)
            build_text(b, ",", 1);
        build_text(b, "\"", 1);
        build_text(b, fields[i].name, strlen(fields[i].name));
        build_text(b, "\":\"", quoted ? 3 : 2);
        build_field(b, &fields[i], quoted);
    }
    build_text(b, "}\n", 2);
    build_field(b, NULL, false);
}

static bool build_template(struct builder *b, const char *spec, char *err, size_t err_bytes)
{
    for (const char *p = spec; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 && *p != '\t') {
            snprintf(err, err_bytes, "a template cannot hold control characters");
            return false;
        }
        if (*p != '%') {
            build_text(b, p, 1);
            continue;
        }
        if (p[1] == '%') {
            build_text(b, ++p, 1);
            continue;
        }
        const char *end = p[1] == '{' ? strchr(p, '}') : NULL;
        if (end == NULL) {
            snprintf(err, err_bytes, "%% must be followed by {field} or another %%, at \"%.20s\"", p);
            return false;
        }
        const struct field *field = field_find(slice_make(p + 2, (size_t)(end - p) - 2), err, err_bytes);
        if (field == NULL)
            return false;
        build_field(b, field, false);
        p = end;
    }
    build_text(b, "\n", 1);
    build_field(b, NULL, false);
    if (b->full)
        snprintf(err, err_bytes, "the template is too long (more than %d pieces)", ACCESS_PIECES_MAX);
    return !b->full;
}

struct access_format *access_format_compile(const char *spec, char *err, size_t err_bytes)
{
    struct builder b = {.f = calloc(1, sizeof *b.f + ACCESS_PIECES_MAX * sizeof b.f->pieces[0])};
    if (b.f == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    size_t spec_bytes = strlen(spec);
    bool json = strcmp(spec, "json") == 0, ok = true;
    b.f->escape =
        json || (spec[0] == '{' && spec[spec_bytes - 1] == '}') ? ACCESS_ESCAPE_JSON : ACCESS_ESCAPE_HEX;
    b.f->fixed_max = ACCESS_PIECE_TEXT + ACCESS_VALUE_MAX + ACCESS_TEXT_SLACK;
    if (json) {
        build_json(&b);
    } else if (strcmp(spec, "combined") == 0) {
        ok = build_template(&b, combined_template, err, err_bytes);
    } else if (strchr(spec, '%') == NULL) {
        snprintf(err, err_bytes, "\"%.40s\" is neither json, combined nor a template with %%{field}", spec);
        ok = false;
    } else {
        ok = build_template(&b, spec, err, err_bytes);
    }
    if (ok)
        return b.f;
    access_format_free(b.f);
    return NULL;
}

void access_format_free(struct access_format *f)
{
    free(f);
}

void access_log_print_markdown(FILE *out)
{
    fputs("| field | type | meaning |\n| --- | --- | --- |\n", out);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        fprintf(out, "| `%s` | %s | %s |\n", fields[i].name, fields[i].type, fields[i].help);
}
