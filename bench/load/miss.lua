-- Every request asks for a key that nobody asked for before.
dofile((os.getenv("BENCH_LOAD") or "bench/load") .. "/report.lua")
local n = 0
local tail = " HTTP/1.1\r\nHost: bench.test\r\n\r\n"
function request()
    n = n + 1
    return "GET /m/" .. n .. tail
end
