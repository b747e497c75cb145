"""How well latency is measured here: the figures of docs/latency.md.

    python experiments/benchmarks/latency_figures.py --out figures.jsonl [--rounds 34] [--report]

Rounds of jobs, all conditions in each, so that a drift of the machine over the minutes is not mistaken for a difference
between them. Every job is one line of --out; a second call goes on where the first one stopped, --report only sums up.
A job during which anybody else used this machine (Linux: processor time beyond its own and the trainer's) does not count
and is done again; what the host gives to other machines cannot be seen.

    idle      pairs of search-grade measurements of the same network: nothing but noise separates them (A/A)
    training  the same while the proxy trainer runs, which rests whenever somebody measures
    final     pairs of final-grade measurements
    truth     one long measurement in a fresh process; the median of 20 is what a network really takes
    mean      what public systems do, in the wall time of the job before it: warm up, run N times, take the mean

`mobilenet_v3_large_slower` is MobileNetV3-Large with two layers widened so that it takes about 3 % longer.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latency.cores import measuring_core, other_cores, pin
from latency.deployed_model import deployed_model
from latency.deployment import Deployment
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES, Grade, MeterSettings
from latency.meter_process import MeterProcess
from latency.metered import MeteredLatency
from search_spaces import zoo
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch

REFERENCE = "mobilenet_v2"
LARGE, SLOWER = "mobilenet_v3_large", "mobilenet_v3_large_slower"
NUM_TRUTHS = NUM_FINAL_PAIRS = NUM_TRAINING_ROUNDS = 20
TRUTH = Grade(MeterSettings(budget_s=2.2))
NUM_CLASSES = 1000
STRANGERS = 0.15  # cores, on average over a job
MAX_REPEATS = 20
WARMUP_RUNS = 10

T = TypeVar("T")

TRAINER = """
import sys, time
from pathlib import Path
import numpy as np
import torch
from rich.console import Console
from nas.config import load_config
from nas.evaluators import build_evaluator
from nas.images import load_images
from search_spaces.mnasnet import MNASNET
torch.set_num_threads(1)
wanted = Path(sys.argv[1])
config = load_config("mnas_large.yaml")
evaluator, rng = build_evaluator(config, load_images(config), Console()), np.random.default_rng(0)
while True:
    for _ in evaluator.evaluate(MNASNET.decode(MNASNET.sample(rng)), 0):
        if not wanted.exists():
            print("resting", flush=True)
        while not wanted.exists():
            time.sleep(0.1)
"""
"""The default recipe's own training, network after network, while a file exists."""

MEAN_OF_RUNS = """
import json, sys, time
from latency.deployment import Deployment
from latency.runtime import LoadedModel, session_options
deployment = Deployment()
for line in sys.stdin:
    path, seconds, warmup = json.loads(line)
    start = time.perf_counter()
    model = LoadedModel(open(path, "rb").read(), session_options(deployment), deployment.provider)
    for _ in range(warmup):
        model.run()
    begin, runs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        model.run()
        runs += 1
    print((time.perf_counter() - begin) / runs * 1000, flush=True)
"""


def networks() -> dict[str, ArchSpec]:
    """What is measured, by name."""
    large = zoo.get(LARGE)
    slower = parse_arch(str(large).replace("r2_k3_s11_x184", "r2_k3_s11_x320"))
    return {LARGE: large, "mnasnet_a1": zoo.get("mnasnet_a1"), SLOWER: slower}


class Bench:
    """Does jobs and writes them down.

    Args:
        out: file of JSON lines, appended to.
        folder: for the models that the mean-of-runs process reads.
    """

    def __init__(self, out: Path, folder: Path) -> None:
        self.records = read(out)
        self._file = out.open("a")
        core = measuring_core()
        self.meter = MeteredLatency(MeterProcess(core), zoo.get(REFERENCE), num_classes=NUM_CLASSES)
        self.models = {}
        for name, arch in networks().items():
            self.models[name] = folder / f"{name}.onnx"
            self.models[name].write_bytes(deployed_model(arch, Deployment(), NUM_CLASSES))
        pinned = f"import os; hasattr(os, 'sched_setaffinity') and os.sched_setaffinity(0, {[core]})\n"
        self.plain = _program(pinned + MEAN_OF_RUNS)
        self._training_wanted = folder / "training"
        self.trainer = _program(TRAINER, str(self._training_wanted))
        self._await_rest()
        pin(other_cores())

    def close(self) -> None:
        """End all processes."""
        for process in (self.plain, self.trainer):
            process.kill()
            process.wait()
        self.meter.close()
        self._file.close()

    def _await_rest(self) -> None:
        assert self.trainer.stdout is not None
        if self.trainer.stdout.readline() != "resting\n":
            raise RuntimeError("the trainer died")

    def pause_training(self) -> None:
        """No training from here on."""
        self._training_wanted.unlink()
        self._await_rest()

    def resume_training(self) -> None:
        """Training from here on."""
        self._training_wanted.touch()
        time.sleep(0.5)

    def _write(self, **record: Any) -> None:
        record["unix"] = round(time.time(), 2)
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def _alone(self, work: Callable[[], T], neighbours: float = 0.0) -> T:
        """What `work` returns when nobody but itself, and `neighbours` cores, used the machine meanwhile."""
        for _ in range(MAX_REPEATS):
            start, busy = time.perf_counter(), busy_s()
            result = work()
            strangers = (busy_s() - busy) / (time.perf_counter() - start) - 1 - neighbours
            if strangers <= STRANGERS:
                return result
            time.sleep(2)
        raise RuntimeError("this machine is not idle: other processes use it all the time")

    def job(self, condition: str, name: str, grade: Grade, index: int) -> float:
        """Measure once; seconds, emission of the model and loading included."""

        def work() -> tuple[Latency, list[Measurement], float]:
            start = time.perf_counter()
            return *self.meter.measure(networks()[name], grade), time.perf_counter() - start

        latency, measurements, seconds = self._alone(work, 1.0 if condition == "training" else 0.0)
        failed = latency.status == "failed"
        self._write(
            condition=condition,
            name=name,
            index=index,
            ratio=None if failed else latency.ratio,
            interval=None if failed else latency.ratio_interval,
            status=latency.status,
            seconds=round(seconds, 3),
            reference_ms=statistics.median(m.reference_ms for m in measurements if m.sessions),
            rejected=latency.num_rejected / max(1, latency.num_rejected + latency.num_pairs),
        )
        return seconds

    def truth(self, name: str, index: int) -> None:
        """One fresh process."""
        model, yardstick = self.models[name].read_bytes(), self.meter.reference.model
        taken = self._alone(
            lambda: self.meter.meter.measure(model, yardstick, TRUTH.settings, seed=index, fresh_process=True)
        )
        self._write(condition="truth", name=name, index=index, ratio=taken.ratio, status=taken.status)

    def mean(self, name: str, index: int, seconds: float) -> None:
        """Mean of as many runs as fit into `seconds`."""
        order = json.dumps([str(self.models[name]), seconds, WARMUP_RUNS]) + "\n"

        def work() -> float:
            assert self.plain.stdin is not None
            assert self.plain.stdout is not None
            self.plain.stdin.write(order)
            self.plain.stdin.flush()
            return float(self.plain.stdout.readline())

        self._write(condition="mean", name=name, index=index, mean_ms=self._alone(work))

    def done(self, condition: str, name: str, index: int) -> bool:
        """Whether an earlier call did it."""
        return any((r["condition"], r["name"], r["index"]) == (condition, name, index) for r in self.records)


def busy_s() -> float:
    """Seconds of processor time that the machine has spent, all cores and everybody; 0 where unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _program(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read(path: Path) -> list[dict[str, Any]]:
    """Records of earlier calls."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def one_round(bench: Bench, index: int, only_idle: bool) -> None:
    """Everything once; the parts that an earlier call did are skipped."""
    search, final = GRADES["search"], GRADES["final"]
    for name in networks():
        if bench.done("idle", name, 2 * index + 1):
            continue
        seconds = [bench.job("idle", name, search, 2 * index + n) for n in range(2)]
        if index < NUM_TRUTHS and not only_idle:
            bench.mean(name, index, statistics.mean(seconds))
            bench.truth(name, index)
    if index >= NUM_TRAINING_ROUNDS or only_idle:
        return
    bench.resume_training()
    for name in networks():
        if not bench.done("training", name, 2 * index + 1):
            for n in range(2):
                bench.job("training", name, search, 2 * index + n)
    bench.pause_training()
    if index < NUM_FINAL_PAIRS and not bench.done("final", LARGE, 2 * index + 1):
        for n in range(2):
            bench.job("final", LARGE, final, 2 * index + n)


def table(records: list[dict[str, Any]]) -> str:
    """The figures, a line each."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for record in records:
        groups[record["condition"], record["name"]][record["index"]] = record
    names = sorted({name for _, name in groups})
    truth = {
        n: statistics.median(r["ratio"] for r in groups["truth", n].values()) for n in names if ("truth", n) in groups
    }
    lines = ["truth: " + ", ".join(f"{n} {r:.4f} ({len(groups['truth', n])} processes)" for n, r in truth.items())]
    for condition in ("idle", "training", "final"):
        jobs = [r for (c, _), found in groups.items() if c == condition for r in found.values()]
        if not jobs:
            continue
        for chosen in [*names, None] if condition != "final" else [None]:
            logs = [x for n in names if chosen in (n, None) for x in _pairs(groups.get((condition, n), {}))]
            kept = [r for r in jobs if chosen in (r["name"], None)]
            statuses = Counter(r["status"] for r in kept)
            seconds = [r["seconds"] for r in kept]
            covered = [_covered(r, truth[r["name"]]) for r in kept if r["ratio"] and r["name"] in truth]
            widths = [math.log(r["interval"][1] / r["interval"][0]) / 2 for r in kept if r["interval"]]
            lines.append(
                f"{condition:9}{chosen or 'all':27}{len(logs):4} pairs  A/A median {np.median(logs):.2%} "
                f"p95 {np.quantile(logs, 0.95):.2%}  covered {np.mean(covered):.0%}  half-width {np.median(widths):.2%}  "
                f"seconds {np.median(seconds):.2f}  {dict(statuses)}"
            )
    for condition in ("idle", "training"):
        right = [
            slow["ratio"] > fast["ratio"]
            for index, slow in groups.get((condition, SLOWER), {}).items()
            if (fast := groups[condition, LARGE].get(index)) and slow["ratio"] and fast["ratio"]
        ]
        if right and {SLOWER, LARGE} <= truth.keys():
            by = truth[SLOWER] / truth[LARGE] - 1
            lines.append(f"{condition:9}slower by {by:.1%}: ranked right {np.mean(right):.1%} of {len(right)}")
    ours, means = [], []
    for name in truth:
        idle = [r["ratio"] for r in groups["idle", name].values() if r["ratio"]]
        runs = [r["mean_ms"] for r in groups["mean", name].values()]
        ours += list(np.abs(np.log(np.array(idle) / np.median(idle))))
        means += list(np.abs(np.log(np.array(runs) / np.median(runs))))
    if means:
        lines.append(
            f"error of one measurement, rms: ours {_rms(ours):.2%}, mean of N runs {_rms(means):.2%}, "
            f"{_rms(means) / _rms(ours):.1f} times; 95th percentile: {np.quantile(ours, 0.95):.2%}, "
            f"{np.quantile(means, 0.95):.2%}"
        )
    return "\n".join(lines)


def _pairs(jobs: dict[int, dict[str, Any]]) -> list[float]:
    """Absolute log ratios of jobs 2 i and 2 i + 1."""
    pairs = [(jobs[i], jobs[i + 1]) for i in sorted(jobs) if i % 2 == 0 and i + 1 in jobs]
    return [abs(math.log(a["ratio"] / b["ratio"])) for a, b in pairs if a["ratio"] and b["ratio"]]


def _covered(record: dict[str, Any], truth: float) -> bool:
    low, high = record["interval"]
    return bool(low <= truth <= high)


def _rms(errors: list[float]) -> float:
    return math.sqrt(float(np.mean(np.square(errors))))


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=34, help="each has 3 idle pairs, the first 20 also the rest; 8 to 65 s"
    )
    parser.add_argument("--minutes", type=float, default=60, help="begin no round after this long")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a job")
    parser.add_argument(
        "--only-idle", action="store_true", help="only the pairs of measurements with nothing beside them"
    )
    parser.add_argument("--report", action="store_true", help="only sum up what is there")
    arguments = parser.parse_args()
    if not arguments.report:
        import tempfile

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no process is left behind
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(arguments.out, Path(folder))
            try:
                reference = bench.meter.reference
                print(f"{bench.meter.meter.device}\nreference {reference.reference_ms:.3f} ms, {reference.spread}")
                until = time.monotonic() + 60 * arguments.minutes
                for index in range(arguments.rounds):
                    if time.monotonic() > until:
                        break
                    one_round(bench, index, arguments.only_idle)
            finally:
                bench.close()
    print(table(read(arguments.out)))


if __name__ == "__main__":
    main()
