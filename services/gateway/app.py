"""The webhook endpoint as an ASGI application."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, assert_never

import structlog

from producers import receive as steps
from producers.receive import Limits, Received
from producers.refusal import Refusal, RefusalReason
from producers.webhook import Answer, WebhookSource
from schemas.errors import SetupError, SluiceError, TransientError
from schemas.events import Delivery, Record
from schemas.headers import trace_id, trace_of
from services.gateway import door, responses, turns
from services.gateway.ports import GatewayPorts
from services.gateway.responses import Response
from services.gateway.tally import Tally
from services.settings import Gateway as GatewaySettings

_log = structlog.get_logger("gateway")

PREFIX = "/v1/in/"
AT_ONCE_BYTES_MAX = 16_000  # larger bodies are read one a turn of the loop
INLINE_BYTES_MAX = 128_000  # larger bodies are read in a thread, so that the others need not wait
INLINE_GZIP_BYTES_MAX = 8_000
LINGER_SECONDS = 1.0  # how long a refused body is still read, so that its sender sees the answer
LOG_SECONDS = 10.0  # one thing is told of this often
SLOW_SECONDS = 1.0  # a body that takes longer to read is told of

Outcome = Refusal | Answer | Received
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Gateway:
    """``POST /v1/in/{source}``. Every delivery is answered; 2xx means that the log has it."""

    def __init__(self, ports: GatewayPorts, settings: GatewaySettings) -> None:
        self._ports = ports
        self._settings = settings
        self._door = door.Door(ports.sources, settings)
        self._limits = Limits(
            inflated_bytes_max=settings.inflated_bytes_max,
            events_max=settings.events_max,
            depth_max=settings.depth_max,
            keys_max=settings.keys_max,
            record_bytes_max=ports.sink.record_bytes_max,
        )
        self._turns = turns.Turns()
        self._thread = ThreadPoolExecutor(1, "gateway-large-bodies")
        self._large = asyncio.Lock()  # whose turn the thread is
        self._silent_until: dict[str, float] = {}
        self._held_bytes = 0  # of bodies that have no answer yet
        self.tally = Tally(ports.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope["path"]
        source = self._ports.sources.get(path[len(PREFIX) :]) if path.startswith(PREFIX) else None
        headers = door.headers_of(scope["headers"])
        response = await self._respond(scope, headers, source, receive)
        if response is None:
            return  # the client has gone
        name = source.name if source is not None else "unknown"
        self.tally.answered(name, response.status, response.reason)
        await _send(response, receive, send)

    async def _respond(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        source: WebhookSource | None,
        receive: Receive,
    ) -> Response | None:
        refusal = self._refusal(scope, headers, source)
        if source is None or refusal is not None:
            return responses.problem(refusal or door.NOWHERE, close=self._unread(scope, headers))
        body = await self._body(receive)
        if body is None:
            return None
        if isinstance(body, Refusal):
            return responses.problem(body, close=True)
        try:
            return await self._delivered(scope, headers, source, body)
        finally:
            self._held_bytes -= len(body)

    async def _delivered(
        self, scope: Scope, headers: Mapping[str, str], source: WebhookSource, body: bytes
    ) -> Response:
        query = scope["query_string"].decode("latin-1")
        delivery = Delivery(
            source=source.name,
            headers=headers,
            body=body,
            payload=body,
            received_at=self._ports.clock.now(),
            method=scope["method"],
            url=f"{scope['path']}?{query}" if query else scope["path"],
            trace=trace_of(headers),
        )
        if delivery.trace:
            return await self._traced(delivery, source)
        return await self._answered(delivery, source)

    async def _traced(self, delivery: Delivery, source: WebhookSource) -> Response:
        """The answer; what is logged meanwhile names the trace.

        After an exception it still does: the server logs that in the same context, and the
        connection ends.
        """
        tokens = structlog.contextvars.bind_contextvars(trace_id=trace_id(delivery.trace))
        response = await self._answered(delivery, source)
        structlog.contextvars.reset_contextvars(**tokens)
        return response

    async def _answered(self, delivery: Delivery, source: WebhookSource) -> Response:
        if delivery.method != "POST":
            return self._unsigned(delivery, source)
        started = self._ports.clock.monotonic()
        response = await self._answer_in_time(delivery, source)
        self.tally.read(source.name, len(delivery.body), self._ports.clock.monotonic() - started)
        return response

    def _refusal(
        self, scope: Scope, headers: Mapping[str, str], source: WebhookSource | None
    ) -> Refusal | None:
        """Why the body is not read."""
        oversized = self._door.oversized(scope["headers"])
        if oversized is not None or source is None:
            return oversized
        refusal = self._door.refusal(source, scope["method"], headers, self._ports.clock)
        if refusal is None and self._ports.sink.pending >= self._settings.in_flight_events_max:
            return door.busy("too many events wait for the broker")
        return refusal

    def _unread(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """Whether a body follows upon whose bytes the connection would be closed.

        Either it is not worth reading to its end, or the connection ends with this request.
        """
        if "transfer-encoding" in headers:
            return True
        length = door.content_length(headers) or 0
        return length > self._settings.body_bytes_max or (length > 0 and _last(scope, headers))

    async def _body(self, receive: Receive) -> bytes | Refusal | None:
        """The body as it came; None if the client has gone. Counts while it reads.

        How long that may take is the protocol's business, which ends it by a disconnect. Whoever
        gets a body takes its bytes off ``_held_bytes`` in the end.
        """
        parts: list[bytes] = []
        size = 0
        whole = False
        try:
            while not whole:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._held_bytes += len(part)
                if size > self._settings.body_bytes_max:
                    return door.too_large(self._settings.body_bytes_max)
                if self._held_bytes > self._settings.bodies_bytes_max:
                    return door.busy("too many bodies are being read")
                whole = not message.get("more_body", False)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            if not whole:
                self._held_bytes -= size

    async def _answer_in_time(self, delivery: Delivery, source: WebhookSource) -> Response:
        """The answer, after ``ack_seconds_max`` at the latest and what its own reading takes.

        What is read at once waits for nothing but the sink, which keeps that time itself.
        """
        read = partial(steps.receive, delivery, source, self._ports.encoders, self._limits)
        if len(delivery.body) <= AT_ONCE_BYTES_MAX and "content-encoding" not in delivery.headers:
            return await self._settled(read(), source)
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(self._settings.ack_seconds_max) as limit:
                outcome = await self._in_turn(delivery, read, limit)
                return await self._settled(outcome, source)
        except TimeoutError:
            which = "its turn" if outcome is None else "the broker's acknowledgement"
            told = {"source": source.name, "bytes": len(delivery.body)}
            self._tell("deliveries are refused", error=f"{which} did not come in time", **told)
            return responses.problem(_unavailable(f"{which} did not come in time"))

    async def _in_turn(
        self, delivery: Delivery, read: Callable[[], Outcome], limit: asyncio.Timeout
    ) -> Outcome:
        """What the delivery becomes, read when its turn has come.

        Reading takes nothing off the limit: who is told to come back would have the same body read
        again, and would be told the same for ever.
        """
        packed, size = "content-encoding" in delivery.headers, len(delivery.body)
        if size <= (INLINE_GZIP_BYTES_MAX if packed else INLINE_BYTES_MAX):
            await self._turns.mine(turns.BYTES_MAX if packed else size)
            with _paused(limit):
                return read()
        async with self._large:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with _paused(limit):
                outcome = await loop.run_in_executor(self._thread, read)
            if (seconds := loop.time() - began) > SLOW_SECONDS:
                told = {"source": delivery.source, "bytes": size, "seconds": round(seconds, 2)}
                self._tell("a delivery takes long to read", **told)
            return outcome

    async def _settled(self, outcome: Outcome, source: WebhookSource) -> Response:
        """Publish what the delivery became, and only then say so."""
        match outcome:
            case Received():
                refusal = await self._published(outcome)
                if refusal is not None:
                    return responses.problem(refusal)
                return responses.receipt(outcome)
            case Refusal():
                return responses.problem(outcome, challenge=source.challenge)
            case Answer():
                return responses.answered(outcome)
            case _ as unreachable:
                assert_never(unreachable)

    def _unsigned(self, delivery: Delivery, source: WebhookSource) -> Response:
        """The answer to a method other than POST."""
        answer = steps.handshake(delivery, source)
        if answer is None:
            return responses.problem(door.wrong_method(source))
        return responses.answered(answer)

    async def _published(self, received: Received) -> Refusal | None:
        """Events and dead letters in the log together, or why not."""
        records = received.records
        dead: tuple[Record, ...] = ()
        if received.rejections:
            dead = tuple(self._ports.dead_letters(received.rejections))
            records = (*records, *dead)
        refusal = self._unfit(len(records), dead)
        if refusal is not None or not records:
            return refusal
        sink = self._ports.sink
        try:
            await sink.publish(records)
        except (TransientError, SetupError) as error:
            # whose setup is the operator's business; the sender can only come back
            self._tell("events are not acknowledged", error=str(error))
            return _unavailable("the broker did not take the events", error)
        finally:
            self.tally.waiting(sink.pending)
        self.tally.stored(received.records, received.rejections)
        return None

    def _tell(self, what: str, **more: object) -> None:
        """The operator, but not for each of thousands of deliveries."""
        now = self._ports.clock.monotonic()
        if now >= self._silent_until.get(what, 0):
            self._silent_until[what] = now + LOG_SECONDS
            _log.error(what, **more)

    def _unfit(self, count: int, dead: Sequence[Record]) -> Refusal | None:
        """A refusal if there is no room for the records, or a dead letter is too large."""
        sink = self._ports.sink
        if sink.pending and sink.pending + count > self._settings.in_flight_events_max:
            return door.busy("too many events wait for the broker")
        bytes_max = sink.dead_letter_bytes_max
        if dead and any(record.log_bytes > bytes_max for record in dead):
            return Refusal(
                413,
                RefusalReason.TOO_LARGE,
                f"an event needs more than the {bytes_max} bytes that a dead letter may have",
                remedy="send smaller events; nothing of this body was stored",
            )
        return None


@contextmanager
def _paused(limit: asyncio.Timeout) -> Iterator[None]:
    """What is done within takes no time off the limit."""
    loop, ends = asyncio.get_running_loop(), limit.when()
    began = loop.time()
    limit.reschedule(None)
    yield
    limit.reschedule(None if ends is None else ends + loop.time() - began)


def _last(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether no other request will come on this connection."""
    if scope["http_version"] != "1.1" or scope["method"] == "CONNECT" or "upgrade" in headers:
        return True
    return "close" in headers.get("connection", "").lower()


def _unavailable(what: str, error: SluiceError | None = None) -> Refusal:
    wish = error.retry_after if isinstance(error, TransientError) else None
    seconds = max(wish or 0, door.RETRY_SECONDS)
    return Refusal(
        503,
        RefusalReason.UNAVAILABLE,
        what,
        remedy="send it again with the same id: what was stored all the same is not doubled",
        headers=(("retry-after", str(math.ceil(seconds))),),
    )


async def _send(response: Response, receive: Receive, send: Send) -> None:
    start = {"type": "http.response.start", "status": response.status, "headers": response.headers}
    if not response.close:
        await send(start)
        await send({"type": "http.response.body", "body": response.body})
        return
    await send(start | {"headers": [*response.headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Reads on for a moment: a connection closed upon unread bytes would take the answer along."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
