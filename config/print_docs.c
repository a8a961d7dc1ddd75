/* print_docs.c: the reference of all options, from the option table: Markdown for docs/configuration.md,
 * troff (man macros) for packaging/millpond.ini.5. packaging/make-docs writes both; a test compares them with
 * what is printed here. */
#include "config/config.h"
#include "config/option.h"
#include "config/value.h"

static const char docs_rules[] = "One file, `millpond.ini`. The smallest useful one:\n\n"
                                 "    [pool app]\n"
                                 "    server = 127.0.0.1:3001\n"
                                 "    server = 127.0.0.1:3002\n\n"
                                 "It listens on port 8080, balances over both servers, probes them, and "
                                 "caches in memory what the application's own "
                                 "header fields allow. Everything below has a default.\n";

/* One rule per entry; backticks mark literal text. */
static const char *const docs_rule_list[] = {
    "A line is `key = value`, in the first column. `;` or `#` begins a comment line, ` ;` (with a blank "
    "before it) a "
    "comment behind a value. A line holds at most 4000 bytes, a file at most 1M.",
    "A repeated key adds to a list where the option is a list, and is an error otherwise. Lists marked with "
    "commas can "
    "also be written on one line, with commas between the values.",
    "Durations have a unit: `250ms`, `5s`, `1m`, `12h`, `7d`; only `0` stands alone. Sizes: `512K`, `64M`, "
    "`2G`, `1T`, or "
    "plain bytes. Rates: `240/s`, `64K/m`. Yes or no: `yes`, `no`, `on`, `off`, `true`, `false`.",
    "`${NAME}` in a value stands for an environment variable, `${NAME:-default}` for one that may be missing "
    "or empty.",
    "`include = conf.d/*.ini` in `[millpond]` reads more files at that place, in name order; the path is "
    "relative to the "
    "folder of the file it stands in. An included file may have its own `[millpond]`, `[log]`, `[cache]`, "
    "`[redis]` and `[admin]`, as "
    "long as no key that takes one value is given twice; every other section stands once in all files "
    "together.",
    "Every problem is reported, all of them at once, as `file:line: [section] key: what is wrong; what would "
    "be right`. A "
    "file with any problem is not used.",
    "`millpond check` tries a file and also shows what is legal but surely not meant. `millpond config` "
    "prints all values "
    "with the place each comes from.",
};

static void docs_put_rule(const struct config_option *o, FILE *out)
{
    char lo[VALUE_TEXT], hi[VALUE_TEXT];
    bool duration = o->type == OPTION_DURATION || o->type == OPTION_TTL;
    if (o->words != NULL && (o->type == OPTION_WORD || o->type == OPTION_WORD_BOOL)) {
        fputs(": ", out);
        for (const char *p = o->words; *p != '\0'; p++)
            fputs(*p == ' ' ? ", " : (char[]){*p, '\0'}, out);
    }
    if (o->max == 0 || o->type == OPTION_TEXT || o->type == OPTION_PATH || o->type == OPTION_SERVER_HEADER ||
        o->type == OPTION_MODE || o->type == OPTION_REDIS_NAME)
        return;
    if (duration)
        fprintf(out, ", %s to %s", value_format_duration(o->min, lo), value_format_duration(o->max, hi));
    else if (o->type == OPTION_SIZE || o->type == OPTION_SLICE)
        fprintf(out, ", %s to %s", value_format_size(o->min, lo), value_format_size(o->max, hi));
    else
        fprintf(out, o->type == OPTION_PERCENT ? ", %lld%% to %lld%%" : ", %lld to %lld", (long long)o->min,
                (long long)o->max);
}

static const char *docs_list_words(const struct config_option *o)
{
    if (o->flags & OPTION_COMMAS)
        return "; list, also with commas";
    return o->flags & OPTION_LIST ? "; list" : "";
}

static void docs_md_option(const struct config_option *o, FILE *out)
{
    fprintf(out, "### %s\n\n", o->key);
    fprintf(out, "*%s", option_type_words(o->type));
    docs_put_rule(o, out);
    fprintf(out, "%s.", docs_list_words(o));
    if (o->default_text[0] == '\0')
        fputs(" Not set by default.", out);
    else
        fprintf(out, " Default: `%s`.", o->default_text);
    fprintf(out, "*\n\n%s", o->help);
    if (o->flags & OPTION_RESTART)
        fputs(" Takes effect at the next start.", out);
    fputs("\n\n", out);
}

void config_print_markdown(FILE *out)
{
    fprintf(out,
            "<!-- Made from config/option_tbl.h by packaging/make-docs; edit the table, not this page. -->\n"
            "# Configuration\n\n%s\n## Rules\n\n",
            docs_rules);
    for (size_t i = 0; i < ARRAY_LEN(docs_rule_list); i++)
        fprintf(out, "- %s\n", docs_rule_list[i]);
    for (size_t id = 0; id < OPTION_SECTION_COUNT; id++) {
        const struct option_section_info *info = &option_sections[id];
        fprintf(out, "\n## [%s%s]\n\n%s. %s\n\n", info->name, info->named ? " NAME" : "", info->title,
                info->help);
        for (size_t i = 0; i < option_count; i++) {
            if (option_table[i].section == (enum option_section)id)
                docs_md_option(&option_table[i], out);
        }
    }
}

/* Text with backticks as troff: bold for literals, nothing of it read as a request or escape. */
static void docs_man_text(const char *text, FILE *out)
{
    bool literal = false;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '`') {
            literal = !literal;
            fputs(literal ? "\\fB" : "\\fR", out);
        } else if (*p == '\\') {
            fputs("\\e", out);
        } else if (*p == '-') {
            fputs("\\-", out);
        } else if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n')) {
            fprintf(out, "\\&%c", *p);
        } else {
            fputc(*p, out);
        }
    }
}

static void docs_man_option(const struct config_option *o, FILE *out)
{
    fprintf(out, ".TP\n.B %s\n(", o->key);
    docs_man_text(option_type_words(o->type), out);
    docs_put_rule(o, out);
    fprintf(out, "%s; ", docs_list_words(o));
    if (o->default_text[0] == '\0') {
        fputs("not set by default)\n", out);
    } else {
        fputs("default ", out);
        docs_man_text(o->default_text, out);
        fputs(")\n", out);
    }
    docs_man_text(o->help, out);
    if (o->flags & OPTION_RESTART)
        fputs("\nTakes effect at the next start.", out);
    fputc('\n', out);
}

void config_print_man(FILE *out)
{
    fputs(".\\\" Made from config/option_tbl.h by packaging/make-docs; edit the table, not this page.\n"
          ".TH MILLPOND.INI 5 \"\" \"Millpond\" \"File formats\"\n"
          ".SH NAME\nmillpond.ini \\- configuration of the millpond caching reverse proxy\n"
          ".SH DESCRIPTION\nThe smallest useful file:\n.PP\n.nf\n.RS\n"
          "[pool app]\nserver = 127.0.0.1:3001\nserver = 127.0.0.1:3002\n.RE\n.fi\n.PP\n"
          "It listens on port 8080, balances over both servers, probes them, and caches in memory what the\n"
          "application's own header fields allow. Everything below has a default.\n.SH RULES\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(docs_rule_list); i++) {
        fputs(".IP \\(bu 2\n", out);
        docs_man_text(docs_rule_list[i], out);
        fputc('\n', out);
    }
    for (size_t id = 0; id < OPTION_SECTION_COUNT; id++) {
        const struct option_section_info *info = &option_sections[id];
        fprintf(out, ".SH [%s%s]\n%s.\n", info->name, info->named ? " NAME" : "", info->title);
        docs_man_text(info->help, out);
        fputc('\n', out);
        for (size_t i = 0; i < option_count; i++) {
            if (option_table[i].section == (enum option_section)id)
                docs_man_option(&option_table[i], out);
        }
    }
    fputs(".SH SEE ALSO\n.BR millpond (1)\n", out);
}
