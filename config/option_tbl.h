/* option_tbl.h: every option of the ini file, one row each, in the order of the manual.
 *
 * OPTION(section, key, type, default, rule, flags, member, help). `rule` is ANY, RANGE(min, max) in the
 * type's unit (ms, bytes, percent) or WORDS(allowed); `member` is AT(struct, member), or HERE where the
 * type's parser knows its members itself. Included by option.c only; no guard. */

OPTION(MILLPOND, "workers", WORKERS, "auto", RANGE(1, 1024), OPTION_RESTART, AT(config_main, workers),
       "Worker threads. `auto` starts one per CPU the process may run on.")
OPTION(MILLPOND, "user", TEXT, "", RANGE(1, 64), OPTION_RESTART, AT(config_main, user),
       "User to become after the listening sockets are open, when started as root.")
OPTION(MILLPOND, "group", TEXT, "", RANGE(1, 64), OPTION_RESTART, AT(config_main, group),
       "Group to become likewise. Without it the primary group of `user`.")
OPTION(MILLPOND, "runtime_dir", PATH, "/run/millpond", ANY, OPTION_RESTART | OPTION_COMPUTED,
       AT(config_main, runtime_dir),
       "Folder of the pid file and the admin socket. When not started as root the default is "
       "`$XDG_RUNTIME_DIR/millpond`, or `/tmp/millpond-UID` where that variable is not set.")
OPTION(MILLPOND, "state_dir", PATH, "/var/lib/millpond", ANY, OPTION_RESTART | OPTION_COMPUTED,
       AT(config_main, state_dir),
       "Folder of the configuration history and the generated admin token. When not started as root the "
       "default is "
       "`$XDG_STATE_HOME/millpond`, or `~/.local/state/millpond` where that variable is not set.")
OPTION(MILLPOND, "shutdown_timeout", DURATION, "30s", RANGE(0, DAY_MS), 0,
       AT(config_main, shutdown_timeout_ms),
       "How long open requests may take after SIGTERM before they are cut off.")
OPTION(MILLPOND, "upgrade_timeout", DURATION, "30s", RANGE(100, 600000), 0,
       AT(config_main, upgrade_timeout_ms),
       "How long the program that `millpond upgrade` starts may take until it is ready.")
OPTION(
    MILLPOND, "max_connections", COUNT, "10000", RANGE(1, 10000000), 0, AT(config_main, max_connections),
    "Client connections over all workers; fewer where the open-file limit would leave none to instances. One "
    "more is answered 503 and closed.")
OPTION(
    MILLPOND, "trusted_proxies", CIDRS, "", ANY, OPTION_LIST | OPTION_COMMAS,
    AT(config_main, trusted_proxies),
    "Networks whose X-Forwarded-*, Forwarded and PROXY data is believed. `unix` stands for every peer on a "
    "unix socket.")
OPTION(MILLPOND, "server_header", SERVER_HEADER, "millpond", RANGE(1, 128), 0, AT(config_main, server_header),
       "Value of the Server field on responses Millpond makes itself. `off` leaves it out.")
OPTION(
    MILLPOND, "tls_ticket_keys", PATH, "", ANY, 0, AT(config_main, tls_ticket_keys),
    "File with the keys of TLS session tickets, one line each, so that several nodes have the same; a file "
    "that changes is reloaded. Without one, keys are in memory only and change every 8 hours.")
OPTION(MILLPOND, "include", INCLUDE, "", ANY, OPTION_LIST | OPTION_COMMAS, HERE,
       "Reads more files at this place, in name order, such as `conf.d/*.ini`. The path is relative to the "
       "folder of "
       "the including file.")

OPTION(LOG, "level", WORD, "info", WORDS("error warn info debug"), 0, AT(config_log, level),
       "The least important messages that are still written.")
OPTION(LOG, "file", PATH, "stderr", WORDS("stderr syslog"), 0, AT(config_log, file),
       "Where messages go: a path, `stderr` or `syslog`.")
OPTION(LOG, "access", PATH, "off", WORDS("off stdout"), 0, AT(config_log, access),
       "Where the access log goes, one line per request: a path, `stdout` or `off`.")
OPTION(LOG, "access_format", ACCESS_FORMAT, "json", WORDS("json combined"), 0, AT(config_log, access_format),
       "Form of an access log line: `json`, `combined`, or a template with `%{field}` in it.")
OPTION(
    LOG, "slow_request", DURATION, "1s", RANGE(0, DAY_MS), 0, AT(config_log, slow_request_ms),
    "A request slower than this is also written to the log, with the time each phase took. `0` turns it off.")

OPTION(LISTEN, "address", ADDRESSES, "0.0.0.0:8080", ANY, OPTION_LIST | OPTION_COMMAS, HERE,
       "Where to accept clients: `1.2.3.4:80`, `[v6]:port`, `:port` (both families) or `unix:/path`.")
OPTION(LISTEN, "tls_certificate", PATHS, "", ANY, OPTION_LIST, AT(config_listen, tls_certificates),
       "PEM file of a certificate with its chain. Repeatable in pairs with `tls_key`, chosen by SNI; a file "
       "that "
       "changes is reloaded.")
OPTION(LISTEN, "tls_key", PATHS, "", ANY, OPTION_LIST, AT(config_listen, tls_keys),
       "PEM file of the key of the certificate above.")
OPTION(LISTEN, "tls_min_version", WORD, "1.2", WORDS("1.2 1.3"), 0, AT(config_listen, tls_min_version),
       "Oldest TLS version accepted.")
OPTION(LISTEN, "tls_ciphers", TEXT, "intermediate", ANY, 0, AT(config_listen, tls_ciphers),
       "Cipher list in OpenSSL's words; names that begin with `TLS_` are of TLS 1.3. `intermediate` is "
       "Mozilla's for general use, without DHE.")
OPTION(LISTEN, "tls_groups", TEXT, "intermediate", ANY, 0, AT(config_listen, tls_groups),
       "Key exchange groups in OpenSSL's words; `intermediate` is `X25519:P-256:P-384`.")
OPTION(LISTEN, "tls_client_ca", PATH, "", ANY, 0, AT(config_listen, tls_client_ca),
       "PEM file of the authorities of client certificates; a file that changes is reloaded.")
OPTION(LISTEN, "tls_client_verify", WORD, "off", WORDS("off optional required"), 0,
       AT(config_listen, tls_client_verify),
       "Whether clients show a certificate of `tls_client_ca`. Instances are told whose it is in "
       "`X-SSL-Client-Verify`, `X-SSL-Client-S-DN` and `X-SSL-Client-SHA256`.")
OPTION(
    LISTEN, "tls_ocsp", PATHS, "", ANY, OPTION_LIST, AT(config_listen, tls_ocsp),
    "File with an OCSP response in DER for one of the certificates, which clients are shown with it; a file "
    "that changes is reloaded. Repeatable.")
OPTION(LISTEN, "hsts", WORD, "off", WORDS("off on subdomains preload"), 0, AT(config_listen, hsts),
       "Tells browsers for two years to come by https only (`Strict-Transport-Security`), in responses that "
       "do not have that field: `on` for the host, `subdomains` for those below it too, `preload` for both "
       "and for the lists that browsers bring along.")
OPTION(LISTEN, "protocols", PROTOCOLS, "h2, http/1.1", WORDS("h2 http/1.1 h2c"), OPTION_LIST | OPTION_COMMAS,
       AT(config_listen, protocols),
       "Protocols offered by ALPN. `h2c` allows HTTP/2 with prior knowledge without TLS.")
OPTION(
    LISTEN, "proxy_protocol", WORD_BOOL, "off", WORDS("off required"), 0, AT(config_listen, proxy_protocol),
    "`required`: each connection begins with a PROXY header (version 1 or 2) that says whose it is, before "
    "TLS. Only addresses in `trusted_proxies` may connect then.")
OPTION(
    LISTEN, "redirect_to_https", BOOL, "no", ANY, 0, AT(config_listen, redirect_to_https),
    "Answers requests that did not come over TLS with 308 to the https address, without a port; paths below "
    "`/.well-known/acme-challenge/` and purges excepted.")
OPTION(
    LISTEN, "acme_webroot", PATH, "", ANY, 0, AT(config_listen, acme_webroot),
    "Folder in which an ACME client, such as certbot with `--webroot`, puts its challenges: requests below "
    "`/.well-known/acme-challenge/` are answered from the folder of that name in it.")
OPTION(LISTEN, "header_timeout", DURATION, "10s", RANGE(1, DAY_MS), 0, AT(config_listen, header_timeout_ms),
       "Time for the whole request head, else 408.")
OPTION(LISTEN, "body_timeout", DURATION, "30s", RANGE(1, DAY_MS), 0, AT(config_listen, body_timeout_ms),
       "Longest pause between two pieces of a request body.")
OPTION(LISTEN, "idle_timeout", DURATION, "60s", RANGE(1, DAY_MS), 0, AT(config_listen, idle_timeout_ms),
       "How long a connection is kept open between requests.")
OPTION(LISTEN, "write_timeout", DURATION, "30s", RANGE(1, DAY_MS), 0, AT(config_listen, write_timeout_ms),
       "A client that takes nothing of its response for this long is cut off.")
OPTION(LISTEN, "min_rate", BYTE_RATE, "240/s", ANY, 0, AT(config_listen, min_rate_bytes_s),
       "Bytes per second, averaged over 10 s, under which a sender or reader is cut off. `0` turns it off.")
OPTION(LISTEN, "max_header_size", SIZE, "32K", RANGE(1024, 1 << 20), 0, AT(config_listen, max_header_bytes),
       "Largest request head, else 431.")
OPTION(LISTEN, "max_headers", COUNT, "100", RANGE(1, 1000), 0, AT(config_listen, max_headers),
       "Most fields in a request head, else 431.")
OPTION(LISTEN, "max_target", SIZE, "8K", RANGE(64, 1 << 20), 0, AT(config_listen, max_target_bytes),
       "Longest request target (path and query), else 414.")
OPTION(LISTEN, "max_body_size", SIZE, "64M", RANGE(1, SIZE_LIMIT), 0, AT(config_listen, max_body_bytes),
       "Largest request body, else 413.")
OPTION(LISTEN, "max_requests_per_connection", COUNT, "0", RANGE(0, INT32_MAX), 0,
       AT(config_listen, max_requests_per_connection),
       "Requests after which a connection is closed. `0` is no limit.")
OPTION(LISTEN, "max_connections_per_ip", COUNT, "0", RANGE(0, INT32_MAX), 0,
       AT(config_listen, max_connections_per_ip),
       "Connections one client address may have open. `0` is no limit.")
OPTION(LISTEN, "h2_max_streams", COUNT, "128", RANGE(1, 100000), 0, AT(config_listen, h2_max_streams),
       "Requests at once on one HTTP/2 connection.")
OPTION(LISTEN, "h2_max_resets", RATE, "200/m", ANY, 0, AT(config_listen, h2_max_resets),
       "Streams that may end before their time by the client's doing, in a time, before its connection is "
       "closed.")

OPTION(
    POOL, "server", SERVER, "", ANY, OPTION_LIST, HERE,
    "One instance: `host:port` or `unix:/path`, then any of `weight=1` (0 to 1000; 0 = nothing new), "
    "`backup`, "
    "`max_connections=0` (requests at a time; more wait in the `queue`; 0 = no limit), `resolve=all` (each "
    "address of a host name is an instance; `one`: one of them is), `name=...`. Names are re-resolved. "
    "`zone=` is not supported yet.")
OPTION(POOL, "resolver", RESOLVERS, "", ANY, OPTION_LIST, AT(config_pool, resolvers),
       "Name servers that are asked for the host names of this pool, such as `10.0.0.2` or `127.0.0.1:5353`. "
       "Without it those of `/etc/resolv.conf`.")
OPTION(
    POOL, "balance", WORD, "round_robin", WORDS("round_robin least_connections two_choices hash"), 0,
    AT(config_pool, balance),
    "How an instance is picked: by turns; the one with the fewest requests in flight; the better of two by "
    "latency and requests in flight; or by `hash_on`. Weights count in each.")
OPTION(POOL, "hash_on", HASH_ON, "", ANY, 0, HERE,
       "With `balance = hash`: what is the same for requests that go to the same instance. `path` is without "
       "its query. A request that has none of it goes anywhere.")
OPTION(POOL, "sticky_cookie", COOKIE_NAME, "", ANY, 0, AT(config_pool, sticky_cookie),
       "Name of a signed cookie that keeps a visitor with the instance that answered first, as long as that "
       "is there. The application does not see it.")
OPTION(POOL, "health_check", WORD, "http", WORDS("off tcp http"), 0, AT(config_pool, health),
       "How instances are probed.")
OPTION(POOL, "health_path", URL_PATH, "/", ANY, 0, AT(config_pool, health_path),
       "Path an HTTP probe asks for.")
OPTION(POOL, "health_host", HOST, "", ANY, 0, AT(config_pool, health_host),
       "Host field of an HTTP probe. Without it the host of the server.")
OPTION(POOL, "health_status", STATUSES, "200-399", RANGE(100, 599), OPTION_LIST | OPTION_COMMAS, HERE,
       "Status codes of a healthy answer, such as `200-399` or `200, 204`.")
OPTION(POOL, "health_body", TEXT, "", RANGE(1, 200), 0, AT(config_pool, health_body),
       "Text that the body of a healthy answer holds, byte for byte, within its first 256K.")
OPTION(POOL, "health_interval", DURATION, "2s", RANGE(10, DAY_MS), 0, AT(config_pool, health_interval_ms),
       "Time between two probes, with jitter.")
OPTION(POOL, "health_timeout", DURATION, "1s", RANGE(1, DAY_MS), 0, AT(config_pool, health_timeout_ms),
       "Time a probe may take.")
OPTION(POOL, "health_rise", COUNT, "2", RANGE(1, 100), 0, AT(config_pool, health_rise),
       "Good probes in a row that bring an instance back.")
OPTION(POOL, "health_fall", COUNT, "3", RANGE(1, 100), 0, AT(config_pool, health_fall),
       "Failed probes in a row that take an instance out. It is used until then.")
OPTION(POOL, "eject_errors", COUNT, "5", RANGE(0, 1000), 0, AT(config_pool, eject_errors),
       "Failed requests in a row (no answer, or a server error) after which an instance is left out for a "
       "while, unless the others fail as well. One that fails far more often than the others is left out, "
       "too. 0 = never.")
OPTION(POOL, "eject_time", DURATION, "10s", RANGE(1, DAY_MS), 0, AT(config_pool, eject_time_ms),
       "How long at first; doubled each time up to 5m.")
OPTION(
    POOL, "eject_max", PERCENT, "50%", RANGE(0, 100), 0, AT(config_pool, eject_max_percent),
    "Largest share of the pool that is left out at a time, and one if that is less than one; never the last "
    "one.")
OPTION(POOL, "slow_start", DURATION, "0", RANGE(0, DAY_MS), 0, AT(config_pool, slow_start_ms),
       "Time over which an instance that comes back gets its full share. 0 = at once.")
OPTION(POOL, "connect_timeout", DURATION, "3s", RANGE(1, DAY_MS), 0, AT(config_pool, connect_timeout_ms),
       "Time to open a connection to an instance.")
OPTION(POOL, "response_timeout", DURATION, "60s", RANGE(1, DAY_MS), 0, AT(config_pool, response_timeout_ms),
       "Time to the first byte of the response, then between bytes. While the body of the request has yet to "
       "come from "
       "the client, it is the client's time that runs (`body_timeout`).")
OPTION(POOL, "idle_timeout", DURATION, "30s", RANGE(0, DAY_MS), 0, AT(config_pool, idle_timeout_ms),
       "How long an unused connection to an instance is kept.")
OPTION(POOL, "retries", COUNT, "2", RANGE(0, 100), 0, AT(config_pool, retries),
       "How often a request that failed is tried again, on another instance where there is one.")
OPTION(POOL, "retry_budget", PERCENT, "20%", RANGE(0, 100), 0, AT(config_pool, retry_budget_percent),
       "Largest share of the pool's requests that may be retries.")
OPTION(POOL, "retry_on", RETRY_ON, "connect, reset, 502, 503, 504", WORDS("connect reset 502 503 504 off"),
       OPTION_LIST | OPTION_COMMAS, AT(config_pool, retry_on),
       "What is tried again. Status codes count for idempotent methods only. `off` is nothing.")
OPTION(POOL, "queue_target", DURATION, "0", RANGE(0, DAY_MS), 0, AT(config_pool, queue_target_ms),
       "When requests have been waiting for ten times as long without a break, those that wait longer than "
       "this are answered 503 instead, so that the others need not wait that long. 0 = off.")
OPTION(POOL, "max_idle", COUNT, "128", RANGE(0, 1000000), 0, AT(config_pool, max_idle),
       "Unused connections to an instance kept by each worker.")
OPTION(POOL, "queue", COUNT, "1000", RANGE(0, 1000000), 0, AT(config_pool, queue),
       "Requests that may wait when every instance has its `max_connections`, first come, first served. More "
       "of them, and all with 0, are answered 503 with Retry-After.")
OPTION(POOL, "queue_timeout", DURATION, "5s", RANGE(1, DAY_MS), 0, AT(config_pool, queue_timeout_ms),
       "How long they may wait.")
OPTION(POOL, "tls", BOOL, "off", ANY, 0, AT(config_pool, tls), "TLS towards the instances, for probes, too.")
OPTION(POOL, "tls_verify", BOOL, "yes", ANY, 0, AT(config_pool, tls_verify),
       "Whether the certificates of the instances are checked. Without it anybody on the way can read along.")
OPTION(POOL, "tls_ca", PATH, "", ANY, 0, AT(config_pool, tls_ca),
       "PEM file of the authorities they are checked against. Without it those of the system.")
OPTION(POOL, "tls_sni", HOST, "", ANY, 0, AT(config_pool, tls_sni),
       "Name that is asked for, and that the certificates have to be for. Without it the host of the server.")
OPTION(POOL, "tls_certificate", PATH, "", ANY, 0, AT(config_pool, tls_certificate),
       "PEM file of a certificate that instances are shown when they ask for one, by probes, too: that one "
       "first, "
       "then those of its issuers. Read anew when it changes, as are `tls_key` and `tls_ca`.")
OPTION(POOL, "tls_key", PATH, "", ANY, 0, AT(config_pool, tls_key), "PEM file of its key.")
OPTION(POOL, "protocol", WORD, "http/1.1", WORDS("http/1.1 h2"), 0, AT(config_pool, protocol),
       "Protocol towards the instances. With `tls` they have to agree to `h2` by ALPN; without, they are "
       "spoken to "
       "so from the first byte. A worker's requests share its connections. Probes speak it, too.")
OPTION(
    POOL, "send_proxy_protocol", WORD, "off", WORDS("off v1 v2"), 0, AT(config_pool, send_proxy_protocol),
    "Version of the PROXY header by which the instances are told who the client is; each connection is used "
    "for one request then. Probes and refreshes in the background are `LOCAL`, in version 1 `UNKNOWN`.")

OPTION(CACHE, "store", WORD, "memory", WORDS("off memory tiered redis"), OPTION_RESTART,
       AT(config_cache, store),
       "Where responses are kept. `tiered` is memory in front of Redis, which several nodes share: what one "
       "fetched the others find there. `redis` is Redis alone: memory carries responses only while they are "
       "on their way, each request is a question to Redis, and while that is away nothing is kept. Both take "
       "a [redis] section.")
OPTION(CACHE, "memory_size", SIZE, "256M", RANGE(1 << 20, SIZE_LIMIT), OPTION_RESTART,
       AT(config_cache, memory_bytes), "Everything the cache holds in memory, overhead included.")
OPTION(CACHE, "max_object_size", SIZE, "64M", RANGE(1, SIZE_LIMIT), 0, AT(config_cache, max_object_bytes),
       "Larger responses are passed through without being stored.")
OPTION(CACHE, "default_ttl", DURATION, "0", RANGE(0, TTL_LIMIT), 0, AT(config_cache, default_ttl_ms),
       "For storable responses that say nothing about freshness and have no Last-Modified.")
OPTION(CACHE, "heuristic", HEURISTIC, "10% up to 1d", ANY, 0, HERE,
       "Freshness of responses that say nothing but have a Last-Modified: a share of their age (RFC 9111 "
       "section "
       "4.2.2), or `off`.")
OPTION(CACHE, "stale_while_revalidate", DURATION, "0", RANGE(0, TTL_LIMIT), 0,
       AT(config_cache, stale_while_revalidate_ms),
       "How long a stale response is served while a new one is fetched, where the response does not say.")
OPTION(CACHE, "stale_if_error", DURATION, "1h", RANGE(0, TTL_LIMIT), 0, AT(config_cache, stale_if_error_ms),
       "How long a stale response is served while the application fails, where the response does not say.")
OPTION(
    CACHE, "early_refresh", BOOL, "yes", ANY, 0, AT(config_cache, early_refresh),
    "Whether a response that is much asked for is fetched anew shortly before it expires, in the background, "
    "so "
    "that nobody waits. How shortly is up to chance and to how long the last fetch took.")
OPTION(CACHE, "lock_timeout", DURATION, "10s", RANGE(0, DAY_MS), 0, AT(config_cache, lock_timeout_ms),
       "How long a request waits for another that fetches the same object before it fetches for itself; with "
       "store = tiered, also for one at another node.")
OPTION(CACHE, "max_waiters", COUNT, "10000", RANGE(0, 10000000), 0, AT(config_cache, max_waiters),
       "Requests that may wait for one fetch.")
OPTION(
    CACHE, "max_variants", COUNT, "64", RANGE(2, 256), 0, AT(config_cache, max_variants),
    "Variants of one URL (by Vary) that are kept. One more takes the place of the oldest, and a warning says "
    "which request fields the URL varies by.")
OPTION(CACHE, "purge_from", CIDRS, "127.0.0.1, ::1", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_cache, purge_from),
       "Networks that may send PURGE and BAN, and see tags. `none` allows nobody.")
OPTION(CACHE, "cache_status", BOOL, "yes", ANY, 0, AT(config_cache, cache_status),
       "Whether responses carry Cache-Status (RFC 9211). A request with a Cache-Status of its own, from an "
       "address in "
       "`purge_from`, is told the key as well.")

OPTION(REDIS, "url", REDIS_URL, "redis://127.0.0.1:6379/0", ANY, OPTION_LIST | OPTION_RESTART, HERE,
       "Where Redis is: `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:/path`. One, or with other "
       "modes several Sentinels or servers of the Cluster, all of one kind. Before the host, "
       "`user:password@` in percent-encoding; behind it the number of the database, as `/1` or, of a socket, "
       "`?db=1`. With Sentinels the port is 26379 unless given, user and password are for the Sentinels, and "
       "the database is that of the servers they name.")
OPTION(REDIS, "mode", WORD, "standalone", WORDS("standalone sentinel cluster"), OPTION_RESTART,
       AT(config_redis, mode),
       "Kind of installation: one server, the master that Sentinels name, or a Cluster.")
OPTION(REDIS, "username", TEXT, "", RANGE(1, 256), OPTION_RESTART, AT(config_redis, login.username),
       "User to log in as, where the url does not say. Without it the default user.")
OPTION(REDIS, "password", TEXT, "", RANGE(1, 512), OPTION_SECRET | OPTION_RESTART,
       AT(config_redis, login.password),
       "Password to log in with, where the url does not say; as it is, without percent-encoding. Written "
       "here or there, it is never shown.")
OPTION(REDIS, "sentinel_name", REDIS_NAME, "", RANGE(1, 128), OPTION_RESTART, AT(config_redis, sentinel_name),
       "What the Sentinels call the master; with `mode = sentinel`.")
OPTION(REDIS, "tls_ca", PATH, "", ANY, OPTION_RESTART, AT(config_redis, tls_ca),
       "PEM file of the authorities of the servers' certificates, with `rediss://`. Without it those of the "
       "system. The certificate must be for the host that is connected to.")
OPTION(REDIS, "prefix", REDIS_NAME, "millpond:", RANGE(1, 64), OPTION_RESTART, AT(config_redis, prefix),
       "Beginning of every key and stream; without braces, which have a meaning to a Cluster.")
OPTION(REDIS, "timeout", DURATION, "50ms", RANGE(1, 60000), OPTION_RESTART, AT(config_redis, timeout_ms),
       "A slower answer is a miss. Connecting may take ten times as long, and at least 1s.")
OPTION(REDIS, "connections", COUNT, "2", RANGE(1, 16), OPTION_RESTART, AT(config_redis, connections),
       "Connections that each worker keeps open to each server.")
OPTION(REDIS, "max_object_size", SIZE, "1M", RANGE(1, SIZE_LIMIT), OPTION_RESTART,
       AT(config_redis, max_object_bytes), "Larger ones are not kept there.")
OPTION(REDIS, "compress", WORD, "off", WORDS("off zstd"), OPTION_RESTART, AT(config_redis, compress),
       "Whether what looks like text (text, JSON, XML, JavaScript), is not encoded already and has at least "
       "1 KB is packed before it is put there. What is packed is read whatever stands here.")
OPTION(REDIS, "stream_length", COUNT, "100000", RANGE(1, INT32_MAX), OPTION_RESTART,
       AT(config_redis, stream_length), "Invalidation events kept.")
OPTION(REDIS, "channel", REDIS_NAME, "millpond:purge", RANGE(1, 128), OPTION_RESTART | OPTION_COMPUTED,
       AT(config_redis, channel),
       "A PUBLISH here is turned into an event. The default is `prefix` and `purge`.")

OPTION(ROUTE, "host", HOST_PATTERNS, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, hosts),
       "Hosts this route is for: exact, or `*.example.com` for all below it.")
OPTION(
    ROUTE, "path", PATH_PATTERNS, "", ANY, OPTION_LIST | OPTION_COMMAS, HERE,
    "Paths this route is for: `/exact`, `/prefix/*` or `*.ext`. Compared with what is asked for without its "
    "query, percent-decoded, and with double slashes and dot segments resolved.")
OPTION(ROUTE, "method", METHODS, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, methods),
       "Methods this route is for.")
OPTION(ROUTE, "header", HEADER_MATCH, "", ANY, OPTION_LIST, HERE,
       "A field a request must carry, such as `X-Beta: 1`; the name alone takes any value.")
OPTION(ROUTE, "pool", POOL_REF, "the first", ANY, OPTION_COMPUTED, AT(config_route, pool),
       "Pool that answers what the cache can not.")
OPTION(
    ROUTE, "root", PATH, "", ANY, 0, AT(config_route, root),
    "Serves files from this folder instead of a pool. The whole path of the URL is looked for below it, and "
    "nothing outside of it is found.")
OPTION(ROUTE, "redirect", REDIRECT, "", ANY, 0, HERE,
       "Answers with a redirect, such as `301 https://example.com$uri`. `$uri` is path and query, `$host` "
       "the host "
       "asked for.")
OPTION(ROUTE, "respond", RESPOND, "", RANGE(200, 599), 0, HERE,
       "Answers with a status and a text, such as `503 Back soon`.")
OPTION(ROUTE, "cache", ROUTE_CACHE, "on", WORDS("on off"), 0, AT(config_route, cache),
       "Whether responses are cached. `bypass_if=cookie:NAME` or `bypass_if=header:NAME` goes past the cache "
       "for "
       "requests that carry it.")
OPTION(ROUTE, "ttl", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, ttl_ms),
       "Overrides how long the response says that it is fresh, for 200, 203, 204, 206, 300, 301 and 308. For "
       "whom "
       "it is remains the response's own word: see `remove_cookies` and the page on the leak guard.")
OPTION(ROUTE, "ttl_404", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, ttl_404_ms),
       "Freshness of 404 and 410 responses. `0` does not store them.")
OPTION(ROUTE, "ttl_5xx", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, ttl_5xx_ms),
       "Freshness of 5xx responses. `0` does not store them.")
OPTION(ROUTE, "min_ttl", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, min_ttl_ms),
       "Raises a shorter freshness the response asks for.")
OPTION(ROUTE, "max_ttl", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, max_ttl_ms),
       "Lowers a longer freshness the response asks for.")
OPTION(ROUTE, "browser_ttl", TTL, "", RANGE(0, TTL_LIMIT), 0, AT(config_route, browser_ttl_ms),
       "How long browsers may keep what comes from the cache, in place of Expires and of the lifetime in "
       "Cache-Control; not where that says no-store, no-cache or private.")
OPTION(ROUTE, "stale_while_revalidate", DURATION, "of [cache]", RANGE(0, TTL_LIMIT), OPTION_COMPUTED,
       AT(config_route, stale_while_revalidate_ms), "As in `[cache]`, for this route.")
OPTION(ROUTE, "stale_if_error", DURATION, "of [cache]", RANGE(0, TTL_LIMIT), OPTION_COMPUTED,
       AT(config_route, stale_if_error_ms), "As in `[cache]`, for this route.")
OPTION(ROUTE, "early_refresh", BOOL, "of [cache]", ANY, OPTION_COMPUTED, AT(config_route, early_refresh),
       "As in `[cache]`, for this route.")
OPTION(
    ROUTE, "keep_assets", DURATION, "0", RANGE(0, TTL_LIMIT), 0, AT(config_route, keep_assets_ms),
    "For files whose names change with their content. How long a stored one is served beyond its freshness "
    "when no instance has it any more; a 404 of one instance is asked for at the others, and kept for 5s at "
    "most. `0` is off.")
OPTION(
    ROUTE, "ttl_jitter", PERCENT, "0%", RANGE(0, 90), 0, AT(config_route, ttl_jitter_percent),
    "Takes a random share, at most this, off the freshness of each response that is stored, so that what was "
    "stored together does not expire together.")
OPTION(ROUTE, "max_object_size", SIZE, "of [cache]", RANGE(1, SIZE_LIMIT), OPTION_COMPUTED,
       AT(config_route, max_object_bytes), "As in `[cache]`, for this route.")
OPTION(
    ROUTE, "slice", SLICE, "off", RANGE(64 << 10, 64 << 20), 0, AT(config_route, slice_bytes),
    "Fetches and stores what is asked for in slices of this size, so that ranges of objects of any size are "
    "served from memory, and only what is asked for is fetched. For files with a strong ETag or "
    "Last-Modified, from instances that serve ranges; others are answered as without it. Slices are kept in "
    "memory only.")
OPTION(
    ROUTE, "key_query", KEY_QUERY, "all", ANY, 0, AT(config_route, key),
    "Query parameters that tell stored responses apart: `all`, `none`, `only: a, b` or `except: utm_*, "
    "fbclid`. A star ends the beginning of names; `campaign` behind `except:` stands for what advertisers, "
    "mailers and analytics append to links. The application gets the whole query, and must answer alike "
    "whatever the parameters left out say.")
OPTION(ROUTE, "key_sort", BOOL, "yes", ANY, 0, AT(config_route, key.sort),
       "Whether the order of parameters with different names is ignored.")
OPTION(ROUTE, "no_vary_search", BOOL, "yes", ANY, 0, AT(config_route, no_vary_search),
       "Whether No-Vary-Search in a response, by which the application says that parameters or their order "
       "mean nothing, is heeded. It is not where `key_query` says which do.")
OPTION(ROUTE, "key_headers", KEY_HEADERS, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, key.headers),
       "Request fields whose values tell stored responses apart, whatever Vary says.")
OPTION(ROUTE, "key_cookies", KEY_COOKIES, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, key.cookies),
       "Cookies whose values tell stored responses apart.")
OPTION(ROUTE, "key_device", BOOL, "no", ANY, 0, AT(config_route, key.device),
       "Whether `mobile`, `tablet` and `desktop` are told apart, by Sec-CH-UA-Mobile and User-Agent. The "
       "application gets the word in Millpond-Device, and may answer by nothing else of the two.")
OPTION(ROUTE, "key_language", KEY_LANGUAGES, "", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_route, key.languages),
       "Languages the application has, the default first, such as `en, de, fr`. The one that suits a request "
       "best (RFC 4647 section 3.4) tells stored responses apart, and takes the place of Accept-Language.")
OPTION(ROUTE, "ignore_client_cache_control", BOOL, "yes", ANY, 0,
       AT(config_route, ignore_client_cache_control),
       "`no`: Cache-Control and Pragma of a request are obeyed, so a client's no-cache asks the application "
       "whatever is stored. Then clients decide what load they cause.")
OPTION(ROUTE, "ignore_set_cookie", BOOL, "no", ANY, 0, AT(config_route, ignore_set_cookie),
       "Stores although the response sets a cookie. The client that asked gets the cookie, nobody else does.")
OPTION(ROUTE, "remove_cookies", COOKIE_PATTERNS, "", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_route, remove_cookies),
       "Cookies that are taken out of requests which may be answered from the cache, so that the application "
       "answers alike with and without them: `all`, or names such as `_ga*, _fbp`.")
OPTION(ROUTE, "keep_request_header", FIELD_NAMES, "", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_route, keep_request_headers),
       "Fields that are not removed from requests although applications may answer by them, such as "
       "`X-Forwarded-Prefix`. They become part of the key. The page on the leak guard lists them.")
OPTION(ROUTE, "deception_guard", BOOL, "yes", ANY, 0, AT(config_route, deception_guard),
       "Whether a response is stored only if its Content-Type fits the extension of the path, against paths "
       "that only look like a file.")
OPTION(
    ROUTE, "compress", CODINGS, "off", WORDS("off gzip br zstd"), OPTION_LIST | OPTION_COMMAS,
    AT(config_route, compress),
    "Codings in which responses go to clients that accept them, such as `zstd, br, gzip`: of what a client "
    "likes equally well, the first. Text and the like of 256 bytes and more that the application has not "
    "coded itself is coded as it comes, and stored once per coding. The application is asked for the chosen "
    "coding alone, and for none where a range is wanted. The page on compression says what not to compress.")
OPTION(ROUTE, "tags", TAGS, "", RANGE(1, 256), OPTION_LIST | OPTION_COMMAS, AT(config_route, tags),
       "Tags added to every object of this route, by which it can be purged; without blanks, told apart by "
       "case.")
OPTION(ROUTE, "rate_limit", RATE_LIMIT, "", ANY, 0, AT(config_route, rate_limit),
       "How many requests a client may make, per second, minute or hour, such as `50/s burst=100`; more is "
       "answered 429 with Retry-After. `burst` may come at once, and is the number of the rate unless given. "
       "Clients are told apart `by=client_ip` (of IPv6 the first 64 bits) or `by=header:NAME`. With `shared` "
       "all nodes count together, in Redis.")
OPTION(ROUTE, "allow", CIDRS, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, allow),
       "Networks that may use this route; all others are answered 403.")
OPTION(ROUTE, "deny", CIDRS, "", ANY, OPTION_LIST | OPTION_COMMAS, AT(config_route, deny),
       "Networks that are answered 403.")
OPTION(ROUTE, "basic_auth", PATH, "", ANY, 0, AT(config_route, basic_auth),
       "htpasswd file of who may use this route; all others are answered 401. Hashes are bcrypt (`htpasswd "
       "-B`), "
       "yescrypt, SHA-256 and SHA-512 crypt, or apr1. Read when the configuration is, and when it changes.")
OPTION(ROUTE, "set_request_header", FIELD_SET, "", ANY, OPTION_LIST, AT(config_route, request_edits),
       "Sets a field of the request towards the pool. `$client_ip`, `$host`, `$request_id` and, with "
       "`basic_auth`, `$remote_user` are replaced.")
OPTION(ROUTE, "set_response_header", FIELD_SET, "", ANY, OPTION_LIST, AT(config_route, response_edits),
       "Sets a field of the response towards the client, likewise.")
OPTION(ROUTE, "remove_request_header", FIELD_REMOVE, "", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_route, request_edits), "Removes a field of the request.")
OPTION(ROUTE, "remove_response_header", FIELD_REMOVE, "", ANY, OPTION_LIST | OPTION_COMMAS,
       AT(config_route, response_edits), "Removes a field of the response.")
OPTION(
    ROUTE, "split", SPLIT, "", ANY, 0, HERE,
    "In place of `pool`: two of them and the share of each, such as `stable=95 canary=5`. The second is the "
    "canary, which gets nothing more once it does worse than the first by the three options below. A client "
    "stays with its side, `by=client_ip`, `by=cookie:NAME` or `by=header:NAME`; a cookie or field that holds "
    "the name of a pool chooses it.")
OPTION(ROUTE, "split_max_errors", PERCENT, "5%", RANGE(0, 100), 0, AT(config_route, split_max_errors_percent),
       "By how many percent of its requests more the canary may fail than the other side. 100% = any.")
OPTION(ROUTE, "split_max_latency", PERCENT, "100%", RANGE(0, 10000), 0,
       AT(config_route, split_max_latency_percent),
       "By how much longer than on the other side the canary may take to begin the answer, of 95% of the "
       "requests; "
       "20 ms more are always allowed. 10000% = any.")
OPTION(ROUTE, "split_samples", COUNT, "100", RANGE(20, 1000000), 0, AT(config_route, split_samples),
       "Requests that each side must have answered before the two are compared.")
OPTION(ROUTE, "mirror", POOL_REF, "", ANY, 0, AT(config_route, mirror),
       "Pool that gets a copy of each request an instance is asked, with `Millpond-Mirror: 1`; what it "
       "answers is "
       "thrown away, and nothing waits for it. Bodies of more than 64K are not copied.")
OPTION(ROUTE, "calm_page", PATH, "", ANY, 0, AT(config_route, calm_page),
       "File that is answered, with 503, when no instance can be reached or has room: `.html`, `.txt`, "
       "`.json` or "
       "`.xml`, at most 256K. Read when the configuration is.")
OPTION(ROUTE, "websocket", BOOL, "yes", ANY, 0, AT(config_route, websocket),
       "Whether a GET may go on to another protocol by Upgrade, as a WebSocket does. `no`: instances do not "
       "learn that it was asked for, and clients of HTTP/2, who ask by CONNECT, get 403. HTTP/2 and TLS are "
       "never gone on to in this way.")
OPTION(
    ROUTE, "early_hints", WORD, "pass", WORDS("off pass learn"), 0, AT(config_route, early_hints),
    "103 (Early Hints) of instances: passed on or left out. `learn`: besides, a client of HTTP/2 that has to "
    "wait is told at once what the stored response, too old to be used, had in `Link` as preload and "
    "preconnect.")
OPTION(ROUTE, "tunnel_timeout", DURATION, "1h", RANGE(1, DAY_MS), 0, AT(config_route, tunnel_timeout_ms),
       "How long a WebSocket, or what else came of an Upgrade, stays open while nothing passes, either way.")
OPTION(ROUTE, "timeout", DURATION, "0", RANGE(0, DAY_MS), 0, AT(config_route, timeout_ms),
       "Time until the response begins, over all tries and waits for an instance with room, else 504. A "
       "client's time for its body is not counted. With `0` only the pool's limits for each try hold: "
       "`connect_timeout`, `response_timeout`, `queue_timeout`.")
OPTION(
    ROUTE, "retry_idempotency_key", BOOL, "no", ANY, 0, AT(config_route, retry_idempotency_key),
    "Whether a request with an Idempotency-Key is tried again like an idempotent one, whatever its method. "
    "Only for applications that carry out a key once, however often it comes.")
OPTION(
    ROUTE, "hedge", HEDGE, "off", RANGE(1, DAY_MS), 0, HERE,
    "When a second instance is asked for the same GET or HEAD, since the first has not answered: after a "
    "duration, or after the time in which 95% of this route's responses begin (`p95`). Whose response begins "
    "first is sent on; `retry_budget` bounds it.")

OPTION(ADMIN, "socket", PATH, "runtime_dir/admin.sock", RANGE(1, 107), OPTION_RESTART | OPTION_COMPUTED,
       AT(config_admin, socket), "Unix socket for the command line.")
OPTION(ADMIN, "socket_mode", MODE, "0660", RANGE(0, 0777), OPTION_RESTART, AT(config_admin, socket_mode),
       "Who may use it, as for chmod.")
OPTION(ADMIN, "address", ADDRESS, "off", ANY, OPTION_RESTART, AT(config_admin, address),
       "Address of the dashboard, the API and /metrics, such as `127.0.0.1:8081`.")
OPTION(ADMIN, "token", TEXT, "generated in state_dir", RANGE(8, 256), OPTION_SECRET | OPTION_COMPUTED,
       AT(config_admin, token),
       "Needed for anything that changes state, and for reading unless `read = open`.")
OPTION(ADMIN, "read", WORD_BOOL, "token", WORDS("token open"), 0, AT(config_admin, read_open),
       "Whether reading over `address` needs the token.")
OPTION(ADMIN, "metrics", WORD_BOOL, "token", WORDS("token open"), 0, AT(config_admin, metrics_open),
       "The same for /metrics alone.")
OPTION(ADMIN, "allowed_hosts", HOSTS, "localhost, 127.0.0.1, [::1], the address", ANY,
       OPTION_LIST | OPTION_COMMAS | OPTION_COMPUTED, AT(config_admin, allowed_hosts),
       "Host values accepted, without port, against DNS rebinding.")
