/* metrics_tbl.h: every counter and gauge, with its Prometheus name and help, in one place.
 *
 * COUNTER(id, "name", "help"): only grows; the page shows millpond_<name>_total.
 * GAUGE(id, "name", "help"): per-thread values that are summed; shown as millpond_<name>.
 * X(id, "name", "label", reasons, name of a reason, "help"): a counter per reason of a table in
 * core/outcome.h; the page shows millpond_<name>_total{label}. Reason 0 of each table means that nothing
 * happened and is not counted. */
#ifndef CORE_METRICS_TBL_H
#define CORE_METRICS_TBL_H

#define METRICS_TABLE(COUNTER, GAUGE)                                                                        \
    COUNTER(CLIENT_ACCEPTED, "client_connections_accepted", "Client connections accepted")                   \
    COUNTER(CLIENT_REFUSED, "client_connections_refused", "Client connections refused by a limit")           \
    COUNTER(ACCEPT_PAUSED, "accept_pauses", "Times accepting paused because descriptors ran out")            \
    COUNTER(TLS_HANDSHAKES, "tls_handshakes", "TLS handshakes with clients that succeeded")                  \
    COUNTER(TLS_RESUMED, "tls_resumed", "Those of them that went on with an earlier session")                \
    GAUGE(TLS_HANDSHAKES_OPEN, "tls_handshakes_in_flight", "TLS handshakes with clients under way")          \
    GAUGE(TLS_ASLEEP, "tls_asleep", "Client connections by TLS that gave back memory until they are used")   \
    COUNTER(H2_CONNECTIONS, "h2_connections", "Client connections that spoke HTTP/2")                        \
    COUNTER(H2_RESETS, "h2_resets", "HTTP/2 streams that ended before their time by the client's doing")     \
    COUNTER(H2_REFUSED, "h2_refused",                                                                        \
            "HTTP/2 streams refused since earlier ones still kept an instance busy")                         \
    GAUGE(H2_STREAMS_OPEN, "h2_streams", "HTTP/2 streams open now")                                          \
    GAUGE(CLIENT_OPEN, "client_connections", "Client connections open now")                                  \
    GAUGE(EXCHANGES_OPEN, "requests_in_flight", "Requests being worked on now")                              \
    COUNTER(TUNNELS, "tunnels_opened", "Requests that became a tunnel (WebSocket or another Upgrade)")       \
    GAUGE(TUNNELS_OPEN, "tunnels", "Tunnels open now; they are not among the requests in flight")            \
    COUNTER(REQUESTS, "requests", "Requests answered or given up")                                           \
    COUNTER(BAD_REQUESTS, "bad_requests", "Requests refused by the parser or a limit")                       \
    COUNTER(CLIENT_BYTES_IN, "client_received_bytes", "Bytes received from clients")                         \
    COUNTER(CLIENT_BYTES_OUT, "client_sent_bytes", "Bytes sent to clients")                                  \
    COUNTER(UPSTREAM_CONNECTS, "upstream_connects", "Connections opened to instances")                       \
    COUNTER(UPSTREAM_REUSES, "upstream_reuses", "Requests sent on an idle upstream connection")              \
    COUNTER(UPSTREAM_SPILL_TAKEN, "upstream_spill_taken", "Idle connections taken over from another worker") \
    COUNTER(UPSTREAM_IDLE_CLOSED, "upstream_idle_closed",                                                    \
            "Idle upstream connections that their instance closed")                                          \
    COUNTER(UPSTREAM_REUSE_RACES, "upstream_reuse_races",                                                    \
            "Requests sent again since the instance closed the idle connection just then")                   \
    COUNTER(UPSTREAM_RETRIES, "upstream_retries", "Tries beyond the first")                                  \
    COUNTER(HEDGES, "hedges", "Requests sent to a second instance since the first had not answered")         \
    COUNTER(HEDGES_WON, "hedges_won", "Those of them that the second one answered")                          \
    COUNTER(HEDGES_DENIED, "hedges_denied", "Requests for which the retry budget did not allow that")        \
    COUNTER(UPSTREAM_ERRORS, "upstream_errors", "Tries that failed")                                         \
    COUNTER(EJECTIONS, "ejections", "Times an instance was left out for failing")                            \
    COUNTER(EJECTIONS_SPARED, "ejections_spared",                                                            \
            "Times a failing instance was not left out, for want of better ones")                            \
    COUNTER(NAME_FAILURES, "name_lookup_failures",                                                           \
            "Look-ups of host names of servers that brought no address")                                     \
    COUNTER(SPLIT_CANARY, "split_canary_requests", "Requests that a split gave to its canary")               \
    COUNTER(SPLIT_STOPS, "split_stops", "Times a canary got no more requests, since it did worse")           \
    COUNTER(MIRRORED, "mirrored_requests", "Copies of requests that were begun to be sent to a mirror")      \
    COUNTER(MIRROR_FAILURES, "mirror_failures", "Those of them that got no whole answer, or a server error") \
    COUNTER(MIRROR_SKIPS, "mirror_skips", "Requests not copied: too many at once, or too long a body")       \
    GAUGE(MIRRORS_OPEN, "mirrors_in_flight", "Copies being sent or answered, or waiting for their body")     \
    COUNTER(QUEUE_WAITS, "queue_waits", "Requests that waited for an instance with room")                    \
    COUNTER(QUEUE_SHED, "queue_shed", "Requests that were dropped since too many waited (queue_target)")     \
    COUNTER(CALM_PAGES, "calm_pages", "Requests that were answered with the calm page of their route")       \
    GAUGE(QUEUED, "queued", "Requests that wait for an instance with room")                                  \
    COUNTER(UPSTREAM_BYTES_IN, "upstream_received_bytes", "Bytes received from instances")                   \
    COUNTER(UPSTREAM_BYTES_OUT, "upstream_sent_bytes", "Bytes sent to instances")                            \
    COUNTER(UPSTREAM_TLS_HANDSHAKES, "upstream_tls_handshakes",                                              \
            "TLS handshakes with instances that succeeded")                                                  \
    COUNTER(UPSTREAM_TLS_RESUMED, "upstream_tls_resumed",                                                    \
            "Those of them that went on with an earlier session")                                            \
    GAUGE(UPSTREAM_OPEN, "upstream_connections", "Upstream connections open now")                            \
    GAUGE(UPSTREAM_IDLE, "upstream_idle_connections", "Idle upstream connections kept")                      \
    GAUGE(FETCHES_OPEN, "fetches_in_flight", "Fetches from instances under way")                             \
    COUNTER(CACHE_STORED, "cache_stored", "Responses stored")                                                \
    COUNTER(CACHE_REVALIDATIONS, "cache_revalidations", "Stored responses confirmed by a 304")               \
    COUNTER(CACHE_COLLAPSED, "cache_collapsed", "Requests that shared another request's fetch")              \
    COUNTER(CACHE_LEFT_BEHIND, "cache_left_behind",                                                          \
            "Readers of a response too large to be stored that were too slow for the others")                \
    COUNTER(CACHE_SLICE_FETCHES, "cache_slice_fetches", "Slices asked for at instances")                     \
    COUNTER(CACHE_SLICES_CHANGED, "cache_slices_changed",                                                    \
            "Responses from slices that were cut, since the instance had another version by then")           \
    COUNTER(COMPRESS_BYTES_IN, "compress_received_bytes", "Bytes of bodies before they were compressed")     \
    COUNTER(COMPRESS_BYTES_OUT, "compress_sent_bytes", "Bytes that came of them")                            \
    COUNTER(COMPRESS_REFUSED, "compress_refused",                                                            \
            "Responses not compressed, since too many were at once or memory was short")                     \
    GAUGE(COMPRESSIONS_OPEN, "compressions_in_flight", "Responses being compressed now")                     \
    COUNTER(EARLY_HINTS, "early_hints", "Responses 103 (Early Hints) of instances that were passed on")      \
    COUNTER(EARLY_HINTS_LEARNED, "early_hints_learned",                                                      \
            "Responses 103 made of the links of a stored response")                                          \
    COUNTER(CACHE_STALE, "cache_stale", "Requests answered from a stale stored response")                    \
    COUNTER(CACHE_REFRESHES, "cache_refreshes", "Fetches in the background that renew a stored response")    \
    COUNTER(CACHE_EARLY, "cache_early_refreshes", "Those of them begun before the response was stale")       \
    GAUGE(REFRESHES_OPEN, "refreshes_in_flight", "Such fetches under way")                                   \
    COUNTER(ASSET_RETRIES, "asset_retries", "404 responses to which keep_assets asked another instance")     \
    COUNTER(ASSETS_KEPT, "assets_kept",                                                                      \
            "Requests answered with a stored asset that no instance has any more")                           \
    COUNTER(CACHE_VARIANTS_DROPPED, "cache_variants_dropped",                                                \
            "Variants given up because their URL had max_variants")                                          \
    COUNTER(PURGES, "purges", "Purges done that were asked for: one for each call")                          \
    COUNTER(INVALIDATIONS, "invalidations",                                                                  \
            "URLs and groups invalidated by the answer to a POST, PUT, DELETE or the like")                  \
    COUNTER(SLOW_REQUESTS, "slow_requests", "Requests slower than slow_request")                             \
    COUNTER(RATE_FORGOTTEN, "rate_limit_forgotten",                                                          \
            "Clients that the table of rate limits forgot too early, to count others")                       \
    COUNTER(REDIS_CALLS, "redis_calls",                                                                      \
            "Commands sent to Redis and Sentinels, those by which they are watched included")                \
    COUNTER(REDIS_REFUSED, "redis_calls_refused",                                                            \
            "Commands not sent since no server was up or it had its fill")                                   \
    COUNTER(REDIS_RECONNECTS, "redis_reconnects",                                                            \
            "Connections to Redis and Sentinels that broke or did not come about")                           \
    COUNTER(REDIS_BREAKS, "redis_breaks", "Times a worker gave up a Redis server that did not answer")

#define METRICS_REASON_TABLE(X)                                                                              \
    X(NO_STORE, "no_store", "reason", NO_STORE_SAID_COUNT,                                                   \
      outcome_no_store_name((enum no_store_reason)reason),                                                   \
      "Requests whose response was not stored, or that were not looked up")                                  \
    X(CLIENT_CLOSES, "client_closes", "reason", CLOSE_COUNT, outcome_close_name((enum close_reason)reason),  \
      "Client connections that ended")                                                                       \
    X(FETCH_ERRORS, "fetch_errors", "reason", FETCH_ERROR_COUNT,                                             \
      outcome_fetch_name((enum fetch_error)reason), "Requests whose fetch from an instance failed")          \
    X(COMPRESSED, "compressed", "coding", CODING_COUNT, coding_name((enum coding)reason).ptr,                \
      "Responses that were compressed")                                                                      \
    X(PURGE_KINDS, "purge_kinds", "kind", PURGE_KIND_COUNT,                                                  \
      outcome_purge_kind_name((enum purge_kind)reason), "Events of the invalidation log, by what they name") \
    X(PURGE_SOURCES, "purge_sources", "source", PURGE_SOURCE_COUNT,                                          \
      outcome_purge_source_name((enum purge_source)reason), "The same events, by where they came from")      \
    X(REDIS_FAILURES, "redis_failures", "outcome", REDIS_OUTCOME_COUNT,                                      \
      redis_outcome_name((enum redis_outcome)reason),                                                        \
      "Commands to Redis that ended without an answer or with an error")                                     \
    X(REMOTE_LOADS, "redis_loads", "outcome", REMOTE_LOAD_COUNT,                                             \
      outcome_remote_load_name((enum remote_load)reason), "Look-ups in Redis, by what came of them")         \
    X(REMOTE_SAVES, "redis_saves", "outcome", REMOTE_SAVE_COUNT,                                             \
      outcome_remote_save_name((enum remote_save)reason),                                                    \
      "Responses to be kept in Redis, by what became of them")                                               \
    X(RATE_LIMITS, "rate_limits", "outcome", RATE_OUTCOME_COUNT,                                             \
      outcome_rate_limit_name((enum rate_outcome)reason),                                                    \
      "Requests to routes with a rate_limit, by what it came to")                                            \
    X(BASIC_AUTH, "basic_auth", "outcome", AUTH_OUTCOME_COUNT,                                               \
      outcome_basic_auth_name((enum auth_outcome)reason),                                                    \
      "Requests to routes with basic_auth, by what it came to")

#endif
