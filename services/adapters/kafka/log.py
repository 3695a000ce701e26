"""A group member's partitions, read from positions that the loop decides."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import SluiceError, TransientError
from schemas.events import Partition, Polled, Run
from services.adapters.kafka.clients import ClientConfig, consumer
from services.adapters.kafka.errors import translated, translating
from services.adapters.kafka.runs import runs

BOUNDS_SECONDS_MAX = 5.0


@dataclass(slots=True)
class _Changes:
    """What happened since the last poll returned."""

    assigned: set[Partition] = field(default_factory=set)
    revoked: set[Partition] = field(default_factory=set)
    gone: dict[Partition, str] = field(default_factory=dict)
    error: SluiceError | None = None  # told by the next poll, so that this one's messages count


class KafkaLog:
    """Port ``Log`` on a cooperative-sticky consumer group.

    librdkafka's own positions decide nothing. A partition is assigned paused; :meth:`seek` gives
    it a position and lets it flow; its next offset is kept here and set again on resume. What
    librdkafka had buffered for a partition that was lost, paused or moved is dropped here.
    """

    def __init__(self, client: ClientConfig, group: str, topics: Sequence[str]) -> None:
        self._where = f"consumer group {group}"
        self._consumer, self._alarm = consumer(
            client,
            self._where,
            group_id=group,
            partition_assignment_strategy="cooperative-sticky",
            enable_partition_eof=True,  # says that only markers are left, see ends()
        )
        self._next: dict[Partition, int | None] = {}  # what we own; None: waits for a seek
        self._paused: set[Partition] = set()
        self._ends: dict[Partition, int] = {}  # where the log ended when all of it was read
        self._changes = _Changes()
        self._one_topic = len(topics) == 1
        with translating(self._where):
            self._consumer.subscribe(
                list(topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke
            )

    def poll(self, messages_max: int, timeout: float) -> Polled:
        """See the port. Raises TransientError while no broker answers, SetupError when refused.

        No message is lost by an error: it is raised before reading, or when nothing was read.
        """
        if self._changes.error is not None:
            error, self._changes.error = self._changes.error, None
            raise error
        with translating(self._where):
            messages = self._consumer.consume(messages_max, timeout)
        if any(map(Message.error, messages)):
            messages = self._without_errors(messages)
        found = runs(messages, one_topic=self._one_topic) if messages else []
        kept = [run for run in map(self._due, found) if run is not None]
        down = self._alarm.taken()
        if down is not None and not kept:
            self._changes.error = down
        new, self._changes = self._changes, _Changes(error=self._changes.error)
        return Polled(kept, frozenset(new.assigned), frozenset(new.revoked), new.gone)

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """See the port."""
        for partition, offset in positions.items():
            if partition in self._next:
                self._paused.discard(partition)
                self._next[partition] = offset
                self._ends.pop(partition, None)  # told again where nothing but markers follows
                self._move(partition, offset)
                with translating(self._where):
                    self._consumer.resume([_bare(partition)])

    def pause(self, partitions: Sequence[Partition]) -> None:
        """See the port."""
        mine = [partition for partition in partitions if partition in self._next]
        self._paused.update(mine)
        with translating(self._where):
            self._consumer.pause([_bare(partition) for partition in mine])

    def resume(self, partitions: Sequence[Partition]) -> None:
        """See the port."""
        positions = {p: self._next.get(p) for p in partitions if p in self._paused}
        self.seek({p: offset for p, offset in positions.items() if offset is not None})

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """See the port."""
        found = {}
        for partition in partitions:
            with translating(self._where):
                _, end = self._consumer.get_watermark_offsets(_bare(partition), cached=True)
            delivered = self._next.get(partition)
            if self._ends.get(partition) == end and delivered is not None:
                found[partition] = delivered  # what follows is markers of transactions
            elif end >= 0:  # below: nothing has been fetched yet
                found[partition] = end
        return found

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """See the port."""
        offsets = [TopicPartition(*p, offset) for p, offset in positions.items() if p in self._next]
        if offsets:
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        """See the port."""
        self._next.clear()
        self._consumer.close()

    def _move(self, partition: Partition, offset: int) -> None:
        target = TopicPartition(*partition, offset)
        try:
            self._consumer.seek(target)
        except KafkaException:
            # The fetcher has not started yet, or stopped at a position that was gone: only
            # a new assignment starts it, wherever it stands.
            with translating(self._where):
                self._consumer.incremental_unassign([_bare(partition)])
                self._consumer.incremental_assign([target])

    def _assign(self, client: Consumer, partitions: Iterable[TopicPartition]) -> None:
        new = [_partition(one) for one in partitions]
        # Paused before it starts, so that nothing is fetched from this position.
        client.pause([_bare(partition) for partition in new])
        client.incremental_assign([TopicPartition(*partition, 0) for partition in new])
        client.pause([_bare(partition) for partition in new])
        self._next.update(dict.fromkeys(new))
        self._changes.assigned.update(new)

    def _revoke(self, _client: Consumer, partitions: Iterable[TopicPartition]) -> None:
        for partition in map(_partition, partitions):
            self._next.pop(partition, None)
            self._paused.discard(partition)
            self._changes.gone.pop(partition, None)
            if partition in self._changes.assigned:
                self._changes.assigned.discard(partition)  # nobody has heard of it
            else:
                self._changes.revoked.add(partition)

    def _due(self, run: Run) -> Run | None:
        """The run's part that may be delivered, and the position behind it."""
        position = self._next.get(run.partition)
        if position is None or run.partition in self._paused:
            return None
        fresh = run.since(position)
        if not fresh:
            return None
        self._next[run.partition] = fresh.next_offset
        return fresh

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            error = message.error()
            if error is None:
                continue
            partition = Partition(message.topic() or "", message.partition() or 0)
            if error.name() == "_AUTO_OFFSET_RESET":
                self._stopped(partition, error.str())
            elif error.name() == "_PARTITION_EOF":
                self._ends[partition] = message.offset() or 0
            elif error.name() != "_MAX_POLL_EXCEEDED":
                self._changes.error = translated(error, f"{self._where}, {partition.topic}")
        return [message for message in messages if message.error() is None]

    def _stopped(self, partition: Partition, text: str) -> None:
        """A fetcher stopped because its position is not there."""
        position = self._next.get(partition)
        if position is None:
            return
        try:
            first, after = self._bounds(partition)
        except TransientError:
            first, after = position, position  # nobody knows
        if first <= position <= after:  # try again; or it was an answer to an earlier position
            self._move(partition, position)
            return
        self._next[partition] = None
        self._changes.gone[partition] = (
            f"offset {position} is not in the log, which holds [{first}, {after}): {text}"
        )

    def _bounds(self, partition: Partition) -> tuple[int, int]:
        with translating(self._where):
            return self._consumer.get_watermark_offsets(_bare(partition), BOUNDS_SECONDS_MAX)


def _bare(partition: Partition) -> TopicPartition:
    return TopicPartition(*partition)


def _partition(one: TopicPartition) -> Partition:
    return Partition(one.topic, one.partition)
