"""Asks one source: limits, waits, retries and identity, shared by its streams."""

import asyncio
import datetime as dt
import random
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

import stamina
from aiolimiter import AsyncLimiter

from producers.answer_errors import AnswerErrors, Cause, refused, told
from producers.exchange import Request, Response, origin
from producers.limits import exhausted_for, retry_after
from producers.rest import RestSource
from schemas.errors import SetupError, SluiceError, TransientError
from services.poller.credentials import Credentials
from services.poller.ports import Http, PollPorts
from services.settings import Poller

WAIT_SECONDS_FIRST = 0.5
JITTER_SECONDS = 0.5
_UNAUTHORISED, _TOO_MANY, _UNAVAILABLE = 401, 429, 503


@dataclass(slots=True)
class Call:
    """One request of a stream, its tries included."""

    stream: str
    stop: asyncio.Event
    errors: AnswerErrors | None = None  # what in an answer says that it failed
    in_flight: bool = False  # sent and not yet answered


@dataclass(slots=True)
class Asker:
    """One source. For one event loop."""

    name: str
    source: RestSource
    http: Http
    ports: PollPorts
    settings: Poller
    credentials: Credentials = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)
    _doubtful_slots: asyncio.Semaphore = field(init=False)
    _doubtful: set[str] = field(default_factory=set, init=False)  # streams not answered last time
    _rate: AbstractAsyncContextManager[None] = field(init=False)
    _closed_until: dict[str, float] = field(default_factory=dict, init=False)  # monotonic

    def __post_init__(self) -> None:
        self.credentials = Credentials(
            self.source.auth,
            self.name,
            self.ports.secret,
            self._send_for_token,
            self.ports.refresh_tokens,
            self.ports.clock,
        )
        self._slots = asyncio.Semaphore(self.source.concurrency)
        self._doubtful_slots = asyncio.Semaphore(max(1, self.source.concurrency // 2))
        allowance = self.source.allowance
        self._rate = nullcontext() if allowance is None else AsyncLimiter(*allowance)

    async def ask(self, request: Request, call: Call) -> Response:
        """The answer, once it is neither a transient failure nor a 401 that renewal can heal.

        Raises TransientError after the last try, or at once where the source asks for a longer
        wait than ``backoff_seconds_max``; SetupError for what no try can heal.
        """
        if origin(request.url) != origin(self.source.base_url):
            raise SetupError("a request would leave base_url's host", where=request.place)

        def again(error: Exception) -> bool | dt.timedelta:
            if not isinstance(error, TransientError) or call.stop.is_set():
                return False
            if error.retry_after is None:
                return True
            if error.retry_after > self.settings.backoff_seconds_max:
                return False
            jitter = random.uniform(0, min(JITTER_SECONDS, error.retry_after))  # noqa: S311 - waits
            return dt.timedelta(seconds=error.retry_after + jitter)

        async for attempt in stamina.retry_context(
            on=again,
            attempts=self.settings.attempts_max,
            timeout=None,
            wait_initial=min(WAIT_SECONDS_FIRST, self.settings.backoff_seconds_max),
            wait_max=self.settings.backoff_seconds_max,
            wait_jitter=JITTER_SECONDS,
        ):
            with attempt:
                return await self._try(request, call)
        raise AssertionError("stamina ends with an answer or an error")  # pragma: no cover

    async def _try(self, request: Request, call: Call) -> Response:
        proved = await self.credentials.prove(request)
        response = await self._send(proved.request, call)
        if _is(Cause.UNAUTHENTICATED, response, call) and await self.credentials.renew(proved):
            proved = await self.credentials.prove(request)
            response = await self._send(proved.request, call)
        where = f"{self.name}/{call.stream}"
        error = refused(response, call.errors, self.source.rate_headers, where)
        if isinstance(error, TransientError):
            raise error
        return response

    async def _send(self, request: Request, call: Call) -> Response:
        while True:
            await self._wait_until_open(call)
            if not self._has_room():
                self.ports.metrics.count("poll_rate_waits", source=self.name)
            async with self._lane(call), self._rate, self._slots:
                if self._closed_for(call) > 0:  # closed while this one waited for its turn
                    continue
                response = await self._answered(request, call)
                self._note(response, call)
                return response

    def _lane(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Streams whose requests may hang again share half of the slots: the rest is others'."""
        return self._doubtful_slots if call.stream in self._doubtful else nullcontext()

    async def _answered(self, request: Request, call: Call) -> Response:
        call.in_flight = True
        self._doubtful.add(call.stream)
        try:
            response = await self._counted(request)
        finally:
            call.in_flight = False
        self._doubtful.discard(call.stream)
        return response

    def _has_room(self) -> bool:
        return not isinstance(self._rate, AsyncLimiter) or self._rate.has_capacity()

    async def _counted(self, request: Request) -> Response:
        try:
            response = await self.http.send(request)
        except SluiceError:
            self.ports.metrics.count("poll_requests", source=self.name, status="error")
            raise
        self.ports.metrics.count("poll_requests", source=self.name, status=str(response.status))
        return response

    async def _send_for_token(self, request: Request) -> Response:
        async with self._slots:
            return await self._counted(request)

    def _note(self, response: Response, call: Call) -> None:
        """Close the gate where the source says that its allowance is used up.

        An allowance is the source's, unless its settings say otherwise. A 503 speaks of what was
        asked: the other streams find out for themselves.
        """
        names, now = self.source.rate_headers, response.received_at
        shared = "" if names.scope == "source" else call.stream
        wish = retry_after(response.headers, now) or 0.0
        wait = exhausted_for(response.headers, names, now) or 0.0
        if _is(Cause.RATE_LIMITED, response, call):
            wait = max(wait, wish)
        self._close(shared, wait)
        if response.status == _UNAVAILABLE:
            self._close(call.stream, wish)

    def _close(self, key: str, seconds: float) -> None:
        until = self.ports.clock.monotonic() + seconds
        self._closed_until[key] = max(until, self._closed_until.get(key, 0.0))

    def _closed_for(self, call: Call) -> float:
        until = max(self._closed_until.get(key, 0.0) for key in ("", call.stream))
        return until - self.ports.clock.monotonic()

    async def _wait_until_open(self, call: Call) -> None:
        """Raises TransientError where that takes longer than ``backoff_seconds_max``."""
        wait = self._closed_for(call)
        if wait <= 0:
            return
        if wait > self.settings.backoff_seconds_max:
            raise TransientError(
                f"the source's allowance is used up for {wait:.0f} s",
                where=f"{self.name}/{call.stream}",
                retry_after=wait,
            )
        self.ports.metrics.count("poll_rate_waits", source=self.name)
        await asyncio.sleep(wait)


def _is(cause: Cause, response: Response, call: Call) -> bool:
    """Whether an answer says this of itself, by its status or in its body."""
    if response.status == _STATUS_OF[cause]:
        return True
    said = told(response, call.errors)
    return said is not None and said.cause is cause


_STATUS_OF = {Cause.UNAUTHENTICATED: _UNAUTHORISED, Cause.RATE_LIMITED: _TOO_MANY}
