"""flood_kinds.py: the floods of bench/floods, each a function of the bench and of the time when it is to stop, and how
each is allowed to end. Attackers are threads; they come again when they are ended, or hold on to what they have.
"""

import collections
import contextlib
import socket
import ssl
import time

import h2wire as h2

STREAMS, TIMEOUT_S = 128, 3
CALM, CUT = "GOAWAY ENHANCE_YOUR_CALM", ("closed", "reset")
LARGE = 102400
CHUNK = 100  # frames that are sent at once


# ---- floods: of frames, by attackers who come again; each function makes the frames of a turn


def forever(make):
    """The flood of `make(turn, stream)`, which gives bytes and how many frames these are; streams are never used
    twice. Ends with the connection, or at `stop`."""
    def flood(b, stop):
        while time.monotonic() < stop:
            try:
                c = b.open()
            except OSError:
                with b.lock:
                    b.ends["no connection"] += 1
                continue
            stream, frames = 1, 0
            c.wait(lambda: c.goaway is not None, 0.02)  # until the settings have come
            while c.end is None and (frames == 0 or time.monotonic() < stop + 1):  # who has begun goes on
                data = b""
                for _ in range(CHUNK):
                    more, n = make(frames, stream)
                    data, frames, stream = data + more, frames + n, stream + 2
                if not c.send(data) or c.goaway is not None:
                    break
            c.wait(lambda: c.goaway is not None, 3)  # it may have sent more than was looked at so far
            b.ended(c, frames)
    return flood


def after_one(first, make):
    """A stream is begun, or was there, and then it goes on."""
    return forever(lambda turn, stream: (first + make, 1) if turn == 0 else (make, 1))


GET_1, POST_1 = h2.get(1, "/fresh/1"), h2.post(1, "/held")


def reset_flood(frame_of):
    return forever(lambda turn, stream: (h2.get(stream, "/held") + frame_of(stream), 2))


def too_long(stream):
    return h2.post(stream, "/held", [(b"content-length", b"1")]) + h2.frame(h2.DATA, 0, stream, b"ab"), 2


def continuation(turn, _):
    if turn == 0:
        return h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.head("/fresh/1")), 1
    return h2.frame(h2.CONTINUATION, 0, 1, h2.literal(b"x", b"y")), 1


def bomb(field, references):
    """A field that goes into the table, and references to it: a byte on the wire is all of it here."""
    block = h2.head("/fresh/1") + field + references
    return lambda turn, stream: (h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, stream, block), 1)


HPACK_SIZE = bomb(h2.literal(b"x", b"y" * 4000, 0x40), b"\xbe" * 12000)
HPACK_COUNT = bomb(h2.literal(b"x", b"", 0x40), b"\xbe" * 12000)
COOKIES = bomb(b"", b"\xa0" * 16000)
UPDATE = h2.frame(h2.PRIORITY_UPDATE, 0, 0, (1).to_bytes(4, "big") + b"u=1" + b" " * 60)


# ---- floods that hold something


def hold_streams(paths, connections, wait_heads, seconds, **options):
    """Responses whose clients open no window."""
    def flood(b, stop):
        b.server.reset_high_water()
        clients = [b.open(gives_back=False, **options) for _ in range(connections)]
        for c in clients:
            c.wait(lambda: False, 0.1)  # until the settings are agreed on
        before = b.server.memory_kb("RssAnon")
        count = 1000 // connections
        for c in clients:
            if not wait_heads:
                c.send(h2.window_update(0, h2.MOST_WINDOW - 65535))
                c.deaf = True
            c.send(b"".join(h2.get(2 * i + 1, paths) for i in range(count)))
        if wait_heads:
            for c in clients:
                c.wait(lambda c=c: len(c.status) == count, 5)
            if sum(len(c.status) for c in clients) != count * connections:
                b.notes.append(f"{sum(len(c.status) for c in clients)} heads came")
        else:
            time.sleep(1)
        b.hold(count * connections, "response", before)
        end = time.monotonic() + seconds
        for c in clients:
            if wait_heads:
                c.wait(lambda c=c: len(c.resets) == count, end - time.monotonic())
            else:
                time.sleep(max(0, end - time.monotonic()))
                c.deaf = False
                c.read()
                if c.wire is not None and c.end is None:
                    c.wait(lambda: False, 0.5)
            b.ended(c, count)
    return flood


def uploads(each_s, seconds):
    """Bodies of which a piece comes, and then nothing, or a byte now and then."""
    def flood(b, stop):
        clients = [b.open() for _ in range(8)]
        for c in clients:
            c.wait(lambda: False, 0.1)
        before = b.server.memory_kb("RssAnon")
        ids = [2 * i + 1 for i in range(100)]
        for c in clients:
            for i in ids:
                c.send(h2.post(i, "/fresh/1", [(b"content-length", b"1000000")]))
            for i in ids[:4]:  # as much as the connection's window takes
                c.send(h2.frame(h2.DATA, 0, i, b"x" * 16000))
        time.sleep(1)
        b.hold(8 * 100, "upload", before)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not all(c.end or len(c.status) + len(c.resets) >= 100 for c in clients):
            for c in clients:
                if each_s:
                    left = [i for i in ids if not c.is_over(i) and i not in c.status]
                    c.send(b"".join(h2.frame(h2.DATA, 0, i, b"x") for i in left))
                c.read()
            time.sleep(each_s or 0.1)
        for c in clients:
            b.ended(c, 100)
    return flood


def drip(each_s, seconds):
    """Windows of a byte, as fast as it goes, or one now and then."""
    def flood(b, stop):
        stop = time.monotonic() + seconds
        c = b.open(window=1, gives_back=False)
        c.send(h2.get(1, f"/fresh/{LARGE}"))
        frames = 0
        while c.end is None and c.goaway is None and not c.is_over(1) and time.monotonic() < stop:
            got = c.got[1]
            c.send(h2.window_update(1, 1))
            frames += 1
            c.wait(lambda: c.got[1] > got or c.goaway is not None, 0.2)
            time.sleep(each_s)
        c.wait(lambda: False, 0.2)
        b.ended(c, frames)
    return flood


def client_hello():
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        h2.tls_context("h2").wrap_bio(into, out, server_hostname="bench.test").do_handshake()
    return out.read()


def hold_sockets(count, first, then, each_s, seconds):
    """Connections that begin and do not get on."""
    def flood(b, stop):
        before = b.server.memory_kb("RssAnon")
        socks = []
        for i in range(count):
            s = socket.socket()
            s.settimeout(5)
            s.connect(("127.0.0.1", b.port))
            if isinstance(first, list):
                s.send(first[i % len(first)])
            else:
                s = first(s)
            s.setblocking(False)
            socks.append(s)
            if i == count // 2:  # another comes by, and gets on
                b.open().close()
        b.hold(count, "connection", before)
        ended, end = 0, time.monotonic() + seconds
        while socks and time.monotonic() < end:
            stay = []
            for s in socks:
                over = False
                try:
                    if then:
                        s.send(then)
                    over = s.recv(65536) == b""
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    over = True
                if over:
                    ended += 1
                    s.close()
                else:
                    stay.append(s)
            socks = stay
            time.sleep(each_s)
        b.ends["closed"] += ended
        if socks:
            b.ends["stays"] += len(socks)
        for s in socks:
            s.close()
    return flood


def slow_head_h1(s):
    s = h2.tls_context("http/1.1").wrap_socket(s, server_hostname="bench.test")
    s.send(b"GET / HTTP/1.1\r\nHost: bench.test\r\nX: ")
    return s


def slow_head_h2(s):
    s = h2.tls_context("h2").wrap_socket(s, server_hostname="bench.test")
    s.send(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0) + h2.frame(h2.SETTINGS, h2.ACK, 0))
    s.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.head("/fresh/1"))[:-4])
    return s


def behave(b, stop):
    """A client as it should be, with a rest now and then, past `header_timeout`."""
    c, stream = b.open(), -1
    while time.monotonic() < stop and c.end is None and c.goaway is None:
        for _ in range(50):
            stream += 2
            c.send(h2.get(stream, f"/stored/{LARGE}"))
            c.wait(lambda: c.is_over(stream), 5)
        c.send(h2.frame(h2.PING, 0, 0, b"12345678"))
        c.wait(lambda: False, 0.3)
    b.ended(c, stream // 2)


def many(b, stop):
    c = b.open()
    c.wait(lambda: False, 0.05)
    c.send(b"".join(h2.get(2 * i + 1, "/held") for i in range(STREAMS)))
    for i in range(STREAMS, STREAMS + 50):
        c.send(h2.get(2 * i + 1, "/held"))
    c.wait(lambda: len(c.resets) + len(c.ended) == STREAMS + 50, 6)
    b.ended(c, STREAMS + 50)


def leave(b, stop):
    """As many requests as are allowed, and the connection is cut: a rapid reset of all at once."""
    while time.monotonic() < stop:
        c = b.open()
        c.wait(lambda: False, 0.02)
        c.send(b"".join(h2.get(2 * i + 1, "/held") for i in range(STREAMS)))
        time.sleep(0.05)
        b.ended(c, STREAMS)


Flood = collections.namedtuple("Flood", "name text flood attackers allowed streams held_kb seconds connections")


def flood_of(name, text, flood, attackers=4, allowed=(CALM,), streams=(), held_kb=None, seconds=0,
             connections=8):
    return Flood(name, text, flood, attackers, allowed, streams, held_kb, seconds, max(attackers, connections))


ERRORS = ("GOAWAY STREAM_CLOSED", "GOAWAY FRAME_SIZE_ERROR", "GOAWAY PROTOCOL_ERROR", CALM)
FLOODS = [
    flood_of("honest", "nobody: clients that behave", behave, allowed=("stays",), streams=("200",)),
    flood_of("many-streams", "178 requests at once", many, 1, ("GOAWAY PROTOCOL_ERROR",)),
    flood_of("rapid-reset", "rapid reset", reset_flood(h2.reset)),
    flood_of("leaves", "128 requests, and the connection is cut", leave, 4, ("stays",)),
    flood_of("made-reset-zero", "MadeYouReset: WINDOW_UPDATE of 0", reset_flood(lambda s: h2.window_update(s, 0)),
             allowed=ERRORS),
    flood_of("made-reset-window", "MadeYouReset: window beyond its end",
             reset_flood(lambda s: h2.window_update(s, h2.MOST_WINDOW))),
    flood_of("made-reset-data", "MadeYouReset: DATA, half-closed", reset_flood(lambda s: h2.frame(h2.DATA, 0, s, b"x")),
             allowed=ERRORS),
    flood_of("made-reset-length", "MadeYouReset: more than content-length", forever(lambda _, s: too_long(s))),
    flood_of("made-reset-priority", "MadeYouReset: PRIORITY of 4 bytes",
             reset_flood(lambda s: h2.frame(h2.PRIORITY, 0, s, b"abcd")), allowed=ERRORS),
    flood_of("made-reset-head", "MadeYouReset: malformed heads",
             forever(lambda _, s: (h2.get(s, "/held", [(b"Upper", b"x")]), 1))),
    flood_of("continuations", "CONTINUATION", forever(continuation)),
    flood_of("settings", "SETTINGS", after_one(b"", h2.frame(h2.SETTINGS, 0, 0, b"\0\4\0\0\1\0"))),
    flood_of("pings", "PING", after_one(b"", h2.frame(h2.PING, 0, 0, b"12345678"))),
    flood_of("pongs", "answers to no PING", after_one(b"", h2.frame(h2.PING, h2.ACK, 0, b"12345678"))),
    flood_of("windows", "WINDOW_UPDATE", after_one(b"", h2.window_update(0, 1))),
    flood_of("priorities", "PRIORITY", after_one(b"", h2.frame(h2.PRIORITY, 0, 1, b"\0\0\0\0\1"))),
    flood_of("priority-updates", "PRIORITY_UPDATE", after_one(b"", UPDATE)),
    flood_of("unknown", "frames of unknown type", after_one(b"", h2.frame(h2.UNKNOWN, 0, 0))),
    flood_of("empty-data", "empty DATA", after_one(POST_1, h2.frame(h2.DATA, 0, 1))),
    flood_of("data-behind", "empty DATA, stream reset before", after_one(GET_1 + h2.reset(1), h2.frame(h2.DATA, 0, 1)),
             allowed=(CALM, "GOAWAY STREAM_CLOSED")),
    flood_of("heads-behind", "heads, stream reset before", after_one(GET_1 + h2.reset(1), GET_1),
             allowed=(CALM, "GOAWAY STREAM_CLOSED")),
    flood_of("hpack-size", "HPACK bomb, 48 MB in 16 KB", forever(HPACK_SIZE)),
    flood_of("hpack-count", "HPACK bomb, 12,000 fields", forever(HPACK_COUNT)),
    flood_of("cookies", "16,000 cookie crumbs", forever(COOKIES)),
    flood_of("half-uploads", "uploads that stop", uploads(0, TIMEOUT_S + 4), 1, ("stays",),
             ("408", "RST_STREAM NO_ERROR"), seconds=TIMEOUT_S + 5),
    flood_of("drip-uploads", "uploads of a byte a second", uploads(1, 16), 1, ("stays",),
             ("408", "RST_STREAM NO_ERROR"), seconds=17),
    flood_of("windows-of-a-byte", "window drip, fast", drip(0, 10)),
    flood_of("window-drip", "window drip, a byte a second", drip(1, 16), 4, ("stays",), ("RST_STREAM CANCEL",),
             seconds=17),
    flood_of("never-reads-stored", "1,000 x 100 KB stored, windows shut",
             hold_streams(f"/stored/{LARGE}", 8, True, TIMEOUT_S + 4, window=0), 1, ("stays", CALM),
             ("RST_STREAM CANCEL",), 32, TIMEOUT_S + 5),
    flood_of("never-reads-proxied", "1,000 x 100 KB proxied, windows shut",
             hold_streams(f"/fresh/{LARGE}", 8, True, TIMEOUT_S + 4, window=0), 1, ("stays", CALM),
             ("RST_STREAM CANCEL",), 32, TIMEOUT_S + 5),
    flood_of("socket-full", "1,000 x 100 KB proxied, sockets full",
             hold_streams(f"/fresh/{LARGE}", 8, False, 2 * TIMEOUT_S + 2, window=h2.MOST_WINDOW, rcvbuf=4096), 1,
             ("closed", "reset"), (), 32, 2 * TIMEOUT_S + 4),
    flood_of("half-handshakes", "3,000 half TLS handshakes",
             hold_sockets(3000, [client_hello(), client_hello()[:100]], b"", 0.1, TIMEOUT_S + 2), 1, ("closed",),
             seconds=TIMEOUT_S + 3),
    flood_of("slow-heads-h1", "500 heads of a byte a second, HTTP/1.1",
             hold_sockets(500, slow_head_h1, b"x", 1, TIMEOUT_S + 4), 1, ("closed",), seconds=TIMEOUT_S + 5),
    flood_of("slow-heads-h2", "500 heads that do not end, HTTP/2",
             hold_sockets(500, slow_head_h2, b"", 0.2, TIMEOUT_S + 3), 1, ("closed",), seconds=TIMEOUT_S + 5),
]
