"""Reading ranges of the log outside any group."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import stamina
from confluent_kafka import Message, TopicPartition

from schemas.errors import SetupError, TransientError
from schemas.events import Partition, Run
from services.adapters.kafka.admin import KafkaAdmin
from services.adapters.kafka.clients import Answer, ClientConfig, ask, consumer
from services.adapters.kafka.errors import translated, translating
from services.adapters.kafka.runs import as_run

QUERY_SECONDS_MAX = 10.0
STALL_SECONDS_MAX = 20.0
REFUSED_SECONDS = 1.0  # another broker may take us
LEADERLESS_SECONDS = 3.0  # a partition that has just been made, or lost its broker, has none
POLL_SECONDS = 0.05  # a poll that cannot fill itself waits this long
POLL_MESSAGES = 20_000
ABSENT = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})


class KafkaLogReader:
    """Port ``LogReader``. Every :meth:`read` has a consumer of its own.

    ``isolation``: where :meth:`bounds` see the end. For ``read_committed`` it is at the first
    message of an open transaction, and at that of one whose commit is not yet marked everywhere.
    """

    def __init__(
        self,
        client: ClientConfig,
        stall_seconds_max: float = STALL_SECONDS_MAX,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    ) -> None:
        self._client = client
        self._stall_seconds_max = stall_seconds_max
        self._admin: KafkaAdmin | None = None  # one connection more, so only where it is asked
        self._query, self._alarm = consumer(
            client, "reader", group_id="sluice-reader", isolation_level=isolation
        )

    def partitions(self, topic: str) -> Sequence[Partition]:
        """See the port."""
        metadata = self._asked(topic, lambda seconds: self._query.list_topics(topic, seconds))
        found = metadata.topics.get(topic)
        if found is None or (found.error is not None and found.error.name() in ABSENT):
            return ()
        if found.error is not None:
            raise translated(found.error, f"reader, {topic}")
        return tuple(Partition(topic, number) for number in sorted(found.partitions))

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """See the port."""
        again = stamina.RetryingCaller(timeout=LEADERLESS_SECONDS).on(TransientError)
        return again(self._bounds, partition)

    def _bounds(self, partition: Partition) -> tuple[int, int]:
        target = TopicPartition(*partition)
        return self._asked(
            f"{partition.topic}/{partition.number}",
            lambda seconds: self._query.get_watermark_offsets(target, seconds),
        )

    def offset_at(self, partition: Partition, timestamp: int) -> int:
        """See the port."""
        wanted = [TopicPartition(*partition, timestamp)]
        (found,) = self._asked(
            f"{partition.topic}/{partition.number}",
            lambda seconds: self._query.offsets_for_times(wanted, seconds),
        )
        return found.offset if found.offset >= 0 else self.bounds(partition)[1]

    def topic_id(self, topic: str) -> str | None:
        """See the port."""
        self._admin = self._admin or KafkaAdmin(self._client)
        return self._admin.topic_id(topic)

    def read(self, partition: Partition, first: int, after: int) -> Iterator[Run]:
        """See the port. Raises SetupError where the log no longer holds ``first``."""
        if first >= after:
            return
        where = f"reader, {partition.topic}/{partition.number}"
        client, alarm = consumer(
            self._client, where, group_id="sluice-reader", enable_partition_eof=True
        )
        try:
            client.assign([TopicPartition(*partition, first)])
            position, moved = first, time.monotonic()
            while position < after:
                with translating(where):
                    found = client.consume(POLL_MESSAGES, POLL_SECONDS)
                messages, reached = _sorted_out(found, where)
                run = _before(as_run(partition, messages), after) if messages else None
                if run is not None:
                    yield run
                if reached > position:
                    position, moved = reached, time.monotonic()
                elif time.monotonic() - moved > (
                    self._stall_seconds_max if alarm.refusal is None else REFUSED_SECONDS
                ):
                    raise alarm.taken() or TransientError(
                        f"stopped at {position} of [{first}, {after}) for "
                        f"{self._stall_seconds_max:g} s",
                        where=where,
                        remedy="an open transaction or a broker that is down; tried again",
                    )
        finally:
            client.close()

    def close(self) -> None:
        """Close the connection."""
        self._query.close()

    def _asked(self, what: str, call: Callable[[float], Answer]) -> Answer:
        with translating(f"reader, {what}"):
            return ask(call, self._query, self._alarm, QUERY_SECONDS_MAX)


def read_compacted(client: ClientConfig, topic: str) -> dict[bytes, bytes]:
    """The last value of every key; a key whose last value is null is absent.

    An open transaction of one writer hides what others have committed behind it, hence it is
    waited for. Raises TransientError where it stays open, and where there is no such topic: to
    read "nothing" of it would make everybody begin anew.
    """
    reader = KafkaLogReader(client)
    written = KafkaLogReader(client, isolation="read_uncommitted")
    last: dict[bytes, bytes | None] = {}
    try:
        partitions = reader.partitions(topic)
        if not partitions:
            raise TransientError(
                "there is no such topic at the moment",
                where=topic,
                remedy="tried again; `sluice apply` makes it",
            )
        for partition in partitions:
            for run in reader.read(partition, *written.bounds(partition)):
                for message, value in zip(run.messages, run.values, strict=True):
                    key = message.key()
                    last[key.encode() if isinstance(key, str) else key or b""] = value
    finally:
        reader.close()
        written.close()
    return {key: value for key, value in last.items() if value is not None}


def _sorted_out(found: list[Message], where: str) -> tuple[list[Message], int]:
    """The messages without errors, and the offset that reading has reached; -1: none."""
    messages, reached = [], -1
    for message in found:
        error = message.error()
        if error is None:
            messages.append(message)
        elif error.name() == "_PARTITION_EOF":
            reached = max(reached, message.offset() or 0)
        elif error.name() == "_AUTO_OFFSET_RESET":
            raise SetupError(
                f"the log no longer holds what is to be read: {error.str()}",
                where=where,
                remedy="ask for a later range, or raise the topic's retention",
            )
        else:
            raise translated(error, where)
    if messages:
        reached = max(reached, int(messages[-1].offset() or 0) + 1)
    return messages, reached


def _before(run: Run, after: int) -> Run | None:
    count = int(np.searchsorted(run.offsets, after))
    if count == len(run):
        return run
    return as_run(run.partition, list(run.messages[:count])) if count else None  # type: ignore[arg-type] # ours are Messages
