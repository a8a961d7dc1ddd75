"""report_rules.py: what make bench does with measurements that a hypervisor disturbed (bench/run, lib/report.py), on
made-up ones. Ends with status 0, or says what is wrong. Run by test_report.c."""

import importlib.machinery
import importlib.util
import os
import sys

sys.dont_write_bytecode = True
BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "bench")
loader = importlib.machinery.SourceFileLoader("bench_run", os.path.join(BENCH, "run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
loader.exec_module(run)
run.say = lambda text: None
report = run.report
WORKS = {w.name: w for w in run.WORKS}


def made(cpu_us, stolen, **more):
    return {"cpu_us": cpu_us, "per_second": 1000, "stolen": stolen, "notes": [], **more}


class Contender:
    def __init__(self, name):
        self.name = name


class Bench:
    """A round of one work whose measurements take ten seconds each and come out as listed."""

    def __init__(self, first, again):
        self.clock, self.again = 0, dict(again)
        self.contenders = [Contender(name) for name in first]
        self.results = {"hit1k": {name: [r] for name, r in first.items()}}
        self.order = []

    def measure(self, contender, work):
        self.clock += 10
        self.order.append(contender.name)
        return self.again[contender.name].pop(0)

    def repeat(self, patience):
        pairs = [(WORKS["hit1k"], c) for c in self.contenders]
        return run.repeat_disturbed(0, pairs, self.results, patience, self.measure, lambda: self.clock)

    def kept(self, name):
        return self.results["hit1k"][name][0]


def what_was_disturbed_is_made_again_until_it_was_not():
    b = Bench({"floor": made(4, 0.01), "millpond": made(9, 0.3), "nginx": made(9, 0.2)},
              {"millpond": [made(7, 0.1), made(5, 0.0)], "nginx": [made(8, 0.02)]})
    assert b.repeat(300) == 270
    assert b.order == ["millpond", "nginx", "millpond"], b.order
    assert (b.kept("floor")["cpu_us"], b.kept("millpond")["cpu_us"], b.kept("nginx")["cpu_us"]) == (4, 5, 8)
    assert (b.kept("millpond")["repeats"], b.kept("nginx")["repeats"]) == (2, 1)


def the_less_disturbed_one_is_kept_and_patience_ends():
    b = Bench({"millpond": made(6, 0.1)}, {"millpond": [made(9, 0.5), {"failed": "so", "stolen": 0.0}, made(7, 0.2)]})
    assert b.repeat(25) <= 0
    assert len(b.order) == 3 and b.kept("millpond")["cpu_us"] == 6 and b.kept("millpond")["repeats"] == 3
    assert b.repeat(0) == 0 and len(b.order) == 3


def what_failed_or_was_left_out_is_not_made_again():
    b = Bench({"millpond": {"failed": "so", "stolen": 0.5}, "nginx": {"skipped": "it has none"}}, {})
    assert b.repeat(300) == 300 and not b.order


def memory_is_not_made_again():
    assert not run.is_wanted_again(WORKS["idlemem"], {"bytes_each": 500, "stolen": 0.5, "notes": []})


def figures_rest_on_rounds_that_were_left_alone():
    rounds = [made(5, 0.01), made(50, 0.3), made(7, 0.0)]
    assert report.median(rounds, "cpu_us") == 6
    row = report.row_of("millpond", {"millpond": rounds, "floor": [made(4, 0), made(4, 0), made(7, 0.2)]}, "cpu_us")
    assert row["rounds"] == 2 and row["notes"] == "rests on 2 of 3 rounds", row
    assert row["to_floor"] == 5 / 4, row


def or_on_all_and_say_so():
    rounds = [made(5, 0.1), made(9, 0.3)]
    row = report.row_of("millpond", {"millpond": rounds, "floor": [made(4, 0), made(4, 0)]}, "cpu_us")
    assert row["rounds"] == 2 and row["cpu_us"] == 7 and row["to_floor"] == 1.75, row
    assert row["notes"] == "the hypervisor took more than 3% of the machine", row


def the_floor_of_the_mix_is_as_disturbed_as_its_parts():
    results = report.with_mix_floor({"hit1k": {"floor": [made(4, 0.2)]}, "proxy1k": {"floor": [made(8, 0)]},
                                     "mix": {"floor": [{}]}})
    assert report.is_disturbed(results["mix"]["floor"][0])


for rule in (what_was_disturbed_is_made_again_until_it_was_not, the_less_disturbed_one_is_kept_and_patience_ends,
             what_failed_or_was_left_out_is_not_made_again, memory_is_not_made_again,
             figures_rest_on_rounds_that_were_left_alone, or_on_all_and_say_so,
             the_floor_of_the_mix_is_as_disturbed_as_its_parts):
    rule()
