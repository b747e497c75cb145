"""Who may do what: bearer tokens, of which the server keeps a digest only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Literal

from nas.errors import UserError

Role = Literal["device", "client"]
"""device: lease and report jobs of its pool; client: submit jobs to its pool, read their results and list its devices."""

_PREFIX = "nas-"  # so that scanners of repositories and logs can tell one
_NUM_BYTES = 32  # 256 random bits: a plain digest is enough, guessing is hopeless without salt and stretching too


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the server knows it.

    Attributes:
        name: given by whoever made it; unique.
        pool: the one pool that it is for.
        role: what it allows there.
        sha256: of its text.
        created_at: seconds since 1970.
        revoked_at: likewise; None while it is valid.
    """

    name: str
    pool: str
    role: Role
    sha256: str
    created_at: float
    revoked_at: float | None = None


def add_token(db: sqlite3.Connection, name: str, pool: str, role: Role, now: float) -> str:
    """Make a token.

    Returns:
        Its text, which nobody can recover later.

    Raises:
        UserError: there is one of this name, or an empty name or pool.
    """
    for what, text in (("name", name), ("pool", pool)):
        if not text.strip() or not text.isprintable():
            raise UserError(f"{what} {text!r}: must be printable and not empty")
    if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
        raise UserError(f"there is a token {name!r} already; see: nas device token list")
    text = _PREFIX + secrets.token_urlsafe(_NUM_BYTES)
    db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, NULL)", (name, pool, role, _digest(text), now))
    return text


def tokens(db: sqlite3.Connection) -> list[Token]:
    """All of them, revoked ones too, in the order made."""
    return [Token(**row) for row in db.execute("SELECT * FROM tokens ORDER BY created_at, name")]


def revoke_token(db: sqlite3.Connection, name: str, now: float) -> None:
    """Make a token worthless, for good.

    Raises:
        UserError: no valid token of this name.
    """
    changed = db.execute("UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (now, name))
    if changed.rowcount == 0:
        raise UserError(f"no valid token {name!r}; see: nas device token list")


def find_token(db: sqlite3.Connection, text: str) -> Token | None:
    """The token whose text this is, revoked or not. Compares with all of them, each in constant time."""
    digest = _digest(text)
    matches = [token for token in tokens(db) if hmac.compare_digest(token.sha256, digest)]
    return matches[0] if matches else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
