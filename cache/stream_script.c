/* stream_script.c: see stream_script.h. */
#include "cache/stream_script.h"

#include <hiredis/hiredis.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/panic.h"
#include "core/redis_reply.h"
#include "core/text.h"

/* ---- the scripts ---- */

/* What is longer is none of ours. */
#define EPOCH_SCRIPT                                                                                         \
    "local function epoch()\n"                                                                               \
    "  local text = redis.call('GET', KEYS[2]) or ''\n"                                                      \
    "  return #text <= 16 and text or ''\n"                                                                  \
    "end\n"

/* The first two entries come in any case: the cursor, and one to go on with. */
#define READ_SCRIPT                                                                                          \
    "local found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])\n"                          \
    "local limit, sum, out, whole = tonumber(ARGV[3]), 0, {}, 1\n"                                           \
    "if #found == tonumber(ARGV[2]) then whole = 0 end\n"                                                    \
    "for i, entry in ipairs(found) do\n"                                                                     \
    "  local bytes = 0\n"                                                                                    \
    "  for _, text in ipairs(entry[2]) do bytes = bytes + #text + 16 end\n"                                  \
    "  if bytes > limit then entry[2] = {} end\n"                                                            \
    "  if bytes <= limit then sum = sum + bytes end\n"                                                       \
    "  if i > 2 and sum > limit then whole = 0 break end\n"                                                  \
    "  out[i] = entry\n"                                                                                     \
    "end\n"                                                                                                  \
    "return {epoch(), whole, out}\n"

/* A function that adds one event; it is part of two scripts. */
#define ADD_SCRIPT                                                                                           \
    "local function add(packed)\n"                                                                           \
    "  local texts, at, text = {}, 1\n"                                                                      \
    "  while at <= #packed do\n"                                                                             \
    "    text, at = struct.unpack('<I4c0', packed, at)\n"                                                    \
    "    texts[#texts + 1] = text\n"                                                                         \
    "  end\n"                                                                                                \
    "  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(texts))\n"                            \
    "  return redis.sha1hex(table.concat(texts, '\\0', 5))\n"                                                \
    "end\n"

#define APPEND_SCRIPT                                                                                        \
    "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end\n"                                              \
    "local done = 1\n"                                                                                       \
    "for i = 3, #ARGV do\n"                                                                                  \
    "  local told = redis.pcall('PUBLISH', ARGV[2], add(ARGV[i]))\n"                                         \
    "  if type(told) == 'table' then done = 2 end\n"                                                         \
    "end\n"                                                                                                  \
    "return done\n"

#define START_SCRIPT                                                                                         \
    "if epoch() ~= ARGV[2] then return 0 end\n"                                                              \
    "redis.call('SET', KEYS[2], ARGV[3])\n"                                                                  \
    "add(ARGV[4])\n"                                                                                         \
    "return 1\n"

static const char read_script[] = EPOCH_SCRIPT READ_SCRIPT;
static const char append_script[] = ADD_SCRIPT APPEND_SCRIPT;
static const char start_script[] = EPOCH_SCRIPT ADD_SCRIPT START_SCRIPT;

/* Times are Redis' own, since clocks of nodes differ. What was written with a clock that has been set back
 * since would never grow old, so it counts both ways. */
static const char report_script[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local first = redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now))\n"
    "redis.call('EXPIRE', KEYS[2], ARGV[3])\n"
    "local all, out = redis.call('HGETALL', KEYS[2]), {}\n"
    "local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)\n"
    "for i = 1, #all, 2 do\n"
    "  local epoch, id, time = string.match(all[i + 1], '^(%x+) (%d+%-%d+) (%d+)$')\n"
    "  local age = now - (tonumber(time) or 0)\n"
    "  if not time or math.abs(age) > ARGV[3] * 1000 then\n"
    "    redis.call('HDEL', KEYS[2], all[i])\n"
    "  else\n"
    "    local lag = 0\n"
    "    if newest[1] and newest[1][1] ~= id then\n"
    "      lag = #redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', ARGV[4])\n"
    "    end\n"
    "    out[#out + 1] = {all[i], epoch, id, math.max(age, 0), lag}\n"
    "  end\n"
    "end\n"
    "return {first, out}\n";

/* ---- commands ---- */

static bool key_make(char **out, slice_t prefix, const char *end)
{
    if (asprintf(out, SLICE_FMT "{stream}%s", SLICE_ARG(prefix), end) < 0)
        *out = NULL;
    return *out != NULL;
}

bool cache_stream_keys_open(struct cache_stream_keys *k, slice_t prefix)
{
    *k = (struct cache_stream_keys){NULL, NULL, NULL, NULL};
    if (key_make(&k->stream, prefix, "") && key_make(&k->epoch, prefix, ":epoch") &&
        key_make(&k->nodes, prefix, ":nodes") && key_make(&k->done, prefix, ":done"))
        return true;
    cache_stream_keys_close(k);
    return false;
}

void cache_stream_keys_close(struct cache_stream_keys *k)
{
    free(k->stream);
    free(k->epoch);
    free(k->nodes);
    free(k->done);
    *k = (struct cache_stream_keys){NULL, NULL, NULL, NULL};
}

static void command_put(struct cache_stream_command *c, slice_t word)
{
    ASSERT(c->argc < CACHE_STREAM_ARGV_MAX);
    c->argv[c->argc++] = word;
}

static void command_put_number(struct cache_stream_command *c, unsigned place, uint64_t v)
{
    command_put(c, slice_make(c->digits[place], slice_put_u64(c->digits[place], v)));
}

/* With `second`, there are two keys. */
static void command_begin(struct cache_stream_command *c, const char *script, const char *first,
                          const char *second)
{
    c->argc = 0;
    command_put(c, SLICE_LIT("EVAL"));
    command_put(c, slice_str(script));
    command_put(c, second != NULL ? SLICE_LIT("2") : SLICE_LIT("1"));
    command_put(c, slice_str(first));
    if (second != NULL)
        command_put(c, slice_str(second));
}

void cache_stream_script_read(struct cache_stream_command *c, const struct cache_stream_keys *k, slice_t from)
{
    command_begin(c, read_script, k->stream, k->epoch);
    command_put(c, from);
    command_put_number(c, 0, CACHE_STREAM_READ_MAX);
    command_put_number(c, 1, CACHE_STREAM_READ_BYTES);
}

void cache_stream_script_append(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                size_t length, const slice_t *packed, size_t count)
{
    ASSERT(count <= CACHE_STREAM_BATCH);
    command_begin(c, append_script, k->stream, NULL);
    command_put_number(c, 0, length);
    command_put(c, slice_str(k->done));
    for (size_t i = 0; i < count; i++)
        command_put(c, packed[i]);
}

void cache_stream_script_start(struct cache_stream_command *c, const struct cache_stream_keys *k,
                               size_t length, slice_t seen, slice_t epoch, slice_t packed)
{
    command_begin(c, start_script, k->stream, k->epoch);
    command_put_number(c, 0, length);
    command_put(c, seen);
    command_put(c, epoch);
    command_put(c, packed);
}

bool cache_stream_script_was_done(const struct redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_INTEGER && (r->integer == 1 || r->integer == 2);
}

bool cache_stream_script_was_untold(const struct redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer == 2;
}

bool cache_stream_digest(const struct cache_stream_fields *f, char *digest)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha1(), NULL) == 1;
    for (size_t i = 4; i < f->count && ok; i++) {
        ok = (i == 4 || EVP_DigestUpdate(c, "", 1) == 1) &&
             EVP_DigestUpdate(c, f->texts[i].ptr, f->texts[i].len) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(c, sum, NULL) == 1;
    EVP_MD_CTX_free(c);
    for (size_t i = 0; i < CACHE_STREAM_DIGEST / 2 && ok; i++) {
        digest[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        digest[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    return ok;
}

void cache_stream_script_forget(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                slice_t name)
{
    c->argc = 0;
    command_put(c, SLICE_LIT("HDEL"));
    command_put(c, slice_str(k->nodes));
    command_put(c, name);
}

void cache_stream_script_report(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                slice_t name, slice_t report)
{
    command_begin(c, report_script, k->stream, k->nodes);
    command_put(c, name);
    command_put(c, report);
    command_put_number(c, 0, CACHE_STREAM_FORGET_S);
    command_put_number(c, 1, CACHE_STREAM_LAG_MAX);
}

slice_t cache_stream_report_print(char *buf, uint64_t epoch, struct cache_stream_id applied)
{
    text_put_hex16(buf, epoch);
    buf[16] = ' ';
    slice_t id = cache_stream_id_print(buf + 17, applied);
    return slice_make(buf, 17 + id.len);
}

/* ---- answers ---- */

static bool is_entry(const struct redisReply *r, size_t *texts)
{
    struct cache_stream_id id;
    const struct redisReply *fields = redis_reply_at(r, 1);
    if (redis_reply_count(r) != 2 || !cache_stream_id_parse(redis_reply_text(redis_reply_at(r, 0)), &id) ||
        fields == NULL || fields->type != REDIS_REPLY_ARRAY)
        return false;
    *texts += redis_reply_count(fields);
    return true;
}

bool cache_stream_page_open(struct cache_stream_page *p, const struct redisReply *r)
{
    const struct redisReply *whole = redis_reply_at(r, 1), *all = redis_reply_at(r, 2);
    *p = (struct cache_stream_page){.count = redis_reply_count(all)};
    if (redis_reply_count(r) != 3 || whole->type != REDIS_REPLY_INTEGER || all->type != REDIS_REPLY_ARRAY)
        return false;
    size_t texts = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (!is_entry(redis_reply_at(all, i), &texts))
            return false;
    }
    p->epoch = redis_reply_text(redis_reply_at(r, 0));
    p->whole = whole->integer == 1;
    p->entries = malloc(p->count * sizeof p->entries[0] + texts * sizeof(slice_t) + 1);
    if (p->entries == NULL)
        return false;
    slice_t *text = (slice_t *)(p->entries + p->count);
    for (size_t i = 0; i < p->count; i++) {
        const struct redisReply *e = redis_reply_at(all, i), *fields = redis_reply_at(e, 1);
        struct cache_stream_received *out = &p->entries[i];
        cache_stream_id_parse(redis_reply_text(redis_reply_at(e, 0)), &out->id);
        out->texts = text;
        out->count = redis_reply_count(fields);
        for (size_t k = 0; k < out->count; k++)
            *text++ = redis_reply_text(redis_reply_at(fields, k));
    }
    return true;
}

void cache_stream_page_close(struct cache_stream_page *p)
{
    free(p->entries);
    p->entries = NULL;
}

static bool node_parse(const struct redisReply *r, struct cache_stream_node *out)
{
    slice_t name = redis_reply_text(redis_reply_at(r, 0));
    const struct redisReply *age = redis_reply_at(r, 3), *lag = redis_reply_at(r, 4);
    if (redis_reply_count(r) != 5 || name.len == 0 || name.len > CACHE_STREAM_NAME_MAX ||
        !slice_hex_to_u64(redis_reply_text(redis_reply_at(r, 1)), &out->epoch) ||
        !cache_stream_id_parse(redis_reply_text(redis_reply_at(r, 2)), &out->applied) ||
        age->type != REDIS_REPLY_INTEGER || age->integer < 0 || lag->type != REDIS_REPLY_INTEGER ||
        lag->integer < 0)
        return false;
    memcpy(out->name, name.ptr, name.len);
    out->name[name.len] = '\0';
    out->age_ms = (dur_ms_t)age->integer;
    out->lag = (uint64_t)lag->integer;
    out->is_lost = false;
    return true;
}

size_t cache_stream_nodes_parse(const struct redisReply *r, bool *first, struct cache_stream_node *out)
{
    size_t count = 0;
    int64_t added = 0;
    const struct redisReply *all = redis_reply_at(r, 1);
    *first = redis_reply_integer(redis_reply_at(r, 0), &added) && added != 0;
    for (size_t i = 0; i < redis_reply_count(all) && count < CACHE_STREAM_NODES_MAX; i++)
        count += node_parse(redis_reply_at(all, i), &out[count]);
    return count;
}
