#!/usr/bin/env python3
"""bystander.py PORT: a visitor who asks at a steady pace while others flood, for what is stored and for what is not,
by HTTP/2 and by HTTP/1.1, both over TLS, each on a connection that it keeps. Ends at the end of its input, and prints
what became of each request: when it was due (CLOCK_MONOTONIC), which, how long it took, and what failed.

A request is due every 20 ms whatever became of the one before, and what it takes is counted from then: a stall counts
for all that it holds up.
"""

import json
import select
import sys
import time

import h2wire

PACE_S, PATIENCE_S = 0.02, 10
PATHS = {"stored": "/stored/1000", "fresh": "/calm/1000"}


class Http1:
    def __init__(self, port):
        self.wire = h2wire.connect(port, "http/1.1", timeout=PATIENCE_S)

    def ask(self, path):
        self.wire.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode())
        got = b""
        while len(got.partition(b"\r\n\r\n")[2]) < 1000:
            more = self.wire.recv(65536)
            if not more:
                raise ConnectionError("closed")
            got += more
        return "" if got.startswith(b"HTTP/1.1 200") else got[9:12].decode()


class Http2:
    def __init__(self, port):
        self.client, self.stream = h2wire.Client(port), -1

    def ask(self, path):
        c = self.client
        self.stream += 2
        c.send(h2wire.get(self.stream, path))
        if not c.wait(lambda: c.is_over(self.stream), PATIENCE_S):
            raise ConnectionError(c.outcome())
        status = c.status.pop(self.stream, 0)
        if self.stream in c.resets:
            return "RST_STREAM " + str(c.resets[self.stream])
        return "" if status == 200 else str(status)


def main():
    port, kinds, asked = int(sys.argv[1]), {"h2": Http2, "h1": Http1}, []
    clients = {name: kind(port) for name, kind in kinds.items()}
    turn, due = 0, time.monotonic()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
        name, (what, path) = ("h2", "h1")[turn % 2], list(PATHS.items())[turn // 2 % 2]
        try:
            if name not in clients:
                clients[name] = kinds[name](port)
            failed = clients[name].ask(path)
        except OSError as error:
            failed = str(error) or type(error).__name__
            clients.pop(name, None)
        asked.append((due, f"{name} {what}", time.monotonic() - due, failed))
        turn, due = turn + 1, due + PACE_S
    json.dump(asked, sys.stdout)


if __name__ == "__main__":
    main()
