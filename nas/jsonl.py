"""Append-only files of JSON lines: a header with format and version, then records, each written whole or not at all."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas.errors import UserError

Record = Mapping[str, Any]


class JsonLines:
    """One such file, open for appending; a context manager.

    Opening an existing file reads its records and cuts off a torn last line, which a killed writer leaves behind.

    Args:
        path: the file; made when it does not exist.
        format_name: first line of the file says ``{"format": format_name, "version": version}``.
        version: of the format.

    Raises:
        UserError: the file is of another format or version, or a line other than the last is damaged.
    """

    def __init__(self, path: Path, format_name: str, version: int) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        header = {"format": format_name, "version": version}
        self._file = path.open("ab")
        try:
            lines, whole_bytes = _whole_lines(path)
            if lines and lines[0] != header:
                raise UserError(f"{path}: expected {header}, found {lines[0]}; another program or version wrote it")
            if whole_bytes < path.stat().st_size:
                warnings.warn(f"{path}: dropped a line that was cut short", stacklevel=2)
                self._file.truncate(whole_bytes)
            if lines:
                self.records = lines[1:]
            else:
                self._write(header)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, record: Record) -> None:
        """Add one record; it is on the disk when this returns."""
        self._write(record)
        self.records.append(dict(record))

    def keep(self, condition: Callable[[Record], bool]) -> None:
        """Rewrite the file with only the records that meet `condition`; atomic."""
        kept = [record for record in self.records if condition(record)]
        if len(kept) == len(self.records):
            return
        with self.path.open("rb") as file:
            header = file.readline()
        temporary = self.path.with_suffix(".tmp")
        temporary.write_bytes(header + b"".join(_encoded(record) for record in kept))
        self._file.close()
        temporary.replace(self.path)
        self._file = self.path.open("ab")
        self.records = kept

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: Record) -> None:
        self._file.write(_encoded(record))
        self._file.flush()
        os.fsync(self._file.fileno())


def _encoded(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Decoded lines and the number of bytes they take; a last line without its end, or unreadable, is not whole."""
    raw = path.read_bytes()
    *lines, _ = raw.split(b"\n")
    decoded, size = [], 0
    for number, line in enumerate(lines, start=1):
        try:
            decoded.append(json.loads(line))
        except ValueError:
            if size + len(line) + 1 == len(raw):
                break
            raise UserError(f"{path}, line {number}: not JSON; restore the file from a copy") from None
        size += len(line) + 1
    return decoded, size


def read_json_lines(path: Path, format_name: str, version: int) -> list[dict[str, Any]]:
    """Records of a file that somebody else may be writing; changes nothing.

    Raises:
        UserError: no such file, or another format or version.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    lines, _ = _whole_lines(path)
    return _records(path, lines, format_name, version)


class JsonLinesTail:
    """What somebody else appends to such a file, as it comes; changes nothing, and waits for a file that is not there yet.

    Args:
        path: the file.
        format_name: of its first line.
        version: of the format.
    """

    def __init__(self, path: Path, format_name: str, version: int) -> None:
        self._path = path
        self._format = (format_name, version)
        self._num_bytes = 0
        self._num_records = 0

    def new_records(self) -> list[dict[str, Any]]:
        """Records that have come whole since the last call; a torn last line is left for a later one.

        Raises:
            UserError: another format or version, a damaged line, or a file in the place of the one that was followed.
        """
        if not self._path.is_file() or self._path.stat().st_size == self._num_bytes:
            return []
        lines, num_bytes = _whole_lines(self._path)
        if num_bytes < self._num_bytes:
            raise UserError(f"{self._path}: another file has taken its place; begin to watch anew")
        if not lines:
            return []
        records = _records(self._path, lines, *self._format)
        new = records[self._num_records :]
        self._num_bytes, self._num_records = num_bytes, len(records)
        return new


def _records(path: Path, lines: list[dict[str, Any]], format_name: str, version: int) -> list[dict[str, Any]]:
    """What comes after the header."""
    if not lines or lines[0] != {"format": format_name, "version": version}:
        raise UserError(f"{path}: not a {format_name} file of version {version}")
    return lines[1:]
