/* deception.h: does a response fit the path it was asked for by (against web cache deception), pure. */
#ifndef CACHE_DECEPTION_H
#define CACHE_DECEPTION_H

#include "core/http_msg.h"

/* Endings of paths that stand for a file, and the beginnings of the media types such a file is sent with.
 * A type that ends with '/' stands for all of its kind. X(endings, media types); the documentation shows this
 * table, which a test compares. */
#define DECEPTION_FILES(X)                                                                                   \
    X("css", "text/css")                                                                                     \
    X("js mjs", "text/javascript application/javascript application/x-javascript text/ecmascript "           \
                "application/ecmascript")                                                                    \
    X("png jpg jpeg jpe jfif gif webp avif bmp ico cur tif tiff apng jxl heic", "image/ video/")             \
    X("svg svgz", "image/svg+xml text/xml application/xml")                                                  \
    X("woff woff2 ttf otf ttc eot", "font/ application/font application/x-font "                             \
                                    "application/vnd.ms-fontobject application/vnd.ms-opentype")             \
    X("mp3 m4a aac ogg oga opus wav flac mid midi weba", "audio/ video/ application/ogg")                    \
    X("mp4 m4v webm ogv mov avi mkv mpg mpeg 3gp flv ts", "video/ audio/ application/ogg")                   \
    X("m3u8 mpd", "application/vnd.apple.mpegurl application/x-mpegurl audio/ application/dash+xml")         \
    X("pdf", "application/pdf application/x-pdf")                                                            \
    X("wasm", "application/wasm")                                                                            \
    X("swf", "application/x-shockwave-flash application/vnd.adobe.flash")                                    \
    X("zip gz tgz bz2 xz zst 7z rar tar jar apk deb rpm exe msi dmg iso bin",                                \
      "application/zip application/gzip application/x- application/java-archive application/vnd. "           \
      "application/zstd")                                                                                    \
    X("doc docx xls xlsx ppt pptx odt ods odp", "application/msword application/vnd. application/x-")        \
    X("csv", "text/csv text/plain")                                                                          \
    X("txt", "text/plain")

/* False when any type fits, at a glance. */
static inline bool deception_matters(slice_t path, bool by_extension)
{
    return by_extension || memchr(path.ptr, '.', path.len) != NULL || memchr(path.ptr, '%', path.len) != NULL;
}
/* True when the type is what a file of the path's ending is sent with, `application/octet-stream`, or when
 * the path has none of these endings. With `by_extension` (the route was chosen by an ending) a page
 * (text/html, application/xhtml+xml) fits no ending but those of pages, such as html and php. `path` is raw,
 * without query; `type` the Content-Type, empty when there is none, which fits no file. */
bool deception_type_fits(slice_t path, slice_t type, bool by_extension);

/* True when an application may well read the path as another one than routes do: it has dot segments, a
 * backslash or a control character, or an encoded character that separates (`%2f`, `%5c`, `%3f`, `%23`,
 * `%25`, `%2e`). */
bool deception_path_is_ambiguous(slice_t path);

#endif
