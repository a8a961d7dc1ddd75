"""steady.py: visitors that ask at a steady pace and remember what became of each request.

A visitor has one keep-alive connection and asks, waits for the whole answer, pauses, and asks again: three times
GET, then POST. Every request has a number, in its target and for the book. Whoever is given a cookie keeps it for
a dozen requests, and comes as somebody new then.
"""

import asyncio
import dataclasses
import itertools
import random
import time

PATIENCE_S = 90
VISIT = 12


@dataclasses.dataclass
class Asked:
    number: int
    group: str
    method: str
    began: float
    took: float = 0.0
    outcome: str = "under way"  # a status, or: cut, none (no byte came), late


async def read_answer(reader):
    """Status and fields, with the body read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        raise ConnectionAbortedError("none" if not end.partial else "cut") from None
    except OSError:
        raise ConnectionAbortedError("none") from None
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    try:
        if "content-length" in fields:
            await reader.readexactly(int(fields["content-length"]))
        else:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
    except (OSError, asyncio.IncompleteReadError, ValueError):
        raise ConnectionAbortedError("cut") from None
    return int(lines[0].split()[1]), fields


class Load:
    """`pause` returns the seconds between two requests; `posts`: every how many requests is a POST; `together`:
    visitors begin at once, not spread over a pause."""

    def __init__(self, port, groups, visitors, pause, posts=4, together=False):
        self.port, self.pause, self.posts, self.together = port, pause, posts, together
        self.book, self.numbers, self.ends = [], itertools.count(1), False
        self.tasks = [asyncio.create_task(self.visit(group, n)) for group in groups for n in range(visitors)]

    async def visit(self, group, n):
        writer, cookie, turn = None, "", n
        await asyncio.sleep(0 if self.together else random.random() * self.pause())
        while not self.ends:
            turn += 1
            method = "POST" if turn % self.posts == 0 else "GET"
            asked = Asked(next(self.numbers), group, method, time.monotonic())
            self.book.append(asked)
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                body = b"one of each, please" if method == "POST" else b""
                writer.write(f"{method} /{group}/{asked.number} HTTP/1.1\r\nHost: bench.test\r\n"
                             f"X-Visitor: {turn % 64}\r\n{cookie}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                status, fields = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
                asked.outcome = str(status)
                if "set-cookie" in fields:
                    cookie = "Cookie: " + fields["set-cookie"].split(";")[0] + "\r\n"
                broken = fields.get("connection") == "close"
            except ConnectionAbortedError as error:
                asked.outcome, broken = str(error), True
            except asyncio.TimeoutError:
                asked.outcome, broken = "late", True
            except OSError:
                asked.outcome, broken = "none", True
            asked.took = time.monotonic() - asked.began
            if broken and writer is not None:
                writer.close()
                writer = None
            if turn % VISIT == 0:
                cookie = ""
            await asyncio.sleep(self.pause())
        if writer is not None:
            writer.close()

    async def stop(self):
        """After the requests under way."""
        self.ends = True
        await asyncio.gather(*self.tasks)
        return self.book
