"""Sessions: complete login answers, logout that rolls back, and transactions left by the dead."""

import asyncio
import gzip
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fakesnow.server import login_request
from fakesnow.server import sessions as connections
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.embedded.warehouse.extension.connection import ExtendedConnection

MASTER_SECONDS = 14_400  # an idle session lives that long
TOKEN_SECONDS = 3_600

_LOGIN_FIELDS: dict[str, Any] = {
    # connector 5 refuses an answer without them; a master token makes close() send the logout
    "masterValidityInSeconds": MASTER_SECONDS,
    "validityInSeconds": TOKEN_SECONDS,
    "displayUserName": "EMBEDDED",
    "firstLogin": False,
    "remMeToken": None,
    "remMeValidityInSeconds": 0,
    "healthCheckInterval": 45,
    "newClientForUpgrade": None,
    "idToken": None,
    "idTokenValidityInSeconds": 0,
    "responseData": None,
    "mfaToken": None,
    "mfaTokenValidityInSeconds": 0,
}
_LOGIN_PARAMETERS = (
    {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
    {"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False},
    {"name": "TIMEZONE", "value": "Etc/UTC"},
)
_OK = {"data": None, "code": None, "message": None, "success": True}


@dataclass(slots=True)
class _Use:
    seen_at: float  # monotonic seconds
    running: int = 0  # statements under way


class Sessions:
    """Who is logged in, and since when each has been silent."""

    def __init__(self, idle_transaction_seconds: float) -> None:
        self._idle_transaction_seconds = idle_transaction_seconds
        self._uses: dict[str, _Use] = {}

    async def login(self, request: Request) -> JSONResponse:
        """Fakesnow's login, answered with all that connectors 4 and 5 look for."""
        answer = await login_request(request)
        body = json.loads(bytes(answer.body))
        data = body["data"]
        data |= _LOGIN_FIELDS
        data |= {"masterToken": secrets.token_urlsafe(32), "sessionId": secrets.randbelow(2**52)}
        data["sessionInfo"] |= {
            "warehouseName": request.query_params.get("warehouse"),
            "roleName": request.query_params.get("roleName") or "SYSADMIN",
        }
        data["parameters"] += _LOGIN_PARAMETERS
        self._uses[data["token"]] = _Use(time.monotonic())
        return JSONResponse({"code": None, "message": None} | body)

    async def session(self, request: Request) -> Response:
        """Heartbeat, or the logout that a connector sends on close()."""
        token = token_of(request)
        if request.query_params.get("delete"):
            await run_in_threadpool(self.end, token)
        return JSONResponse(_OK)

    async def renew(self, request: Request) -> JSONResponse:
        """Another token for a session whose token has expired."""
        old = str((await json_of(request))["oldSessionToken"])
        new = secrets.token_urlsafe(32)
        if old in connections:
            connections[new] = connections.pop(old)
            self._uses[new] = self._uses.pop(old, _Use(time.monotonic()))
        data = {
            "sessionToken": new,
            "validityInSecondsST": TOKEN_SECONDS,
            "masterToken": secrets.token_urlsafe(32),
            "validityInSecondsMT": MASTER_SECONDS,
            "sessionId": secrets.randbelow(2**52),
        }
        return JSONResponse({**_OK, "data": data})

    def end(self, token: str) -> None:
        """Forget a session; its open transaction is rolled back."""
        self._uses.pop(token, None)
        connection = connections.pop(token, None)
        if isinstance(connection, ExtendedConnection):
            connection.end()

    @contextmanager
    def running(self, token: str) -> Iterator[None]:
        """While a statement runs its session is not idle."""
        use = self._uses.setdefault(token, _Use(time.monotonic()))
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1
            use.seen_at = time.monotonic()

    async def reap_for_ever(self) -> None:
        """Roll back transactions whose client is gone, end sessions that nobody uses.

        Snowflake rolls back a detached transaction that blocks others after five idle minutes.
        """
        while True:
            await asyncio.sleep(min(self._idle_transaction_seconds, 5) / 4)
            await run_in_threadpool(self._reap, time.monotonic())

    def _reap(self, now: float) -> None:
        for token, use in list(self._uses.items()):
            idle = now - use.seen_at
            connection = connections.get(token)
            if use.running or not isinstance(connection, ExtendedConnection):
                continue
            if connection.busy and idle > self._idle_transaction_seconds:
                connection.abort()
            if idle > MASTER_SECONDS:
                self.end(token)


async def json_of(request: Request) -> Any:  # noqa: ANN401 - JSON
    """The body, which connector 4 compresses."""
    body = await request.body()
    packed = request.headers.get("Content-Encoding") == "gzip"
    return json.loads(gzip.decompress(body) if packed else body)


def token_of(request: Request) -> str:
    """The session's token of ``Authorization: Snowflake Token="..."``."""
    return request.headers.get("Authorization", "")[17:-1]
