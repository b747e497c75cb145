"""What an adaptation begins with: a network that is named, or the outcome of a run with its data and its deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.config import TrainingSection, parse_config
from nas.errors import UserError
from nas.latency_section import LatencySection
from nas.netadapt import adapt_config
from nas.network import NamedNetwork, resolve
from nas.run import TABLE
from nas.run_folder import RUNS
from nas.strict_yaml import read_mapping
from nas.train_config import FORMAT as TRAIN_FORMAT
from nas.train_config import read_train_config, zoo_name
from nas.trained import find_trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A network and what is known of its use; None where nobody has said.

    Attributes:
        network: the seed.
        training_of: network of the zoo whose published training details apply.
        weights: file of its weights.
        source: of the data that it was trained on.
        resolution: of the training images.
        training: how it was trained.
        holdout: part of the training split that it has not seen, with `seed`; None where it has seen all.
        seed: of that training.
        latency: how it is deployed.
        note: what a person should know of it, a line.
    """

    network: NamedNetwork
    training_of: str | None = None
    weights: Path | None = None
    source: str | None = None
    resolution: int | None = None
    training: TrainingSection | None = None
    holdout: float | None = None
    seed: int | None = None
    latency: LatencySection | None = None
    note: str | None = None


def origin(arch: str | None, run: Path | None, weights: Path | None) -> Origin:
    """What the options name; without any, the newest finished run below ``runs``, else MnasNet-A1.

    Args:
        arch: a network.
        run: folder of a finished search or training.
        weights: of `arch`.

    Raises:
        UserError: options that exclude each other, or a run that has no network yet.
    """
    if run is not None and (arch is not None or weights is not None):
        raise UserError("--run brings its network and its weights; leave out --arch and --weights")
    if weights is not None and arch is None:
        raise UserError(f"--weights {weights}: of which network? name it with --arch")
    if arch is not None:
        network = resolve(arch)
        return Origin(network=network, training_of=zoo_name(network), weights=weights)
    if run is not None:
        return _of_run(run, f"network   of {run}")
    newest = newest_finished_run()
    if newest is None:
        network = resolve("mnasnet_a1")
        return Origin(
            network=network, training_of=network.name, note="network   mnasnet_a1, for there is no finished run"
        )
    return _of_run(newest, f"network   of {newest}, the newest finished run")


def newest_finished_run() -> Path | None:
    """Of all searches and trainings below ``runs``; None where there is none."""
    finished = [
        path for path in RUNS.glob("*/best/weights.safetensors") if (path.parent.parent / "final.json").is_file()
    ]
    return max(finished, key=lambda path: path.stat().st_mtime).parent.parent if finished else None


def _of_run(folder: Path, note: str) -> Origin:
    path = folder / "config.yaml"
    found = read_mapping(path.read_text(), str(path)).get("format") if path.is_file() else None
    if found == adapt_config.FORMAT:
        raise UserError(f"{folder}: an adaptation; take one of its networks: nas adapt pick {folder} --cost 0.85L")
    trained = find_trained(folder)
    if not path.is_file():
        raise UserError(f"{folder}: not a run folder (no config.yaml); an exported network is --arch and --weights")
    if found == TRAIN_FORMAT:
        config = read_train_config(folder)
        return Origin(
            network=NamedNetwork(config.network.name, trained.arch),
            training_of=config.network.training_of,
            weights=trained.weights,
            source=config.data.source,
            resolution=config.data.resolution,
            training=config.training,
            holdout=config.data.holdout or None,
            seed=config.seed,
            note=note,
        )
    search = parse_config(path.read_text(), str(path))
    table = folder / TABLE
    latency = search.latency.model_copy(update={"table": str(table.resolve()) if table.is_file() else None})
    return Origin(
        network=NamedNetwork(folder.name, trained.arch),
        weights=trained.weights,
        source=search.data.source,
        resolution=search.data.resolution,
        training=search.final.training if search.final else None,
        latency=latency,
        note=note,
    )
