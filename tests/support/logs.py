"""The log's ports over memory and Kafka, under one name for one conformance suite."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import TransientError
from schemas.events import Partition, Polled, Record
from schemas.ports import Log, LogReader, Publisher, Transactions
from services.adapters.clock import SystemClock
from services.adapters.kafka import (
    KafkaLog,
    KafkaLogReader,
    KafkaPublisher,
    KafkaTransactions,
    TopicSpec,
    read_compacted,
)
from services.adapters.memory import log as memory
from services.adapters.memory.broker import MemoryBroker
from tests.support.kafka import TestBroker

SECONDS_MAX = 30.0


class Backend(Protocol):
    """What a conformance test asks of a broker."""

    def topic(self, partitions: int = 1) -> str: ...
    def make_again(self, topic: str) -> None: ...
    def group(self) -> str: ...
    def log(self, group: str, topics: Sequence[str]) -> Log: ...
    def reader(self) -> LogReader: ...
    def publisher(self) -> Publisher: ...
    def transactions(self, name: str) -> Transactions: ...
    def write_aborted(self, records: Sequence[Record]) -> None: ...
    def delete_records(self, before: Mapping[Partition, int]) -> None: ...
    def lag(self, group: str) -> Mapping[Partition, int]: ...
    def read_compacted(self, topic: str) -> dict[bytes, bytes]: ...
    def close(self) -> None: ...


class MemoryBackend:
    def __init__(self) -> None:
        self.broker = MemoryBroker(SystemClock())
        self._names = 0

    def topic(self, partitions: int = 1) -> str:
        self._names += 1
        self.broker.create_topic(f"t{self._names}", partitions)
        return f"t{self._names}"

    def make_again(self, topic: str) -> None:
        self.broker.delete_topic(topic)
        self.broker.create_topic(topic)

    def group(self) -> str:
        return "g"

    def log(self, group: str, topics: Sequence[str]) -> Log:
        return memory.MemoryLog(self.broker, group, topics)

    def reader(self) -> LogReader:
        return memory.MemoryLogReader(self.broker)

    def publisher(self) -> Publisher:
        return memory.MemoryPublisher(self.broker)

    def transactions(self, name: str) -> Transactions:
        return memory.MemoryTransactions(self.broker, name)

    def write_aborted(self, records: Sequence[Record]) -> None:
        self.broker.fail_next("transaction", TransientError("planned"))
        try:
            self.transactions("aborting").publish_atomically(records)
        except TransientError:
            return

    def delete_records(self, before: Mapping[Partition, int]) -> None:
        self.broker.delete_records(before)

    def lag(self, group: str) -> Mapping[Partition, int]:
        return self.broker.lag(group)

    def read_compacted(self, topic: str) -> dict[bytes, bytes]:
        return memory.read_compacted(self.broker, topic)

    def close(self) -> None:
        pass


class KafkaBackend:
    def __init__(self, broker: TestBroker) -> None:
        self.broker = broker
        self._logs: list[KafkaLog] = []

    def topic(self, partitions: int = 1) -> str:
        return self.broker.topic(partitions=partitions)

    def make_again(self, topic: str) -> None:
        """Deleted, gone, and there again."""
        admin = AdminClient({"bootstrap.servers": self.broker.client["bootstrap.servers"]})
        admin.delete_topics([topic])[topic].result()
        deadline = time.monotonic() + SECONDS_MAX
        while topic in self.broker.admin.topics():
            assert time.monotonic() < deadline, topic
        self.broker.admin.ensure_topics([TopicSpec(topic, 1)])
        while topic not in self.broker.admin.topics():
            assert time.monotonic() < deadline, topic

    def group(self) -> str:
        return self.broker.unique("g")

    def log(self, group: str, topics: Sequence[str]) -> Log:
        self._logs.append(KafkaLog(self.broker.client, group, topics))
        return self._logs[-1]

    def reader(self) -> LogReader:
        return KafkaLogReader(self.broker.client)

    def publisher(self) -> Publisher:
        return KafkaPublisher(self.broker.client)

    def transactions(self, name: str) -> Transactions:
        return KafkaTransactions(self.broker.client, name)

    def write_aborted(self, records: Sequence[Record]) -> None:
        options = {**self.broker.client, "transactional.id": self.broker.unique("a")}
        producer = Producer(options)
        producer.init_transactions(SECONDS_MAX)
        producer.begin_transaction()
        for record in records:
            producer.produce(record.topic, record.value, record.key)
        producer.flush(SECONDS_MAX)
        producer.abort_transaction(SECONDS_MAX)
        Producer(options).init_transactions(SECONDS_MAX)  # waits until the marker is written

    def delete_records(self, before: Mapping[Partition, int]) -> None:
        self.broker.admin.delete_records(before)

    def lag(self, group: str) -> Mapping[Partition, int]:
        return self.broker.admin.lag(group)

    def read_compacted(self, topic: str) -> dict[bytes, bytes]:
        return read_compacted(self.broker.client, topic)

    def close(self) -> None:
        for log in self._logs:
            log.close()


class Member:
    """A log and everything it has told, in order."""

    def __init__(self, log: Log, start: Callable[[Partition], int] | None = None) -> None:
        self.log = log
        self.start = start or self.stopped_at
        self.owned: set[Partition] = set()
        self.values: dict[Partition, list[bytes]] = defaultdict(list)
        self.offsets: dict[Partition, list[int]] = defaultdict(list)
        self.gone: dict[Partition, str] = {}
        self.assigned: list[Partition] = []
        self.revoked: list[Partition] = []

    def poll(self, timeout: float = 0.05, messages_max: int = 1_000) -> Polled:
        """One poll; newly assigned partitions are sought, as the loader would."""
        polled = self.log.poll(messages_max, timeout)
        self.owned -= polled.revoked
        self.owned |= polled.assigned
        self.revoked += polled.revoked
        self.assigned += polled.assigned
        self.gone.update(polled.gone)
        for run in polled.runs:
            assert len(run) == len(run.offsets) == len(run.timestamps) == len(run.messages)
            assert run.partition in self.owned, "delivered what it does not own"
            self.values[run.partition] += [value or b"" for value in run.values]
            self.offsets[run.partition] += run.offsets.tolist()
        self.log.seek({partition: self.start(partition) for partition in polled.assigned})
        return polled

    def stopped_at(self, partition: Partition) -> int:
        """Behind the last message of this partition that came here."""
        return max(self.offsets[partition], default=-1) + 1

    @property
    def count(self) -> int:
        """Messages so far."""
        return sum(map(len, self.values.values()))


def until(check: Callable[[], object], *members: Member, seconds: float = SECONDS_MAX) -> None:
    """Poll all members in turn until the check holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, [
            (m.owned, m.count, m.gone, m.assigned, m.revoked) for m in members
        ]
        for member in members:
            member.poll()


def settle(*members: Member, seconds: float = 0.6) -> None:
    """Poll for a while, to see that nothing more comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for member in members:
            member.poll()


def records(topic: str, count: int, keys: int = 1, start: int = 0) -> list[Record]:
    return [
        Record(topic, b"%d" % n, b"key%d" % (n % keys), (("n", b"%d" % n),))
        for n in range(start, start + count)
    ]


class Relay:
    """Members that share one memory of what was read, as loaders share the warehouse."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.topic, self.group = backend.topic(4), backend.group()
        self.publisher = backend.publisher()
        self.done: dict[Partition, list[int]] = {}
        self.sent = 0

    def member(self) -> Member:
        log = self.backend.log(self.group, [self.topic])
        return Member(log, lambda partition: len(self.done.get(partition, [])))

    def step(self, *members: Member) -> None:
        self.publisher.publish(records(self.topic, 50, keys=40, start=self.sent))
        self.sent += 50
        self.read(*members)

    def read(self, *members: Member) -> int:
        for each in members:
            for run in each.poll(0.01, messages_max=50).runs:
                self.done.setdefault(run.partition, []).extend(run.offsets.tolist())
        return sum(map(len, self.done.values()))
