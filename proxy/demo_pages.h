/* demo_pages.h: the constant texts of the sample application. */
#ifndef PROXY_DEMO_PAGES_H
#define PROXY_DEMO_PAGES_H

#include "core/slice.h"

struct demo_asset {
    const char *path, *type;
    slice_t text;
};
#define DEMO_ASSETS 3
extern const struct demo_asset demo_assets[DEMO_ASSETS]; /* the style sheet first */

/* The strong ETag of its text, quotes included: the same in every instance of every run. */
#define DEMO_ETAG_BYTES 24
void demo_asset_etag(const struct demo_asset *asset, char out[DEMO_ETAG_BYTES]);

/* Before and after what varies; the first takes a title and the instance's name (printf). */
extern const char demo_page_top[], demo_page_end[];
extern const char demo_page_links[];

#endif
