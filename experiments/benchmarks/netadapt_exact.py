"""What the fast judging of `nas adapt` gives up: both ways from the same weights, by compute, steps and final accuracy.

    python experiments/benchmarks/netadapt_exact.py --data imagenette64.npz --out runs/exact [--json]

A network is trained, then adapted twice from these weights, by rounds and by `--exact`, each with its own default number of
training steps; multiply-adds are the cost, so that no device is needed. Runs that are there already are gone on with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from nas.netadapt.adapt_config import JudgingSection, read_adapt_config
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.network_difference import trained_difference
from nas.netadapt.step_record import StepRecord
from nas.netadapt.tournament import survivors
from nas.rank_correlation import tau_interval

TRAINING_COST = 3
"""Forward passes that an image of a training step costs: one forward, and the way back, which takes about two."""


def run(*arguments: str) -> None:
    """One `nas` command; what it prints goes to standard error."""
    subprocess.run([sys.executable, "-m", "nas.cli", *arguments], check=True, stdout=sys.stderr)


def adapted(arguments: argparse.Namespace, seed: Path, folder: Path, *options: str) -> AdaptRecord:
    """The finished run in `folder`, begun with the training in `seed`."""
    if (folder / "config.yaml").is_file():
        run("adapt", "--resume", str(folder))
    else:
        goal = ("--cost", "macs", "--schedule", arguments.schedule, "--target", arguments.target, "--no-baselines")
        run("adapt", "--run", str(seed), "--out", str(folder), *goal, "--trainings", str(arguments.trainings), *options)
    return AdaptRecord.read(folder)


def forward_passes(folder: Path, steps: tuple[StepRecord, ...], num_holdout: int) -> float:
    """Images that went through a network, forward alone, in judging and training all steps; of any network alike."""
    config = read_adapt_config(folder)
    judging: JudgingSection = config.judging
    batch = config.treatment.batch_size
    calibration = 0 if judging.exact else judging.num_calibration
    total = 0.0
    for step in steps:
        left = len(step.candidates)
        for round_ in judging.rounds:
            each = TRAINING_COST * batch * round_.num_steps + calibration + round_.share * num_holdout
            total += (1 + left) * each
            left = survivors(left, round_)
        total += TRAINING_COST * batch * judging.num_steps + calibration + num_holdout
    return total


def compared(fast: AdaptRecord, exact: AdaptRecord) -> dict[str, Any]:
    """All figures."""
    first, reference = fast.steps[0], exact.steps[0]
    slopes = {candidate.group: candidate.slope for candidate in reference.candidates}
    cheap = {candidate.group: candidate.slope for candidate in first.candidates}
    groups = sorted(slopes)
    ranked = sorted(groups, key=lambda group: -slopes[group])
    ends = {name: record.final("adapted") for name, record in (("fast", fast), ("exact", exact))}
    assert ends["fast"] is not None
    assert ends["exact"] is not None
    difference = trained_difference(ends["fast"], ends["exact"])
    num_holdout = first.num_images
    passes = {
        name: forward_passes(record.folder, record.steps, num_holdout)
        for name, record in (("fast", fast), ("exact", exact))
    }
    return {
        "steps": {"fast": len(fast.steps), "exact": len(exact.steps)},
        "seconds": {name: sum(s.seconds for s in record.steps) for name, record in (("fast", fast), ("exact", exact))},
        "forward_passes": passes,
        "less_compute": passes["exact"] / passes["fast"],
        "accepted": {name: [s.accepted for s in record.steps] for name, record in (("fast", fast), ("exact", exact))},
        "first_step_tau": asdict(tau_interval(_values(cheap, groups), _values(slopes, groups))),
        "first_step_place": ranked.index(first.accepted) + 1,
        "first_step_proposals": len(groups),
        "narrowed_by_both": len({s.accepted for s in fast.steps} & {s.accepted for s in exact.steps}),
        "narrowed_by_either": len({s.accepted for s in fast.steps} | {s.accepted for s in exact.steps}),
        "test_accuracy": {
            name: [training.num_correct / end.num_test for training in end.trained] for name, end in ends.items() if end
        },
        "fast_above_exact": asdict(difference) if difference else None,
    }


def _values(of: Mapping[str, float], groups: Sequence[str]) -> NDArray[np.float64]:
    return np.array([of[group] for group in groups])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="digits, FILE.npz, or FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--arch", default="mobilenet_v2@0.35")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--flip", action="store_true", help="mirror images at random; not digits")
    parser.add_argument("--schedule", default="0.05L")
    parser.add_argument("--target", default="0.8L")
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seed = arguments.out / "seed"
    if not (seed / "final.json").is_file():
        begin = ["train", "--resume", str(seed)]
        if not (seed / "config.yaml").is_file():
            size, epochs = str(arguments.image_size), str(arguments.epochs)
            begin = ["train", arguments.arch, "--data", arguments.data, "--resolution", size, "--epochs", epochs]
            begin += ["--holdout", "0.2", "--out", str(seed), *(["--flip"] if arguments.flip else [])]
        run(*begin)
    fast = adapted(arguments, seed, arguments.out / "fast")
    exact = adapted(arguments, seed, arguments.out / "exact", "--exact")
    found = compared(fast, exact)
    if arguments.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    table = Table("", "fast", "exact")
    for key in ("steps", "seconds", "forward_passes", "accepted", "test_accuracy"):
        table.add_row(key, str(found[key]["fast"]), str(found[key]["exact"]))
    console = Console()
    console.print(table)
    console.print({key: value for key, value in found.items() if not isinstance(value, dict) or "value" in value})


if __name__ == "__main__":
    main()
