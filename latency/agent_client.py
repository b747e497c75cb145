"""The agent's side of the wire: the server's verbs over HTTP, with patience for a server that is away.

Runs on the device: the standard library and httpx only.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

PROTOCOL = 1
"""Counts changes of the messages that an older server or agent would misunderstand."""

MAX_MODEL_BYTES = 64_000_000
"""Largest model that is taken from a server."""

_TIMEOUT = httpx.Timeout(30.0, read=60.0)  # a long poll lasts 25 s
_HEARTBEAT_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


_Answer = TypeVar("_Answer")


class AgentError(Exception):
    """What a person must mend on the device or the server; one line, exit code 2."""


class ModelDamagedError(Exception):
    """A model that did not arrive as announced."""


class RefusedError(Exception):
    """The server understood and refused; `status` is HTTP's, the message its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_server(url: str, *, insecure: bool) -> None:
    """Pass an address that a token may be sent to.

    Raises:
        ValueError: not an http or https address, or http to another machine without `insecure`.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port, httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ValueError(f"server {url!r}: {error}; give it as https://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"server {url!r}: give it as https://HOST:PORT")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        raise ValueError(
            f"server {url}: the token would cross the network unencrypted; use https, or say --insecure on a network "
            "that encrypts by itself (WireGuard, an SSH tunnel)"
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine and reachable from it alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(url: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    """What httpx verifies the server with: `ca_file`, or the system's authorities.

    Raises:
        ValueError: a file that cannot be read or holds no certificate.
    """
    if urlsplit(url).scheme != "https":
        return True
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # SSLError is one
        raise ValueError(f"{ca_file or 'the system'}: not a certificate file ({error})") from None


class ServerConnection:
    """The verbs of a device.

    Args:
        url: of the server.
        token: a device token.
        pool: that the token is for; another one is refused.
        name: of the device within its pool.
        instance: 32 hexadecimal digits that stand for this process.
        ca_file: certificate to trust instead of the system's authorities.
        sleep: waits between tries; a test gives its own.
        complain: told why the server is being waited for.

    Raises:
        ValueError: as `tls_context`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        pool: str,
        name: str,
        instance: str,
        *,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        complain: Callable[[str], None] = print,
    ) -> None:
        self._speaker = {"pool": pool, "name": name, "instance": instance}
        self._sleep = sleep
        self._complain = complain
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/v1",
            headers={"Authorization": f"Bearer {token}"},
            verify=tls_context(url, ca_file),
            timeout=_TIMEOUT,
            trust_env=False,  # a proxy from the environment would see the token
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def join(self, device: Mapping[str, Any], core: int | None) -> dict[str, Any]:
        """Tell what this device is; the server's terms: ``heartbeat_s`` and ``wait_s``."""
        message = {**self._speaker, "protocol": PROTOCOL, "device": dict(device), "core": core}
        terms = _document(self._patiently(lambda: self._try("POST", "/devices", message)), "heartbeat_s", "wait_s")
        if not all(isinstance(value, int | float) and value > 0 for value in terms.values()):
            raise RefusedError(httpx.codes.OK, f"the server's terms are no positive seconds: {terms}")
        return terms

    def lease(self, wait_s: float) -> dict[str, Any] | None:
        """The next job; None when there was none for `wait_s` seconds."""
        answer = self._patiently(lambda: self._try("POST", "/lease", {**self._speaker, "wait_s": wait_s}))
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        return _document(answer, "job", "attempt", "request", "model_bytes")

    def report(self, job: str, attempt: int, report: Mapping[str, Any], *, once: bool = False) -> str:
        """How an attempt ended; what the server makes of it. `once` for an agent that is being stopped."""
        path, message = f"/jobs/{job}/attempts/{attempt}/result", {**self._speaker, "report": dict(report)}
        answer = self._try("PUT", path, message) if once else self._patiently(lambda: self._try("PUT", path, message))
        return str(_document(answer, "state")["state"])

    def heartbeat(self, job: str, attempt: int) -> None:
        """One sign of life, tried once: the next follows soon.

        Raises:
            httpx.RequestError: the server is away, or does not speak HTTP.
            RefusedError: it does not want to hear.
        """
        self._try("POST", f"/jobs/{job}/attempts/{attempt}/heartbeat", self._speaker, timeout=_HEARTBEAT_TIMEOUT_S)

    def model(self, sha256: str, num_bytes: int) -> bytes:
        """Download a model, from its beginning where the connection breaks: that is no fault of this device.

        Raises:
            ModelDamagedError: larger than `MAX_MODEL_BYTES`, or its checksum is another.
            RefusedError: the server does not give it.
        """
        if num_bytes > MAX_MODEL_BYTES:
            raise ModelDamagedError(f"model of {num_bytes} bytes; at most {MAX_MODEL_BYTES} are taken")
        return self._patiently(lambda: self._download(sha256))

    def _download(self, sha256: str) -> bytes:
        data = bytearray()
        with self._http.stream("GET", f"/models/{sha256}") as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > MAX_MODEL_BYTES:
                    raise ModelDamagedError(f"model of more than {MAX_MODEL_BYTES} bytes")
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise ModelDamagedError(f"model {sha256[:12]} arrived as {found[:12]}")
        return bytes(data)

    def _try(self, method: str, path: str, message: Mapping[str, Any], timeout: float | None = None) -> httpx.Response:
        answer = self._http.request(method, path, json=message, timeout=_TIMEOUT if timeout is None else timeout)
        if answer.is_error:
            raise _refusal(answer)
        return answer

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        """Try until the server answers, with longer and longer pauses; its refusals are answers.

        Raises:
            RefusedError: 4xx.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except httpx.RequestError as error:
                reason = str(error) or type(error).__name__
            except RefusedError as error:
                if error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                reason = str(error)
            if pause_s >= _LONGEST_PAUSE_S or pause_s == _FIRST_PAUSE_S:
                self._complain(f"waiting for the server: {reason}")
            self._sleep(pause_s * random.uniform(0.5, 1.0))  # a pool's agents shall not all come back at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _refusal(answer: httpx.Response) -> RefusedError:
    try:
        reason = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        reason = answer.text[:1000]
    return RefusedError(answer.status_code, f"{answer.status_code}: {' '.join(reason.split())[:200]}")


def _document(answer: httpx.Response, *keys: str) -> dict[str, Any]:
    """The answer's JSON object, which must have these keys.

    Raises:
        RefusedError: another answer than a device server's; a router's sign-in page, for instance.
    """
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or not set(keys) <= document.keys():
        status = answer.status_code
        raise RefusedError(
            status, f"the address answers {status} and not as a device server does; is it the right one?"
        )
    return document
