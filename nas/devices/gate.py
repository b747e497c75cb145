"""What is looked at before anything of a request is read: who asks, and how much is coming."""

from __future__ import annotations

import re
import sqlite3

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from nas.devices.database import Database
from nas.devices.messages import MAX_JSON_BYTES
from nas.devices.refusals import database_trouble
from nas.devices.tokens import Token, find_token

_MODEL_PATH = re.compile(r"/v1/models/[^/]*")


def announced(content_length: str | None) -> int:
    """The size that a header promises, in bytes; 0 where it promises none."""
    return int(content_length) if content_length and content_length.isdecimal() else 0


def _token_of(database: Database, authorization: str) -> Token | None:
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    with database.transaction() as db:
        return find_token(db, text.strip())


class Gate:
    """ASGI middleware, bare: what starlette makes of a function hides from the routes that a client has hung up.

    Args:
        app: what comes behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        refusal = None
        if scope["type"] == "http":
            request = Request(scope)
            refusal = await _stranger(request) or _too_long(request)
        await (refusal or self._app)(scope, receive, send)


async def _stranger(request: Request) -> Response | None:
    """Turn strangers away before anything of what they send is read."""
    try:
        authorization = request.headers.get("authorization", "")
        token = await run_in_threadpool(_token_of, request.app.state.service.database, authorization)
    except sqlite3.Error as error:  # handlers of exceptions come after the middleware
        return await database_trouble(request, error)
    if token is None:
        detail = "no valid token; make one with: nas device token add"
        return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
    request.state.token = token
    return None


def _too_long(request: Request) -> Response | None:
    """Refuse large documents by their announced size before they are read; models count themselves.

    The path is the scope's, for that of `request.url` can be bent by the Host header.
    """
    if request.method not in ("POST", "PUT") or _MODEL_PATH.fullmatch(request.scope["path"]):
        return None
    length = request.headers.get("content-length")
    if length is None:
        return JSONResponse({"detail": "content-length is needed"}, 411)
    if announced(length) > MAX_JSON_BYTES:
        return JSONResponse({"detail": f"at most {MAX_JSON_BYTES} bytes of JSON are taken"}, 413)
    return None
