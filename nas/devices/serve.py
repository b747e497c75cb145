"""A server, from a folder and an address to a process that answers."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn

from latency.agent_client import is_loopback
from nas.devices.database import Database
from nas.devices.dispatch import Dispatcher
from nas.devices.model_store import ModelStore
from nas.devices.server import Bell, Service, create_app
from nas.devices.settlement import Policy
from nas.devices.trust import Trust
from nas.errors import UserError

DEFAULT_PORT = 8470
MAX_MODEL_STORE_BYTES = 2_000_000_000
"""Of all models together; the least recently used ones go, and come again when a client needs them."""

_LOCK_NAME = "server.lock"
_YARDSTICK = "mobilenet_v3_small"
_YARDSTICK_RESOLUTION = 224


def default_folder() -> Path:
    """Where the server's state lies unless told otherwise (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return state / "nas" / "devices"


def default_yardstick() -> bytes:
    """The network that devices are checked with: small enough for a board, large enough to leave its caches."""
    from search_spaces.lower import lower
    from search_spaces.onnx_model import emit_onnx
    from search_spaces.zoo import ZOO

    return emit_onnx(lower(ZOO[_YARDSTICK].arch, _YARDSTICK_RESOLUTION, 1000))


def check_address(host: str, cert: Path | None, key: Path | None, *, insecure: bool) -> None:
    """Pass an address that tokens and models may come to.

    Raises:
        UserError: one reachable from other machines without TLS and without `insecure`, or unusable TLS files.
    """
    if (cert is None) != (key is None):
        raise UserError("--cert and --key belong together: a certificate and its private key, both PEM files")
    if cert is None or key is None:
        if not is_loopback(host) and not insecure:
            raise UserError(
                f"--host {host}: other machines could reach it, and tokens would cross the network unencrypted; give "
                "--cert and --key, or say --insecure on a network that encrypts by itself"
            )
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            cert,
            key,
            password="",  # else a key with a passphrase would ask for it, on a terminal that may not be there
        )
    except OSError as error:  # SSLError is one
        raise UserError(f"--cert {cert} --key {key}: {error}; both must be PEM files, without a passphrase") from None


@contextlib.contextmanager
def service(
    folder: Path, yardstick: bytes, *, policy_trust: Trust | None = None, lease_term_s: float = 60.0, **policy: object
) -> Iterator[Service]:
    """The state in `folder`, open; `policy` as the fields of `Policy`.

    Raises:
        UserError: another server uses the folder, or it cannot be written.
    """
    with Database(folder) as database, _alone_in(folder):
        opened = _opened(folder, database, yardstick, policy_trust or Trust(), lease_term_s, policy)
        yield opened


def _opened(
    folder: Path, database: Database, yardstick: bytes, trust: Trust, lease_term_s: float, policy: Mapping[str, object]
) -> Service:
    try:
        models = ModelStore(folder, database, time.time, MAX_MODEL_STORE_BYTES)
        rules = Policy(yardstick=models.add(yardstick), trust=trust, **policy)  # type: ignore[arg-type]
        return Service(database, models, Dispatcher(database, models, rules, lease_term_s=lease_term_s), Bell())
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{folder}: cannot keep device state there ({error}); choose another with --dir") from None


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; for `run`.

    Raises:
        UserError: the address is taken, not this machine's, or not known.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while attempting")[0]  # which repeats the address
        raise UserError(f"--host {host} --port {port}: cannot listen there: {reason}") from None


def run(opened: Service, listening: socket.socket, cert: Path | None = None, key: Path | None = None) -> None:
    """Answer those who come to `listening` until the process is told to stop."""
    config = uvicorn.Config(
        create_app(opened),
        ssl_certfile=None if cert is None else str(cert),
        ssl_keyfile=None if key is None else str(key),
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    _Server(config, opened.bell).run([listening])


class _Server(uvicorn.Server):
    """One that lets waiting agents and clients go before it ends."""

    def __init__(self, config: uvicorn.Config, bell: Bell) -> None:
        super().__init__(config)
        self._bell = bell

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with the last ring before."""
        self._bell.ring_last()
        await super().shutdown(sockets)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: leases are in a server's memory, and a second one would end the first's.

    On systems without flock (Windows) nothing is locked.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / _LOCK_NAME).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: a server is running there already; stop it, or give another --dir") from None
        yield
