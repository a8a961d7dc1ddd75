/* page.h: the small page at / of the admin address: what there is, and a few live figures. Constant texts;
 * the script asks /api/status every two seconds, with a token that is typed in and kept nowhere but in the
 * page. */
#ifndef ADMIN_PAGE_H
#define ADMIN_PAGE_H

/* The files of these names beside this one, each with a NUL behind it. */
extern const char admin_page_html[], admin_page_css[], admin_page_js[];

#endif
