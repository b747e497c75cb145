"""The HTTP side, in this process: tokens, sizes, and a disk that fills up."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from nas.devices.messages import PROTOCOL, measure_request
from nas.devices.model_check import MAX_MODEL_BYTES
from nas.devices.server import Bell, Service, create_app
from nas.devices.tokens import add_token, revoke_token
from tests.nas.devices.networks import QUICK, build_network
from tests.nas.devices.world import DEVICE

INSTANCE = "a" * 32


@pytest.fixture
def tokens(world):
    made = {}
    with world.database.transaction() as db:
        for name, pool, role in (
            ("board", "boards", "device"),
            ("laptop", "boards", "client"),
            ("phone", "phones", "device"),
            ("tablet", "phones", "client"),
            ("old", "boards", "device"),
        ):
            made[name] = add_token(db, name, pool, role, 0)
        revoke_token(db, "old", 1)
    return made


@pytest.fixture
def ask(world, tokens):
    """One request with the token of this name."""
    app = create_app(Service(world.database, world.models, world.dispatcher, Bell()))

    def ask(token, method, path, **fields):
        async def once():
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server/v1") as client:
                headers = {"Authorization": f"Bearer {tokens.get(token, token)}"} if token else {}
                return await client.request(method, path, headers={**headers, **fields.pop("headers", {})}, **fields)

        return asyncio.run(once())

    return ask


def joining(**changes):
    fields = {"protocol": PROTOCOL, "pool": "boards", "name": "one", "instance": INSTANCE, "core": 0}
    return {**fields, "device": DEVICE.to_dict(), **changes}


ASKING = {"pool": "boards", "name": "one", "instance": INSTANCE, "wait_s": 0}
DEVICE_VERBS = [
    ("POST", "/devices", joining()),
    ("POST", "/lease", ASKING),
    ("POST", f"/jobs/{'1' * 32}/attempts/1/heartbeat", {k: v for k, v in ASKING.items() if k != "wait_s"}),
]
CLIENT_VERBS = [
    ("PUT", f"/jobs/{'1' * 32}?pool=boards", measure_request("a" * 64, "a" * 64, QUICK).model_dump(mode="json")),
    ("GET", f"/jobs/{'1' * 32}", None),
    ("DELETE", f"/jobs/{'1' * 32}", None),
    ("GET", "/devices", None),
]


@pytest.mark.parametrize(("method", "path", "body"), DEVICE_VERBS + CLIENT_VERBS)
@pytest.mark.parametrize(("token", "status"), [(None, 401), ("", 401), ("nas-wrong", 401), ("old", 403)])
def test_without_a_valid_token_nothing(ask, token, status, method, path, body):
    answer = ask(token, method, path, json=body)
    assert answer.status_code == status
    assert "nas device token add" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "body"), DEVICE_VERBS)
@pytest.mark.parametrize("token", ["laptop", "phone"])
def test_device_verbs_need_a_device_token_of_the_pool(ask, token, method, path, body):
    assert ask(token, method, path, json=body).status_code == 403


@pytest.mark.parametrize(("method", "path", "body"), CLIENT_VERBS)
def test_client_verbs_need_a_client_token(ask, method, path, body):
    assert ask("board", method, path, json=body).status_code == 403


def test_other_pools_are_out_of_reach(ask, world):
    job_id = world.submit()
    assert ask("tablet", "GET", f"/jobs/{job_id}").status_code == 404
    assert ask("tablet", "DELETE", f"/jobs/{job_id}").status_code == 404
    assert ask("phone", "GET", f"/models/{world.sha}").status_code == 404
    assert ask("board", "GET", f"/models/{world.sha}").status_code == 200
    world.join("one")
    assert ask("tablet", "GET", "/devices").json() == []
    assert [row["name"] for row in ask("laptop", "GET", "/devices").json()] == ["one"]


def test_agent_of_another_protocol_is_told(ask):
    answer = ask("board", "POST", "/devices", json=joining(protocol=99))
    assert answer.status_code == 422
    assert "install the same version on both" in answer.text


def test_strangers_are_turned_away_before_they_are_read(ask):
    reads = []

    async def body():
        reads.append(1)
        yield b"{}"

    headers = {"Content-Length": "2", "Content-Type": "application/json"}
    assert ask("nas-wrong", "POST", "/lease", content=body(), headers=headers).status_code == 401
    assert reads == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"cpu": "Cortex\x1b[2J"}, "cpu must be printable"),
        ({"cpu": "x" * 2000}, "cpu must be printable and of at most 1000 characters"),
        ({"cpu": ["x"]}, "device.cpu"),
        ({"memory_gib": 1e300}, "memory_gib 1e+300 is no figure of a device"),
    ],
)
def test_devices_describe_themselves_in_plain_words(ask, changes, where):
    answer = ask("board", "POST", "/devices", json=joining(device={**DEVICE.to_dict(), **changes}))
    assert answer.status_code == 422
    assert where in answer.json()["detail"]
    assert ask("laptop", "GET", "/devices").json() == []


def test_what_json_lacks_is_refused_in_words(ask):
    text = json.dumps(joining(device={**DEVICE.to_dict(), "memory_gib": float("nan"), "cpu": "\ud800"}))
    answer = ask("board", "POST", "/devices", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "memory_gib" in answer.json()["detail"] or "cpu" in answer.json()["detail"]


@pytest.mark.parametrize("words", ['{"x": NaN}', '{"x": "\\ud800"}', '{"x": ' + "[" * 600 + "]" * 600 + "}"])
def test_answer_that_no_client_could_be_told_is_refused(ask, world, words):
    ask("board", "POST", "/devices", json=joining())
    lease = ask("board", "POST", "/lease", json=ASKING).json()
    who = json.dumps({key: value for key, value in ASKING.items() if key != "wait_s"})
    text = f'{who[:-1]}, "report": {{"kind": "trace", "answer": {words}}}}}'
    path = f"/jobs/{lease['job']}/attempts/1/result"
    answer = ask("board", "PUT", path, content=text, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert ask("board", "POST", "/lease", json=ASKING).json() == lease  # the attempt goes on


def test_job_that_cannot_be_stored_is_refused(ask, world):
    body = measure_request(world.sha, world.sha, QUICK).model_dump(mode="json")
    body["settings"]["goal"]["half_width"] = float("nan")
    headers = {"Content-Type": "application/json"}
    answer = ask("laptop", "PUT", f"/jobs/{'1' * 32}?pool=boards", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422
    world.trusted("one")  # whoever reads the queue still can


def test_job_of_more_pairs_than_are_read_is_refused(ask, world):
    body = measure_request(world.sha, world.sha, QUICK).model_dump(mode="json")
    answer = ask(
        "laptop",
        "PUT",
        f"/jobs/{'1' * 32}?pool=boards",
        json={**body, "settings": {**body["settings"], "budget_s": 100.0}},
    )
    assert answer.status_code == 422
    assert "lower budget_s or raise block_s" in answer.json()["detail"]


def test_names_without_end_do_not_fill_the_disk(ask, monkeypatch):
    monkeypatch.setattr("nas.devices.dispatch.MAX_DEVICES", 2)
    answers = [ask("board", "POST", "/devices", json=joining(name=f"d{number}")) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert "nas device forget" in answers[-1].json()["detail"]
    assert ask("board", "POST", "/devices", json=joining(name="d1")).status_code == 200  # those known may come again


def test_unknown_device_must_join(ask):
    assert ask("board", "POST", "/lease", json=ASKING).status_code == 404
    assert ask("board", "POST", "/devices", json=joining()).json() == {"heartbeat_s": 10.0, "wait_s": 25.0}
    assert ask("board", "POST", "/lease", json=ASKING).json()["attempt"] == 1  # its check


def upload(ask, model, sha256=None, **fields):
    sha256 = sha256 or hashlib.sha256(model).hexdigest()
    return ask("laptop", "PUT", f"/models/{sha256}", content=model, **fields)


def test_model_is_stored_under_its_checksum(ask, world):
    model = build_network(channels=8)
    assert upload(ask, model).status_code == 204
    assert world.models.path(hashlib.sha256(model).hexdigest()).read_bytes() == model


def leftovers(world) -> list[Path]:
    return [path for path in (world.folder / "models").iterdir() if path.name != f"{world.sha}.onnx"]


def test_damaged_and_refused_models_leave_nothing(ask, world):
    model = build_network(channels=8)
    damaged = upload(ask, model, sha256="b" * 64)
    assert (damaged.status_code, "damaged on the way" in damaged.text) == (422, True)
    refused = upload(ask, b"not a model")
    assert (refused.status_code, refused.json()["detail"]) == (422, "not an ONNX file: it cannot be parsed")
    assert leftovers(world) == []


def test_path_is_a_checksum_or_nothing(ask):
    for path in ("..%2F..%2Fetc%2Fpasswd", "A" * 64, "b" * 63):
        assert ask("laptop", "PUT", f"/models/{path}", content=b"x").status_code in (404, 422)


def test_model_announced_as_200_mb_is_not_read(ask, world):
    reads = []

    async def body():
        reads.append(1)
        yield b"x"

    answer = ask("laptop", "PUT", f"/models/{'b' * 64}", content=body(), headers={"Content-Length": "200000000"})
    assert answer.status_code == 413
    assert reads == []
    assert leftovers(world) == []


def test_model_of_200_mb_without_a_length_is_read_to_the_limit_only(ask, world):
    chunk, sent = bytes(1_000_000), []

    async def body():
        for _ in range(200):
            sent.append(1)
            yield chunk

    answer = ask("laptop", "PUT", f"/models/{'b' * 64}", content=body())
    assert answer.status_code == 413
    assert len(sent) == MAX_MODEL_BYTES // len(chunk) + 1
    assert leftovers(world) == []


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "99000000"}, {"Content-Length": "99000000", "Host": "server/v1/models/x?"}],
)
def test_large_documents_are_refused(ask, headers):
    answer = ask("board", "POST", "/lease", content=b"{}", headers={**headers, "Content-Type": "application/json"})
    assert answer.status_code == 413


def test_full_disk_while_a_model_comes(ask, world, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nas.devices.model_store.os.fsync", full)
        answer = upload(ask, build_network(channels=8))
    assert (answer.status_code, answer.json()["detail"]) == (507, "no room for the model on the server's disk")
    assert leftovers(world) == []
    assert upload(ask, build_network(channels=8)).status_code == 204  # the server is still there


def test_full_disk_while_state_is_written(ask, world):
    body = {**measure_request(world.sha, world.sha, QUICK).model_dump(mode="json"), "platform": "x" * 100_000}
    with world.database.transaction() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    answer = ask("laptop", "PUT", f"/jobs/{'1' * 32}?pool=boards", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (507, "no room for the server's state on its disk")
    with world.database.transaction() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert ask("laptop", "GET", f"/jobs/{'1' * 32}").status_code == 404  # nothing of it is left
    assert ask("laptop", "PUT", f"/jobs/{'1' * 32}?pool=boards", json=body).status_code == 204


def test_old_models_make_room_but_not_those_in_use(world):
    old, used = build_network(channels=4), build_network(channels=5)
    shas = []
    for model in (old, used):
        world.wall += 1
        shas.append(world.models.add(model))
    world.models._max_bytes = 0
    world.models.make_room({world.sha, shas[1]})
    assert world.models.path(shas[0]) is None
    assert world.models.path(shas[1]) is not None
    assert world.models.path(world.sha) is not None


def test_uploads_without_a_job_make_room_too(ask, world):
    world.models._max_bytes = 0
    first, second = build_network(channels=4), build_network(channels=5)
    for model in (first, second):
        world.wall += 1
        assert upload(ask, model).status_code == 204
    assert leftovers(world) == []


def test_half_an_upload_of_a_killed_server_is_swept(world):
    part = world.folder / "models" / "b.part"
    part.write_bytes(b"x")
    world.stop()
    world.start()
    assert not part.exists()


def test_job_is_not_given_to_who_has_hung_up(world, tokens):
    """As ASGI has it: the question is there, and before a job is, the connection is gone."""
    world.trusted("one")
    service = Service(world.database, world.models, world.dispatcher, Bell())
    app = create_app(service)
    speaker = world.speaker("one").model_dump()
    body = json.dumps({**speaker, "wait_s": 3}).encode()
    headers = {
        "authorization": f"Bearer {tokens['board']}",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/lease",
        "raw_path": b"/v1/lease",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("server", 80),
    }

    async def hang_up() -> list[int]:
        told, gone, sent = [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event(), []

        async def receive():
            if told:
                return told.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asking = asyncio.create_task(app(scope, receive, send))
        await asyncio.sleep(0.1)
        gone.set()
        world.submit()
        service.bell.ring()
        await asking
        return [message["status"] for message in sent if "status" in message]

    assert asyncio.run(hang_up()) == [204]
    assert world.lease("one").attempt.number == 1
