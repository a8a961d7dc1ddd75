/* source.c: see source.h. Sections that take no name may stand once in each file (so an included file may
 * have its own [millpond] or [log]); named ones once in all files together. */
#include "config/source.h"

#include "config/foreign.h"
#include "config/ini_read.h"
#include "config/redis_url.h"
#include "config/value.h"
#include "core/hash.h"
#include "core/panic.h"

const char source_added[] = "added at run time";

/* One file being read, on the stack of source_read_text. */
struct source_reader {
    struct source *source;
    const char *file;
    struct source_section *section; /* NULL: refused, its pairs are skipped */
    bool include_allowed;
};

static struct config_origin source_here(const struct source_reader *r, int line)
{
    return (struct config_origin){r->file, line};
}

/* Where sections of that kind and name are, and others. Without the seed, which is drawn between the first
 * load and the looks into it. */
static size_t source_bucket(enum option_section id, slice_t name)
{
    return (hash_bytes_unseeded(name.ptr, name.len).lo + (size_t)id) % SOURCE_BUCKETS;
}

static void source_section_enter(struct source *s, struct source_section *section, slice_t name)
{
    struct source_section **at = &s->buckets[source_bucket(section->id, name)];
    while (*at != NULL)
        at = &(*at)->in_bucket;
    *at = section;
    if (s->first_of[section->id] == NULL)
        s->first_of[section->id] = section;
}

struct source_section *source_section_add(struct source *s, enum option_section id, slice_t name,
                                          struct config_origin origin)
{
    struct source_section *section = arena_calloc(s->arena, sizeof *section);
    slice_t copy = arena_copy(s->arena, name);
    const char *kind = option_sections[id].name;
    slice_t label = name.len == 0 ? arena_printf(s->arena, "[%s]", kind)
                                  : arena_printf(s->arena, "[%s %.*s]", kind, SLICE_ARG(name));
    if (section == NULL || copy.ptr == NULL || label.ptr == NULL) {
        s->no_memory = true;
        return NULL;
    }
    *section = (struct source_section){.id = id, .name = copy.ptr, .label = label.ptr, .origin = origin};
    if (s->last == NULL)
        s->first = section;
    else
        s->last->next = section;
    s->last = section;
    s->section_count++;
    source_section_enter(s, section, name);
    return section;
}

void source_merge(struct source *s)
{
    for (struct source_section *a = s->first; a != NULL; a = a->next) {
        struct source_section *before = a;
        while (!option_sections[a->id].named && before->next != NULL) {
            struct source_section *b = before->next;
            if (b->id != a->id) {
                before = b;
                continue;
            }
            if (a->last != NULL)
                a->last->next = b->first;
            else
                a->first = b->first;
            a->last = b->last != NULL ? b->last : a->last;
            before->next = b->next;
            s->last = b == s->last ? before : s->last;
        }
    }
}

struct source_value *source_value_add(struct source *s, struct source_section *section,
                                      const struct config_option *option, slice_t text,
                                      struct config_origin origin)
{
    struct source_value *value = arena_calloc(s->arena, sizeof *value);
    slice_t copy = arena_copy(s->arena, text);
    if (value == NULL || copy.ptr == NULL) {
        s->no_memory = true;
        return NULL;
    }
    *value = (struct source_value){.option = option, .text = copy.ptr, .origin = origin};
    if (section->last == NULL)
        section->first = value;
    else
        section->last->next = value;
    section->last = value;
    return value;
}

void source_value_remove(struct source_section *section, struct source_value *v)
{
    struct source_value *before = NULL;
    for (struct source_value *it = section->first; it != v; it = it->next)
        before = it;
    if (before == NULL)
        section->first = v->next;
    else
        before->next = v->next;
    if (section->last == v)
        section->last = before;
}

struct source_section *source_section_find(const struct source *s, enum option_section id, const char *name)
{
    if (name == NULL)
        return s->first_of[id];
    struct source_section *it = s->buckets[source_bucket(id, slice_str(name))];
    while (it != NULL && (it->id != id || strcmp(it->name, name) != 0))
        it = it->in_bucket;
    return it;
}

const struct source_value *source_value_find(const struct source_section *section, const char *key)
{
    const struct config_option *option = option_find(section->id, slice_str(key));
    ASSERT(option != NULL);
    for (const struct source_value *v = section->first; v != NULL; v = v->next) {
        if (v->option == option)
            return v;
    }
    return NULL;
}

const struct source_value *source_value_given(const struct source_section *section, const char *key)
{
    const struct source_value *v = source_value_find(section, key);
    return v != NULL && v->origin.file != NULL ? v : NULL;
}

const char *source_value_shown(const struct source_value *v, char buf[SOURCE_SHOWN])
{
    _Static_assert(SOURCE_SHOWN >= REDIS_URL_SHOWN, "room for a url");
    if (v->option->flags & OPTION_SECRET)
        return "(set, not shown)";
    bool hidden = v->option->type == OPTION_REDIS_URL && redis_url_hide(slice_str(v->text), buf);
    return hidden ? buf : v->text;
}

static void source_on_problem(void *user, int line, const char *what)
{
    struct source_reader *r = user;
    problem_add(r->source->problems, false, source_here(r, line), NULL, NULL, "%s", what);
}

static void source_on_bad_section(void *user, int line)
{
    struct source_reader *r = user;
    UNUSED(line);
    r->section = NULL;
    r->source->broken_section = true;
}

static void source_unknown_section(struct source_reader *r, int line, slice_t word)
{
    struct option_guess guess = {.word = word};
    enum option_section meant;
    for (size_t i = 0; i < OPTION_SECTION_COUNT; i++)
        option_guess_offer(&guess, option_sections[i].name);
    if (foreign_section_find(word, &meant))
        problem_add(r->source->problems, false, source_here(r, line), NULL, NULL,
                    "there is no section [%.*s]; what is meant is called [%s%s] here", PROBLEM_TEXT(word),
                    option_sections[meant].name, option_sections[meant].named ? " NAME" : "");
    else if (guess.best != NULL)
        problem_add(r->source->problems, false, source_here(r, line), NULL, NULL,
                    "there is no section [%.*s]; did you mean [%s]?", PROBLEM_TEXT(word), guess.best);
    else
        problem_add(r->source->problems, false, source_here(r, line), NULL, NULL,
                    "there is no section [%.*s]; there are millpond, log, listen, pool, cache, redis, route "
                    "and admin",
                    PROBLEM_TEXT(word));
}

/* The section before this one that it may not stand beside, or NULL. */
static const struct source_section *source_earlier(const struct source_reader *r, enum option_section id,
                                                   slice_t name)
{
    const struct source_section *it = r->source->buckets[source_bucket(id, name)];
    for (; it != NULL; it = it->in_bucket) {
        if (it->id == id && slice_eq(slice_str(it->name), name) &&
            (option_sections[id].named || it->origin.file == r->file))
            return it;
    }
    return NULL;
}

/* Whether the head names a section this program has, with a name where one belongs. */
static bool source_head_ok(struct source_reader *r, int line, slice_t word, slice_t name,
                           enum option_section *id)
{
    struct problem_list *p = r->source->problems;
    struct config_origin at = source_here(r, line);
    if (!option_section_find(word, id)) {
        source_unknown_section(r, line, word);
        return false;
    }
    const struct option_section_info *info = &option_sections[*id];
    if (info->named && name.len == 0)
        problem_add(p, false, at, NULL, NULL, "the section has no name; write one, such as [%s main]",
                    info->name);
    else if (!info->named && name.len > 0)
        problem_add(p, false, at, NULL, NULL, "the section takes no name; write [%s]", info->name);
    else if (info->named && !value_is_name(name))
        problem_add(
            p, false, at, NULL, NULL,
            "the section name \"%.*s\" has other characters than letters, digits, - _ and .; choose another",
            PROBLEM_TEXT(name));
    else if (r->source->section_count >= SOURCE_MAX_SECTIONS)
        problem_add(p, false, at, NULL, NULL, "this is one section too many; at most 10000 are read");
    else
        return true;
    return false;
}

static void source_on_section(void *user, int line, slice_t head)
{
    struct source_reader *r = user;
    enum option_section id;
    size_t word_len = 0;
    while (word_len < head.len && head.ptr[word_len] != ' ' && head.ptr[word_len] != '\t')
        word_len++;
    slice_t word = slice_make(head.ptr, word_len);
    slice_t name = slice_trim(slice_make(head.ptr + word_len, head.len - word_len));
    r->section = NULL;
    if (!source_head_ok(r, line, word, name, &id)) {
        r->source->broken_section = true;
        return;
    }
    const struct source_section *earlier = source_earlier(r, id, name);
    if (earlier != NULL)
        problem_add(r->source->problems, false, source_here(r, line), NULL, NULL,
                    "the section %s was already begun at %s:%d; write all of it there", earlier->label,
                    earlier->origin.file, earlier->origin.line);
    r->section = source_section_add(r->source, id, name, source_here(r, line));
}

/* The key is called so elsewhere. */
static void source_foreign_key(struct source_reader *r, int line, slice_t key, const struct foreign_key *f)
{
    const struct option_section_info *info = &option_sections[f->section];
    problem_add(r->source->problems, false, source_here(r, line), r->section->label, NULL,
                "there is no key \"%.*s\"; what is meant is %s%s%s in [%s%s]", PROBLEM_TEXT(key), f->key,
                f->how[0] != '\0' ? " = " : "", f->how, info->name, info->named ? " NAME" : "");
}

static void source_unknown_key(struct source_reader *r, int line, slice_t key)
{
    const struct foreign_key *foreign = foreign_key_find(key);
    struct option_guess guess = {.word = key};
    const char *elsewhere = NULL;
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].section == r->section->id)
            option_guess_offer(&guess, option_table[i].key);
        else if (slice_eq(slice_str(option_table[i].key), key))
            elsewhere = option_sections[option_table[i].section].name;
    }
    struct config_origin at = source_here(r, line);
    const char *section = option_sections[r->section->id].name;
    if (foreign != NULL)
        source_foreign_key(r, line, key, foreign);
    else if (elsewhere != NULL && (guess.best == NULL || guess.best_edits > 1))
        problem_add(r->source->problems, false, at, r->section->label, NULL,
                    "there is no key \"%.*s\" here; it belongs in [%s]", PROBLEM_TEXT(key), elsewhere);
    else if (guess.best != NULL)
        problem_add(r->source->problems, false, at, r->section->label, NULL,
                    "there is no key \"%.*s\"; did you mean \"%s\"?", PROBLEM_TEXT(key), guess.best);
    else
        problem_add(r->source->problems, false, at, r->section->label, NULL,
                    "there is no key \"%.*s\"; see millpond.ini(5) for the keys of [%s]", PROBLEM_TEXT(key),
                    section);
}

/* The same key of a section earlier, also in another part of a section that takes no name. */
static const struct source_value *source_earlier_value(const struct source *s,
                                                       const struct source_section *section,
                                                       const struct config_option *option)
{
    for (const struct source_section *it = s->first; it != NULL; it = it->next) {
        if (it != section && (it->id != section->id || option_sections[it->id].named))
            continue;
        for (const struct source_value *v = it->first; v != NULL; v = v->next) {
            if (v->option == option)
                return v;
        }
    }
    return NULL;
}

static void source_follow_include(struct source_reader *r, int line, slice_t patterns)
{
    struct config_origin at = source_here(r, line);
    if (!r->include_allowed) {
        problem_add(r->source->problems, false, at, r->section->label, "include",
                    "only a file can include others; remove the line");
        return;
    }
    for (size_t from = 0; from <= patterns.len;) {
        size_t comma = slice_find(patterns, ',', from);
        size_t end = comma == SIZE_MAX ? patterns.len : comma;
        slice_t one = arena_copy(r->source->arena, slice_trim(slice_make(patterns.ptr + from, end - from)));
        if (one.ptr != NULL && one.len > 0)
            source_include(r->source, r->file, at, one.ptr);
        else
            problem_add(r->source->problems, false, at, r->section->label, "include",
                        "the path is empty; name a file or a pattern such as conf.d/*.ini");
        from = end + 1;
    }
}

static void source_on_pair(void *user, int line, const char *key, const char *text)
{
    struct source_reader *r = user;
    struct config_origin at = source_here(r, line);
    if (r->section == NULL)
        return;
    const struct config_option *option = option_find(r->section->id, slice_str(key));
    if (option == NULL) {
        source_unknown_key(r, line, slice_str(key));
        return;
    }
    const struct source_value *earlier = source_earlier_value(r->source, r->section, option);
    if (earlier != NULL && (option->flags & OPTION_LIST) == 0) {
        problem_add(r->source->problems, false, at, r->section->label, key,
                    "the key was already given at %s:%d and takes one value; remove one of the two",
                    earlier->origin.file, earlier->origin.line);
        return;
    }
    slice_t expanded;
    bool used;
    const char *wrong = source_expand_env(r->source, slice_str(text), &expanded, &used);
    if (wrong != NULL) {
        /* Kept out of the list, but the section is not to be called incomplete because of it. */
        r->source->broken_section = true;
        problem_add(r->source->problems, false, at, r->section->label, key, "%s", wrong);
        return;
    }
    struct source_value *v = source_value_add(r->source, r->section, option, slice_trim(expanded), at);
    if (v == NULL)
        return;
    v->from_env = used;
    if (option->type == OPTION_INCLUDE)
        source_follow_include(r, line, slice_str(v->text));
}

static bool source_register_file(struct source *s, const char *name)
{
    struct problem_list *p = s->problems;
    const char **grown = arena_alloc(s->arena, (p->file_count + 1) * sizeof *grown);
    if (grown == NULL) {
        s->no_memory = true;
        return false;
    }
    if (p->file_count > 0)
        memcpy(grown, p->files, p->file_count * sizeof *grown);
    grown[p->file_count] = name;
    p->files = grown;
    p->file_count++;
    return true;
}

void source_read_text(struct source *s, const char *name, slice_t text)
{
    struct source_reader r = {.source = s, .file = name};
    const struct ini_read_events events = {&r, source_on_section, source_on_bad_section, source_on_pair,
                                           source_on_problem};
    r.include_allowed = s->files != NULL && s->files->path == name;
    if (!source_register_file(s, name))
        return;
    if (text.len > SOURCE_MAX_BYTES) {
        problem_add(s->problems, false, (struct config_origin){name, 0}, NULL, NULL,
                    "the text is larger than 1M; split it up with include");
        return;
    }
    if (!ini_read_text(text, &events))
        s->no_memory = true;
}
