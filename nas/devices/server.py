"""The server's HTTP side: who asks, is it allowed, and waiting. What happens is `nas.devices.dispatch`'s."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from nas.devices.database import Database
from nas.devices.dispatch import Dispatcher, Lease
from nas.devices.gate import Gate, announced
from nas.devices.listing import device_rows
from nas.devices.messages import Asking, JobRequest, Joining, Reporting, Speaker
from nas.devices.model_check import MAX_MODEL_BYTES
from nas.devices.model_store import ModelStore
from nas.devices.refusals import answer_refusals
from nas.devices.tokens import Role, Token

HEARTBEAT_S = 10.0
LONG_POLL_S = 25.0

_SHA256 = r"^[0-9a-f]{64}$"

Sha256Path = Annotated[str, Path(pattern=_SHA256)]
JobPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class Bell:
    """Wakes those who wait for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._last = False

    def listen(self) -> asyncio.Event:
        """What the next ring sets; take it before looking whether there is something, so that no ring is missed."""
        return self._event

    @property
    def last(self) -> bool:
        """Whether nothing more will change here, for the server ends."""
        return self._last

    def ring_last(self) -> None:
        """The server ends: nobody shall wait any longer."""
        self._last = True
        self.ring()

    def ring(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes use."""

    database: Database
    models: ModelStore
    dispatcher: Dispatcher
    bell: Bell


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]


def _bearer(role: Role) -> Callable[..., Token]:
    """A dependency: the token of the request, which must have this role."""

    def check(request: Request) -> Token:
        token: Token = request.state.token  # `Gate` has let it in
        if token.revoked_at is not None:
            raise HTTPException(403, f"token {token.name!r} was revoked; make another with: nas device token add")
        if token.role != role:
            raise HTTPException(403, f"token {token.name!r} is a {token.role}'s; this needs a {role}'s")
        return token

    return check


DeviceToken = Annotated[Token, Depends(_bearer("device"))]
ClientToken = Annotated[Token, Depends(_bearer("client"))]


def _pool_of(token: Token, pool: str) -> str:
    if token.pool != pool:
        raise HTTPException(403, f"token {token.name!r} is for pool {token.pool!r}, not {pool!r}")
    return pool


devices_side = APIRouter(prefix="/v1")
clients_side = APIRouter(prefix="/v1")


@devices_side.post("/devices")
def join(message: Joining, token: DeviceToken, service: Here) -> dict[str, float]:
    """An agent starts; the terms for it."""
    service.dispatcher.join(_pool_of(token, message.pool), message)
    term_s = service.dispatcher.lease_term_s
    return {"heartbeat_s": min(HEARTBEAT_S, term_s / 4), "wait_s": LONG_POLL_S}


@devices_side.post("/lease")
async def lease(message: Asking, request: Request, token: DeviceToken, service: Here) -> Response:
    """The next job, when there is one; 204 when there was none for as long as the agent wanted to wait."""
    pool, deadline = _pool_of(token, message.pool), time.monotonic() + message.wait_s
    while True:
        changed = service.bell.listen()
        if await request.is_disconnected():  # a killed agent's question; a job for it would wait out its lease
            return Response(status_code=204)
        found = await run_in_threadpool(service.dispatcher.lease, pool, message)
        if found is not None:
            return JSONResponse(_leased(found, service))
        if service.bell.last or not await _wait(changed, deadline):
            return Response(status_code=204)


@devices_side.post("/jobs/{job_id}/attempts/{number}/heartbeat")
def heartbeat(job_id: JobPath, number: int, message: Speaker, token: DeviceToken, service: Here) -> dict[str, bool]:
    """An agent is at work."""
    pool = _pool_of(token, message.pool)
    return {"wanted": service.dispatcher.heartbeat(pool, message, (job_id, number))}


@devices_side.put("/jobs/{job_id}/attempts/{number}/result")
async def result(job_id: JobPath, number: int, message: Reporting, token: DeviceToken, service: Here) -> dict[str, str]:
    """How an attempt ended. The same again is answered, and changes nothing."""
    pool = _pool_of(token, message.pool)
    state = await run_in_threadpool(service.dispatcher.report, pool, message, (job_id, number), message.report)
    service.bell.ring()
    return {"state": state}


@devices_side.get("/models/{sha256}")
def download(sha256: Sha256Path, token: DeviceToken, service: Here) -> FileResponse:
    """A model that an open job of the token's pool needs."""
    path = service.models.path(sha256) if service.dispatcher.may_read(token.pool, sha256) else None
    if path is None:
        raise HTTPException(404, f"no job of pool {token.pool!r} needs model {sha256}")
    return FileResponse(path, media_type="application/octet-stream")


@clients_side.put("/models/{sha256}", status_code=204)
async def upload(sha256: Sha256Path, request: Request, _: ClientToken, service: Here) -> None:
    """Store a model, once it has passed the check."""
    if announced(request.headers.get("content-length")) > MAX_MODEL_BYTES:
        raise HTTPException(413, f"model too large: at most {MAX_MODEL_BYTES} bytes are taken")
    await service.models.receive(sha256, request.stream())
    await run_in_threadpool(service.dispatcher.make_room)


@clients_side.put("/jobs/{job_id}", status_code=204)
async def submit(job_id: JobPath, pool: str, message: JobRequest, token: ClientToken, service: Here) -> None:
    """Queue a job; the same again changes nothing. 404 names models to upload first."""
    await run_in_threadpool(service.dispatcher.submit, _pool_of(token, pool), job_id, message)
    service.bell.ring()


@clients_side.get("/jobs/{job_id}")
async def job(
    job_id: JobPath, token: ClientToken, service: Here, wait_s: Annotated[float, Query(ge=0, le=30)] = 0
) -> dict[str, Any]:
    """A job as it stands, at once when it is over and after `wait_s` otherwise."""
    deadline = time.monotonic() + wait_s
    while True:
        changed = service.bell.listen()
        found = await run_in_threadpool(service.dispatcher.job, token.pool, job_id)
        if not found.open or service.bell.last or not await _wait(changed, deadline):
            return {"state": found.state, "outcome": found.outcome}


@clients_side.delete("/jobs/{job_id}", status_code=204)
async def cancel(job_id: JobPath, token: ClientToken, service: Here) -> None:
    """Nobody waits for this job any more."""
    await run_in_threadpool(service.dispatcher.cancel, token.pool, job_id)


@clients_side.get("/devices")
def list_devices(token: ClientToken, service: Here) -> list[dict[str, Any]]:
    """The devices of the token's pool; see `nas.devices.listing`."""
    with service.database.transaction() as db:
        return device_rows(db, time.time(), token.pool)


def create_app(service: Service) -> FastAPI:
    """The server as an ASGI application; it offers no pages about itself."""

    @contextlib.asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(service))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(lifespan=sweeping, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    app.include_router(devices_side)
    app.include_router(clients_side)
    app.add_middleware(Gate)
    answer_refusals(app)
    return app


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(min(1.0, service.dispatcher.lease_term_s / 10))
        try:
            if await run_in_threadpool(service.dispatcher.sweep):
                service.bell.ring()
        except sqlite3.Error as error:  # a full disk may be mended; the next sweep finds the same leases
            print(f"nas device serve: {error}", flush=True)


async def _wait(changed: asyncio.Event, deadline: float) -> bool:
    """Wait for a change, a second at most, for some things come due by time alone; False when the deadline is over."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return False
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), min(left_s, 1.0))
    return True


def _leased(found: Lease, service: Service) -> dict[str, Any]:
    sizes = {}
    for sha256 in found.job.request.models:
        path = service.models.path(sha256)
        sizes[sha256] = path.stat().st_size if path else 0
    request = found.job.request.model_dump(mode="json")
    return {"job": found.job.id, "attempt": found.attempt.number, "request": request, "model_bytes": sizes}
