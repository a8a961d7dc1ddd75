/* parse_head.c: parses one browser's request head as often as the first argument says, for tests/budget/run
 * to count. A program of its own, so that the count is the parser's alone: start line, fields, framing and
 * target, as a worker does for every request. Exits 1 when the head is not taken, so that no failure is
 * counted as speed. */
#include <stdlib.h>

#include "core/h1_parse.h"

#define MAX_FIELDS 64

static const char head_text[] =
    "GET /articles/2024/03/an-ordinary-page.html?page=2&sort=newest HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua: \"Chromium\";v=\"122\", \"Not(A:Brand\";v=\"24\", \"Google Chrome\";v=\"122\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0f8fad5bd9cb469fa16570867728950e; theme=dark\r\n"
    "\r\n";

static bool parse_once(void)
{
    static const struct h1_limits limits = {
        .max_head_bytes = 32 * KB, .max_target_bytes = 8 * KB, .max_fields = MAX_FIELDS};
    struct http_field fields[MAX_FIELDS];
    struct http_head head = {.fields = fields};
    struct h1_parser parser = {0};
    struct h1_framing framing;
    struct h1_target target;
    return h1_parse_request(&parser, head_text, sizeof head_text - 1, &head, &limits) == H1_DONE &&
           h1_request_framing(&head, &framing) == H1_OK && h1_target_split(&head, &target) == H1_OK;
}

int main(int argc, char **argv)
{
    for (long left = argc > 1 ? atol(argv[1]) : 1; left > 0; left--)
        if (!parse_once())
            return 1;
    return 0;
}
