"""Keep a run in the repository: its small files, from which it can be read, shown and replayed.

    python experiments/keep_run.py runs/mobilenet_v3_large-1 experiments/results/NAME

Weights, models, reports and Ray's files are left out. Absolute paths of the data and of the run become names.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

KEPT = (
    "config.yaml",
    "environment.json",
    "trials.jsonl",
    "pareto.csv",
    "policy.json",
    "latency_table.json",
    "device.json",
    "seed.json",
    "steps.jsonl",
    "uniform.json",
    "latencies.json",
    "shortlist.json",
    "random_shortlist.json",
    "redesign.json",
    "found.json",
    "final.json",
)
STAGES = ("search", "random", "adapt", "landing")
"""Runs within a run."""
PATH = re.compile(r"(?<![\w.])(?:/[\w.@+-]+)+/([\w.@+-]+)")
"""An absolute path, and its last part."""


def keep(run: Path, out: Path) -> None:
    """Copy what is kept of `run`, and of the runs within it, to the new folder `out`."""
    out.mkdir(parents=True)
    for name in KEPT:
        if (run / name).is_file():
            (out / name).write_text(PATH.sub(r"\1", (run / name).read_text()))
    for stage in STAGES:
        if (run / stage).is_dir() and any((run / stage / name).is_file() for name in KEPT):
            keep(run / stage, out / stage)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("out", type=Path, help="folder to make")
    arguments = parser.parse_args()
    if not (arguments.run / "config.yaml").is_file():
        parser.error(f"{arguments.run}: not a run folder (no config.yaml)")
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists")
    keep(arguments.run, arguments.out)
