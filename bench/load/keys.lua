-- Asks for the paths in the file BENCH_PATHS over and over; "?" stands for a key that nobody asked for before.
-- All strings are made before the load begins.
dofile(os.getenv("BENCH_LOAD") .. "/report.lua")
local tail = " HTTP/1.1\r\nHost: bench.test\r\n\r\n"
local asks, count, at, fresh = {}, 0, 0, 0

function init()
    for path in io.lines(os.getenv("BENCH_PATHS")) do
        count = count + 1
        asks[count] = path ~= "?" and "GET " .. path .. tail
    end
end

function request()
    at = at % count + 1
    if asks[at] then return asks[at] end
    fresh = fresh + 1
    return "GET /fresh/" .. fresh .. tail
end
