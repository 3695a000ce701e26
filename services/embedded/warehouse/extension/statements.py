"""The endpoint that runs statements: once per request id, never with HTTP 500, with faults."""

import asyncio

from fakesnow.server import query_request
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.embedded.warehouse.extension.errors import INTERNAL, SESSION_GONE, TOKEN_EXPIRED
from services.embedded.warehouse.extension.faults import (
    NOT_RUN,
    STATUS,
    Action,
    CutConnection,
    Faults,
)
from services.embedded.warehouse.extension.sessions import Sessions, json_of, token_of

ANSWERS_MAX = 64
ANSWER_BYTES_MAX = 64_000
MESSAGE_CHARS_MAX = 300
_HTTP_ERROR = 500


class Statements:
    """``/queries/v1/query-request``."""

    def __init__(self, sessions: Sessions, faults: Faults | None) -> None:
        self._sessions = sessions
        self._faults = faults
        self._answers: dict[str, asyncio.Task[Response]] = {}

    async def query(self, request: Request) -> Response:
        """Run the statement of a request, after and before whatever fault is due."""
        fault = self._faults.take(await statement_of(request)) if self._faults else None
        if fault is None:
            return await self._once(request)
        with self._sessions.running(token_of(request)):
            await asyncio.sleep(fault.seconds)
        if fault.action not in NOT_RUN:
            answer = await self._once(request)
            if fault.action is Action.DELAY:
                return answer
        return await self._suffered(fault.action, request)

    async def _suffered(self, action: Action, request: Request) -> Response:
        """What a fault answers instead."""
        match action:
            case Action.DROP_REQUEST | Action.DROP_REPLY:
                return CutConnection()
            case Action.TOKEN_EXPIRED:
                return failed(TOKEN_EXPIRED, "the session token has expired")
            case Action.SESSION_GONE:
                await run_in_threadpool(self._sessions.end, token_of(request))
                return failed(SESSION_GONE, "the session does not exist any more")
            case _:
                return JSONResponse(
                    {"success": False, "message": "fault"}, status_code=STATUS[action]
                )

    async def _once(self, request: Request) -> Response:
        """A repeated request id gets the first answer: the connector repeats what it lost.

        Snowflake does the same; without it a lost reply to INSERT would insert twice.
        """
        key = request.query_params.get("requestId")
        if key is None:
            return await self._run(request)
        if key not in self._answers:
            self._answers[key] = asyncio.create_task(self._run(request))
            while len(self._answers) > ANSWERS_MAX:
                del self._answers[next(iter(self._answers))]
        answer = await asyncio.shield(self._answers[key])
        if len(answer.body) > ANSWER_BYTES_MAX:  # a large result: asked for again, run again
            self._answers.pop(key, None)
        return answer

    async def _run(self, request: Request) -> Response:
        with self._sessions.running(token_of(request)):
            answer = await query_request(request)
        return await _without_http_error(answer, request)


async def _without_http_error(answer: JSONResponse, request: Request) -> Response:
    """HTTP 500 as an error of the statement: the connector would retry a 500 for minutes."""
    if answer.status_code != _HTTP_ERROR:
        return answer
    return internal_error(f"not supported here, see the log: {await statement_of(request)}")


async def after_bug(_: Request, error: Exception) -> Response:
    """The answer to a statement that a bug of ours or fakesnow's has broken."""
    return internal_error(f"{type(error).__name__}, see the log: {error}")


def internal_error(message: str) -> JSONResponse:
    """The statement's error, in Snowflake's form."""
    return failed(INTERNAL, message)


def failed(error: tuple[int, str], message: str) -> JSONResponse:
    """An error of this number and SQL state, in Snowflake's form."""
    errno, sqlstate = error
    code = f"{errno:06d}"
    return JSONResponse(
        {
            "data": {"errorCode": code, "sqlState": sqlstate},
            "code": code,
            "message": message[:MESSAGE_CHARS_MAX],
            "success": False,
        }
    )


async def statement_of(request: Request) -> str:
    """The SQL text of a query request."""
    return str((await json_of(request))["sqlText"])
