"""uvicorn's HTTP protocol with its gaps closed: head size, head time, and errors as problems."""

from asyncio import TimerHandle, Transport
from typing import Any

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from producers.refusal import Refusal
from schemas.ports import Metrics
from services.gateway import door, responses
from services.settings import Gateway as GatewaySettings

CHUNKING_RATIO = 8  # chunks of one byte need six on the wire
LINGER_SECONDS = 1.0
LATE_SECONDS = 0.2  # a few turns of a loop that is busy
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def bounded_protocol(settings: GatewaySettings, metrics: Metrics) -> type[HttpToolsProtocol]:
    """A protocol class for :class:`uvicorn.Config` with the settings' limits."""

    class Bounded(BoundedProtocol):
        limits = settings
        counts = metrics

    return Bounded


class BoundedProtocol(HttpToolsProtocol):
    """A request has a longest time to arrive (408), and its head a largest size (431).

    The application sees complete heads only, so it cannot do this; the time of the body is
    watched here as well, because a request that arrives in one piece then needs no timer.
    Bytes that are no HTTP are answered with 400, but never before the answer to a complete
    request that came earlier on the same connection. What strangers send is counted, not logged.
    A wish for another protocol is passed over, as RFC 9110 (7.8) has it.
    """

    limits: GatewaySettings
    counts: Metrics
    _begun = False  # whether there has been a complete head
    _head_open = True  # from a message's end, or the connection's start, to the next head's end
    _arriving = False  # whether a part of a message has come, and not yet all
    _leaving = False  # refused: what still comes is dropped
    _bytes = 0  # of the head, or of what follows it
    _timer: TimerHandle | None = None
    _running: RequestResponseCycle | None = None  # of several, the one that is being answered

    @override
    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        self._arm()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._running is not None:
            self._running.disconnected = True  # uvicorn looks at the last one that came only
        super().connection_lost(exc)

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        self._bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._refused():
            return
        if not self._head_open:
            if self._bytes > self._body_bytes_max():
                self._refuse(door.too_large(self.limits.body_bytes_max))
        elif self._bytes > self.limits.header_bytes_max:
            self._refuse(door.headers_too_large(self.limits.header_bytes_max))
        if self._arriving and self._timer is None:
            self._arm()

    def _refused(self) -> bool:
        return self._leaving or self.transport.is_closing()

    def _feed(self, data: bytes) -> None:
        """Parse. A request for another protocol goes on as any other, and is the last one.

        The parser takes what follows such a head for that protocol, so another one reads its body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as wish:
            self.cycle.keep_alive = False
            lines = [b"%s: %s\r\n" % line for line in self.scope["headers"] if line[0] in _FRAMING]
            self.parser = httptools.HttpRequestParser(_Body(self))
            head = b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(lines)
            self.parser.feed_data(head + data[wish.args[0] :])

    @override
    def on_message_begin(self) -> None:
        self._arriving = True
        if self._timer is not None:
            self._disarm()  # its time begins now
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()  # raises for an address that is none
        self.headers = []  # for trailers, which nobody reads
        self._begun = True
        self._head_open = False
        self._bytes = 0

    @override
    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # its body is still to come
        self._head_open = True
        self._arriving = False
        self._bytes = 0
        if self._timer is not None:
            self._disarm()
        super().on_message_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(door.no_http(msg))

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.limits.body_seconds_max, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """Its time is over: what has come already, while the loop was busy, is read first."""
        self._timer = self.loop.call_later(LATE_SECONDS, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if self._answering():
            self._arm()
        else:
            self._refuse(door.too_slow(self.limits.body_seconds_max))

    def _answering(self) -> bool:
        """Whether a complete request waits for its answer."""
        if not self._begun:
            return False
        waiting = not self.cycle.response_complete and not self.cycle.more_body
        return waiting or bool(self.pipeline)

    def _body_bytes_max(self) -> int:
        """What may follow a head: the application counts the body, this its chunks and trailers."""
        return CHUNKING_RATIO * self.limits.body_bytes_max + self.limits.header_bytes_max

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and close; or, where a request waits for its answer, close after that."""
        if self._answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self._begun and not self.cycle.response_complete:
            if self.cycle.response_started:
                return  # the application is refusing the body itself
            self.cycle.disconnected = True  # this is its answer
            self.cycle.message_event.set()
        elif not self._head_open:
            self._leave()  # its body was refused, and goes on and on
            return
        self.counts.count("gateway_refusals", source="unknown", reason=refusal.reason)
        response = responses.problem(refusal, close=True)
        lines = [STATUS_LINE[response.status]]
        lines += [b"%s: %s\r\n" % header for header in response.headers]
        lines += [b"connection: close\r\n\r\n", response.body]
        self.transport.write(b"".join(lines))
        self._leave()

    def _leave(self) -> None:
        """Close in a moment: upon unread bytes, closing would take the answer along."""
        self._leaving = True
        self._disarm()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)


class _Body:
    """What a parser calls for the body of one message, whose head is known already."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self._complete = False

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._protocol.on_message_complete()
