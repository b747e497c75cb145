"""The server's SQLite file: its schema, and one transaction at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from nas.errors import UserError

FILE_NAME = "devices.sqlite"
FORMAT = 1

_BUSY_TIMEOUT_S = 10.0

_SCHEMA = """
CREATE TABLE tokens (
    name TEXT PRIMARY KEY, pool TEXT NOT NULL, role TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL, revoked_at REAL
) STRICT;
CREATE TABLE devices (
    pool TEXT NOT NULL, name TEXT NOT NULL, info TEXT NOT NULL, platform TEXT NOT NULL, core INTEGER,
    instance TEXT NOT NULL, standing TEXT NOT NULL, reason TEXT, bad_checks INTEGER NOT NULL DEFAULT 0,
    jobs_since_check INTEGER NOT NULL DEFAULT 0, check_due INTEGER NOT NULL DEFAULT 1, seen_at REAL NOT NULL,
    PRIMARY KEY (pool, name)
) STRICT;
CREATE TABLE calibrations (
    pool TEXT NOT NULL, device TEXT NOT NULL, reference TEXT NOT NULL, deployment TEXT NOT NULL,
    reference_ms REAL NOT NULL, PRIMARY KEY (pool, device, reference, deployment)
) STRICT;
CREATE TABLE models (sha256 TEXT PRIMARY KEY, num_bytes INTEGER NOT NULL, used_at REAL NOT NULL) STRICT;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pool TEXT NOT NULL, request TEXT NOT NULL, platform TEXT,
    check_of TEXT, state TEXT NOT NULL, outcome TEXT, submitted_at REAL NOT NULL, ended_at REAL
) STRICT;
CREATE INDEX open_jobs ON jobs (pool, state);
CREATE TABLE attempts (
    job TEXT NOT NULL, number INTEGER NOT NULL, pool TEXT NOT NULL, device TEXT NOT NULL, state TEXT NOT NULL,
    note TEXT, leased_at REAL NOT NULL, ended_at REAL, PRIMARY KEY (job, number)
) STRICT;
CREATE INDEX held_attempts ON attempts (state, pool, device);
"""


class Database:
    """One connection to the file in `folder`; a context manager, safe to use from several threads.

    Other processes may use the file at the same time (``nas device token add`` beside a server): WAL, and every change
    of state is one transaction, so that a killed writer leaves the state before it or after it.

    Args:
        folder: where the file lies; made, for its owner only, where there is none.

    Raises:
        UserError: the folder cannot be written, or the file is of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._one_caller = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # sqlite3 itself would let everybody read
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{folder}: cannot keep device state there ({error}); choose another with --dir") from None
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._one_caller:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the statements inside, or none of them.

        Raises:
            sqlite3.Error: the disk is full or broken; nothing has changed then.
        """
        with self._one_caller:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk rolls back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.transaction() as db:
                (found,) = db.execute("PRAGMA user_version").fetchone()
                if found == 0:
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: {error}; move it away to begin anew") from None
        if found not in (0, FORMAT):
            raise UserError(
                f"{self.path}: format {found}; this version reads {FORMAT}, another version of nas wrote it"
            )
