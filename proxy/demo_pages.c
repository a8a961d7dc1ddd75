/* demo_pages.c: see demo_pages.h. Plain and small: the pages are there to be looked at with curl as much as
 * with a browser. */
#include "proxy/demo_pages.h"

#include <stdio.h>

static const char app_css[] =
    "body{font:16px/1.55 system-ui,sans-serif;max-width:46rem;margin:2.5rem auto;padding:0 "
    "1rem;color:#1c2b33}\n"
    "header{display:flex;align-items:center;gap:.8rem;border-bottom:3px solid #2a7f9e;padding-bottom:.6rem}\n"
    "header img{width:44px;height:44px}h1{font-size:1.4rem;margin:0}\n"
    ".who{margin-left:auto;background:#2a7f9e;color:#fff;border-radius:1rem;padding:.15rem "
    ".9rem;font-weight:600}\n"
    "table{border-collapse:collapse;font-size:.9rem}td{border-bottom:1px solid #d5e0e5;padding:.2rem 1rem "
    ".2rem 0}\n"
    "td:first-child{white-space:nowrap}\n"
    "code{background:#eef4f7;padding:.1rem .35rem;border-radius:4px;overflow-wrap:anywhere}\n"
    "button{font:inherit;padding:.35rem "
    "1rem;border:0;border-radius:6px;background:#2a7f9e;color:#fff;cursor:pointer}\n"
    "a{color:#1d6f8c}.big{font-size:2rem;font-weight:700}\n";

static const char app_js[] = "'use strict';\n"
                             "const age = document.querySelector('[data-made]');\n"
                             "if (age) setInterval(() => {\n"
                             "  const s = Math.max(0, Math.round(Date.now() / 1000 - age.dataset.made));\n"
                             "  age.textContent = `made ${s} seconds ago`;\n"
                             "}, 500);\n";

static const char logo_svg[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 48 48\"><circle cx=\"24\" cy=\"24\" r=\"23\" "
    "fill=\"#d9edf4\"/>"
    "<g stroke=\"#2a7f9e\" stroke-width=\"3\" fill=\"none\"><circle cx=\"24\" cy=\"20\" r=\"10\"/>"
    "<path d=\"M24 8v24M12 20h24M15.500 11.500l17 17M32.500 11.500l-17 17\"/>"
    "<path d=\"M4 36q5-5 10 0t10 0 10 0 10 0M8 42q4-4 8 0t8 0 8 0 8 0\"/></g></svg>\n";

const struct demo_asset demo_assets[DEMO_ASSETS] = {
    {"/static/app.css", "text/css; charset=utf-8", {app_css, sizeof app_css - 1}},
    {"/static/app.js", "text/javascript; charset=utf-8", {app_js, sizeof app_js - 1}},
    {"/static/logo.svg", "image/svg+xml", {logo_svg, sizeof logo_svg - 1}},
};

/* FNV-1a */
void demo_asset_etag(const struct demo_asset *asset, char out[DEMO_ETAG_BYTES])
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < asset->text.len; i++)
        h = (h ^ (unsigned char)asset->text.ptr[i]) * 0x100000001b3u;
    snprintf(out, DEMO_ETAG_BYTES, "\"%016llx\"", (unsigned long long)h);
}

const char demo_page_top[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<link rel=\"icon\" href=\"/static/logo.svg\"><link rel=\"stylesheet\" href=\"/static/app.css\">\n"
    "<script src=\"/static/app.js\" defer></script></head><body>\n"
    "<header><img src=\"/static/logo.svg\" alt=\"\"><h1>%s</h1><span class=\"who\">%s</span></header>\n";

const char demo_page_end[] = "<p><a href=\"/\">front page</a></p></body></html>\n";

const char demo_page_links[] =
    "<ul>\n"
    "<li><a href=\"/\">this page</a>: made anew each time (<code>no-store</code>); reload to see the "
    "instances take turns\n"
    "<li><a href=\"/cached\">/cached</a>: may be kept for 30 seconds; reload and the instance and time stay\n"
    "<li><a href=\"/product/7\">/product/7</a>: kept for 5 minutes, until somebody purges it\n"
    "<li><a href=\"/slow?ms=1500\">/slow?ms=1500</a>: takes its time, then is kept for 10 seconds\n"
    "<li><a href=\"/vary\">/vary</a>: one copy per <code>Accept-Language</code>\n"
    "<li><a href=\"/fail\">/fail</a>: answers 500; <a href=\"/fail?status=503\">/fail?status=503</a>: tried "
    "on the other "
    "instance too\n"
    "<li><a href=\"/static/app.css\">/static/app.css</a>: an asset with ETag and Last-Modified\n"
    "</ul>\n";
