"""The journal of a table under construction: raw observations, a JSON line each, so that a killed build goes on.

The first line says what the observations belong to. A line is on the disk before the next network; a torn last line, which a
killed writer leaves behind, is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency.table_rows import Observation

FORMAT = "nas-latency-table-journal"
VERSION = 1


class JournalError(ValueError):
    """A journal that cannot be gone on with; one line, with what helps."""


def journal_path(table: Path) -> Path:
    """Beside the table: ``NAME.partial.jsonl``."""
    return table.with_name(f"{table.name}.partial.jsonl")


class Journal:
    """Observations of one build, open for appending; a context manager.

    Args:
        path: the file; made when it does not exist.
        setting: what all observations share, as JSON types: device, networks, reference and its time.

    Attributes:
        observations: those of earlier builds and appended ones, in order.

    Raises:
        JournalError: the file is something else, is damaged, or belongs to another setting.
    """

    def __init__(self, path: Path, setting: Mapping[str, Any]) -> None:
        self.path = path
        header = {"format": FORMAT, "version": VERSION, **setting}
        self.observations: list[Observation] = []
        lines, whole_bytes = _whole_lines(path)
        if lines:
            self._check(lines[0], header)
            self.observations = [self._observation(number, line) for number, line in enumerate(lines[1:], start=2)]
        self._file = path.open("ab")
        self._file.truncate(whole_bytes)
        if not lines:
            self._write(header)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, observation: Observation) -> None:
        """Add one; it is on the disk when this returns."""
        self._write(observation.to_dict())
        self.observations.append(observation)

    def _check(self, found: object, expected: Mapping[str, Any]) -> None:
        if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (FORMAT, VERSION):
            raise JournalError(
                f"{self.path}: not a journal of this version of nas; move it away, or choose another --out"
            )
        different = [name for name in expected if found.get(name) != expected[name]]
        if different:
            shown = "; ".join(f"{name}: {found.get(name)} there, {expected[name]} now" for name in different)
            raise JournalError(
                f"{self.path} holds observations of another build ({shown}); remove it, or choose another --out"
            )

    def _observation(self, number: int, line: Mapping[str, Any]) -> Observation:
        try:
            return Observation.from_dict(line)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(f"{self.path}, line {number}: damaged ({error!r}); remove that line") from None

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_setting(path: Path) -> Mapping[str, Any] | None:
    """The first line of a journal, None where there is no whole one: a build that goes on keeps its frozen reference."""
    lines, _ = _whole_lines(path)
    return lines[0] if lines and isinstance(lines[0], dict) else None


def _whole_lines(path: Path) -> tuple[list[Any], int]:
    """Decoded lines, and the bytes they take; no file has none."""
    if not path.is_file():
        return [], 0
    *lines, _ = path.read_bytes().split(b"\n")
    decoded: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            decoded.append(json.loads(line))
        except ValueError:
            raise JournalError(f"{path}, line {number}: not JSON; remove that line") from None
    return decoded, sum(len(line) + 1 for line in lines)
