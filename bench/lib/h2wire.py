"""h2wire.py: frames of HTTP/2 as bytes, and a client that sends what it is told, sound or not.

Heads are literals, never indexed unless a flood wants it; the client tells the server to index nothing either, so
that a status can be read without the rest of HPACK. A client belongs to one thread. It reads when it is asked to,
and while a send is blocked, unless it is one that never reads.
"""

import collections
import functools
import select
import socket
import ssl
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
PRIORITY_UPDATE, UNKNOWN = 16, 0xfa
INDEXED = 0x40  # of a literal: the server's table takes it in
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]
STATUS_OF_INDEX = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
MOST_WINDOW = 0x7fffffff


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def window_update(stream, by):
    return frame(WINDOW, 0, stream, by.to_bytes(4, "big"))


def reset(stream, code=8):
    return frame(RST, 0, stream, code.to_bytes(4, "big"))


def number(value, bits, first=0):
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def literal(name, value, first=0):
    return bytes((first,)) + number(len(name), 7) + name + number(len(value), 7) + value


def head(path, method=b"GET", fields=()):
    return (literal(b":method", method) + b"\x87" + literal(b":authority", b"bench.test") +
            literal(b":path", path.encode()) + b"".join(literal(n, v) for n, v in fields))


def get(stream, path, fields=()):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, head(path, fields=fields))


def post(stream, path, fields=()):
    return frame(HEADERS, END_HEADERS, stream, head(path, b"POST", fields))


def huffman_digits(data):
    bits, text = "".join(f"{b:08b}" for b in data), ""
    while len(text) < 3:
        if bits.startswith("000"):
            text, bits = text + str(int(bits[:5], 2)), bits[5:]
        else:
            text, bits = text + str(int(bits[:6], 2) - 0b011001 + 3), bits[6:]
    return int(text)


def status_of(block):
    while block and block[0] & 0xe0 == 0x20:  # a change of the table's size
        block = block[1:]
    if block[0] & 0x80:
        return STATUS_OF_INDEX.get(block[0] & 0x7f, 0)
    value = block[2:2 + (block[1] & 0x7f)]
    return huffman_digits(value) if block[1] & 0x80 else int(value)


@functools.cache
def tls_context(alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


def connect(port, alpn="h2", rcvbuf=0, timeout=10):
    s = socket.socket()
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    s.settimeout(timeout)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls_context(alpn).wrap_socket(s, server_hostname="bench.test")


class Client:
    """`window`: that streams begin with; `gives_back`: the windows of what has come; `deaf`: never reads."""

    def __init__(self, port, window=65535, gives_back=True, rcvbuf=0):
        self.wire = connect(port, rcvbuf=rcvbuf)
        self.wire.setblocking(False)
        self.gives_back, self.deaf, self.end = gives_back, False, None
        self.buffer, self.goaway, self.pongs = b"", None, 0
        self.status, self.ended, self.got, self.resets = {}, set(), collections.Counter(), {}
        self.send(PREFACE + frame(SETTINGS, 0, 0, b"\0\1" + bytes(4) + b"\0\4" + window.to_bytes(4, "big")))

    def send(self, data):
        """False: the server ended the connection."""
        view = memoryview(data)
        while view and self.end is None:
            try:
                view = view[self.wire.send(view):]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not self.deaf:
                    self.read()
                select.select([] if self.deaf else [self.wire], [self.wire], [], 0.2)
                if self.deaf:
                    return True
            except OSError as error:
                self.lost(error)
        if not self.deaf:
            self.read()
        return self.end is None

    def lost(self, error):
        while self.goaway is None and not self.deaf:  # it may lie there, behind what cannot be sent any more
            try:
                more = self.wire.recv(65536)
            except OSError:
                break
            if not more:
                break
            self.buffer += more
            self.take_frames()
        self.end = "reset" if isinstance(error, ConnectionError) else "closed"

    def read(self):
        """What is there now."""
        while self.end is None:
            try:
                more = self.wire.recv(65536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                self.lost(error)
                break
            if not more:
                self.end = "closed"
                break
            self.buffer += more
            self.take_frames()
        return self.end is None

    def wait(self, until, seconds):
        """Reads until `until()`, the end, or so many seconds have passed; whether `until()`."""
        end = time.monotonic() + seconds
        while not until() and self.end is None and time.monotonic() < end:
            self.read()
            if not until() and self.end is None and not self.wire.pending():
                select.select([self.wire], [], [], min(0.05, max(0, end - time.monotonic())))
        return until()

    def take_frames(self):
        at, answers = 0, b""
        while len(self.buffer) - at >= 9:
            n = int.from_bytes(self.buffer[at:at + 3], "big")
            if len(self.buffer) - at < 9 + n:
                break
            kind, flags = self.buffer[at + 3], self.buffer[at + 4]
            stream = int.from_bytes(self.buffer[at + 5:at + 9], "big")
            answers += self.take(kind, flags, stream, self.buffer[at + 9:at + 9 + n])
            at += 9 + n
        self.buffer = self.buffer[at:]
        if answers and self.end is None:
            try:
                self.wire.send(answers)
            except OSError:
                pass

    def take(self, kind, flags, stream, payload):
        """The answer to one frame."""
        if kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == RST:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == HEADERS and stream not in self.status:
            self.status[stream] = status_of(payload)
        elif kind == DATA:
            self.got[stream] += len(payload)
        elif kind == PING and flags & ACK:
            self.pongs += 1
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)
        if kind == SETTINGS and not flags & ACK:
            return frame(SETTINGS, ACK, 0)
        if kind == PING and not flags & ACK:
            return frame(PING, ACK, 0, payload)
        if kind == DATA and payload and self.gives_back:
            by = len(payload)
            return window_update(0, by) + (b"" if flags & END_STREAM else window_update(stream, by))
        return b""

    def is_over(self, stream):
        return stream in self.ended or stream in self.resets

    def outcome(self):
        if self.goaway is not None:
            return "GOAWAY " + (CODES[self.goaway] if self.goaway < len(CODES) else str(self.goaway))
        return self.end or "stays"

    def close(self):
        self.end = self.end or "closed by us"
        self.wire.close()
