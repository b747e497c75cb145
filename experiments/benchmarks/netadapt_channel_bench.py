"""NetAdapt on networks that others really trained: is choosing widths one by one worth more than scaling them alike?

    python experiments/benchmarks/netadapt_channel_bench.py --table channel_bench_macro_mobilenet_cifar10.csv [--json]

The table is Channel-Bench-Macro's (github.com/xiusu/Channel-Bench-Macro): every one of the 4^7 width configurations of one
MobileNet-type network, each trained three times on CIFAR-10. A proposal's accuracy is the mean of two of the trainings, the
network that comes out is judged by the third; all three rotations. Two judges:

    raw     the third training itself, whose accuracies have the noise of one training
    smooth  the third training of all networks, projected onto effects of single widths and pairs of them: what a network of
            these widths reaches in expectation. What pairs do not say is estimated and part of the intervals.

Compared, at the multiply-adds of the uniform multipliers 3/4 and 1/2: that multiplier; the mean of random trajectories
(a random proposal per step); and, as the best that there is, the network of the highest mean of all three within the cost.
Intervals are of 95 %, given the choices: they hold the noise of the judge, and that of the draws of random ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from nas.arch_table import ArchTable, file_digest
from nas.netadapt.adaptation import Judgement, Position, Rules, adapt
from nas.netadapt.cost import mac_cost
from nas.netadapt.proposal import Proposal
from nas.netadapt.schedule import ReductionSchedule
from nas.netadapt.selection import RULES, Selection, at_random
from search_spaces.arch import ArchSpec, BlockSpec, Head, Stem
from search_spaces.choice import Choice
from search_spaces.narrowing import groups_of
from search_spaces.width_groups import ALL_KINDS, WidthGroup

FULL = (128, 768, 768, 768, 256, 1536, 1024)
"""Stem and first residual width; three expansions; second residual width; its expansion; last 1x1 convolution."""
QUARTERS = 4
FULL_QUARTERS = (QUARTERS,) * len(FULL)
RESOLUTION, NUM_CLASSES = 32, 10
TRAININGS = ("test_acc_s0", "test_acc_s1", "test_acc_s2")
SCHEDULES = ("0.01L", "0.025L", "0.05L", "0.1L")
MULTIPLIERS = (3, 2)
"""Uniform ones, in quarters, whose cost is the target."""
PAIRS = 2
JUDGES = ("raw", "smooth")
Z95 = 1.96

Quarters = tuple[int, ...]
"""Of the full widths, 1 to 4 each: a network."""

Accuracies = NDArray[np.float64]
"""In points; an axis of four quarters for each width, the last one for the trainings."""


def network(quarters: Quarters) -> ArchSpec:
    """The benchmark's network, each width so many quarters of the full one."""
    w0, w1, w2, w3, w4, w5, w6 = (full * quarter // QUARTERS for full, quarter in zip(FULL, quarters, strict=True))

    def block(given: int, inner: int, out: int, stride: int) -> BlockSpec:
        return BlockSpec(3, stride, in_channels=given, out_channels=out, expand_channels=inner)

    blocks = (block(w0, w1, w0, 1), block(w0, w2, w0, 1), block(w0, w3, w4, 2), block(w4, w5, w4, 1))
    return ArchSpec(blocks, Stem(w0), Head(w6))


FULL_WIDTH = {group.name: group.width for group in groups_of(network(FULL_QUARTERS))}
"""Of the groups that the graph has: the benchmark's seven decisions, and the classifier."""


def quarters_of(arch: ArchSpec) -> Quarters:
    """Inverse of `network`."""
    groups = [group for group in groups_of(arch) if group.kind in ALL_KINDS]
    return tuple(QUARTERS * group.width // FULL_WIDTH[group.name] for group in groups)


def narrower_quarters(group: WidthGroup) -> Iterable[int]:
    """The benchmark's widths below that of `group`."""
    quarter = FULL_WIDTH[group.name] // QUARTERS
    return range(group.width - quarter, 0, -quarter)


cost = cache(mac_cost(RESOLUTION, NUM_CLASSES).cost)
at = cache(quarters_of)


def index(quarters: Quarters) -> tuple[int, ...]:
    """Of a network in the axes of widths."""
    return tuple(quarter - 1 for quarter in quarters)


def read(path: Path) -> Accuracies:
    """The table, in points."""
    choices = [Choice(f"w{number}", tuple(range(1, QUARTERS + 1))) for number in range(len(FULL))]
    table = ArchTable.of_digits(path, choices, "arch")
    accuracies = np.full((QUARTERS,) * len(FULL) + (len(TRAININGS),), math.nan)
    accuracies[tuple(table.positions.T)] = np.stack([table.numbers(column) for column in TRAININGS], axis=1)
    if np.isnan(accuracies).any():
        raise SystemExit(f"{path}: networks are missing; the whole table of {QUARTERS ** len(FULL)} is needed")
    return accuracies


def projected(accuracies: Accuracies, order: int = PAIRS) -> tuple[Accuracies, int]:
    """Onto effects of at most `order` widths (analysis of variance of a full design), and how many these are."""
    effects: dict[tuple[int, ...], Accuracies] = {}
    for size in range(order + 1):
        for axes in combinations(range(len(FULL)), size):
            mean = accuracies.mean(axis=tuple(axis for axis in range(len(FULL)) if axis not in axes), keepdims=True)
            smaller = (effect for inner, effect in effects.items() if set(inner) < set(axes))
            effects[axes] = mean - sum(smaller, start=np.zeros_like(mean))
    number = sum(math.comb(len(FULL), size) * (QUARTERS - 1) ** size for size in range(order + 1))
    return sum(effects.values(), start=np.zeros_like(accuracies)), number


@dataclass(frozen=True)
class Judge:
    """Accuracies of all networks in the trainings that did not choose, and how uncertain they are, in points.

    Attributes:
        accuracies: by network and training.
        training_sd: of an accuracy, independently in each training.
        common_sd: of a network's accuracy, the same in all trainings.
    """

    accuracies: Accuracies
    training_sd: float
    common_sd: float

    def of(self, ends: Sequence[Quarters]) -> NDArray[np.float64]:
        """The ends of the three rotations, each judged by the training that did not choose it."""
        return np.array([self.accuracies[(*index(end), rotation)] for rotation, end in enumerate(ends)])

    @property
    def variance(self) -> float:
        """Of a mean over the rotations."""
        return self.training_sd**2 / len(TRAININGS) + self.common_sd**2


def judges(accuracies: Accuracies) -> dict[str, Judge]:
    """The two judges by name."""
    smooth, num_effects = projected(accuracies)
    noise = float(accuracies.var(axis=-1, ddof=1).mean())
    num_networks = accuracies[..., 0].size
    residual = float(((accuracies - smooth).mean(axis=-1) ** 2).sum()) / (num_networks - num_effects)
    lack = max(0.0, residual - noise / len(TRAININGS))
    return {
        "raw": Judge(accuracies, noise**0.5, 0.0),
        "smooth": Judge(smooth, (noise * num_effects / num_networks) ** 0.5, lack**0.5),
    }


def adapted(
    accuracies: Accuracies, chosen_by: Sequence[int], schedule: str, target: float, select: Selection
) -> Position:
    """Where NetAdapt ends that sees the mean of some of the trainings."""
    means = accuracies[..., list(chosen_by)].mean(axis=-1) / 100

    def judge(parent: Position, proposals: Sequence[Proposal]) -> Judgement:
        parents, *others = (float(means[index(at(arch))]) for arch in (parent.arch, *(p.arch for p in proposals)))
        return Judgement.of(parents, proposals, others)

    seed = network(FULL_QUARTERS)
    position = Position(seed, cost(seed))
    rules = Rules(ReductionSchedule.parse(schedule), position.cost, target, select, ALL_KINDS, narrower_quarters)
    for step in adapt(position, rules, cost, judge):
        position = step.position
    return position


def difference(judge: Judge, ends: Sequence[Quarters], others: NDArray[np.float64], variance: float) -> dict[str, Any]:
    """How far the ends lie above `others`, by rotation; `variance` is that of the mean of the others."""
    above = judge.of(ends) - others
    mean, half = float(above.mean()), Z95 * (judge.variance + variance) ** 0.5
    return {"mean": mean, "interval": [mean - half, mean + half], "rotations": above.tolist()}


def compared(
    by: dict[str, Judge], schedule: str, rule: str, uniform: Quarters, random_ends: Sequence[Quarters]
) -> dict[str, Any]:
    """NetAdapt by one rule and schedule against what costs as much."""
    accuracies, target = by["raw"].accuracies, cost(network(uniform))
    runs = []
    for judging in range(len(TRAININGS)):
        choosing = [training for training in range(len(TRAININGS)) if training != judging]
        runs.append(adapted(accuracies, choosing, schedule, target, RULES[rule].select))
    ends = [at(run.arch) for run in runs]
    found: dict[str, Any] = {
        "rule": rule,
        "schedule": schedule,
        "ends": ["".join(map(str, end)) for end in ends],
        "steps": [run.step for run in runs],
        "cost_of_target": [run.cost / target for run in runs],
    }
    for name, judge in by.items():
        drawn = np.stack([judge.accuracies[index(end)] for end in random_ends])
        draws_variance = float(drawn.mean(axis=1).var(ddof=1)) / len(drawn)
        found[name] = {
            "mean": float(judge.of(ends).mean()),
            "above_uniform": difference(judge, ends, judge.accuracies[index(uniform)], judge.variance),
            "above_random": difference(judge, ends, drawn.mean(axis=0), draws_variance),
        }
    return found


def best_within(accuracies: Accuracies, target: float) -> Quarters:
    """The network of highest mean that costs no more than `target`."""
    within = (q for q in product(range(1, QUARTERS + 1), repeat=len(FULL)) if cost(network(q)) <= target)
    return max(within, key=lambda quarters: float(accuracies[index(quarters)].mean()))


def raced(by: dict[str, Judge], multiplier: int, num_random: int) -> dict[str, Any]:
    """All comparisons at the cost of one uniform multiplier."""
    uniform = (multiplier,) * len(FULL)
    target, accuracies = cost(network(uniform)), by["raw"].accuracies
    results = []
    for schedule in SCHEDULES:
        runs = (adapted(accuracies, [0], schedule, target, at_random(seed)) for seed in range(num_random))
        random_ends = [at(run.arch) for run in runs]
        results += [compared(by, schedule, rule, uniform, random_ends) for rule in RULES]

    def means(quarters: Quarters) -> dict[str, float]:
        return {name: float(judge.accuracies[index(quarters)].mean()) for name, judge in by.items()}

    best = {name: best_within(judge.accuracies, target) for name, judge in by.items()}
    return {
        "multiplier": multiplier / QUARTERS,
        "share_of_macs": target / cost(network(FULL_QUARTERS)),
        "uniform": means(uniform),
        "best_by": {name: {"arch": "".join(map(str, found)), **means(found)} for name, found in best.items()},
        "results": results,
    }


def shown(races: Sequence[dict[str, Any]]) -> Table:
    """A line for each comparison, in points."""
    table = Table(box=None)
    headers = [f"above {other}, {judge}" for other in ("uniform", "random") for judge in JUDGES]
    for column in ("cost of", "rule", "schedule", "ends", *headers):
        table.add_column(column, no_wrap=True)
    for race in races:
        for result in race["results"]:
            entries = [result[judge][f"above_{other}"] for other in ("uniform", "random") for judge in JUDGES]
            cells = [f"{e['mean']:+.2f} ({e['interval'][0]:+.2f} to {e['interval'][1]:+.2f})" for e in entries]
            ends = " ".join(result["ends"])
            table.add_row(f"{race['multiplier']:g}", result["rule"], result["schedule"], ends, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="CSV; .gz is unpacked")
    parser.add_argument("--random", type=int, default=200, metavar="N", help="random trajectories a schedule, >= 2")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_args()
    by = judges(read(arguments.table))
    races = [raced(by, multiplier, arguments.random) for multiplier in MULTIPLIERS]
    if not arguments.json:
        Console(width=170).print(shown(races))
        return
    document = {
        "format": "netadapt-channel-bench",
        "version": 1,
        "command": f"netadapt_channel_bench.py --table {arguments.table.name} --random {arguments.random} --json",
        "date": datetime.date.today().isoformat(),
        "table_sha256": file_digest(arguments.table),
        "training_sd": {name: judge.training_sd for name, judge in by.items()},
        "common_sd": {name: judge.common_sd for name, judge in by.items()},
        "races": races,
    }
    print(json.dumps(document, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
