"""The folder of a run of any command: made, locked, and its small files written whole."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import UserError

RUNS = Path("runs")


def check_free(folder: Path, command: str) -> None:
    """Raise UserError where something is in the way of a new run folder.

    Args:
        folder: of the run.
        command: that continues such a run with ``--resume``.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; choose another --out, or continue it with {command} --resume {folder}")


def make_folder(folder: Path) -> None:
    """Make `folder` unless it is there; raises UserError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}") from None


def make_run_folder(folder: Path, config: str, environment: Mapping[str, Any] | None = None) -> None:
    """Make the folder of a run that has not begun; ``config.yaml`` comes last and makes it a run.

    Args:
        folder: may exist if it is no run yet.
        config: complete, as YAML.
        environment: what the run is made with, for ``environment.json``; None where that is known later.

    Raises:
        UserError: it cannot be made.
    """
    make_folder(folder)
    try:
        if environment is not None:
            write_json(folder / "environment.json", environment)
        temporary = folder / "config.tmp"
        temporary.write_text(config)
        temporary.replace(folder / "config.yaml")
    except OSError as error:
        raise UserError(f"{folder}: cannot write there: {error.strerror}") from None


def next_folder(recipe_name: str) -> Path:
    """``runs/RECIPE-N`` with the next free N."""
    pattern = re.compile(re.escape(recipe_name) + r"-(\d+)")
    taken = [int(match.group(1)) for path in RUNS.glob("*") if (match := pattern.fullmatch(path.name))]
    return RUNS / f"{recipe_name}-{max(taken, default=0) + 1}"


def lock_folder(folder: Path) -> int:
    """A descriptor that keeps other processes out of `folder` while it is open."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: cannot write there: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(f"{folder}: another process is working on this run") from None
    return lock


def write_json(path: Path, document: Any) -> None:
    """Write `document` whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def read_json(path: Path, format_name: str | None = None, version: int = 1) -> dict[str, Any]:
    """The object in a file that `write_json` wrote.

    Args:
        path: the file.
        format_name: that it must name; None leaves format and version unchecked.
        version: likewise.

    Raises:
        UserError: it cannot be read, is damaged, or of another format or version.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; restore the file from a copy") from None
    except ValueError:
        raise UserError(f"{path}: not JSON; restore the file from a copy") from None
    if not isinstance(document, dict) or (format_name and document.get("format") != format_name):
        raise UserError(f"{path}: not a {format_name or 'JSON object'} file; restore the file from a copy")
    if format_name and document.get("version") != version:
        raise UserError(f"{path}: version {document.get('version')}; this program reads {version}")
    return document
