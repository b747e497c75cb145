"""A search without training: what its controller will suggest, accuracies for it, and a table that prices it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from controllers.build import build_controller
from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import LatencyTable, fit_table
from latency.table_build import observe
from latency.table_file import save_table
from nas.jsonl import JsonLines
from nas.table_trust import NUM_NETWORKS
from nas.trial import FORMAT, VERSION, Trial
from search_spaces.arch import ArchSpec
from search_spaces.mnasnet import MNASNET
from search_spaces.zoo import get
from tests.latency.synthetic_runtime import SyntheticMeter

RESOLUTION, NUM_CLASSES, SEED = 32, 10, 332
REFERENCE_MS = 5.0
"""Far above the truth: a reference that runs slower than its frozen time would make measurements unstable."""


def suggested(num: int) -> list[ArchSpec]:
    """The first networks that ``controller.name=random`` suggests, whatever it is told."""
    controller = build_controller("random", MNASNET.choices, SEED, {})
    return [MNASNET.decode(controller.ask().choices) for _ in range(num)]


SLOW = 1
"""Number of a suggestion with four times the multiply-adds of number 0."""


def accuracy_of(number: int) -> float:
    """Of the suggestion of that number: neither rising nor falling; the slow one is beaten whatever the clock says."""
    return 0.1 if number == SLOW else round(0.5 + 0.05 * (number * 3 % 7), 3)


def record_accuracies(folder: Path, archs: Sequence[ArchSpec]) -> None:
    """A folder for ``evaluator.run``."""
    folder.mkdir()
    with JsonLines(folder / "trials.jsonl", FORMAT, VERSION) as lines:
        for number, arch in enumerate(archs):
            outcome = {"status": "ok", "reward": 0.0, "accuracy": accuracy_of(number)}
            lines.append(Trial(number=number, choices={}, arch=arch, macs=1, params=1, **outcome).to_dict())


def save_made_up_table(path: Path, archs: Sequence[ArchSpec]) -> LatencyTable:
    """A table of this machine with made-up prices for `archs`, and for the networks that a study checks a table with."""
    rng = np.random.default_rng(SEED)
    checked = islice((MNASNET.decode(MNASNET.sample(rng)) for _ in range(99)), NUM_NETWORKS)
    meter, reference = SyntheticMeter(), get("mobilenet_v2")
    model = MeteredLatency(meter, reference, num_classes=NUM_CLASSES).model(reference)
    metered = MeteredLatency(meter, reference, num_classes=NUM_CLASSES, frozen=Reference(model, REFERENCE_MS))
    table = fit_table(
        [observe(metered, arch, NUM_CLASSES) for arch in (*archs, *checked)],
        device=DeviceInfo.collect(Deployment(resolution=RESOLUTION)),
        population=f"space {MNASNET.name}",
        num_classes=NUM_CLASSES,
        reference=reference,
        reference_ms=REFERENCE_MS,
    )
    save_table(table, path)
    return table


def arguments(trials: int, accuracies: Path, **latency: object) -> list[str]:
    """Of ``nas search``: no training, no finale, one trial at a time."""
    settings = {
        "trials": trials,
        "concurrency": 1,
        "seed": SEED,
        "controller": "{name: random}",
        "evaluator": f"{{name: recorded, run: {accuracies}}}",
        "final": "null",
        "latency.resolution": RESOLUTION,
        "latency.num_classes": NUM_CLASSES,
        "latency.budget_s": 0.3,
        **{f"latency.{key}": value for key, value in latency.items()},
    }
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
