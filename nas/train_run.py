"""A training's run folder: what was asked for, where it ran, each epoch, a checkpoint, and what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from nas.environment import software
from nas.errors import UserError
from nas.jsonl import JsonLines
from nas.run_folder import lock_folder, make_folder, make_run_folder, read_json
from nas.strict_yaml import dump_yaml
from nas.train_config import TrainConfig, read_train_config
from nas.training import Epoch
from nas.weights_file import read_state, write_state

ENVIRONMENT_FORMAT = "nas-train-environment"
ENVIRONMENT_VERSION = 1
EPOCHS_FORMAT = "nas-epochs"
EPOCHS_VERSION = 1
INITIAL = "initial.safetensors"
TEACHER = "teacher"


def create_run(
    folder: Path,
    config: TrainConfig,
    data_fingerprint: str,
    device: torch.device,
    initial: Mapping[str, Tensor] | None = None,
) -> None:
    """Make the folder of a training that has not begun; ``config.yaml`` comes last and makes it a run.

    Args:
        folder: may exist if it is no run yet, for the teacher comes first.
        config: complete.
        data_fingerprint: of the data set.
        device: that trains.
        initial: weights to start from; seeded ones without.

    Raises:
        UserError: it is a run already, or it cannot be made.
    """
    if initial is not None:
        make_folder(folder)
        write_state(folder / INITIAL, initial)
    text = dump_yaml(config)
    environment = {
        "format": ENVIRONMENT_FORMAT,
        "version": ENVIRONMENT_VERSION,
        **software(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "data_fingerprint": data_fingerprint,
        "config_sha256": _digest(text),
    }
    make_run_folder(folder, text, environment)


class TrainFolder:
    """A run folder of a training, to read: whoever carries it on, here or in another process, is a `TrainRun`.

    ``config.yaml`` (complete), ``environment.json``, ``initial.safetensors`` (if not seeded), ``teacher/`` (if there is
    one), ``epochs.jsonl``, ``checkpoint.safetensors``; at the end ``best/`` and ``final.json``.

    Raises:
        UserError: not such a folder, or its configuration was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_train_config(folder)
        self.environment = _read_environment(folder)
        if _digest((folder / "config.yaml").read_text()) != self.environment["config_sha256"]:
            raise UserError(
                f"{folder}/config.yaml was changed since the run began; restore it, or begin a new run (nas train "
                "--weights FILE starts from trained weights)"
            )

    @property
    def checkpoint(self) -> Path:
        """Where the state of the last epoch is."""
        return self.folder / "checkpoint.safetensors"

    @property
    def final(self) -> dict[str, Any] | None:
        """What came of the training; None before its end."""
        path = self.folder / "final.json"
        return dict(json.loads(path.read_text())) if path.is_file() else None

    @property
    def teacher_accuracy(self) -> float | None:
        """Of a teacher that was trained here, on the test split, in [0, 1]; None for any other."""
        path = self.folder / TEACHER / "final.json"
        return float(json.loads(path.read_text())["accuracy"]) if path.is_file() else None

    def initial(self) -> dict[str, Tensor] | None:
        """The weights to start from; None where they are seeded."""
        path = self.folder / INITIAL
        return read_state(path) if path.is_file() else None

    def check_data(self, fingerprint: str) -> None:
        """Raise UserError unless the data are those that the run began with."""
        if fingerprint != self.environment["data_fingerprint"]:
            raise UserError(
                f"{self.folder}: the data set {self.config.data.source} has changed since the run began; restore it, "
                "or begin a new run"
            )


class TrainRun(TrainFolder):
    """A training that this process carries on; a context manager that keeps other writers out of its folder.

    Raises:
        UserError: as `TrainFolder`, or another process works on it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._take_hold()

    def _take_hold(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock_folder(self.folder))
            self._epochs = stack.enter_context(JsonLines(self.folder / "epochs.jsonl", EPOCHS_FORMAT, EPOCHS_VERSION))
            self._open = stack.pop_all()

    def __enter__(self) -> TrainRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    @contextlib.contextmanager
    def handed_over(self) -> Iterator[None]:
        """Let another process carry the run on, and take it back with what that has added; not after an exception.

        Raises:
            UserError: a third process has taken it meanwhile.
        """
        self._open.close()
        yield
        self._take_hold()

    @property
    def training_s(self) -> float:
        """Wall seconds of all epochs."""
        return float(sum(record["seconds"] for record in self._epochs.records))

    def begin_after(self, num_epochs: int) -> None:
        """Forget epochs after `num_epochs`: a kill between journal and checkpoint leaves one that is trained again."""
        self._epochs.keep(lambda record: record["epoch"] <= num_epochs)

    def append(self, epoch: Epoch, accuracy: float | None) -> None:
        """Add an epoch to the journal; `accuracy` is on held-out images."""
        record = {"epoch": epoch.number, "loss": epoch.loss, "seconds": round(epoch.seconds, 3), "accuracy": accuracy}
        self._epochs.append(record)


def _read_environment(folder: Path) -> dict[str, Any]:
    return read_json(folder / "environment.json", ENVIRONMENT_FORMAT, ENVIRONMENT_VERSION)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
