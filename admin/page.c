/* page.c: see page.h. The assembler takes the files page.html, page.css and page.js into the program.
 *
 * They are three texts on paths of their own, so that the policy sent with them can forbid inline scripts and
 * styles, and every foreign source. Rejected: texts as C literals, which nothing that knows HTML, CSS or
 * JavaScript can read. */
#include "admin/page.h"

#define TEXT_OF_FILE(name, file)                                                                             \
    __asm__(".section .rodata\n"                                                                             \
            ".global " #name "\n"                                                                            \
            ".type " #name ", %object\n" #name ":\n"                                                         \
            ".incbin \"" file "\"\n"                                                                         \
            ".byte 0\n"                                                                                      \
            ".size " #name ", . - " #name "\n"                                                               \
            ".previous\n")

TEXT_OF_FILE(admin_page_html, "admin/page.html");
TEXT_OF_FILE(admin_page_css, "admin/page.css");
TEXT_OF_FILE(admin_page_js, "admin/page.js");
