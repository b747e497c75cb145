"""A reproduction's run folder: one folder or file for each stage, so that a stage that is done is not done again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.environment import software
from nas.errors import UserError
from nas.reproduction.reproduce_config import ReproduceConfig, read_reproduce_config
from nas.run_folder import check_free, lock_folder, make_run_folder, read_json, write_json

ENVIRONMENT_FORMAT = "nas-reproduce-environment"
VERSION = 1
"""Of all JSON files below."""

SEARCH, RANDOM, ADAPT, LANDING, FINAL = "search", "random", "adapt", "landing", "final"
REMEASURED = "remeasured"
"""Folders: of searches, adaptations, trainings."""

SHORTLISTS = {SEARCH: "shortlist", RANDOM: "random_shortlist"}
"""Search -> folder of the trainings of its best trials, and name of the file that says what came of them."""


def create_run(folder: Path, config: ReproduceConfig, data_fingerprint: str) -> None:
    """Make the folder of a reproduction that has not begun; ``config.yaml`` comes last and makes it a run.

    Raises:
        UserError: it exists, or cannot be made.
    """
    check_free(folder, "nas reproduce")
    environment = {"format": ENVIRONMENT_FORMAT, "version": VERSION, "data_fingerprint": data_fingerprint} | software()
    make_run_folder(folder, config.dump(), environment)


class ReproduceRun:
    """A reproduction that this process carries on; a context manager that keeps other writers out of its folder.

    ``config.yaml``, ``environment.json``, ``device.json`` and ``latencies.json``, ``search/`` and ``random/`` (runs of nas
    search), ``shortlist/`` (trainings) and ``shortlist.json``, ``random_shortlist`` likewise, ``seed.json``, ``adapt/`` and
    ``landing/`` (runs of nas adapt), ``redesign.json``, ``found.json``, ``final/`` (trainings), ``final.json``,
    ``report.html``.

    Raises:
        UserError: not such a folder, or another process works on it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_reproduce_config(folder)
        self._lock = lock_folder(folder)

    def __enter__(self) -> ReproduceRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def check_data(self, fingerprint: str) -> None:
        """Raise UserError unless the data are those that the run began with."""
        begun = self.read("environment")
        if begun is None or begun["data_fingerprint"] != fingerprint:
            raise UserError(
                f"{self.folder}: the data set has changed since the run began; restore it, or begin a new run"
            )

    def read(self, name: str) -> dict[str, Any] | None:
        """``NAME.json``; None before it is written."""
        path = self.folder / f"{name}.json"
        return read_json(path, f"nas-reproduce-{name}", VERSION) if path.is_file() else None

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """``NAME.json``, whole or not at all."""
        write_json(
            self.folder / f"{name}.json", {"format": f"nas-reproduce-{name}", "version": VERSION} | dict(document)
        )
