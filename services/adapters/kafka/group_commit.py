"""The gateway's way into Kafka: the records of one event-loop turn are produced together."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import dead_letters
from schemas.errors import SetupError, SluiceError, TransientError
from schemas.events import Record
from services.adapters.kafka.clients import Alarm, ClientConfig, message_bytes_max, producer
from services.adapters.kafka.errors import kafka_error, oversized, translated

POLL_SECONDS = 0.001  # between two polls while reports are outstanding
IDLE_SECONDS = 0.5  # and while none are: what librdkafka says of its brokers must not pile up
CLOSE_SECONDS = 0.005
WHERE = "gateway producer"

MakeProducer = Callable[..., tuple[Producer, Alarm]]


class _Waiter:
    """One call of publish, until every record of it is reported."""

    __slots__ = ("error", "future", "left", "sink")

    def __init__(self, future: asyncio.Future[None], left: int, sink: "GroupCommit") -> None:
        self.future = future
        self.left = left
        self.error: SluiceError | None = None
        self.sink = sink

    def delivered(self, error: KafkaError | None, _message: Message) -> None:
        """Called by librdkafka, in a poll, for every record."""
        if error is not None:
            self.error = self.error or self.sink.failure(error)
        self.settle(1, reported=error is None)

    def settle(self, count: int, *, reported: bool = False) -> None:
        """So many records have an answer; with the last of them the call has."""
        sink = self.sink
        sink.pending -= count
        sink.reported = sink.reported or reported
        self.left -= count
        if self.left or self.future.done():
            return
        if self.error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self.error)


class GroupCommit:
    """An idempotent producer with acks=all. Fits :class:`services.gateway.ports.Sink`.

    Publishers of one event-loop turn go to librdkafka together, and the loop itself polls it for
    the delivery reports: after each turn that produced, and every millisecond while some are
    outstanding. A thread that polls has to take the interpreter's lock from the loop for every
    single report (docs/adr/0010).

    A publisher that gets TransientError does not know whether its records were written: it may
    still happen until ``seconds_max`` is over. That is at-least-once; the event id removes the
    doubles.
    """

    def __init__(
        self, client: ClientConfig, seconds_max: float, make: MakeProducer = producer
    ) -> None:
        self.record_bytes_max = message_bytes_max(client)
        self.dead_letter_bytes_max = max(self.record_bytes_max, dead_letters.BYTES_MAX)
        self.pending = 0
        self.reported = False  # whether a record was written since the alarm was looked at
        self._seconds_max = seconds_max
        self._make = partial(
            make,
            client,
            WHERE,
            linger_ms=1,  # the turn of the loop is the batch; waiting longer gained nothing
            message_timeout_ms=round(seconds_max * 1000),
            message_max_bytes=self.dead_letter_bytes_max,
            delivery_report_only_error=False,
        )
        self._producer, self._alarm = self._make()
        self._broken = False
        self._buffer: list[tuple[_Waiter, Sequence[Record]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self, seconds_max: float) -> None:
        """Connect and learn of the topics; a broker that is away is found out by publishing."""
        with suppress(KafkaException):
            await asyncio.to_thread(self._producer.list_topics, timeout=seconds_max)

    async def publish(self, records: Sequence[Record]) -> None:
        """Durable on return. Raises TransientError or SetupError if not all are known to be."""
        if self._closed:
            raise TransientError("the producer is closed")
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), len(records), self)
        self.pending += len(records)
        if not self._buffer:
            loop.call_soon(self._flush)
        self._buffer.append((waiter, records))
        await waiter.future

    def _flush(self) -> None:
        buffer, self._buffer = self._buffer, []
        asyncio.get_running_loop().call_later(
            self._seconds_max, self._expire, [waiter for waiter, _ in buffer]
        )
        for waiter, records in buffer:
            if waiter.future.cancelled():
                waiter.settle(len(records))
            else:
                self._produce(waiter, records)
        self._poll()

    def _produce(self, waiter: _Waiter, records: Sequence[Record]) -> None:
        produce, delivered = self._producer.produce, waiter.delivered
        for index, (topic, value, key, headers) in enumerate(records):
            try:
                if headers:
                    produce(topic, value, key, on_delivery=delivered, headers=list(headers))
                else:
                    produce(topic, value, key, on_delivery=delivered)
            except BufferError:
                failure: SluiceError = TransientError("the producer's queue is full", retry_after=1)
            except KafkaException as error:
                failure = self.failure(kafka_error(error))
            else:
                continue
            waiter.error = failure
            waiter.settle(len(records) - index)
            return

    def _poll(self) -> None:
        """Take the reports that are there, and come back for the others."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._take_reports(0)
        finally:
            if not self._closed:
                seconds = POLL_SECONDS if self.pending else IDLE_SECONDS
                self._timer = asyncio.get_running_loop().call_later(seconds, self._poll)

    def _take_reports(self, seconds: float) -> None:
        self._producer.poll(seconds)
        if self.reported and self._alarm.refusal is not None:
            self._alarm.taken()  # it has healed
        self.reported = False
        if self._broken:
            self._renew()

    def failure(self, error: KafkaError) -> SluiceError:
        """What a failed record means to its publisher."""
        self._broken = self._broken or error.fatal()
        if oversized(error):
            return SetupError(
                error.str(), where=WHERE, remedy="raise max.message.bytes of the topic"
            )
        found = translated(error, WHERE)
        return (self._alarm.refusal or found) if type(found) is TransientError else found

    def _expire(self, waiters: Sequence[_Waiter]) -> None:
        """One timer a turn: librdkafka looks at its own time limit about once a second only."""
        for waiter in waiters:
            if not waiter.future.done():
                late = TransientError("no acknowledgement in time", where=WHERE)
                waiter.future.set_exception(self._alarm.refusal or late)

    def _renew(self) -> None:
        """A producer with a fatal error stays useless: give its records up and take another."""
        broken = self._producer
        self._producer, self._alarm = self._make()
        self._broken = False
        broken.purge()
        broken.poll(0)

    async def close(self, seconds_max: float) -> None:
        """Wait for what is pending, at most this long, then give it up."""
        self._closed = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds_max
        while self.pending and loop.time() < end:
            await asyncio.sleep(CLOSE_SECONDS)
            self._take_reports(0)
        if self.pending:
            self._producer.purge()  # reported as failed
            self._take_reports(CLOSE_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
