"""The agent's side of the wire: what it takes, whom it tells its token, and how it waits."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from latency.agent import ModelCache
from latency.agent_client import (
    MAX_MODEL_BYTES,
    ModelDamagedError,
    RefusedError,
    ServerConnection,
    check_server,
)


def connection(answer, **options) -> ServerConnection:
    made = ServerConnection("http://127.0.0.1:1", "token", "boards", "one", "a" * 32, **options)
    made._http = httpx.Client(base_url="http://server/v1", transport=httpx.MockTransport(answer))
    return made


def test_model_is_checked_on_arrival():
    server = connection(lambda request: httpx.Response(200, content=b"damaged"))
    with pytest.raises(ModelDamagedError, match="arrived as"):
        server.model("b" * 64, 7)


def test_too_large_a_model_is_not_asked_for():
    def never(request):
        raise AssertionError("asked")

    with pytest.raises(ModelDamagedError, match="at most"):
        connection(never).model("b" * 64, MAX_MODEL_BYTES + 1)


def test_download_stops_at_the_limit():
    sent = []

    def endless():
        for _ in range(200):
            sent.append(1)
            yield bytes(1_000_000)

    with pytest.raises(ModelDamagedError, match="more than"):
        connection(lambda request: httpx.Response(200, content=endless())).model("b" * 64, 5)
    assert len(sent) == MAX_MODEL_BYTES // 1_000_000 + 1


def test_reference_travels_once():
    models = {hashlib.sha256(text).hexdigest(): text for text in (b"r", b"1", b"2", b"3", b"4")}
    reference, *candidates = models
    asked = []

    def answer(request):
        sha256 = request.url.path.rpartition("/")[2]
        asked.append(sha256)
        return httpx.Response(200, content=models[sha256])

    cache = ModelCache(connection(answer))
    for candidate in candidates:
        assert cache.get(reference, 1) == b"r"
        assert cache.get(candidate, 1) == models[candidate]
    assert asked == [reference, *candidates]


def test_download_waits_for_a_server_that_is_away():
    model, sha256 = b"model", hashlib.sha256(b"model").hexdigest()
    answers = [httpx.ConnectError("refused")] * 5 + [httpx.Response(503), httpx.Response(200, content=model)]

    def answer(request):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    pauses = []
    cache = ModelCache(connection(answer, sleep=pauses.append, complain=lambda _: None))
    assert cache.get(sha256, len(model)) == model  # and no fault of this device
    assert len(pauses) == 6


def test_waits_for_a_server_that_is_away():
    pauses, answers = [], [httpx.ConnectError("refused")] * 8 + [httpx.Response(503, json={"detail": "busy"})]

    def answer(request):
        if answers:
            found = answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        return httpx.Response(204)

    complaints = []
    server = connection(answer, sleep=pauses.append, complain=complaints.append)
    assert server.lease(1) is None
    assert len(pauses) == 9
    assert max(pauses) <= 30
    assert "refused" in complaints[0]


def test_refusals_are_answers():
    server = connection(lambda request: httpx.Response(403, json={"detail": "revoked"}))
    with pytest.raises(RefusedError, match="403: revoked"):
        server.lease(1)


@pytest.mark.parametrize(
    ("url", "insecure", "fine"),
    [
        ("http://127.0.0.1:8470", False, True),
        ("http://localhost:8470", False, True),
        ("http://10.0.0.2:8470", False, False),
        ("http://10.0.0.2:8470", True, True),
        ("https://10.0.0.2:8470", False, True),
        ("ftp://10.0.0.2", True, False),
        ("10.0.0.2:8470", True, False),
    ],
)
def test_token_does_not_cross_networks_in_the_clear(url, insecure, fine):
    if fine:
        check_server(url, insecure=insecure)
    else:
        with pytest.raises(ValueError, match="https"):
            check_server(url, insecure=insecure)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(302, headers={"Location": "http://portal/"}),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"hello": 1}),
    ],
)
def test_servers_of_something_else_are_told_apart(answer):
    server = connection(lambda request: answer)
    for ask in (
        lambda: server.join({}, 0),
        lambda: server.lease(1),
        lambda: server.report("1" * 32, 1, {"kind": "error", "reason": "x"}),
    ):
        with pytest.raises(RefusedError, match="not as a device server does"):
            ask()


def test_refusals_are_one_line():
    server = connection(lambda request: httpx.Response(404, text="<html>\n<body>\nnothing here"))
    with pytest.raises(RefusedError) as refused:
        server.lease(1)
    assert str(refused.value) == "404: <html> <body> nothing here"


def test_terms_that_nobody_can_keep_are_refused():
    server = connection(lambda request: httpx.Response(200, json={"heartbeat_s": 0, "wait_s": 25}))
    with pytest.raises(RefusedError, match="no positive seconds"):
        server.join({}, 0)
