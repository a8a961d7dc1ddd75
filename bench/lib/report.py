"""report.py: what a run's measurements come to, as a dictionary and as Markdown.

Figures are medians over the rounds. Ratios are formed within a round, between measurements a few seconds
apart, and the median of those is shown: a machine that is slower in one round is slower for both. Rounds in
which the hypervisor took too much count only where there are no others. A target is met by the figure as it
is shown, rounded.
"""

import statistics

from contenders import MEMORY_WORKS, WORKS

OURS = "millpond"
STOLEN_MOST = 0.03  # of the CPUs' time by a hypervisor; with more even ratios differ from run to run
UNITS = {"cpu_us": "us", "per_second": "requests/s", "bytes_each": "bytes"}


def is_disturbed(r):
    return r.get("stolen", 0) > STOLEN_MOST


def undisturbed(found):
    """Of (is disturbed, what) what is not, or all when everything is."""
    return [what for disturbed, what in found if not disturbed] or [what for _, what in found]


def good(rounds, key):
    """The values that count, of the measurements that came about."""
    return undisturbed([(is_disturbed(r), r[key]) for r in rounds if key in r])


def median(rounds, key):
    found = good(rounds, key)
    return statistics.median(found) if found else None


def ratio(rounds, base, key):
    """Median over the rounds that both have of ours divided by theirs."""
    quotients = undisturbed([(is_disturbed(a) or is_disturbed(b), a[key] / b[key])
                             for a, b in zip(rounds, base) if key in a and b.get(key, 0) > 0])
    return statistics.median(quotients) if quotients else None


def notes_of(rounds, key):
    notes = []
    for r in undisturbed([(is_disturbed(r), r) for r in rounds if key in r]):
        notes += r.get("notes", [])
    for r in rounds:
        notes += [r["skipped"]] if "skipped" in r else []
        notes += ["failed: " + r["failed"]] if "failed" in r else []
    others = max((r.get("others_share", 0) for r in rounds), default=0)
    if others > 0.05:
        notes.append(f"others used up to {100 * others:.0f}% of its CPU")
    measured = [r for r in rounds if key in r]
    disturbed = sum(is_disturbed(r) for r in measured)
    if disturbed and disturbed == len(measured):
        notes.append(f"the hypervisor took more than {100 * STOLEN_MOST:.0f}% of the machine")
    elif disturbed:
        notes.append(f"rests on {len(measured) - disturbed} of {len(measured)} rounds")
    return "; ".join(dict.fromkeys(notes))


def main_key(work):
    return "bytes_each" if work.name in MEMORY_WORKS else "cpu_us"


def with_mix_floor(results):
    """The mix has no floor of its own: nine hits at the one floor and one request at the other are its floor."""
    hits, relayed = (results.get(work, {}).get("floor", []) for work in ("hit1k", "proxy1k"))
    if "floor" not in results.get("mix", {}) or not good(hits, "cpu_us") or not good(relayed, "cpu_us"):
        return results
    pairs = [{"cpu_us": 0.9 * h["cpu_us"] + 0.1 * p["cpu_us"], "notes": ["0.9 x hit1k + 0.1 x proxy1k"],
              "stolen": max(h.get("stolen", 0), p.get("stolen", 0))}
             if "cpu_us" in h and "cpu_us" in p else {} for h, p in zip(hits, relayed)]
    return {**results, "mix": {**results["mix"], "floor": pairs}}


def row_of(name, per_contender, key):
    rounds = per_contender[name]
    row = {"contender": name, "rounds": len(good(rounds, key)), "notes": notes_of(rounds, key),
           "to_floor": ratio(rounds, per_contender.get("floor", []), key)}
    for k in (key, "per_second", "rate_p50_us", "rate_p99_us", "full_load_p50_us", "full_load_p99_us"):
        row[k] = median(rounds, k)
    return {k: v for k, v in row.items() if v is not None}


def against(work, results):
    """Millpond's figure as a multiple of each other contender's, and its targets with what was reached."""
    per_contender = results[work.name]
    key, ours = main_key(work), per_contender[OURS]
    targets = []
    for what, bound, base in work.targets:
        theirs = results[base].get(OURS, []) if base in results else per_contender.get(base, [])
        value = ratio(ours, theirs, what) if base else median(ours, what)
        sign = ">=" if what == "per_second" else "<="
        met = None if value is None else round(value, 2) >= bound if sign == ">=" else round(value, 2) <= bound
        text = f"{sign} {bound:g} {UNITS[what]}" if base is None else \
            f"{sign} {bound:.2f} x {base}" + (" in " + UNITS[what] if what == "per_second" else "")
        targets.append({"target": text, "value": value, "met": met})
    return {"ours": median(ours, key), "targets": targets,
            "ratios": {name: ratio(ours, rounds, key) for name, rounds in per_contender.items() if name != OURS}}


def summary(results):
    """{"rows": {work: [row per contender]}, "against": {work: Millpond compared}}"""
    results = with_mix_floor(results)
    works = [w for w in WORKS if w.name in results]
    return {"rows": {w.name: [row_of(name, results[w.name], main_key(w)) for name in results[w.name]] for w in works},
            "against": {w.name: against(w, results) for w in works if OURS in results[w.name]}}


def cell(value, form):
    return "-" if value is None else format(value, form)


def table(head, body, left=()):
    """A Markdown table that reads well in a terminal too; the first and last columns and `left` stand left."""
    widths = [max(len(line[i]) for line in [head] + body) for i in range(len(head))]
    left = {0, len(head) - 1, *left}
    form = lambda line: "| " + " | ".join(  # noqa: E731
        c.ljust(widths[i]) if i in left else c.rjust(widths[i]) for i, c in enumerate(line)) + " |"
    rule = "| " + " | ".join("-" * (w - 1) + ("-" if i in left else ":") for i, w in enumerate(widths)) + " |"
    return "\n".join([form(head), rule] + [form(line) for line in body])


def verdict(target):
    if target["met"] is None:
        return "not measured"
    return ("yes, " if target["met"] else "no, ") + format(target["value"], ".2f" if target["value"] < 100 else ",.0f")


def peers_table(works, compared, names):
    head = ["work", "Millpond"] + [f"/ {name}" for name in names] + ["target", "met"]
    body = []
    for w in works:
        c = compared[w.name]
        form = ",.0f" if w.name in MEMORY_WORKS else ",.2f"
        body.append([w.name, cell(c["ours"], form) + " " + UNITS[main_key(w)]]
                    + [cell(c["ratios"][name], ".2f") for name in names]
                    + ["; ".join(t["target"] for t in c["targets"]) or "-",
                       "; ".join(verdict(t) for t in c["targets"]) or "-"])
    return table(head, body, left=[len(head) - 2])


def work_table(work, rows, rate):
    if work.name in MEMORY_WORKS:
        return table(["contender", "bytes each", "notes"],
                     [[r["contender"], cell(r.get("bytes_each"), ",.0f"), r["notes"]] for r in rows])
    head = ["contender", "CPU us/request", "x floor", "requests/s"]
    columns = [("cpu_us", ".2f"), ("to_floor", ".2f"), ("per_second", ",.0f")]
    if work.at_rate:
        head += [f"p50 us at {rate:,}/s", f"p99 us at {rate:,}/s"]
        columns += [("rate_p50_us", ",.0f"), ("rate_p99_us", ",.0f")]
    return table(head + ["notes"], [[r["contender"]] + [cell(r.get(key), form) for key, form in columns]
                                    + [r["notes"]] for r in rows])


def introduction(facts):
    stolen = f"{100 * facts['stolen']:.1f}%"
    return f"""\
# Side by side, {facts['date']}

Kernel {facts['kernel']}, {facts['cpu']}.
Rounds: {facts['rounds']}, of {facts['seconds']} s per measurement; medians, of the rounds in which the hypervisor left the machine
alone where there are any. Measurements made again since it had not: {facts['repeats']}. Loopback; no logs but in log1k.
One worker on CPU {facts['cpus'][0]}, load and origin on CPU {facts['cpus'][1]}. Of the time of both {stolen} was taken by the hypervisor.
CPU time is user and system time of the process tree per request. Latencies are those of a client that sends
{facts['rate']:,} requests a second at random moments, counted from the moment a request is due. The floor is a bare
epoll loop: for hits it reads to a blank line and writes one constant answer from its memory (`writev`), for everything
else it copies bytes between two sockets. h2o has no cache: its hits are static files.

A program can send large bodies for less than this floor: nginx sends its cache, files on a tmpfs, with `sendfile`, and
so does Millpond with 128 KB and more: that lends their pages to the socket, while a write copies the bytes first."""


def markdown(facts, works, found):
    parts = [introduction(facts), "",
             "Versions: " + ", ".join(f"{n} {v}" for n, v in facts["versions"].items()) + "."]
    if facts["absent"]:
        parts += ["", "Not installed: " + ", ".join(facts["absent"]) + "."]
    others = [name for name in facts["versions"] if name != OURS]
    if found["against"]:
        parts += ["", "## Millpond against each", "",
                  "Its CPU time per request (bytes for the memory rows), and that divided by the other's: below 1 it "
                  "needs less.", "", peers_table(works, found["against"], others)]
    for w in works:
        parts += ["", f"## {w.name}: {w.text}", "", work_table(w, found["rows"][w.name], facts["rate"])]
    return "\n".join(parts) + "\n"
