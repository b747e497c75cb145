"""A run is a folder: what was asked for, where it ran, and every trial, written as they come."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from latency.latency import Latency
from latency.measurement import Measurement
from nas.calibration import Calibration
from nas.config import Config, parse_config
from nas.environment import software
from nas.errors import UserError
from nas.jsonl import JsonLines
from nas.run_folder import RUNS, check_free, lock_folder, make_run_folder, next_folder, read_json, write_json
from nas.trial import FORMAT as TRIALS_FORMAT
from nas.trial import VERSION as TRIALS_VERSION
from nas.trial import Trial, best_trial, read_trials
from search_spaces.arch import ArchSpec

TABLE = "latency_table.json"
"""In a run folder: the table as it was when the run began, whatever became of the recipe's file since."""

LATENCY_FORMAT = "nas-latency"
LATENCY_VERSION = 2
ENVIRONMENT_FORMAT = "nas-environment"
ENVIRONMENT_VERSION = 2


class Run:
    """A run folder that this process writes to; a context manager that keeps other writers out.

    ``config.yaml`` (resolved), ``environment.json``, ``trials.jsonl``, ``latency.jsonl`` (raw samples), the table that
    prices its networks if there is one, later ``best/``, ``final.json``, ``pareto.csv``, ``report.html``; ``ray/`` is
    Tune's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock_folder(folder))
            self._trials = stack.enter_context(JsonLines(folder / "trials.jsonl", TRIALS_FORMAT, TRIALS_VERSION))
            self._latencies = stack.enter_context(JsonLines(folder / "latency.jsonl", LATENCY_FORMAT, LATENCY_VERSION))
            finished = {record["number"] for record in self._trials.records}
            # A kill between the two files leaves a measurement without its trial; the trial will be run again.
            self._latencies.keep(lambda record: record["trial"] is None or record["trial"] in finished)
            self._open = stack.pop_all()

    @classmethod
    def create(cls, config: Config, recipe_name: str, out: Path | None) -> Run:
        """A new folder: `out`, or ``runs/RECIPE-N`` with the next free N.

        Raises:
            UserError: `out` exists, or the folder cannot be made.
        """
        folder = out or next_folder(recipe_name)
        check_free(folder, "nas search")
        make_run_folder(folder, config.dump())
        return cls(folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def finished_trials(self) -> list[Trial]:
        """Trials in the journal."""
        return [Trial.from_dict(record) for record in self._trials.records]

    def append(self, trial: Trial) -> None:
        """Add a trial to the journal."""
        self._trials.append(trial.to_dict())

    def append_latency(
        self, trial: int | None, device: str, arch: ArchSpec, latency: Latency, measurements: Sequence[Measurement]
    ) -> None:
        """Keep the raw samples behind a latency, one measurement a process; `trial` is None outside the search."""
        self._latencies.append(
            {
                "trial": trial,
                "device": device,
                "arch": str(arch),
                "latency": latency.to_dict(),
                "measurements": [measurement.to_dict() for measurement in measurements],
            }
        )

    def calibration(self) -> Calibration | None:
        """What was frozen when the run began; None before that."""
        path = self.folder / "environment.json"
        return read_calibration(self.folder) if path.is_file() else None

    def freeze(self, calibration: Calibration, seed: int) -> None:
        """Write ``environment.json``, once."""
        write_json(
            self.folder / "environment.json",
            {
                "format": ENVIRONMENT_FORMAT,
                "version": ENVIRONMENT_VERSION,
                "seed": seed,
                **software(),
                "calibration": calibration.to_dict(),
            },
        )


def read_config(folder: Path) -> Config:
    """The configuration of a run folder.

    Raises:
        UserError: not a run folder.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder}: not a run folder (no config.yaml); runs here: {', '.join(_known_runs()) or 'none'}")
    return parse_config(path.read_text(), str(path))


def read_environment(folder: Path) -> dict[str, Any]:
    """The environment of a run folder.

    Raises:
        UserError: it has none yet, or one of another version.
    """
    path = folder / "environment.json"
    if not path.is_file():
        raise UserError(f"{folder}: the run was stopped before its first trial (no environment.json)")
    return read_json(path, ENVIRONMENT_FORMAT, ENVIRONMENT_VERSION)


def read_calibration(folder: Path) -> Calibration:
    """What was frozen when a run began.

    Raises:
        UserError: as `read_environment`, or devices described as another version of the program does.
    """
    try:
        return Calibration.from_dict(read_environment(folder)["calibration"])
    except (KeyError, TypeError, ValueError) as error:
        path = folder / "environment.json"
        raise UserError(f"{path}: devices as another version describes them ({error}); begin a new run") from None


def best_of_run(folder: Path) -> Trial | None:
    """The trial of highest reward in a run folder."""
    return best_trial(read_trials(folder / "trials.jsonl"))


def _known_runs() -> list[str]:
    return sorted(str(path.parent) for path in RUNS.glob("*/config.yaml"))
