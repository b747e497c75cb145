"""Models on the server's disk, each under its checksum; the least recently used ones make room."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import sqlite3
from collections.abc import AsyncIterable, Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from nas.devices.database import Database
from nas.devices.model_check import MAX_MODEL_BYTES, ModelRefusedError, check_model

FOLDER_NAME = "models"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelTooLargeError(ValueError):
    """More bytes than `MAX_MODEL_BYTES`; the rest was not read."""


class DiskFullError(OSError):
    """No room for a model; nothing of it is left behind."""


class ModelStore:
    """The folder of models and the list of them in the database.

    Args:
        folder: the server's; models lie in a folder of it.
        database: where they are listed.
        wall_clock: seconds since 1970.
        max_bytes: of all models together; those that an open job names stay all the same.
    """

    def __init__(self, folder: Path, database: Database, wall_clock: Callable[[], float], max_bytes: int) -> None:
        self._folder = folder / FOLDER_NAME
        self._folder.mkdir(exist_ok=True)
        self._database = database
        self._now = wall_clock
        self._max_bytes = max_bytes
        for torn in self._folder.glob("*.part"):  # a server killed in mid-upload
            torn.unlink()

    async def receive(self, sha256: str, chunks: AsyncIterable[bytes]) -> None:
        """Store the model that `chunks` make up, counted and summed while they come.

        Raises:
            ModelRefusedError: bytes that do not sum to `sha256`, or a model that `check_model` refuses.
            ModelTooLargeError: too many bytes.
            DiskFullError: no room.
        """
        part = self._folder / f"{sha256}.{os.urandom(4).hex()}.part"
        try:
            with _disk_full_named(), part.open("wb") as file:
                found = await _write(chunks, file)
            if found != sha256:
                raise ModelRefusedError(f"the bytes sum to {found}, announced as {sha256}: damaged on the way")
            await asyncio.to_thread(self._accept, part, sha256)  # to check 64 MB takes longer than heartbeats may wait
        finally:
            part.unlink(missing_ok=True)

    def add(self, model: bytes) -> str:
        """Store a model of the server's own; its sha256."""
        sha256 = hashlib.sha256(model).hexdigest()
        part = self._folder / f"{sha256}.part"
        try:
            with _disk_full_named():
                part.write_bytes(model)
            self._accept(part, sha256)
        finally:
            part.unlink(missing_ok=True)
        return sha256

    def _accept(self, part: Path, sha256: str) -> None:
        model = part.read_bytes()
        check_model(model)
        with self._database.transaction() as db:
            part.replace(self._path(sha256))
            db.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", (sha256, len(model), self._now()))

    def missing(self, db: sqlite3.Connection, sha256s: Collection[str]) -> list[str]:
        """Which of these are not here, sorted; those that are count as used now."""
        absent = []
        for sha256 in sorted(set(sha256s)):
            known = db.execute("UPDATE models SET used_at = ? WHERE sha256 = ?", (self._now(), sha256)).rowcount
            if not known or not self._path(sha256).is_file():
                absent.append(sha256)
        return absent

    def path(self, sha256: str) -> Path | None:
        """The file of a model; None where there is none."""
        if not _SHA256.fullmatch(sha256):
            return None
        path = self._path(sha256)
        return path if path.is_file() else None

    def make_room(self, in_use: Collection[str]) -> None:
        """Drop the least recently used models, but none `in_use`, until the others fit."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT sha256, num_bytes FROM models ORDER BY used_at").fetchall()
            excess = sum(row["num_bytes"] for row in rows) - self._max_bytes
            for row in rows:
                if excess <= 0:
                    return
                if row["sha256"] not in in_use:
                    db.execute("DELETE FROM models WHERE sha256 = ?", (row["sha256"],))
                    self._path(row["sha256"]).unlink(missing_ok=True)
                    excess -= row["num_bytes"]

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.onnx"


async def _write(chunks: AsyncIterable[bytes], file: BinaryIO) -> str:
    """Copy to `file`, counting; the sha256."""
    digest, num_bytes = hashlib.sha256(), 0
    async for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > MAX_MODEL_BYTES:
            raise ModelTooLargeError(f"more than {MAX_MODEL_BYTES} bytes")
        digest.update(chunk)
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


@contextlib.contextmanager
def _disk_full_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(error.errno, "no room for the model on the server's disk") from error
        raise
