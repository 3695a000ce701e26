"""The ports of the log on a broker in memory."""

from collections.abc import Iterator, Mapping, Sequence

from schemas.errors import FencedError, SetupError, TransientError
from schemas.events import Partition, Polled, Record, Run
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.groups import Member

READ_MESSAGES = 1_000


class MemoryLog:
    """Port ``Log``: one member of a group."""

    def __init__(self, broker: MemoryBroker, group: str, topics: Sequence[str]) -> None:
        self._broker = broker
        self._name = group
        self._group = broker.groups[group]
        self._member = Member(next(broker.member_numbers), frozenset(topics))
        self._next: dict[Partition, int | None] = {}
        self._paused: set[Partition] = set()
        self._turn = 0
        self._group.join(self._member, broker.logs)

    def poll(self, messages_max: int, timeout: float) -> Polled:
        """See the port. Sleeps on the broker's clock when there is nothing."""
        self._broker.check("poll")
        revoked, assigned = self._changes()
        gone = self._gone()
        runs: list[Run] = []
        for partition in self._flowing():
            room = messages_max - sum(map(len, runs))
            span = (self._next[partition] or 0, self._broker.logs[partition].after)
            run = self._broker.logs[partition].run(partition, span, room)
            if run is not None:
                self._next[partition] = run.next_offset
                runs.append(run)
        if not (runs or revoked or assigned or gone):
            self._broker.clock.sleep(timeout)
        return Polled(runs, frozenset(assigned), frozenset(revoked), gone)

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """See the port."""
        mine = {partition: at for partition, at in positions.items() if partition in self._next}
        self._next.update(mine)
        self._paused.difference_update(mine)
        self._broker.journal.append(("seek", tuple(sorted(mine.items()))))

    def pause(self, partitions: Sequence[Partition]) -> None:
        """See the port."""
        self._paused.update(partition for partition in partitions if partition in self._next)
        self._broker.journal.append(("pause", tuple(sorted(partitions))))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """See the port."""
        self._paused.difference_update(partitions)
        self._broker.journal.append(("resume", tuple(sorted(partitions))))

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """See the port."""
        return {partition: self._end(partition) for partition in partitions}

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """See the port."""
        mine = {partition: at for partition, at in positions.items() if partition in self._next}
        self._group.committed.update(mine)
        self._broker.journal.append(("commit", tuple(sorted(mine.items()))))

    def close(self) -> None:
        """See the port."""
        if self._member in self._group.members:
            self._group.leave(self._member, self._broker.logs)
        self._next.clear()
        self._broker.journal.append(("leave", self._name))

    def lose_partitions(self) -> None:
        """As if this member had been silent for too long; it is back with its next poll."""
        if self._member in self._group.members:
            self._group.leave(self._member, self._broker.logs)

    def _end(self, partition: Partition) -> int:
        """Where we are, if nothing but markers follows."""
        log, at = self._broker.logs[partition], self._next.get(partition)
        if at is None or at > log.after:
            return log.after
        if any(message.offset >= at for message in reversed(log.messages)):
            return log.after
        return at

    def _changes(self) -> tuple[set[Partition], set[Partition]]:
        lost = self._member not in self._group.members
        if lost:
            back, new = set(self._next), set[Partition]()
            self._group.join(self._member, self._broker.logs)
        else:
            back, new = self._group.settle(self._member)
        for partition in back:
            del self._next[partition]
            self._paused.discard(partition)
        self._next.update(dict.fromkeys(new))
        return back, new

    def _flowing(self) -> list[Partition]:
        """Partitions to read, each first in its turn."""
        found = sorted(
            p for p, at in self._next.items() if at is not None and p not in self._paused
        )
        self._turn += 1
        start = self._turn % len(found) if found else 0
        return found[start:] + found[:start]

    def _gone(self) -> dict[Partition, str]:
        found = {}
        for partition in self._flowing():
            log, at = self._broker.logs[partition], self._next[partition]
            if at is not None and not log.first <= at <= log.after:
                self._next[partition] = None
                found[partition] = (
                    f"offset {at} is not in the log, which holds [{log.first}, {log.after})"
                )
        return found


class MemoryLogReader:
    """Port ``LogReader``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partitions(self, topic: str) -> Sequence[Partition]:
        """See the port."""
        return tuple(sorted(p for p in self._broker.logs if p.topic == topic))

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """See the port."""
        self._broker.check("read")
        log = self._broker.logs[partition]
        return log.first, log.after

    def offset_at(self, partition: Partition, timestamp: int) -> int:
        """See the port."""
        log = self._broker.logs[partition]
        return next((m.offset for m in log.messages if m.timestamp >= timestamp), log.after)

    def topic_id(self, topic: str) -> str | None:
        """See the port."""
        self._broker.check("describe")
        if topic not in self._broker.topic_ids:
            raise TransientError("there is no such topic at the moment", where=f"reader, {topic}")
        return self._broker.topic_ids[topic]

    def read(self, partition: Partition, first: int, after: int) -> Iterator[Run]:
        """See the port. Raises SetupError where the log no longer holds ``first``."""
        if first >= after:
            return
        self._broker.check("read")
        log = self._broker.logs[partition]
        if first < log.first:
            raise SetupError(
                f"the log no longer holds what is to be read: it begins at {log.first}",
                where=f"reader, {partition.topic}/{partition.number}",
                remedy="ask for a later range, or raise the topic's retention",
            )
        while (run := log.run(partition, (first, after), READ_MESSAGES)) is not None:
            yield run
            first = run.next_offset
        if after > log.after:
            raise TransientError(f"stopped at {log.after} of [{first}, {after})", where="reader")


class MemoryPublisher:
    """Port ``Publisher``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def publish(self, records: Sequence[Record]) -> None:
        """See the port."""
        self._broker.publish(records)


class MemoryTransactions:
    """Port ``Transactions``."""

    def __init__(self, broker: MemoryBroker, transactional_id: str) -> None:
        self._broker = broker
        self._id = transactional_id
        self._epoch: int | None = None

    def publish_atomically(self, records: Sequence[Record]) -> None:
        """See the port."""
        if self._epoch is None:
            self._epoch = self._broker.open_transactions(self._id)
        try:
            self._broker.publish_atomically(records, self._id, self._epoch)
        except FencedError:
            self._epoch = None
            raise


def read_compacted(broker: MemoryBroker, topic: str) -> dict[bytes, bytes]:
    """The last value of every key. Raises TransientError where there is no such topic."""
    reader = MemoryLogReader(broker)
    if not reader.partitions(topic):
        raise TransientError("there is no such topic at the moment", where=topic)
    last: dict[bytes, bytes] = {}
    for partition in reader.partitions(topic):
        for run in reader.read(partition, *reader.bounds(partition)):
            for message, value in zip(run.messages, run.values, strict=True):
                key = message.key()
                last[key if isinstance(key, bytes) else b""] = value or b""
    return last
