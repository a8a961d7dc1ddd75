"""measure.py: processes that are started, watched and always ended, and the numbers read from them.

A process runs in a session of its own, pinned to one CPU, and is told to end when this program dies. Its
tree is found through /proc by parent and session, so helpers that a contender forks are counted and ended
too. CPU time is utime + stime of the tree; memory is the proportional set size (shared pages count once).
"""

import ctypes
import functools
import glob
import http.client
import itertools
import json
import os
import random
import re
import resource
import signal
import socket
import ssl
import subprocess
import time

import h2wire

OBJECTS = 30000
MIX_OBJECTS, MIX_DRAWS = 100000, 200000
RATE, RATE_SECONDS = 5000, 1.5
IDLE_SECONDS = 6
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


def machine_ticks():
    """(stolen, all) of the time of all CPUs so far: what the hypervisor gave to somebody else, of what there was."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(t) for t in f.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def stolen_since(then):
    """The share of the CPUs' time that the hypervisor has taken since."""
    now = machine_ticks()
    return (now[0] - then[0]) / max(now[1] - then[1], 1)


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


@functools.cache
def trusting():
    """For certificates that were made for one run."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def get(port, path, close=False, tls=False):
    """Status and body of one request."""
    conn = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting()) if tls else \
        http.client.HTTPConnection("127.0.0.1", port, timeout=5)
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
            status, body = get(port, work.path, tls=work.tls)
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
            get(port, work.path, tls=work.tls)


def origin_requests(port):
    return int(get(port, "/_requests", close=True)[1])


@functools.lru_cache(maxsize=None)
def mix_paths():
    """What the mix asks for: in each 20 requests 18 of the objects, drawn by Zipf(0.9), a new key, an uncacheable."""
    draw = random.Random(1)
    weights = itertools.accumulate(rank ** -0.9 for rank in range(1, MIX_OBJECTS + 1))
    objects = iter(draw.choices(range(MIX_OBJECTS), cum_weights=list(weights), k=MIX_DRAWS * 18 // 20))
    paths = []
    for _ in range(MIX_DRAWS // 20):
        block = [f"/objects/{n}" for n in itertools.islice(objects, 18)] + ["?", "/nocache/1k"]
        draw.shuffle(block)
        paths += block
    return paths


def paths_of(work):
    """What the load asks for, over and over; `?` is a key that is new each time."""
    return {"mix": mix_paths, "miss": lambda: ["?"]}.get(work.kind, lambda: [work.path])()


def client(argv, cpu, seconds, **more):
    """Runs a load generator pinned to a CPU; what it printed."""
    def in_child():
        os.sched_setaffinity(0, {cpu})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                              preexec_fn=in_child, **more).stdout
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{os.path.basename(argv[0])} did not end") from late


def wrk(place, port, seconds, cpu):
    """As much load as wrk and the contender manage; its numbers as a dictionary."""
    work, environment = place.work, dict(os.environ)
    argv = ["wrk", "-t1", f"-c{work.connections}", f"-d{seconds}s", "--timeout", "10s", "-s"]
    if work.kind in ("miss", "mix"):
        argv.append(os.path.join(place.load, "keys.lua"))
        environment["BENCH_LOAD"] = place.load
        environment["BENCH_PATHS"] = place.write("paths", "\n".join(paths_of(work)) + "\n")
    else:
        argv.append(os.path.join(place.load, "report.lua"))
    if work.close:
        argv += ["-H", "Connection: close"]
    scheme = "https" if work.tls else "http"
    out = client(argv + [f"{scheme}://127.0.0.1:{port}{work.path}"], cpu, seconds + 30, env=environment)
    found = re.search(rb"RESULT (\{.*\})", out)
    if found is None:
        raise Failed("wrk: " + out.decode("utf-8", "replace").strip()[-160:])
    return json.loads(found.group(1))


def h2load(place, port, seconds, cpu):
    """The same of HTTP/2, in the words of wrk's report; it tells no percentiles."""
    work = place.work
    out = client(["h2load", "-t1", f"-c{work.connections}", f"-m{work.streams}", f"-D{seconds}",
                  f"https://127.0.0.1:{port}{work.path}"], cpu, seconds + 30).decode("utf-8", "replace")
    count = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    status = re.search(r"status codes: (\d+) 2xx", out)
    if count is None or status is None or "Application protocol: h2" not in out:
        raise Failed("h2load: " + out.strip()[-160:])
    done, failed, _, late = (int(n) for n in count.groups())
    return {"requests": done, "micros": seconds * 1e6, "connect": 0, "read": failed, "write": 0, "timeout": late,
            "status": max(0, done - int(status.group(1)))}


def handshakes(place, port, seconds, cpu):
    """Connections one after the other, none of which resumes a session (bench/load/handshakes.c)."""
    work = place.work
    out = client([os.path.join(place.built, "handshakes"), str(port), work.path, str(work.connections), str(seconds)],
                 cpu, seconds + 30)
    try:
        return {**json.loads(out), "connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
    except ValueError:
        raise Failed(out.decode("utf-8", "replace").strip()[-160:]) from None


def load_of(work):
    """What loads a contender with this work."""
    if work.streams:
        return h2load
    return handshakes if work.tls and work.close else wrk


def ask(place, port, cpu, paths, connections=16, rate=0):
    """Asks for each path once (bench/load/paced.c): at a rate, or as fast as answers come."""
    out = client([os.path.join(place.built, "paced"), str(port), str(connections), str(rate)], cpu, 120,
                 input="\n".join(paths).encode() + b"\n")
    try:
        return json.loads(out)
    except ValueError:
        raise Failed(out.decode("utf-8", "replace").strip()[-160:]) from None


def ask_at_rate(place, port, cpu):
    """p50 and p99 in microseconds at the rate that all contenders are asked at."""
    endless = itertools.cycle(paths_of(place.work))
    paths = [f"/later/{n}" if path == "?" else path
             for n, path in enumerate(itertools.islice(endless, int(RATE * RATE_SECONDS)))]
    r = ask(place, port, cpu, paths, place.work.connections, RATE)
    return {"rate_p50_us": r["p50"], "rate_p99_us": r["p99"], "rate_kept": r["requests"] * 1e6 / r["micros"] / RATE}


def cpu_busy_seconds(cpu):
    """What all processes and interrupts used of one CPU since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        for line in f:
            if line.startswith(f"cpu{cpu} "):
                v = [int(x) for x in line.split()[1:]]
                return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICK
    return 0.0


def fill(place, port, cpu, count):
    """Asks for as many objects until they are in the cache; how often the origin was asked, and asked again."""
    objects = [f"/objects/{n}" for n in range(count)]
    asked = [origin_requests(place.origin_port)]
    for _ in range(2):  # a memory cache in front of a disk takes an object only when it is asked for again
        ask(place, port, cpu, objects)
        asked.append(origin_requests(place.origin_port))
    return asked[1] - asked[0], asked[2] - asked[1]


def origin_notes(work, requests, asked):
    """What is to be said when the origin was not asked as often as the workload means it to be."""
    if work.kind == "hit":
        return [f"origin was asked {asked} times"] if asked > 20 + requests // 1000 else []
    if work.kind == "mix":
        share = 100 * asked / requests
        return [] if 9.5 <= share <= 12 else [f"origin was asked for {share:.1f}%"]
    return [f"origin was asked only {asked} times"] if asked < requests * 0.99 else []


def measure_speed(place, process, port, cpus):
    """Requests per second and CPU microseconds per request of a process that is ready."""
    notes = []
    if place.work.kind == "mix":
        again = fill(place, port, cpus[1], MIX_OBJECTS)[1]
        if again > MIX_OBJECTS // 100:
            notes.append(f"does not keep all objects: origin was asked again {again} times")
    origin_before = origin_requests(place.origin_port)
    busy_before, cpu_before, start = cpu_busy_seconds(cpus[0]), process.cpu_seconds(), time.monotonic()
    r = load_of(place.work)(place, port, place.seconds, cpus[1])
    cpu, busy = process.cpu_seconds() - cpu_before, cpu_busy_seconds(cpus[0]) - busy_before
    elapsed = time.monotonic() - start
    asked = origin_requests(place.origin_port) - origin_before
    if r["requests"] == 0:
        raise Failed("no request was answered")
    errors = r["connect"] + r["read"] + r["write"] + r["timeout"] + r["status"]
    if errors:
        notes.append(f"{errors} errors")
    notes += origin_notes(place.work, r["requests"], asked)
    at_rate = ask_at_rate(place, port, cpus[1]) if place.work.at_rate else {}
    if at_rate.get("rate_kept", 1) < 0.95:
        notes.append(f"kept only {100 * at_rate['rate_kept']:.0f}% of {RATE}/s")
    if process.child.poll() is not None:
        raise Failed(f"ended by itself, status {process.child.returncode}: {process.last_words()}")
    return {"requests": r["requests"], "per_second": r["requests"] * 1e6 / r["micros"],
            "cpu_us": cpu * 1e6 / r["requests"], "cpu_share": cpu / elapsed,
            "others_share": max(0.0, busy - cpu) / elapsed,
            **{f"full_load_{k}_us": r[k] for k in ("p50", "p99") if k in r}, **at_rate, "errors": errors, "origin_requests": asked, "notes": notes}


class IdleH1:
    """A connection that asks once and then waits."""

    def __init__(self, place, port):
        self.work = place.work
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=5)
        if self.work.tls:
            self.wire = trusting().wrap_socket(self.wire)

    def ask(self):
        self.wire.sendall(f"GET {self.work.path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < self.work.size:
            part = self.wire.recv(65536)
            if not part:
                raise Failed("closed a connection")
            answer += part

    def is_open(self):
        self.wire.setblocking(False)
        try:
            return self.wire.recv(1) != b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return True

    def close(self):
        self.wire.close()


class IdleH2:
    """The same by HTTP/2, with fields that the server is to remember, as browsers send them."""

    FIELDS = [(b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0"),
              (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
              (b"accept-language", b"en-US,en;q=0.9"), (b"accept-encoding", b"gzip, deflate, br")]

    def __init__(self, place, port):
        self.path, self.client = place.work.path, h2wire.Client(port)

    def ask(self):
        fields = b"".join(h2wire.literal(name, value, h2wire.INDEXED) for name, value in self.FIELDS)
        self.client.send(h2wire.frame(h2wire.HEADERS, h2wire.END_STREAM | h2wire.END_HEADERS, 1,
                                      h2wire.head(self.path) + fields))
        if not self.client.wait(lambda: self.client.is_over(1), 5) or self.client.status.get(1) != 200:
            raise Failed("a request by HTTP/2 was not answered")

    def is_open(self):
        self.client.read()
        return self.client.outcome() == "stays"

    def close(self):
        self.client.close()


def measure_idle_memory(place, process, port):
    """Bytes per connection that has had one answer and waits, for IDLE_SECONDS at least."""
    before, held = process.memory_bytes(), []
    try:
        for _ in range(place.work.connections):
            held.append((IdleH2 if place.work.streams else IdleH1)(place, port))
            held[-1].ask()
        time.sleep(IDLE_SECONDS)
        after = process.memory_bytes()
        if not all(connection.is_open() for connection in held[::100]):
            raise Failed("closed idle connections")
    finally:
        for connection in held:
            connection.close()
    return {"bytes_each": (after - before) / place.work.connections, "notes": []}


def folder_bytes(folder):
    return sum(os.stat(p).st_blocks * 512 for p in glob.glob(folder + "/**", recursive=True) if os.path.isfile(p))


def measure_object_memory(place, process, port, cpus, count_ram):
    """Bytes per object stored, its 1,024 bytes of body taken off."""
    def used():
        return process.memory_bytes() + (folder_bytes(place.ram) if count_ram else 0)

    wrk(place, port, 1, cpus[1])  # grows what grows once: buffers, connections
    before = used()
    stored, again = fill(place, port, cpus[1], OBJECTS)
    grown = used() - before
    notes = []
    if stored < OBJECTS:
        notes.append(f"origin was asked only {stored} times")
    if again > OBJECTS // 100:
        notes.append(f"did not keep all: origin was asked again {again} times")
    if grown < OBJECTS * 1024:
        return {"skipped": "takes its cache memory at the start"}
    return {"bytes_each": grown / OBJECTS - 1024, "objects": OBJECTS, "asked_again": again, "notes": notes}
