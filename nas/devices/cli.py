"""``nas device``: the server, its tokens, and who is there."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas.devices.tokens import Role
from nas.errors import UserError

device_app = typer.Typer(no_args_is_help=True, help="Latency on boards and phones: a server here, agents there.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens, which agents and searches show the server.")
device_app.add_typer(token_app, name="token")

Dir = Annotated[
    Path | None, typer.Option("--dir", help="Folder of the server's state; default ~/.local/state/nas/devices.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _folder(given: Path | None) -> Path:
    from nas.devices.serve import default_folder

    return given or default_folder()


@contextlib.contextmanager
def _state(given: Path | None, *, new: bool = False) -> Iterator[sqlite3.Connection]:
    """A transaction on the state, of a folder that a server or a token has made before, unless `new`."""
    from nas.devices.database import FILE_NAME, Database

    folder = _folder(given)
    if not new and not (folder / FILE_NAME).is_file():
        raise UserError(
            f"{folder}: no device state there; give the server's --dir, or begin with: nas device token add"
        )
    try:
        with Database(folder) as database, database.transaction() as db:
            yield db
    except sqlite3.Error as error:
        raise UserError(f"{folder / FILE_NAME}: {error}") from None


@device_app.command("serve")
def device_serve(
    folder: Dir = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8470,
    cert: Annotated[Path | None, typer.Option(help="TLS certificate, a PEM file.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, a PEM file.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")] = False,
) -> None:
    """Give jobs to devices until stopped. State is kept: start it again and it goes on where it was."""
    from nas.devices.serve import check_address, default_yardstick, listen, run, service

    check_address(host, cert, key, insecure=insecure)
    with listen(host, port) as listening, service(_folder(folder), default_yardstick()) as opened:
        scheme = "http" if cert is None else "https"
        print(f"serving devices on {scheme}://{host}:{port}, state in {_folder(folder)}", flush=True)
        run(opened, listening, cert, key)


@token_app.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="To know it by, such as the board's name.", metavar="NAME")],
    pool: Annotated[str, typer.Option(help="The pool that it is for.")],
    role: Annotated[Role, typer.Option(help="device (for an agent) or client (for a search).")] = "device",
    out: Annotated[Path | None, typer.Option(help="Write it to this new file, for the owner only.")] = None,
    folder: Dir = None,
) -> None:
    """Make a token and print it, once: the server keeps only its checksum."""
    from nas.devices.tokens import add_token

    with _state(folder, new=True) as db:
        text = add_token(db, name, pool, role, time.time())
        if out is not None:
            _write_secret(out, text)
    print(text)


def _write_secret(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    except OSError as error:  # the token is not kept then: its transaction is undone
        raise UserError(f"--out {path}: {error.strerror}; no token was made") from None


@token_app.command("list")
def token_list(as_json: Json = False, folder: Dir = None) -> None:
    """All tokens, without their text."""
    from nas.devices.tokens import tokens

    with _state(folder) as db:
        found = tokens(db)
    if as_json:
        keys = ("name", "pool", "role", "created_at", "revoked_at")
        _print_json([{key: getattr(token, key) for key in keys} for token in found])
        return
    table = Table("token", "pool", "role", "made", "revoked")
    for token in found:
        table.add_row(token.name, token.pool, token.role, _date(token.created_at), _date(token.revoked_at))
    Console().print(table)


@token_app.command("revoke")
def token_revoke(name: Annotated[str, typer.Argument(metavar="NAME")], folder: Dir = None) -> None:
    """Make a token worthless, at once and for good."""
    from nas.devices.tokens import revoke_token

    with _state(folder) as db:
        revoke_token(db, name, time.time())


@device_app.command("list")
def device_list(
    as_json: Json = False,
    server: Annotated[str | None, typer.Option(help="Ask this server instead of reading --dir.", metavar="URL")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Client token for --server.", metavar="FILE")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificate to trust, with --server.", metavar="FILE")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow http to another machine.")] = False,
    folder: Dir = None,
) -> None:
    """Who is there, what they are, what they do."""
    from nas.devices.listing import device_rows, device_table

    if (server is None) != (token_file is None):
        raise UserError("--server and --token-file belong together")
    if server is not None and folder is not None:
        raise UserError("--server and --dir exclude each other")
    if server is not None and token_file is not None:
        rows = _rows_of_server(server, token_file, ca_file, insecure)
    else:
        with _state(folder) as db:
            rows = device_rows(db, time.time())
    if as_json:
        _print_json(rows)
    else:
        Console().print(device_table(rows))


@device_app.command("forget")
def device_forget(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    pool: Annotated[str, typer.Option(help="The pool that it is in.")],
    folder: Dir = None,
) -> None:
    """Drop a device and its frozen times, so that it is calibrated anew when it next asks for work."""
    from nas.devices.records import forget_device

    with _state(folder) as db:
        if not forget_device(db, pool, name):
            raise UserError(f"no device {name!r} in pool {pool!r}; see: nas device list")


def _rows_of_server(server: str, token_file: Path, ca_file: Path | None, insecure: bool) -> list[dict[str, Any]]:
    import httpx

    from latency.agent import check_private, read_token
    from latency.agent_client import AgentError, check_server, tls_context

    try:
        check_server(server, insecure=insecure)
        check_private(token_file)
        token, verify = read_token(token_file), tls_context(server, ca_file)
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{server.rstrip('/')}/v1/devices", headers=headers, verify=verify, trust_env=False)
    except (ValueError, AgentError) as error:
        raise UserError(str(error)) from None
    except httpx.RequestError as error:
        raise UserError(f"{server}: no answer ({error}); is `nas device serve` running there?") from None
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.is_error and isinstance(document, dict) and "detail" in document:
        raise UserError(f"{server}: {document['detail']}")
    if answer.is_error or not isinstance(document, list):
        raise UserError(f"{server}: answers {answer.status_code}, and no list of devices; is it a device server?")
    return document


def _date(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, allow_nan=False))
