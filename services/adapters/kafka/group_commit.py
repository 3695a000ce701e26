"""The gateway's way into Kafka: the records of one event-loop turn are produced together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import SetupError, SluiceError, TransientError
from schemas.events import Record
from services.adapters.kafka.clients import Alarm, ClientConfig, message_bytes_max, producer
from services.adapters.kafka.errors import kafka_error, oversized, translated

POLL_SECONDS = 0.2
DEAD_LETTER_BYTES_MAX = 8_388_608  # what the topics of dead letters take
WHERE = "gateway producer"

Done = tuple["_Waiter", KafkaError | None]
MakeProducer = Callable[..., tuple[Producer, Alarm]]


class _Waiter:
    """One call of publish. Touched by the event loop's thread only, but for :meth:`delivered`."""

    __slots__ = ("error", "future", "left", "sink")

    def __init__(self, future: asyncio.Future[None], left: int, sink: list[Done]) -> None:
        self.future = future
        self.left = left
        self.error: SluiceError | None = None
        self.sink = sink

    def delivered(self, error: KafkaError | None, _message: Message) -> None:
        """Called by librdkafka in the polling thread for every record."""
        self.sink.append((self, error))

    def tell(self) -> None:
        """All records have an answer: so has the call."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self.error)


class GroupCommit:
    """An idempotent producer with acks=all. Fits :class:`services.gateway.ports.Sink`.

    Publishers of one event-loop turn go to librdkafka together; one thread polls it, and wakes
    the loop once for all delivery reports that a poll brought, instead of once a record.

    A publisher that gets TransientError does not know whether its records were written: it may
    still happen until ``seconds_max`` is over. That is at-least-once; the event id removes the
    doubles.
    """

    def __init__(
        self, client: ClientConfig, seconds_max: float, make: MakeProducer = producer
    ) -> None:
        self.record_bytes_max = message_bytes_max(client)
        self.dead_letter_bytes_max = max(self.record_bytes_max, DEAD_LETTER_BYTES_MAX)
        self.pending = 0
        self._seconds_max = seconds_max
        self._make = partial(
            make,
            client,
            WHERE,
            linger_ms=0,  # the turn of the loop is the batch; waiting longer gained nothing
            message_timeout_ms=round(seconds_max * 1000),
            message_max_bytes=self.dead_letter_bytes_max,
            delivery_report_only_error=False,
        )
        self._producer, self._alarm = self._make()
        self._broken = False
        self._buffer: list[tuple[_Waiter, Sequence[Record]]] = []
        self._done: list[Done] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: float | None = None
        self._thread = threading.Thread(target=self._poll, name="gateway-producer", daemon=True)

    async def open(self, seconds_max: float) -> None:
        """Connect and learn of the topics; a broker that is away is found out by publishing."""
        with suppress(KafkaException):
            await asyncio.to_thread(self._producer.list_topics, timeout=seconds_max)

    async def publish(self, records: Sequence[Record]) -> None:
        """Durable on return. Raises TransientError or SetupError if not all are known to be."""
        if self._closing is not None:
            raise TransientError("the producer is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._thread.start()
        waiter = _Waiter(loop.create_future(), len(records), self._done)
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
                self._settle_some(waiter, len(records))
            else:
                self._produce(waiter, records)

    def _produce(self, waiter: _Waiter, records: Sequence[Record]) -> None:
        produce, delivered = self._producer.produce, waiter.delivered
        for index, record in enumerate(records):
            try:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers) or None,
                    on_delivery=delivered,
                )
            except BufferError:
                failure: SluiceError = TransientError("the producer's queue is full", retry_after=1)
            except KafkaException as error:
                failure = self._failure(kafka_error(error))
            else:
                continue
            waiter.error = failure
            self._settle_some(waiter, len(records) - index)
            return

    def _poll(self) -> None:
        """The polling thread."""
        while self._closing is None:
            self._producer.poll(POLL_SECONDS)
            self._report()
            if self._broken:
                self._renew()
        self._producer.flush(self._closing)
        self._producer.purge()  # what is still there is reported as failed
        self._producer.poll(0)
        self._report()

    def _report(self) -> None:
        if not self._done or self._loop is None:
            return
        done = self._done[:]
        self._done.clear()  # only this thread appends, and not now
        try:
            self._loop.call_soon_threadsafe(self._settle, done)
        except RuntimeError:  # the loop has ended, and with it all who waited
            self._closing = 0.0

    def _settle(self, done: Sequence[Done]) -> None:
        self.pending -= len(done)
        for waiter, error in done:
            if error is not None and waiter.error is None:
                waiter.error = self._failure(error)
            waiter.left -= 1
            if not waiter.left:
                waiter.tell()
        if self._alarm.refusal is not None and any(error is None for _, error in done):
            self._alarm.taken()  # it has healed

    def _settle_some(self, waiter: _Waiter, count: int) -> None:
        self.pending -= count
        waiter.left -= count
        if not waiter.left:
            waiter.tell()

    def _failure(self, error: KafkaError) -> SluiceError:
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
        self._report()

    async def close(self, seconds_max: float) -> None:
        """Wait for what is pending, at most this long, then end."""
        started = self._loop is not None
        self._closing = seconds_max
        if started:
            await asyncio.to_thread(self._thread.join, seconds_max + 1)
