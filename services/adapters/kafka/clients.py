"""The options of our Kafka clients: safe and fast defaults under the user's, ours on top."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import SetupError, SluiceError
from services.adapters.kafka.errors import SETTINGS, kafka_error, translated, translating

ClientConfig = Mapping[str, Any]
"""librdkafka options: ``settings.Kafka.options`` and its secrets, resolved, in one mapping."""

QUIET: dict[str, Any] = {
    "client.id": "sluice",
    "log_level": 2,  # what matters comes as an error, and is reported once by us
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 2_000,  # a broker that is back is found at once
}
CONSUMER: dict[str, Any] = {
    **QUIET,
    "fetch.max.bytes": 52_428_800,
    # Bounds of what is read ahead: the bytes over all partitions, the count for each. A small
    # message takes about 500 bytes more than its own in librdkafka's queue.
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 20_000,
    "fetch.queue.backoff.ms": 20,  # default: a full queue rests for a second
    "session.timeout.ms": 15_000,  # how long the partitions of a dead member wait
    "heartbeat.interval.ms": 1_000,  # and how soon the others hear of it
}
READING = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # never decides a position
}
PRODUCER: dict[str, Any] = {
    **QUIET,
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
    "message.max.bytes": 1_048_576,  # what a broker takes by default
    "message.timeout.ms": 15_000,
    "topic.metadata.propagation.max.ms": 4_000,  # then a topic that is unknown does not exist
}
WRITING = {
    "enable.idempotence": True,
    "acks": "all",
    "delivery.report.only.error": True,
}
FIRST_SECONDS = 1.0  # of a call that may find itself refused
_SILENT = frozenset({"_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN"})

Answer = TypeVar("Answer")


class Alarm:
    """The last failure that belongs to no call: librdkafka reports those from its threads."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """The ``error_cb`` of librdkafka: brokers down, authentication refused, fatal states."""
        if error.name() in {"_TRANSPORT", "_RESOLVE", "_TIMED_OUT"}:
            return  # one broker; _ALL_BROKERS_DOWN follows when it was the last
        if self.refusal is None:
            self._error = error

    @property
    def refusal(self) -> SetupError | None:
        """The failure, if time will not heal it. It stays: librdkafka repeats itself rarely."""
        found = None if self._error is None else translated(self._error, self.where)
        return found if isinstance(found, SetupError) else None

    def taken(self) -> SluiceError | None:
        """The failure, once."""
        error, self._error = self._error, None
        return None if error is None else translated(error, self.where)


def consumer(client: ClientConfig, where: str, **more: Any) -> tuple[Consumer, Alarm]:  # noqa: ANN401 - librdkafka options
    """A read-committed consumer that commits nothing by itself. Raises SetupError."""
    alarm = Alarm(where)
    options = {**CONSUMER, **client, **READING, **_dotted(more), "error_cb": alarm}
    with _building(where):
        return Consumer(options), alarm


def producer(client: ClientConfig, where: str, **more: Any) -> tuple[Producer, Alarm]:  # noqa: ANN401 - librdkafka options
    """An idempotent producer that reports failed messages only. Raises SetupError."""
    alarm = Alarm(where)
    options = {**PRODUCER, **client, **WRITING, **_dotted(more), "error_cb": alarm}
    with _building(where):
        return Producer(options), alarm


def ask(
    call: Callable[[float], Answer],
    client: AdminClient | Consumer | Producer,
    alarm: Alarm,
    seconds_max: float,
) -> Answer:
    """What ``call`` returns, which takes its own time limit and is tried with longer ones.

    A call of librdkafka that the brokers refuse ends with its time only, and does not say why.
    Raises SetupError as soon as the alarm knows, and KafkaException.
    """
    seconds, left = FIRST_SECONDS, seconds_max
    while True:
        try:
            found = call(min(seconds, left))
        except KafkaException as error:
            client.poll(0)
            if alarm.refusal is not None:
                raise alarm.refusal from error
            left -= seconds
            if left <= 0 or kafka_error(error).name() not in _SILENT:
                raise
            seconds *= 2
        else:
            alarm.taken()
            return found


def message_bytes_max(client: ClientConfig) -> int:
    """The largest message that our producers send."""
    return int(client.get("message.max.bytes", PRODUCER["message.max.bytes"]))


def _dotted(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in options.items()}


@contextmanager
def _building(where: str) -> Iterator[None]:
    try:
        with translating(where):
            yield
    except (ValueError, TypeError) as error:  # options of a wrong type, or without group.id
        raise SetupError(str(error), where=where, remedy=SETTINGS) from error
