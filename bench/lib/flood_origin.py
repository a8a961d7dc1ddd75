#!/usr/bin/env python3
"""flood_origin.py: an instance behind bench/floods. Announces its port, and says at /figures how many requests it
has at once, and had at most since it was asked last.

    /stored/N   N bytes that may be stored        /held      what takes two seconds, and is not stored
    /fresh/N    N bytes that may not              /calm/N    the same
"""

import asyncio
import json
import sys

HELD_S = 2
live, most, total = 0, 0, 0


async def left(reader):
    while await reader.read(65536):
        pass


async def body_of(head, reader):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
        elif line.startswith(b"transfer-encoding:"):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")


async def answer(path, reader, writer):
    """False: the proxy has given it up."""
    global most
    word, _, size = path[1:].partition("/")
    if word == "figures":
        body = json.dumps({"live": live - 1, "most": most - 1, "total": total}).encode()
        most = 0
    else:
        body = b"x" * (int(size.split("/")[0]) if size else 1)
    if word == "held":
        gone = asyncio.ensure_future(left(reader))
        done, _ = await asyncio.wait([gone], timeout=HELD_S)
        gone.cancel()
        if done:
            return False
        try:
            await gone
        except (asyncio.CancelledError, OSError):
            pass
    control = "max-age=600" if word == "stored" else "no-store"
    writer.write(f"HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return True


async def serve(reader, writer):
    global live, most, total
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            live, total = live + 1, total + 1
            most = max(most, live)
            try:
                await body_of(head, reader)
                if not await answer(head.split()[1].decode(), reader, writer):
                    break
            finally:
                live -= 1
    except (OSError, asyncio.IncompleteReadError, ValueError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
