"""The meter of a search whose device is elsewhere: the verbs of `MeterProcess`, done by a pool's devices."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import tenacity

from latency.agent_client import check_server, tls_context
from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.meter_process import MeasuringError
from nas.devices.messages import JobRequest, measure_request
from nas.devices.model_check import MAX_MODEL_BYTES
from nas.errors import UserError

_POLL_S = 20.0
_TIMEOUT = httpx.Timeout(30.0, read=60.0)
_UPLOADS = 3  # a model may be dropped between its upload and the job that needs it


class _BusyError(Exception):
    """The server is there and cannot answer now."""


class _RefusedError(Exception):
    """The server's 4xx."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            body = answer.json()
            detail, self.missing = str(body["detail"]), list(body.get("missing", []))
        except (ValueError, KeyError, TypeError, AttributeError):
            detail, self.missing = " ".join(answer.text[:1000].split())[:200], []
        super().__init__(detail)
        self.status = answer.status_code


class RemoteMeter:
    """A pool of devices behind a server; a context manager. Safe to use from several threads.

    The first question binds it to one platform: from then on only devices with an equal `DeviceInfo` are asked.

    Args:
        server: address, such as ``https://laptop.local:8470``.
        token: a client token of the pool.
        pool: whose devices measure.
        deployment: how networks are run; by default as `Deployment()`.
        ca_file: certificate to trust instead of the system's authorities.
        wait_s: longest wait for one answer, server restarts included; positive.
        insecure: allow http to another machine.
        transport: of httpx; a test gives its own.
        clock: seconds, monotonic.

    Raises:
        UserError: an address or a certificate that cannot be used.
    """

    def __init__(
        self,
        server: str,
        token: str,
        pool: str,
        deployment: Deployment | None = None,
        *,
        ca_file: Path | None = None,
        wait_s: float = 600.0,
        insecure: bool = False,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < wait_s < float("inf"):
            raise ValueError(f"wait_s {wait_s} must be positive and finite")
        self.deployment = deployment or Deployment()
        self._server, self._pool, self._wait_s, self._clock = server, pool, wait_s, clock
        try:
            check_server(server, insecure=insecure)
            verify = tls_context(server, ca_file)
        except ValueError as error:
            raise UserError(str(error)) from None
        self._http = httpx.Client(
            base_url=server.rstrip("/") + "/v1",
            headers={"Authorization": f"Bearer {token}"},
            verify=verify,
            timeout=_TIMEOUT,
            transport=transport,
            trust_env=False,  # a proxy from the environment would see the token
        )
        self._bound: tuple[str, DeviceInfo] | None = None
        self._binding = threading.Lock()

    def __enter__(self) -> RemoteMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    @property
    def device(self) -> DeviceInfo:
        """Where it measures: the pool's first device to answer, and those equal to it.

        Raises:
            MeasuringError: none answered in time.
            UserError: the server refuses the token.
        """
        return self._platform()[1]

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        """Time `candidate` against `reference`; arguments as of `MeterProcess.measure`.

        A candidate that the server refuses, that cannot be run, or that kills devices gives status ``failed`` with a reason.

        Raises:
            MeasuringError: no device answered in time, the reference cannot be run, or the job was given up.
            UserError: the server refuses the token.
        """
        platform, device = self._platform()
        models = {_sha256(model): model for model in (reference, candidate)}
        shas = {"candidate_sha256": _sha256(candidate), "reference_sha256": _sha256(reference)}
        request = measure_request(
            shas["candidate_sha256"],
            shas["reference_sha256"],
            settings or MeterSettings(),
            platform=platform,
            deployment=self.deployment.to_dict(),
            seed=seed,
            fresh_process=fresh_process,
        )
        try:
            outcome = self._outcome(request, models)
        except _ModelRefusedError as error:
            if error.sha256 == shas["reference_sha256"]:
                raise MeasuringError(f"reference: {error}") from error
            return Measurement.failure(f"candidate: {error}", **shas, device=device.key)
        if outcome["kind"] == "failed":
            return Measurement.failure(outcome["reason"], **shas, device=device.key)
        found = Measurement.from_dict(outcome["answer"])
        if found.device != device.key:
            raise MeasuringError(
                f"{outcome['device']} measured as platform {found.device}, this search as {device.key}: not to be mixed"
            )
        return found

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        """The runtime's own profile of `model`; as `MeterProcess.trace`.

        Raises:
            MeasuringError: the model cannot be run, or no device answered in time.
            ValueError: fewer than one run.
            UserError: the server refuses the token.
        """
        if num_runs < 1:
            raise ValueError(f"num_runs {num_runs} must be at least 1")
        platform, _ = self._platform()
        request = JobRequest(
            kind="trace",
            platform=platform,
            deployment=self.deployment.to_dict(),
            candidate=_sha256(model),
            num_runs=num_runs,
        )
        try:
            outcome = self._outcome(request, {_sha256(model): model})
        except _ModelRefusedError as error:
            raise MeasuringError(str(error)) from error
        if outcome["kind"] == "failed":
            raise MeasuringError(outcome["reason"])
        answer: dict[str, Any] = outcome["answer"]
        return answer

    def _platform(self) -> tuple[str, DeviceInfo]:
        with self._binding:
            if self._bound is None:
                outcome = self._outcome(JobRequest(kind="describe", deployment=self.deployment.to_dict()), {})
                self._bound = outcome["platform"], DeviceInfo.from_dict(outcome["answer"])
            return self._bound

    def _outcome(self, request: JobRequest, models: Mapping[str, bytes]) -> dict[str, Any]:
        """Have a job done; its outcome, which is none of kind ``error``."""
        job_id, deadline = secrets.token_hex(16), self._clock() + self._wait_s
        self._submit(job_id, request, models, deadline)
        while (left_s := deadline - self._clock()) > 0:
            wait_s = f"{min(_POLL_S, left_s):.3f}"
            job = self._job(deadline, job_id, wait_s)
            if job["state"] == "done":
                outcome: dict[str, Any] = job["outcome"]
                if outcome["kind"] == "error":
                    raise MeasuringError(outcome["reason"])
                return outcome
            if job["state"] == "cancelled":
                raise MeasuringError(f"job {job_id} was cancelled")
        self._abandon(job_id)
        raise MeasuringError(
            f"no device of pool {self._pool!r} answered within {self._wait_s:g} s; see: nas device list"
        )

    def _job(self, deadline: float, job_id: str, wait_s: str) -> dict[str, Any]:
        """How the job stands, when it has ended or after `wait_s`."""
        try:
            answer = self._ask(deadline, "GET", f"/jobs/{job_id}", params={"wait_s": wait_s})
            job: dict[str, Any] = answer.json()
            if not {"state", "outcome"} <= job.keys():
                raise ValueError
        except _RefusedError as error:  # its state was moved away, say
            raise MeasuringError(f"{self._server}: {error}") from error
        except (ValueError, AttributeError):
            raise MeasuringError(
                f"{self._server}: answers {answer.status_code} and not as a device server does; is it the right address?"
            ) from None
        return job

    def _submit(self, job_id: str, request: JobRequest, models: Mapping[str, bytes], deadline: float) -> None:
        body = request.model_dump(mode="json")
        for _ in range(_UPLOADS):
            try:
                self._ask(deadline, "PUT", f"/jobs/{job_id}", params={"pool": self._pool}, json=body)
            except _RefusedError as error:
                if not error.missing:
                    raise MeasuringError(f"{self._server}: {error}") from error
                for sha256 in error.missing:
                    self._upload(sha256, models[sha256], deadline)
            else:
                return
        raise MeasuringError(f"{self._server}: drops models as fast as they come; its disk is too small")

    def _upload(self, sha256: str, model: bytes, deadline: float) -> None:
        if len(model) > MAX_MODEL_BYTES:
            raise _ModelRefusedError(sha256, f"{len(model)} bytes, at most {MAX_MODEL_BYTES} are taken")
        headers = {"Content-Type": "application/octet-stream"}
        try:
            self._ask(deadline, "PUT", f"/models/{sha256}", content=model, headers=headers)
        except _RefusedError as error:
            raise _ModelRefusedError(sha256, str(error)) from error

    def _ask(self, deadline: float, method: str, path: str, **fields: Any) -> httpx.Response:
        """One request, repeated while the server is away; at least once.

        Raises:
            _RefusedError: 4xx.
            MeasuringError: the server did not come back before the deadline.
            UserError: it refuses the token.
        """
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((httpx.RequestError, _BusyError)),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0, 0.2),
            stop=lambda _: self._clock() >= deadline,
            reraise=True,
        )
        try:
            answer: httpx.Response = retry(self._request, method, path, **fields)
        except (httpx.RequestError, _BusyError) as error:
            reason = str(error) or type(error).__name__
            raise MeasuringError(f"{self._server}: no answer within {self._wait_s:g} s ({reason})") from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise UserError(f"{self._server}: {_RefusedError(answer)}")
        if answer.is_error:
            raise _RefusedError(answer)
        return answer

    def _request(self, method: str, path: str, **fields: Any) -> httpx.Response:
        answer = self._http.request(method, path, **fields)
        if answer.is_server_error:
            raise _BusyError(f"{answer.status_code}: {_RefusedError(answer)}")
        return answer

    def _abandon(self, job_id: str) -> None:
        """Best effort: a job that stays queued costs a device some seconds, no more."""
        try:
            self._http.delete(f"/jobs/{job_id}")
        except httpx.RequestError:
            return


class _ModelRefusedError(Exception):
    """The server does not take a model."""

    def __init__(self, sha256: str, reason: str) -> None:
        super().__init__(reason)
        self.sha256 = sha256


def _sha256(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()
