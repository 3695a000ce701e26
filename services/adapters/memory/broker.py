"""A broker in memory: topics, transactions, retention and failures, without threads."""

import zlib
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from schemas.errors import FencedError, OversizedError, SetupError, TransientError
from schemas.events import Partition, Record, RecordHeaders, Run
from schemas.ports import Clock
from services.adapters.memory.groups import Group

WHERE = "memory broker"
Effect = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """A message of the log. Fits :class:`schemas.events.Message`."""

    offset: int
    timestamp: int  # milliseconds
    record: Record

    def key(self) -> bytes | None:
        """The message's key."""
        return self.record.key

    def headers(self) -> RecordHeaders:
        """The message's headers."""
        return self.record.headers


@dataclass(slots=True)
class PartitionLog:
    """Visible messages; markers and aborted ones leave gaps between their offsets."""

    first: int = 0
    after: int = 0  # where the next message goes
    messages: deque[MemoryMessage] = field(default_factory=deque)

    def run(self, partition: Partition, span: tuple[int, int], messages_max: int) -> Run | None:
        """Up to so many messages of ``[first, after)``."""
        first, after = span
        found = [m for m in self.messages if first <= m.offset < after][:messages_max]
        if not found:
            return None
        return Run(
            partition,
            np.array([m.offset for m in found], np.int64),
            np.array([m.timestamp for m in found], np.int64),
            [m.record.value for m in found],
            found,
        )


class MemoryBroker:
    """What Kafka does to a reader and a writer. ``up = False`` makes every call fail.

    ``journal`` gets a tuple for every effect, in order: ``("publish", (record, ...))``,
    ``("transaction", (record, ...))``, ``("seek" | "commit", ((partition, offset), ...))``,
    ``("pause" | "resume", (partition, ...))`` and ``("leave", group)``.
    """

    def __init__(
        self, clock: Clock, journal: list[Effect] | None = None, message_bytes_max: int = 1_048_576
    ) -> None:
        self.clock = clock
        self.journal: list[Effect] = [] if journal is None else journal
        self.message_bytes_max = message_bytes_max
        self.up = True
        self.logs: dict[Partition, PartitionLog] = {}
        self.topic_ids: dict[str, str | None] = {}  # None: a topic of a broker before 2.8
        self.groups: dict[str, Group] = defaultdict(Group)
        self.member_numbers = count(1)
        self._counts: dict[str, int] = {}
        self._topic_numbers = count(1)
        self._epochs: dict[str, int] = defaultdict(int)
        self._failures: dict[str, deque[Exception]] = defaultdict(deque)
        self._spread = count()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """A new topic, or more partitions for one; the groups share them out."""
        self._counts[name] = max(partitions, self._counts.get(name, 0))
        self.topic_ids.setdefault(name, f"topic-id-{next(self._topic_numbers)}")
        for number in range(partitions):
            self.logs.setdefault(Partition(name, number), PartitionLog())
        for group in self.groups.values():
            group.rebalance(self.logs)

    def delete_topic(self, name: str) -> None:
        """Forget a topic; made again it is another one."""
        del self._counts[name], self.topic_ids[name]
        for partition in [p for p in self.logs if p.topic == name]:
            del self.logs[partition]
        for group in self.groups.values():
            group.rebalance(self.logs)

    def delete_records(self, before: Mapping[Partition, int]) -> None:
        """Forget everything below these offsets, as retention would."""
        for partition, offset in before.items():
            log = self.logs[partition]
            log.first = min(offset, log.after)
            while log.messages and log.messages[0].offset < log.first:
                log.messages.popleft()

    def fail_next(self, operation: str, error: Exception) -> None:
        """Let the next ``poll``, ``publish``, ``transaction`` (aborts) and so on fail.

        Others are ``read`` and ``describe``.
        """
        self._failures[operation].append(error)

    def committed(self, group: str) -> Mapping[Partition, int]:
        """What the group has committed."""
        return dict(self.groups[group].committed)

    def lag(self, group: str) -> Mapping[Partition, int]:
        """Offsets between what the group has committed and the end, by partition."""
        return {p: self.logs[p].after - at for p, at in self.groups[group].committed.items()}

    def check(self, operation: str) -> None:
        """Raise what a test has planned, or that the broker is down."""
        if not self.up:
            raise TransientError("no broker answers", where=WHERE, remedy="set up = True again")
        failure = self._planned(operation)
        if failure is not None:
            raise failure

    def open_transactions(self, transactional_id: str) -> int:
        """Shut out the twin; returns the epoch that may write from now on."""
        self._epochs[transactional_id] += 1
        return self._epochs[transactional_id]

    def publish(self, records: Sequence[Record]) -> None:
        """Append."""
        homes = self._homes(records)
        self.check("publish")
        self._append(records, homes, visible=True)
        self.journal.append(("publish", tuple(records)))

    def publish_atomically(
        self, records: Sequence[Record], transactional_id: str, epoch: int
    ) -> None:
        """Append, then a marker in every partition. A planned failure aborts before it."""
        homes = self._homes(records)
        if epoch != self._epochs[transactional_id]:
            raise FencedError("another producer has this transactional id", where=transactional_id)
        self.check("publish")
        failure = self._planned("transaction")
        self._append(records, homes, visible=failure is None)
        for partition in set(homes):
            self.logs[partition].after += 1  # the marker
        if failure is not None:
            raise failure
        self.journal.append(("transaction", tuple(records)))

    def _planned(self, operation: str) -> Exception | None:
        plans = self._failures[operation]
        return plans.popleft() if plans else None

    def _append(
        self, records: Sequence[Record], homes: Sequence[Partition], *, visible: bool
    ) -> None:
        now = self.clock.now() // 1000
        for partition, record in zip(homes, records, strict=True):
            log = self.logs[partition]
            if visible:
                log.messages.append(MemoryMessage(log.after, now, record))
            log.after += 1

    def _homes(self, records: Sequence[Record]) -> list[Partition]:
        for index, record in enumerate(records):
            if record.log_bytes > self.message_bytes_max:
                raise OversizedError(
                    f"a record of {record.log_bytes} bytes is larger than {self.message_bytes_max}",
                    index=index,
                    where=record.topic,
                )
        return [self._home(record) for record in records]

    def _home(self, record: Record) -> Partition:
        partitions = self._counts.get(record.topic)
        if partitions is None:
            raise SetupError(f"no topic {record.topic}", where=WHERE, remedy="create_topic first")
        # librdkafka's default, so that both put a key into the same partition
        place = next(self._spread) if record.key is None else zlib.crc32(record.key)
        return Partition(record.topic, place % partitions)
