"""A finished race as one document and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import rich.box
from rich.table import Table

from nas.controller_bench.benchmark import Benchmark
from nas.controller_bench.race import Contestant, Runs
from nas.controller_bench.summary import Estimate, best_reward, checkpoints, hypervolume, regret

FORMAT = "nas-controller-bench"
VERSION = 1


@dataclass(frozen=True)
class Result:
    """A race and what it was about."""

    benchmark: Benchmark
    contestants: Sequence[Contestant]
    runs: Mapping[str, Runs]

    @property
    def optimum(self) -> float:
        """The best reward that is known: the benchmark's, unless a contestant found a better one."""
        return max(self.benchmark.best_reward, *(float(runs.rewards.max()) for runs in self.runs.values()))

    @property
    def num_samples(self) -> int:
        """Of each seed."""
        return int(next(iter(self.runs.values())).rewards.shape[1])

    @property
    def num_seeds(self) -> int:
        """Of each contestant."""
        return int(next(iter(self.runs.values())).rewards.shape[0])

    def best_reward(self, label: str, num_samples: int) -> Estimate:
        """See `nas.controller_bench.summary`."""
        return best_reward(self.runs[label], num_samples)

    def regret(self, label: str, num_samples: int) -> Estimate:
        """In points."""
        return regret(self.runs[label], self.optimum, num_samples)

    def hypervolume(self, label: str, num_samples: int) -> Estimate | None:
        """Share of the rectangle between the table's best and worst values."""
        return hypervolume(self.runs[label], list(self.benchmark.corner), list(self.benchmark.ideal), num_samples)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; a function of the table, the contestants and their seeds alone."""
        benchmark = self.benchmark
        return {
            "format": FORMAT,
            "version": VERSION,
            "benchmark": {
                "name": benchmark.name,
                "source": benchmark.source,
                "table_sha256": benchmark.digest,
                "objective": asdict(benchmark.objective) if benchmark.objective else None,
                "best_reward": self.optimum,
                "best_is_exact": benchmark.is_exact,
                "surrogates": {column: asdict(quality) for column, quality in benchmark.qualities.items()},
            },
            "seeds": self.num_seeds,
            "samples": self.num_samples,
            "controllers": {c.label: self._numbers(c) for c in self.contestants},
        }

    def _numbers(self, contestant: Contestant) -> dict[str, Any]:
        label, counts = contestant.label, checkpoints(self.num_samples)
        volumes = {n: self.hypervolume(label, n) for n in counts}
        return {
            "controller": contestant.name,
            "options": dict(contestant.options),
            "best_reward": {str(n): self.best_reward(label, n).to_dict() for n in counts},
            "regret_points": {str(n): self.regret(label, n).to_dict() for n in counts},
            "hypervolume": {str(n): volume.to_dict() for n, volume in volumes.items() if volume} or None,
        }

    def tables(self) -> list[tuple[str, Table]]:
        """Titles and tables of best reward, regret and hypervolume: a row a contestant, a column a number of samples."""
        counts = checkpoints(self.num_samples)
        best = "best reward, by the number of samples"
        against = f"{self.optimum:.4f}{'' if self.benchmark.is_exact else ', the best known'}"
        lacking = f"regret in points by the number of samples, against {against}"
        made = [
            self._table(best, {label: [self.best_reward(label, n) for n in counts] for label in self.runs}, 4),
            self._table(lacking, {label: [self.regret(label, n) for n in counts] for label in self.runs}, 2),
        ]
        volumes = {label: [v for n in counts if (v := self.hypervolume(label, n))] for label in self.runs}
        if any(volumes.values()):
            made.append(
                self._table(
                    "hypervolume by the number of samples, of the rectangle of the table's best and worst", volumes, 4
                )
            )
        return made

    def _table(self, title: str, rows: Mapping[str, Sequence[Estimate]], digits: int) -> tuple[str, Table]:
        table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("controller", no_wrap=True)
        for count in checkpoints(self.num_samples):
            table.add_column(str(count), justify="right", no_wrap=True)
        for label, estimates in rows.items():
            table.add_row(label, *(_shown(each, digits) for each in estimates))
        return title, table


def _shown(value: Estimate, digits: int) -> str:
    half = (value.high - value.low) / 2
    return f"{value.mean:.{digits}f}" + (f" ±{half:.{digits}f}" if half == half else "")
