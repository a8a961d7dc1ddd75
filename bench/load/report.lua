-- Prints what bench/run reads, in one line of JSON, when wrk ends.
function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\nRESULT {"requests":%d,"micros":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
        '"status":%d,"p50":%d,"p99":%d}\n', summary.requests, summary.duration, summary.bytes, e.connect, e.read,
        e.write, e.timeout, e.status, latency:percentile(50), latency:percentile(99)))
end
