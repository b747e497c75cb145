"""A server, from a folder and an address to a process that answers."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Iterator
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

    return emit_onnx(lower(ZOO[_YARDSTICK], _YARDSTICK_RESOLUTION, 1000))


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
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except OSError as error:  # SSLError is one
        raise UserError(f"--cert {cert} --key {key}: {error}") from None


@contextlib.contextmanager
def service(
    folder: Path, yardstick: bytes, *, policy_trust: Trust | None = None, lease_term_s: float = 60.0, **policy: object
) -> Iterator[Service]:
    """The state in `folder`, open; `policy` as the fields of `Policy`."""
    with Database(folder) as database:
        models = ModelStore(folder, database, time.time, MAX_MODEL_STORE_BYTES)
        rules = Policy(yardstick=models.add(yardstick), trust=policy_trust or Trust(), **policy)  # type: ignore[arg-type]
        yield Service(database, models, Dispatcher(database, models, rules, lease_term_s=lease_term_s), Bell())


def run(opened: Service, host: str, port: int, cert: Path | None = None, key: Path | None = None) -> None:
    """Answer until the process is told to stop.

    Raises:
        UserError: the port is taken, or not ours to take.
    """
    config = uvicorn.Config(
        create_app(opened),
        host=host,
        port=port,
        ssl_certfile=None if cert is None else str(cert),
        ssl_keyfile=None if key is None else str(key),
        log_level="warning",
        timeout_graceful_shutdown=2,  # long polls would hold it up for 25 s
        server_header=False,
    )
    with _no_second_chance(host, port):
        uvicorn.Server(config).run()


@contextlib.contextmanager
def _no_second_chance(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except SystemExit as stop:  # uvicorn's way of saying that it could not listen; it has logged why
        if stop.code:
            raise UserError(f"cannot listen on {host}:{port}; is another server running there?") from None
        raise
