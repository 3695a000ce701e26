"""Group commit on a producer in memory: batching, wake-ups, failures."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import SetupError, SluiceError, TransientError
from schemas.events import Record
from services.adapters.kafka.clients import Alarm
from services.adapters.kafka.group_commit import GroupCommit


class FakeProducer:
    """Speaks the part of confluent-kafka's Producer that is used; polls deliver what is asked."""

    def __init__(self) -> None:
        self.produced: list[tuple[Any, ...]] = []
        self.room = 1_000
        self.error: KafkaError | None = None
        self.refusal: KafkaError | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.polls = 0
        self.asked = 0.0
        self._waiting: list[Callable[..., None]] = []
        self._lock = threading.Condition()

    def produce(
        self, topic: str, value: bytes, key: bytes | None, *, on_delivery: Any, headers: Any = None
    ) -> None:
        if self.refusal is not None:
            raise KafkaException(self.refusal)
        if len(self.produced) >= self.room:
            raise BufferError
        with self._lock:
            self.produced.append((topic, value, key, headers))
            self._waiting.append(on_delivery)
            self._lock.notify()

    def poll(self, timeout: float) -> None:
        with self._lock:
            if not self._waiting or not self.hold.is_set():
                self._lock.wait(min(timeout, 0.02))
            if not self.hold.is_set():
                return
            ready, self._waiting = self._waiting, []
            self.polls += bool(ready)
        for delivered in ready:
            delivered(self.error, None)

    def list_topics(self, *, timeout: float) -> None:
        self.asked = timeout
        raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    def purge(self) -> None:
        self.hold.set()
        self.error = KafkaError(KafkaError._PURGE_QUEUE)


class Makers:
    """Makes producers and keeps the options."""

    def __init__(self) -> None:
        self.made: list[FakeProducer] = []
        self.alarm = Alarm("fake")
        self.options: dict[str, Any] = {}

    def __call__(self, client: Any, where: str, **more: Any) -> tuple[Any, Alarm]:
        del client, where
        self.options = more
        self.made.append(FakeProducer())
        return self.made[-1], self.alarm


def run(scenario: Callable[[GroupCommit, Makers], Any], seconds_max: float = 2.5) -> Makers:
    makers = Makers()

    async def main() -> None:
        sink = GroupCommit({}, seconds_max, makers)
        try:
            await scenario(sink, makers)
        finally:
            await sink.close(1)

    asyncio.run(main())
    return makers


def records(*names: str) -> list[Record]:
    return [Record("t", name.encode(), b"k", (("h", b"v"),)) for name in names]


def test_publish_returns_once_all_its_records_are_reported() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].hold.clear()
        task = asyncio.create_task(sink.publish(records("a", "b")))
        await asyncio.sleep(0.05)
        assert not task.done()
        assert sink.pending == 2
        makers.made[0].hold.set()
        await task
        assert sink.pending == 0
        assert makers.made[0].produced == [
            ("t", b"a", b"k", [("h", b"v")]),
            ("t", b"b", b"k", [("h", b"v")]),
        ]

    made = run(scenario)
    assert made.options["message_timeout_ms"] == 2500
    assert made.options["delivery_report_only_error"] is False


def test_publishers_of_one_turn_share_one_poll() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].hold.clear()
        tasks = [asyncio.create_task(sink.publish(records(str(n)))) for n in range(100)]
        await asyncio.sleep(0.05)
        makers.made[0].hold.set()
        await asyncio.gather(*tasks)
        assert makers.made[0].polls == 1
        assert [value for _, value, _, _ in makers.made[0].produced] == [
            b"%d" % n for n in range(100)
        ]

    run(scenario)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._MSG_TIMED_OUT, TransientError),
        (KafkaError.NOT_ENOUGH_REPLICAS, TransientError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, SetupError),
        (KafkaError.MSG_SIZE_TOO_LARGE, SetupError),
    ],
)
def test_a_failed_delivery_is_the_publishers_alone(code: int, kind: type[SluiceError]) -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].error = KafkaError(code)
        with pytest.raises(kind):
            await sink.publish(records("a", "b"))
        makers.made[0].error = None
        await sink.publish(records("c"))
        assert sink.pending == 0

    run(scenario)


def test_a_full_queue_fails_at_once_and_what_was_taken_is_still_counted() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].room = 2
        makers.made[0].hold.clear()
        task = asyncio.create_task(sink.publish(records("a", "b", "c", "d")))
        await asyncio.sleep(0.05)
        assert sink.pending == 2
        makers.made[0].hold.set()
        with pytest.raises(TransientError, match="full"):
            await task
        assert sink.pending == 0

    run(scenario)


def test_a_refused_record_is_translated() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].refusal = KafkaError(KafkaError._UNKNOWN_TOPIC)
        with pytest.raises(SetupError):
            await sink.publish(records("a"))
        assert sink.pending == 0

    run(scenario)


def test_a_cancelled_publisher_leaves_the_count_right() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].hold.clear()
        early = asyncio.create_task(sink.publish(records("early")))
        await asyncio.sleep(0)
        early.cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(sink.publish(records("late")))
        await asyncio.sleep(0.05)
        late.cancel()
        makers.made[0].hold.set()
        await sink.publish(records("c"))
        await asyncio.sleep(0.05)
        assert sink.pending == 0

    run(scenario)


def test_without_a_report_publishing_ends_in_time() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        makers.made[0].hold.clear()
        started = time.monotonic()
        with pytest.raises(TransientError, match="in time"):
            await sink.publish(records("a", "b"))
        assert 0.2 < time.monotonic() - started < 1
        assert sink.pending == 2
        makers.made[0].hold.set()
        await sink.publish(records("c"))
        assert sink.pending == 0

    run(scenario, seconds_max=0.3)


def test_what_the_brokers_refuse_says_why_until_a_delivery_succeeds() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        (fake,) = makers.made
        makers.alarm(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
        fake.hold.clear()
        for _ in range(2):
            with pytest.raises(SetupError, match="wrong password"):
                await sink.publish(records("a"))
        fake.error = KafkaError(KafkaError._MSG_TIMED_OUT)
        fake.hold.set()
        with pytest.raises(SetupError, match="wrong password"):
            await sink.publish(records("b"))
        fake.error = None
        await sink.publish(records("c"))
        fake.hold.clear()
        with pytest.raises(TransientError, match="in time"):
            await sink.publish(records("d"))
        fake.hold.set()

    run(scenario, seconds_max=0.3)


def test_a_fatal_error_gets_a_new_producer() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
        makers.made[0].refusal = fatal
        with pytest.raises(SluiceError):
            await sink.publish(records("a"))
        await asyncio.sleep(0.1)
        await sink.publish(records("b"))
        assert [value for _, value, _, _ in makers.made[1].produced] == [b"b"]

    run(scenario)


def test_after_closing_nothing_is_taken() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        del makers
        await sink.publish(records("a"))
        await sink.close(1)
        with pytest.raises(TransientError, match="closed"):
            await sink.publish(records("b"))

    run(scenario)


def test_opening_asks_for_the_topics_and_outlives_a_broker_that_is_away() -> None:
    async def scenario(sink: GroupCommit, makers: Makers) -> None:
        await sink.open(1.5)
        assert makers.made[0].asked == 1.5
        await sink.publish(records("a"))

    run(scenario)


def test_one_that_was_never_used_closes_too() -> None:
    async def scenario(_sink: GroupCommit, _makers: Makers) -> None:
        """Nothing."""

    run(scenario)
