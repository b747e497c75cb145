"""An adaptation's run folder: what was asked for, where it ran, the seed, each step with its network, and what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from nas.environment import software
from nas.errors import UserError
from nas.export import WEIGHTS, export
from nas.jsonl import JsonLines
from nas.netadapt.adapt_config import AdaptConfig, read_adapt_config
from nas.netadapt.step_record import FORMAT as STEPS_FORMAT
from nas.netadapt.step_record import VERSION as STEPS_VERSION
from nas.netadapt.step_record import StepRecord
from nas.netadapt.weighted_network import WeightedNetwork
from nas.run_folder import check_free, lock_folder, make_run_folder, read_json, write_json
from nas.strict_yaml import dump_yaml
from nas.weights_file import read_state
from search_spaces.arch_json import arch_from_json

ENVIRONMENT_FORMAT = "nas-adapt-environment"
ENVIRONMENT_VERSION = 1
SEED_TRAINING = "seed"
RANDOM = "random"
UNIFORM = "uniform"
FINAL = "final"


def create_run(folder: Path, config: AdaptConfig, data_fingerprint: str) -> None:
    """Make the folder of an adaptation that has not begun; ``config.yaml`` comes last and makes it a run.

    Raises:
        UserError: it exists, or cannot be made.
    """
    check_free(folder, "nas adapt")
    text = dump_yaml(config)
    environment = {
        "format": ENVIRONMENT_FORMAT,
        "version": ENVIRONMENT_VERSION,
        **software(),
        "data_fingerprint": data_fingerprint,
        "config_sha256": _digest(text),
    }
    make_run_folder(folder, text, environment)


class AdaptRun:
    """An adaptation that this process carries on; a context manager that keeps other writers out of its folder.

    ``config.yaml`` (complete), ``environment.json``, ``split.json``, ``seed/`` (the training of a network without weights),
    ``seed.json``, ``steps.jsonl`` and ``steps/``, ``random/`` likewise, ``uniform.json`` and ``uniform/``, ``final/``
    (trainings), ``final.json``, ``report.html``; ``scores/`` while a step is under way.

    Raises:
        UserError: not such a folder, its configuration was changed, or another process works on it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_adapt_config(folder)
        self._environment = read_json(folder / "environment.json", ENVIRONMENT_FORMAT, ENVIRONMENT_VERSION)
        if _digest((folder / "config.yaml").read_text()) != self._environment["config_sha256"]:
            raise UserError(f"{folder}/config.yaml was changed since the run began; restore it, or begin a new run")
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock_folder(folder))
            self.steps = stack.enter_context(Trajectory(folder))
            self.random_steps = stack.enter_context(Trajectory(folder / RANDOM))
            self._open = stack.pop_all()

    def __enter__(self) -> AdaptRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def check_data(self, fingerprint: str) -> None:
        """Raise UserError unless the data are those that the run began with."""
        if fingerprint != self._environment["data_fingerprint"]:
            raise UserError(
                f"{self.folder}: the data set {self.config.training.data.source} has changed since the run began; restore "
                "it, or begin a new run"
            )

    def check_split(self, split: Mapping[str, Any]) -> None:
        """Write ``split.json``; raise UserError where the run began with another division of the images."""
        found = self.read("split")
        if found is None:
            self.write("split", split)
        elif found["sha256"] != split["sha256"]:
            raise UserError(
                f"{self.folder}: images are held out otherwise than when the run began; go on with the versions in its "
                "environment.json, or begin a new run"
            )

    def read(self, name: str) -> dict[str, Any] | None:
        """``NAME.json``; None before it is written."""
        path = self.folder / f"{name}.json"
        return read_json(path) if path.is_file() else None

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """``NAME.json``, whole or not at all."""
        write_json(self.folder / f"{name}.json", document)


class Trajectory:
    """Steps, each with its deployable network; a context manager.

    Args:
        folder: of ``steps.jsonl`` and ``steps/NN``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._lines = JsonLines(folder / "steps.jsonl", STEPS_FORMAT, STEPS_VERSION)
        self.records = [StepRecord.from_dict(record) for record in self._lines.records]

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def append(self, record: StepRecord) -> None:
        """Add an accepted step; its network must have been kept."""
        self._lines.append(record.to_dict())
        self.records.append(record)

    @property
    def scores_folder(self) -> Path:
        """Of the step under way."""
        return self._folder / "scores"

    def network_folder(self, step: int) -> Path:
        """Of the network after so many steps."""
        return self._folder / "steps" / f"{step:02d}"

    def keep(self, step: int, network: WeightedNetwork, sample: Tensor, metadata: Mapping[str, str]) -> None:
        """Export the network of a step, whole or not at all; see `nas.export.export`."""
        keep_network(self.network_folder(step), network, sample, metadata)

    def network(self, step: int, resolution: int, num_classes: int) -> WeightedNetwork:
        """What was kept of a step."""
        return kept_network(self.network_folder(step), resolution, num_classes)


def keep_network(folder: Path, network: WeightedNetwork, sample: Tensor, metadata: Mapping[str, str]) -> None:
    """Export a network to `folder`, in place of what an interrupted run has left there."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    for old in (temporary, folder):
        shutil.rmtree(old, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    export(network.arch, network.module(), sample, metadata, temporary)
    temporary.replace(folder)


def kept_network(folder: Path, resolution: int, num_classes: int) -> WeightedNetwork:
    """Inverse of `keep_network`."""
    arch = arch_from_json(read_json(folder / "arch.json"))
    return WeightedNetwork(arch, resolution, num_classes, read_state(folder / WEIGHTS))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
