"""measure.py: processes that are started, watched and always ended, and the numbers read from them.

A process runs in a session of its own, pinned to one CPU, and is told to end when this program dies. Its
tree is found through /proc by parent and session, so helpers that a contender forks are counted and ended
too. CPU time is utime + stime of the tree; memory is the proportional set size (shared pages count once).
"""

import contextlib
import ctypes
import glob
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time

OBJECTS = 30000
TICK = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Failed(Exception):
    """A measurement that did not come about; the text goes into the table."""


def adopt_orphans():
    """What a contender's helpers leave behind becomes our child, so that stop() can collect it."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def end_orphan(pid):
    """Ends a process that was in a contender's tree and outlived it; as an orphan it is our child by now."""
    fields = stat_fields(pid)
    if fields is None or int(fields[1]) != os.getpid():
        return
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


class Process:
    """One started program and everything it forks. Ends at stop(), which may be called again."""

    def __init__(self, argv, cpu, log, announces=False):
        def in_child():
            os.sched_setaffinity(0, {cpu})
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        with open(log, "ab") as out:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=out, preexec_fn=in_child,
                                          stdout=subprocess.PIPE if announces else out, start_new_session=True)
        self.port = None
        self.log = log

    def announced_port(self):
        line = self.child.stdout.readline()
        if not line:
            raise Failed("did not start")
        self.port = int(line)
        return self.port

    def tree(self):
        root = self.child.pid
        parents = {}
        members = {root}
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = stat_fields(name)
                if fields is not None:
                    parents[int(name)] = int(fields[1])
                    if int(fields[3]) == root:
                        members.add(int(name))
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in members} - members
            members |= more
            grown = bool(more)
        return members

    def cpu_seconds(self):
        total = 0
        for pid in self.tree():
            fields = stat_fields(pid)
            if fields is not None:
                total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory_bytes(self):
        total = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                    total += 1024 * sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            except OSError:
                pass
        return total

    def stop(self):
        members = self.tree() - {self.child.pid}
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(3)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for pid in members:
            end_orphan(pid)
        if self.child.stdout:
            self.child.stdout.close()

    def last_words(self):
        """The end of what it wrote, for a failure's text."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                lines = [line.strip() for line in f if line.strip()]
            return lines[-1][:160] if lines else ""
        except OSError:
            return ""


def get(port, path, close=False):
    """Status and body of one request."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        conn.request("GET", path, headers={"Connection": "close"} if close else {})
        answer = conn.getresponse()
        return answer.status, answer.read()
    finally:
        conn.close()


def wait_ready(process, port, work, seconds=20):
    """Until the workload's own path is answered, whole and with 200; then some more to have it cached."""
    end = time.monotonic() + seconds
    problem = "no answer"
    while time.monotonic() < end:
        if process.child.poll() is not None:
            raise Failed(f"ended by itself, status {process.child.returncode}: {process.last_words()}")
        try:
            status, body = get(port, work.path)
            if status == 200 and len(body) == work.size:
                break
            problem = f"answers {status} with {len(body)} bytes"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        time.sleep(0.05)
    else:
        raise Failed(f"not ready after {seconds} s: {problem}")
    if work.kind == "hit":
        for _ in range(20):
            get(port, work.path)


def origin_requests(port):
    return int(get(port, "/_requests", close=True)[1])


def wrk(work, port, seconds, cpu, load_folder):
    """One run of the load generator; its numbers as a dictionary."""
    script = "miss.lua" if work.kind == "miss" else "report.lua"
    argv = ["wrk", "-t1", f"-c{work.connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", os.path.join(load_folder, script)]
    if work.close:
        argv += ["-H", "Connection: close"]
    argv.append(f"http://127.0.0.1:{port}{work.path}")

    def in_child():
        os.sched_setaffinity(0, {cpu})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 30,
                              check=False, preexec_fn=in_child, env={**os.environ, "BENCH_LOAD": load_folder})
    except subprocess.TimeoutExpired as late:
        raise Failed("wrk did not end") from late
    found = re.search(rb"RESULT (\{.*\})", done.stdout)
    if found is None:
        raise Failed("wrk: " + done.stdout.decode("utf-8", "replace").strip()[-160:])
    return json.loads(found.group(1))


def cpu_busy_seconds(cpu):
    """What all processes and interrupts used of one CPU since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        for line in f:
            if line.startswith(f"cpu{cpu} "):
                v = [int(x) for x in line.split()[1:]]
                return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICK
    return 0.0


def measure_speed(place, process, port, cpus, load_folder):
    """Requests per second and CPU microseconds per request of a process that is ready."""
    origin_before = origin_requests(place.origin_port)
    busy_before, cpu_before, start = cpu_busy_seconds(cpus[0]), process.cpu_seconds(), time.monotonic()
    r = wrk(place.work, port, place.seconds, cpus[1], load_folder)
    cpu, busy = process.cpu_seconds() - cpu_before, cpu_busy_seconds(cpus[0]) - busy_before
    elapsed = time.monotonic() - start
    asked = origin_requests(place.origin_port) - origin_before
    if r["requests"] == 0:
        raise Failed("no request was answered")
    errors = r["connect"] + r["read"] + r["write"] + r["timeout"] + r["status"]
    notes = []
    if errors:
        notes.append(f"{errors} errors")
    if place.work.kind == "hit" and asked > 20 + r["requests"] // 1000:
        notes.append(f"origin was asked {asked} times")
    if place.work.kind != "hit" and asked < r["requests"] * 0.99:
        notes.append(f"origin was asked only {asked} times")
    if process.child.poll() is not None:
        raise Failed(f"ended by itself, status {process.child.returncode}: {process.last_words()}")
    return {"requests": r["requests"], "per_second": r["requests"] * 1e6 / r["micros"],
            "cpu_us": cpu * 1e6 / r["requests"], "cpu_share": cpu / elapsed,
            "others_share": max(0.0, busy - cpu) / elapsed, "p50_us": r["p50"], "p99_us": r["p99"],
            "errors": errors, "origin_requests": asked, "notes": notes}


def measure_idle_memory(place, process, port):
    """Bytes per connection that has had one answer and waits."""
    before = process.memory_bytes()
    request = f"GET {place.work.path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
    held = []
    try:
        for _ in range(place.work.connections):
            s = socket.create_connection(("127.0.0.1", port), timeout=5)
            held.append(s)
            s.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < place.work.size:
                part = s.recv(65536)
                if not part:
                    raise Failed(f"closed connection {len(held)}")
                answer += part
        time.sleep(0.5)
        after = process.memory_bytes()
        for s in held[::100]:
            s.setblocking(False)
            try:
                if s.recv(1) == b"":
                    raise Failed("closed idle connections")
            except BlockingIOError:
                pass
    finally:
        for s in held:
            s.close()
    return {"bytes_each": (after - before) / place.work.connections, "notes": []}


def folder_bytes(folder):
    return sum(os.stat(p).st_blocks * 512 for p in glob.glob(folder + "/**", recursive=True) if os.path.isfile(p))


def measure_object_memory(place, process, port, cpus, load_folder, count_ram):
    """Bytes per object stored, its 1,024 bytes of body taken off."""
    def used():
        return process.memory_bytes() + (folder_bytes(place.ram) if count_ram else 0)

    wrk(place.work, port, 1, cpus[1], load_folder)  # grows what grows once: buffers, connections
    before, origin_before = used(), origin_requests(place.origin_port)
    ask_for_objects(port, OBJECTS)
    stored = origin_requests(place.origin_port) - origin_before
    for _ in range(2):  # a memory cache in front of a disk takes an object only when it is asked for again
        ask_for_objects(port, OBJECTS)
    again = origin_requests(place.origin_port) - origin_before - stored
    grown = used() - before
    notes = []
    if stored < OBJECTS:
        notes.append(f"origin was asked only {stored} times")
    if again > OBJECTS // 100:
        notes.append(f"did not keep all: origin was asked again {again} times")
    if grown < OBJECTS * 1024:
        return {"skipped": "takes its cache memory at the start"}
    return {"bytes_each": grown / OBJECTS - 1024, "objects": OBJECTS, "asked_again": again, "notes": notes}


def ask_for_objects(port, count):
    """Asks for as many keys, over some connections at a time; not pipelined, which not all do well."""
    with contextlib.ExitStack() as stack:
        ways = []
        for _ in range(16):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways.append((s, stack.enter_context(s.makefile("rb"))))
        for first in range(0, count, len(ways)):
            busy = ways[:count - first]
            for n, (s, _) in enumerate(busy, first):
                s.sendall(b"GET /objects/%d HTTP/1.1\r\nHost: bench.test\r\n\r\n" % n)
            for _, reader in busy:
                read_answer(reader)


def read_answer(reader):
    length = None
    status = reader.readline()
    if b" 200 " not in status:
        raise Failed(f"a key was answered with {status.decode('latin-1').strip() or 'an end of the connection'}")
    while (line := reader.readline()) not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line[15:])
    if length is None or len(reader.read(length)) != length:
        raise Failed("an answer without its length")
