"""``nas device``: what each command prints, and how it refuses."""

from __future__ import annotations

import io
import json
import shutil
import socket
import sqlite3
import subprocess

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from nas.devices.cli import device_app
from nas.devices.database import Database
from nas.devices.listing import device_rows, device_table
from nas.devices.messages import Report
from nas.devices.serve import check_address, default_folder, listen, service
from nas.devices.tokens import find_token
from nas.errors import UserError


@pytest.fixture
def run(tmp_path):
    def run(*arguments, folder=tmp_path / "state"):
        return CliRunner(env={"COLUMNS": "250"}).invoke(device_app, [*map(str, arguments), "--dir", str(folder)])

    return run


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def secret(path, text) -> None:
    path.write_text(text)
    path.chmod(0o600)


def refusal(result) -> str:
    assert isinstance(result.exception, UserError)
    (line,) = str(result.exception).splitlines()
    return line


def test_token_is_printed_once_and_kept_as_a_checksum(run, tmp_path):
    out = tmp_path / "token"
    text = run("token", "add", "board", "--pool", "boards", "--out", out).stdout.strip()
    assert text.startswith("nas-")
    assert out.read_text() == text + "\n"
    assert out.stat().st_mode & 0o777 == 0o600
    state = (tmp_path / "state").glob("devices.sqlite*")
    assert not any(text.encode() in path.read_bytes() for path in state)
    with Database(tmp_path / "state") as database, database.transaction() as db:
        assert find_token(db, text).name == "board"
        assert find_token(db, text + "x") is None


def test_tokens_differ_and_are_long(run):
    made = {run("token", "add", f"t{i}", "--pool", "p").stdout.strip() for i in range(5)}
    assert len(made) == 5
    assert min(map(len, made)) >= 43  # 256 bits in base64


def test_token_list_and_revoke(run):
    text = run("token", "add", "laptop", "--pool", "boards", "--role", "client").stdout.strip()
    assert run("token", "revoke", "laptop").exit_code == 0
    (row,) = json.loads(run("token", "list", "--json").stdout)
    assert (row["name"], row["pool"], row["role"]) == ("laptop", "boards", "client")
    assert row["revoked_at"] > 0
    listed = run("token", "list").stdout
    assert "laptop" in listed
    assert text not in listed


def test_token_refusals(run, tmp_path):
    run("token", "add", "board", "--pool", "boards")
    assert "already" in refusal(run("token", "add", "board", "--pool", "boards"))
    assert "no valid token 'x'" in refusal(run("token", "revoke", "x"))
    assert run("token", "add", "x", "--pool", "boards", "--role", "king").exit_code == 2
    (tmp_path / "taken").write_text("precious")
    assert "no token was made" in refusal(run("token", "add", "y", "--pool", "b", "--out", tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "precious"
    assert [row["name"] for row in json.loads(run("token", "list", "--json").stdout)] == ["board"]


def test_list_of_a_folder(run, world):
    world.trusted("one")
    world.join("two")
    world.check("two", scale=1000.0)
    world.stop()
    rows = {row["name"]: row for row in json.loads(run("list", "--json", folder=world.folder).stdout)}
    assert rows["one"]["standing"] == "trusted"
    assert rows["one"]["doing"].startswith("offline since ")
    assert rows["two"]["doing"].endswith("s of inferences within 1 s")
    assert "quarantined" in rows["two"]["doing"]
    table = run("list", folder=world.folder).stdout
    assert rows["one"]["device"]["cpu"].split()[0] in table
    assert rows["one"]["device"]["onnxruntime"] in table
    world.start()


def test_what_devices_do(world):
    def doing():
        with world.database.transaction() as db:
            return device_rows(db, world.wall)[0]["doing"]

    world.join("one")
    assert doing() == "waits for its check"
    world.lease("one")
    assert doing() == "being checked"
    world.check("one")
    assert doing() == "idle"
    world.submit()
    world.lease("one")
    assert doing() == "measuring job 00000000"


def test_forget(run, world):
    world.trusted("one")
    assert run("forget", "one", "--pool", "boards", folder=world.folder).exit_code == 0
    assert "see: nas device list" in refusal(run("forget", "one", "--pool", "boards", folder=world.folder))
    world.join("one")
    assert world.check("one", reference_ms=3.0) == "accepted"  # its frozen time is forgotten, too


def test_list_refusals(run, tmp_path):
    assert "nas device token add" in refusal(run("list"))
    assert "belong together" in refusal(run("list", "--server", "http://127.0.0.1:1"))
    secret(tmp_path / "token", "nas-x")
    alone = CliRunner().invoke(
        device_app, ["list", "--server", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    )
    assert "no answer" in refusal(alone)


@pytest.mark.parametrize(
    "command", [["list"], ["token", "list"], ["token", "revoke", "x"], ["forget", "x", "--pool", "p"]]
)
def test_mistyped_folder_is_told_and_not_made(run, tmp_path, command):
    assert "no device state there" in refusal(run(*command, folder=tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(200, text="<html>"), "answers 200, and no list of devices"),
        (httpx.Response(302, text=""), "answers 302, and no list of devices"),
        (httpx.Response(500, json=[1]), "answers 500, and no list of devices"),
        (httpx.Response(200, json={"detail": "x"}), "answers 200, and no list of devices"),
        (httpx.Response(404, json={"detail": "Not Found"}), "Not Found"),
        (httpx.DecodingError("gzip"), "no answer (gzip)"),
    ],
)
def test_list_of_something_else(tmp_path, monkeypatch, answer, reason):
    def get(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("httpx.get", get)
    secret(tmp_path / "token", "nas-x")
    arguments = ["list", "--server", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    assert reason in refusal(CliRunner().invoke(device_app, arguments))


def test_token_that_everybody_can_read_is_refused(tmp_path):
    (tmp_path / "token").write_text("nas-x")
    (tmp_path / "token").chmod(0o644)
    arguments = ["list", "--server", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    assert "chmod 600" in refusal(CliRunner().invoke(device_app, arguments))


def test_reasons_are_shown_as_they_stand(world):
    world.join("one")
    reason = "[ONNXRuntimeError] : 1 : FAIL [/bold] \x1b[2Jand more"
    world.report("one", world.lease("one"), Report(kind="error", reason=reason))
    with world.database.transaction() as db:
        rows = device_rows(db, world.wall)
    console = Console(width=400, file=io.StringIO())
    console.print(device_table(rows))
    assert "[ONNXRuntimeError] : 1 : FAIL [/bold]  [2Jand more" in console.file.getvalue()


def test_port_that_is_taken(run):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        answer = refusal(run("serve", "--port", port))
    assert answer == f"--host 127.0.0.1 --port {port}: cannot listen there: Address already in use"


def test_address_of_another_machine(run):
    assert "cannot listen there" in refusal(run("serve", "--host", "192.0.2.1", "--insecure"))


def test_one_server_in_a_folder(run, tmp_path, network):
    with service(tmp_path / "state", network):
        assert "a server is running there already" in refusal(run("serve", "--port", free_port()))
        assert run("token", "add", "board", "--pool", "boards").exit_code == 0  # beside a server, at any time
    with service(tmp_path / "state", network):
        pass


def test_folder_that_cannot_hold_models(run, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "models").write_text("a file")
    assert "cannot keep device state there" in refusal(run("serve", "--port", free_port()))


def test_list_of_a_server(deserted, tmp_path):
    secret(tmp_path / "client", deserted.client_token)
    arguments = ["list", "--json", "--server", deserted.url, "--token-file", str(tmp_path / "client")]
    assert json.loads(CliRunner().invoke(device_app, arguments).stdout) == []
    (tmp_path / "client").write_text("nas-wrong")
    assert "nas device token add" in refusal(CliRunner().invoke(device_app, arguments))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "laptop.local"])
def test_other_machines_need_tls(host):
    with pytest.raises(UserError, match="--cert and --key"):
        check_address(host, None, None, insecure=False)
    check_address(host, None, None, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host):
    check_address(host, None, None, insecure=False)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its key with openssl")
def test_key_with_a_passphrase_asks_nobody(run, tmp_path):
    cert, key = tmp_path / "cert", tmp_path / "key"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -passout pass:secret -subj /CN=laptop"
    subprocess.run(["openssl", *options.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    assert "without a passphrase" in refusal(run("serve", "--cert", cert, "--key", key))


def test_unusable_tls_files(run, tmp_path):
    (tmp_path / "cert").write_text("no certificate")
    assert "belong together" in refusal(run("serve", "--cert", tmp_path / "cert"))
    assert "--cert" in refusal(run("serve", "--cert", tmp_path / "cert", "--key", tmp_path / "cert"))
    assert "unencrypted" in refusal(run("serve", "--host", "0.0.0.0"))


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "nas" / "devices"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "state" / "nas" / "devices"


def test_state_of_another_version_or_kind_is_refused(run, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    with sqlite3.connect(folder / "devices.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "format 99" in refusal(run("list", folder=folder))
    (folder / "devices.sqlite").write_bytes(b"something else entirely" * 100)
    assert "move it away" in refusal(run("list", folder=folder))


def test_state_is_for_its_owner_only(run, tmp_path):
    run("token", "add", "board", "--pool", "boards")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "devices.sqlite").stat().st_mode & 0o777 == 0o600
