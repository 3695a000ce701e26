"""Faults on purpose, for tests: delays, answers that get lost, an unavailable service.

Only with ``--faults``. ``POST /sluice/faults`` takes the list of rules that replaces the old one:
``[{"match": "^COMMIT", "action": "drop_reply", "times": 1}]``.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override


class Action(StrEnum):
    """What goes wrong."""

    DELAY = "delay"  # the statement starts ``seconds`` later
    DROP_REQUEST = "drop_request"  # the same, but the statement is not run
    DROP_REPLY = "drop_reply"  # the statement is run, then the connection is cut in the answer
    UNAVAILABLE = "unavailable"  # HTTP 503, the statement is not run
    UNAVAILABLE_AFTER = "unavailable_after"  # HTTP 503, the statement is run all the same
    THROTTLED = "throttled"  # HTTP 429, the statement is not run
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the statement is not run; a new token is to be had
    SESSION_GONE = "session_gone"  # the statement is not run, and its session has ended


NOT_RUN = frozenset(Action) - {Action.DELAY, Action.DROP_REPLY, Action.UNAVAILABLE_AFTER}
STATUS = {Action.UNAVAILABLE: 503, Action.UNAVAILABLE_AFTER: 503, Action.THROTTLED: 429}


@dataclass(slots=True)
class Fault:
    """The next ``times`` statements that ``match`` suffer the ``action``."""

    match: str  # regular expression, searched for without regard to case
    action: Action
    times: int = 1
    seconds: float = 0.0


class Faults:
    """The rules that are in force."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    async def configure(self, request: Request) -> Response:
        """Replace the rules; answers how often each old one could still have struck."""
        left = [rule.times for rule in self._rules]
        rules = await request.json()
        self._rules = [Fault(**{**rule, "action": Action(rule["action"])}) for rule in rules]
        return JSONResponse({"left": left})

    def take(self, statement: str) -> Fault | None:
        """The first rule that strikes this statement, one time used up."""
        for rule in self._rules:
            if rule.times > 0 and re.search(rule.match, statement, re.IGNORECASE):
                rule.times -= 1
                return rule
        return None


class CutConnection(Response):
    """Promises a body and closes the connection instead."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leaving a response unfinished makes uvicorn close the connection."""
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
