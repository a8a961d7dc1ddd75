/* root_path.c: see root_path.h. */
#include "proxy/root_path.h"

#include "core/text.h"

#define UTF8 "; charset=utf-8"

/* The types are such as the leak guard expects behind these endings (cache/deception.h). */
static const struct {
    const char *extension, *type;
} types[] = {
    {"html", "text/html" UTF8},
    {"htm", "text/html" UTF8},
    {"xhtml", "application/xhtml+xml"},
    {"css", "text/css" UTF8},
    {"js", "text/javascript" UTF8},
    {"mjs", "text/javascript" UTF8},
    {"json", "application/json"},
    {"map", "application/json"},
    {"webmanifest", "application/manifest+json"},
    {"xml", "application/xml"},
    {"rss", "application/rss+xml"},
    {"atom", "application/atom+xml"},
    {"txt", "text/plain" UTF8},
    {"md", "text/markdown" UTF8},
    {"csv", "text/csv" UTF8},
    {"vtt", "text/vtt" UTF8},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"avif", "image/avif"},
    {"ico", "image/x-icon"},
    {"bmp", "image/bmp"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"ttf", "font/ttf"},
    {"otf", "font/otf"},
    {"eot", "application/vnd.ms-fontobject"},
    {"mp4", "video/mp4"},
    {"webm", "video/webm"},
    {"mov", "video/quicktime"},
    {"ogv", "video/ogg"},
    {"mp3", "audio/mpeg"},
    {"ogg", "audio/ogg"},
    {"wav", "audio/wav"},
    {"m4a", "audio/mp4"},
    {"flac", "audio/flac"},
    {"pdf", "application/pdf"},
    {"zip", "application/zip"},
    {"gz", "application/gzip"},
    {"wasm", "application/wasm"},
};

const char *root_path_type(slice_t name)
{
    size_t dot = name.len;
    while (dot > 0 && name.ptr[dot - 1] != '.' && name.ptr[dot - 1] != '/')
        dot--;
    const slice_t extension = slice_make(name.ptr + dot, name.len - dot);
    for (size_t i = 0; dot > 0 && name.ptr[dot - 1] == '.' && i < ARRAY_LEN(types); i++) {
        if (slice_ieq(extension, slice_str(types[i].extension)))
            return types[i].type;
    }
    return "application/octet-stream";
}

/* The byte at `*at`, decoded, or -1 for none that a name may have. A slash is one only as it is written. */
static int next_byte(slice_t path, size_t *at)
{
    uint64_t byte = (unsigned char)path.ptr[*at];
    const bool encoded = byte == '%';
    if (encoded && (*at + 2 >= path.len || !slice_hex_to_u64(slice_make(path.ptr + *at + 1, 2), &byte)))
        return -1;
    *at += encoded ? 3 : 1;
    return byte < 0x20 || byte == 0x7f || byte == '\\' || (encoded && byte == '/') ? -1 : (int)byte;
}

static bool segment_is_good(slice_t segment, bool first)
{
    return segment.len > 0 &&
           (segment.ptr[0] != '.' || (first && slice_eq(segment, SLICE_LIT(".well-known"))));
}

bool root_path_map(slice_t path, char out[ROOT_PATH_BYTES])
{
    struct text t = text_make(out, ROOT_PATH_BYTES - sizeof ROOT_INDEX);
    const char *segment = out;
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    for (size_t i = 1; i < path.len;) {
        const int byte = next_byte(path, &i);
        if (byte < 0 ||
            (byte == '/' && !segment_is_good(slice_make(segment, (size_t)(t.at - segment)), segment == out)))
            return false;
        text_put_char(&t, (char)byte);
        if (byte == '/')
            segment = t.at;
    }
    if (t.overflow)
        return false;
    if (segment == t.at)
        memcpy(t.at, ROOT_INDEX, sizeof ROOT_INDEX);
    else
        *t.at = '\0';
    return segment == t.at || segment_is_good(slice_make(segment, (size_t)(t.at - segment)), segment == out);
}
