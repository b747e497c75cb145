"""The final comparison of a reproduction: all networks trained from scratch by one recipe, several times, tested once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from latency.latency import Latency
from latency.meter import GRADES
from nas.config import Config
from nas.finale import FinalTraining
from nas.images import Images
from nas.netadapt.measured_cost import trusted_latency
from nas.reproduction.int8_figures import Int8Figures
from nas.reproduction.quantised import int8_figures
from nas.reproduction.reproduce_record import FOUND
from nas.reproduction.reproduce_run import FINAL, REMEASURED, ReproduceRun
from nas.reproduction.trained_alike import trained_alike
from nas.reproduction.yardstick import opened_yardstick
from search_spaces.arch import ArchSpec
from search_spaces.count import count
from search_spaces.lower import lower


def compared(run: ReproduceRun, networks: Mapping[str, ArchSpec], images: Images, console: Console) -> dict[str, Any]:
    """What ``final.json`` says of the networks; needs Ray. Latencies are measured before anything trains.

    Args:
        run: keeps each training as it is done.
        networks: name -> network, what was found first.
        images: of the search; the test split is read here.
        console: shows which trainings are done.

    Raises:
        UserError: a training or a measurement failed; what was done is kept.
    """
    section = run.config.comparison
    with opened_yardstick(run) as yardstick:
        latencies = {name: yardstick.latency(arch) for name, arch in networks.items()}
        target_ms = yardstick.target_ms()
    first = run.config.search.seed
    trainings = [
        FinalTraining(name, arch, seed, _folder(run.folder / FINAL, seed))
        for seed in range(first, first + section.num_trainings)
        for name, arch in networks.items()
    ]
    correct: dict[str, list[dict[str, int]]] = {name: [] for name in networks}
    finalists = trained_alike(run, trainings, images.training, images.test, images, console)
    for training, finalist in zip(trainings, finalists, strict=True):
        correct[training.name].append({"seed": training.seed, "num_correct": finalist.num_correct})
    int8: Mapping[str, Int8Figures] = {}
    if section.int8:
        with console.status("quantising all networks ..."):
            int8 = int8_figures(run, networks, images, _folder(run.folder / FINAL, first))
    return {
        "target_ms": target_ms,
        "num_test": len(images.test),
        "networks": [
            {
                "name": name,
                "arch": str(arch),
                "latency": latencies[name].to_dict(),
                **_counts(run.config.search, arch),
                "trained": correct[name],
                "int8": int8[name].to_dict() if name in int8 else None,
            }
            for name, arch in networks.items()
        ],
    }


def compared_again(
    run: ReproduceRun, arch: ArchSpec, images: Images, seed: int, console: Console
) -> tuple[Latency, int]:
    """Latency and test images right of a network, measured and trained once more as in the comparison; needs Ray.

    What comes of it is kept in ``remeasured/`` of the run: with the same seed it is not trained twice.

    Raises:
        UserError: it cannot be measured or trained.
    """
    with opened_yardstick(run) as yardstick:
        latency = trusted_latency(yardstick.metered, arch, GRADES["final"])
    training = FinalTraining(FOUND, arch, seed, _folder(run.folder / REMEASURED, seed))
    (finalist,) = trained_alike(run, [training], images.training, images.test, images, console)
    return latency, finalist.num_correct


def _folder(place: Path, seed: int) -> Path:
    """Of the trainings with `seed`."""
    return place / f"seed-{seed}"


def _counts(config: Config, arch: ArchSpec) -> dict[str, int]:
    counts = count(lower(arch, config.latency.resolution, config.latency.num_outputs))
    return {"macs": counts.macs, "params": counts.params}
