"""How the server says no: errors as HTTP statuses, each with its reason under ``detail``."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from nas.devices.dispatch import RefusedError
from nas.devices.model_check import ModelRefusedError
from nas.devices.model_store import DiskFullError, ModelTooLargeError


def answer_refusals(app: FastAPI) -> None:
    """Let `app` answer with what its routes raise."""
    app.exception_handler(RefusedError)(_refused)
    for kind, status in ((ModelRefusedError, 422), (ModelTooLargeError, 413), (DiskFullError, 507)):
        app.exception_handler(kind)(_with_status(status))
    app.exception_handler(sqlite3.Error)(database_trouble)
    app.exception_handler(RequestValidationError)(_misunderstood)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return JSONResponse({"detail": str(error), "missing": error.missing or []}, error.status)


def _with_status(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_: Request, error: Exception) -> Response:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        return JSONResponse({"detail": detail}, status)

    return answer


async def _misunderstood(_: Request, error: Exception) -> Response:
    """In words, and without the input, which may be long, or contain what JSON cannot (NaN)."""
    assert isinstance(error, RequestValidationError)
    where = [".".join(map(str, found["loc"][1:])) for found in error.errors()]
    said = [str(found["msg"]).removeprefix("Value error, ") for found in error.errors()]
    told = "; ".join(f"{place}: {words}" if place else words for place, words in zip(where, said, strict=True))
    return JSONResponse({"detail": told.encode("ascii", "backslashreplace").decode()[:2000]}, 422)


async def database_trouble(_: Request, error: Exception) -> Response:
    """507 for a full disk, 503 for anything else: both may pass, and agents and clients try again."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    detail = "no room for the server's state on its disk" if full else f"the server's database: {error}"
    return JSONResponse({"detail": detail}, 507 if full else 503)
