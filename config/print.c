/* print.c: `millpond config`: the effective configuration as a file that could be loaded again, each line
 * with the place its value comes from. Values that are not set, and secrets, are comments. */
#include "config/build.h"
#include "core/panic.h"

static void print_origin(FILE *out, const struct source_value *v)
{
    if (v->origin.file == NULL)
        fputs(" ; default\n", out);
    else if (v->origin.file == source_added)
        fprintf(out, " ; %s\n", source_added);
    else
        fprintf(out, " ; %s:%d%s\n", v->origin.file, v->origin.line, v->from_env ? " (environment)" : "");
}

/* What `auto` came to is worth more than the word. */
static void print_value(const struct config *c, const struct source_value *v, FILE *out)
{
    char line[64 + SOURCE_SHOWN], buf[SOURCE_SHOWN];
    const char *shown = source_value_shown(v, buf);
    if (shown != v->text) {
        snprintf(line, sizeof line, "# %s = %s", v->option->key, shown);
        fprintf(out, "%-40s", line);
    } else if (v->option->type == OPTION_INCLUDE) {
        snprintf(line, sizeof line, "# %s = %.100s", v->option->key,
                 v->text); /* what it brought stands below */
        fprintf(out, "%-40s", line);
    } else if (v->option->type == OPTION_WORKERS) {
        snprintf(line, sizeof line, "%s = %d", v->option->key, c->main.workers);
        fprintf(out, "%-40s", line);
    } else {
        int used = fprintf(out, "%s = %s", v->option->key, v->text);
        if (used >= 0 && used < 40)
            fprintf(out, "%*s", 40 - used, "");
    }
    print_origin(out, v);
}

static void print_section(const struct config *c, const struct source_section *section, FILE *out)
{
    fprintf(out, "%s", section->label);
    if (section->origin.file != NULL)
        fprintf(out, " ; %s:%d\n", section->origin.file, section->origin.line);
    else
        fputs(" ; default\n", out);
    for (size_t i = 0; i < option_count; i++) {
        const struct config_option *o = &option_table[i];
        bool any = false;
        if (o->section != section->id)
            continue;
        for (const struct source_value *v = section->first; v != NULL; v = v->next) {
            if (v->option == o) {
                print_value(c, v, out);
                any = true;
            }
        }
        if (!any)
            fprintf(out, "# %s = (not set)\n", o->key);
    }
    fputc('\n', out);
}

void config_print(const struct config *c, FILE *out)
{
    for (size_t id = 0; id < OPTION_SECTION_COUNT; id++) {
        for (const struct source_section *it = c->priv->source.first; it != NULL; it = it->next) {
            if (it->id == (enum option_section)id)
                print_section(c, it, out);
        }
    }
}
