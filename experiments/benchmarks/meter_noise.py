"""Noise of the latency meter: the same network as candidate and reference, idle and beside a training loop.

    python experiments/benchmarks/meter_noise.py [--jobs 40] [--out samples.jsonl]

Three conditions: the machine left alone; a one-thread torch training loop pinned away from the measuring core; the same
loop free to go anywhere. In each, MobileNetV2 is measured against itself (A/A: the true ratio is 1, so that |log ratio| is
the error) and two other networks against it (A/B: the shift of the median ratio against idle is a bias that A/A cannot
show, for neighbours slow down what lives in memory more than what lives in registers). The conditions alternate in
rounds, so that a drift of the machine over the minutes is not mistaken for a difference between them. A measurement during
which anybody else used the machine (Linux: processor time beyond the meter's own and the loop's) does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latency.cores import measuring_core, other_cores
from latency.measurement import Measurement
from latency.meter_process import MeterProcess
from latency.reference import calibrate
from search_spaces import zoo
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx

REFERENCE = "mobilenet_v2"
OTHERS = ("mnasnet_a1", "mobilenet_v3_small")
CONDITIONS = {"idle": 0.0, "training, other core": 1.0, "training, unpinned": 1.0}  # busy cores besides the meter's
STRANGERS = 0.2  # cores
ROUNDS = 4

TRAINING_LOOP = """
import torch
torch.set_num_threads(1)
conv = lambda i, o: torch.nn.Sequential(torch.nn.Conv2d(i, o, 3, padding=1), torch.nn.BatchNorm2d(o), torch.nn.ReLU())
net = torch.nn.Sequential(conv(3, 32), conv(32, 64), torch.nn.MaxPool2d(2), conv(64, 64), torch.nn.Flatten(),
                          torch.nn.Linear(64 * 16 * 16, 10))
optimizer = torch.optim.SGD(net.parameters(), 0.01)
print("training", flush=True)
while True:
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(torch.randn(64, 3, 32, 32)), torch.randint(10, (64,)))
    loss.backward()
    optimizer.step()
"""


@contextlib.contextmanager
def neighbour(condition: str) -> Iterator[None]:
    """Keep the training loop of `condition` running."""
    if condition == "idle":
        yield
        return
    program = TRAINING_LOOP
    if condition == "training, other core":
        program = f"import os; os.sched_setaffinity(0, {other_cores()})\n" + program
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            time.sleep(1)
            yield
        finally:
            process.kill()


def busy_s() -> float:
    """Seconds of processor time that the machine has spent, all cores and everybody; 0 where unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure_alone(process: MeterProcess, model: bytes, reference: bytes, expected: float, until: float) -> Measurement:
    """Measure until nobody but the `expected` busy cores disturbed it, or until the time is up."""
    while True:
        start, busy = time.perf_counter(), busy_s()
        measurement = process.measure(model, reference)
        others = (busy_s() - busy) / (time.perf_counter() - start) - 1
        if others <= expected + STRANGERS or start > until:
            return measurement
        time.sleep(1)


def record(out: Path | None, condition: str, name: str, measurement: Measurement) -> None:
    """Append the raw samples to `out`."""
    if out:
        with out.open("a") as file:
            file.write(json.dumps({"condition": condition, "name": name, **measurement.to_dict()}) + "\n")


def row(condition: str, name: str, results: list[Measurement], idle: list[Measurement]) -> str:
    """One line of the table, in percent and seconds."""
    logs = np.log([m.ratio for m in results])
    centre = 0.0 if name == REFERENCE else float(np.median(logs))
    errors = 100 * np.abs(logs - centre)
    shift = 100 * (np.median(logs) - np.median(np.log([m.ratio for m in idle])))
    covered = np.mean([math.log(m.interval[0]) <= centre <= math.log(m.interval[1]) for m in results])
    seconds = [m.environment["total_s"] for m in results]
    statuses = "/".join(str(sum(m.status == s for m in results)) for s in ("ok", "wide", "unstable"))
    reference_ms = np.median([m.reference_ms for m in results])
    return (
        f"{condition:22}{name:20}{math.exp(np.median(logs)):8.4f}{shift:+8.2f}{np.std(logs) * 100:7.2f}"
        f"{np.median(errors):7.2f}{np.quantile(errors, 0.95):7.2f}{covered:9.0%}{statuses:>10}"
        f"{np.median([m.num_pairs for m in results]):7.0f}{np.median([m.num_rejected for m in results]):6.0f}"
        f"{np.median(seconds):7.2f}{np.quantile(seconds, 0.95):7.2f}{reference_ms:9.3f}"
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40, help="measurements of each network in each condition")
    parser.add_argument("--minutes", type=float, default=30, help="stop after this long with what there is")
    parser.add_argument("--out", type=Path, help="append raw samples to this file, one JSON object a line")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the training loop is not left behind
    models = {name: emit_onnx(lower(zoo.get(name), 224, 1000)) for name in (REFERENCE, *OTHERS)}
    found: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    with MeterProcess(measuring_core()) as process:
        reference, _ = calibrate(process, models[REFERENCE])
        print(f"{process.device}\ncore {process.core}, reference {reference.reference_ms:.3f} ms")
        until = time.perf_counter() + 60 * arguments.minutes
        for condition in [*CONDITIONS] * ROUNDS:
            with neighbour(condition):
                for name, model in list(models.items()) * math.ceil(arguments.jobs / ROUNDS):
                    measurement = measure_alone(process, model, reference.model, CONDITIONS[condition], until)
                    if time.perf_counter() > until:
                        break
                    found[condition, name].append(measurement)
                    record(arguments.out, condition, name, measurement)
    print(
        f"{'condition':22}{'candidate':20}{'ratio':>8}{'shift%':>8}{'sd%':>7}{'p50%':>7}{'p95%':>7}{'covered':>9}"
        f"{'ok/w/u':>10}{'pairs':>7}{'rej':>6}{'s':>7}{'s p95':>7}{'ref ms':>9}"
    )
    for (condition, name), results in found.items():
        print(row(condition, name, results, found["idle", name]))


if __name__ == "__main__":
    main()
