"""link.py: a TCP link in front of an application, which a measurement can make ill.

Runs in the event loop of the program. `mode` says what becomes of bytes from then on, also on connections that
are open: `open`, `stall` (nothing passes; connections are accepted), `slow` (a few bytes at a time), `cut` (RST in
the middle of each answer's body), `silent` (requests are read and dropped), `garbage` (requests are answered with
something that is no HTTP). `vanish` is apart: all connections are reset, and SYNs get no answer.
"""

import asyncio
import contextlib
import socket
import struct

SLOW_BYTES, SLOW_SECONDS = 64, 0.01


def listening(port, backlog):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(backlog)
    s.setblocking(False)
    return s


def reset(s):
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def middle_of_body(piece):
    """Where to cut an answer; its length when it has no body here."""
    head, found, body = piece.partition(b"\r\n\r\n")
    return len(head) + len(found) + len(body) // 2


class Link:
    def __init__(self, target):
        self.target = target
        self.listener = listening(0, 511)
        self.port = self.listener.getsockname()[1]
        self.passes = asyncio.Event()
        self.open, self.fillers = set(), []
        self.mode = "open"
        self.accepting = asyncio.create_task(self.accept())

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        self._mode = mode
        (self.passes.clear if mode == "stall" else self.passes.set)()

    async def accept(self):
        loop = asyncio.get_running_loop()
        while True:
            s, _ = await loop.sock_accept(self.listener)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self.carry(s))
            self.open.add(task)
            task.add_done_callback(self.open.discard)

    async def carry(self, client):
        app = socket.socket()
        app.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(app, ("127.0.0.1", self.target))
            both = [asyncio.create_task(self.requests(client, app)), asyncio.create_task(self.answers(app, client))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)  # the loop lets go of the descriptors first
        except OSError:
            pass
        finally:
            app.close()
            reset(client) if self.mode in ("cut", "vanished") else client.close()

    async def requests(self, client, app):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(client, 65536):
                await self.passes.wait()
                if self.mode == "garbage":
                    return await loop.sock_sendall(client, b"\x16\x03\x01 what a strange answer\r\n\r\n")
                if self.mode != "silent":
                    await loop.sock_sendall(app, piece)

    async def answers(self, app, client):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(app, 65536):
                await self.passes.wait()
                if self.mode == "cut":
                    return await loop.sock_sendall(client, piece[:middle_of_body(piece)])
                while self.mode == "slow" and piece:
                    await loop.sock_sendall(client, piece[:SLOW_BYTES])
                    piece = piece[SLOW_BYTES:]
                    await asyncio.sleep(SLOW_SECONDS)
                await loop.sock_sendall(client, piece)

    def vanish(self):
        self.accepting.cancel()
        self.mode = "vanished"
        for task in self.open:
            task.cancel()
        self.listener.close()
        self.listener = listening(self.port, 0)
        for _ in range(4):  # fills the backlog; further SYNs are dropped
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            self.fillers.append(s)

    def come_back(self):
        for s in self.fillers:
            s.close()
        self.listener.close()
        self.listener = listening(self.port, 511)
        self.mode = "open"
        self.accepting = asyncio.create_task(self.accept())

    async def close(self):
        self.accepting.cancel()
        for task in list(self.open):
            task.cancel()
        await asyncio.sleep(0)
        for s in self.fillers + [self.listener]:
            s.close()
