"""Messages as runs of columns, with as little work per message as Python allows.

Every message costs three calls of C methods (error, partition, value) and two more where several
topics are read; a call is 20 to 30 ns, a message from librdkafka about 1,100.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import overload

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message
from typing_extensions import override

from schemas.events import Partition, Run


class MessageTimes:
    """The log's timestamps of some messages (ms), read when they are looked at.

    120 ns a message: a tenth of reading it. Fits :class:`schemas.events.Timestamps`.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, row: int, /) -> int: ...
    @overload
    def __getitem__(self, row: slice, /) -> "MessageTimes": ...
    def __getitem__(self, row: int | slice, /) -> "int | MessageTimes":
        if isinstance(row, slice):
            return MessageTimes(self._messages[row])
        return self._messages[row].timestamp()[1]

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - NumPy's protocol
    ) -> npt.NDArray[np.int64]:
        del copy  # always made anew
        times = (time for _, time in map(Message.timestamp, self._messages))
        return np.fromiter(times, np.int64, len(self._messages)).astype(dtype or np.int64)

    @override
    def __repr__(self) -> str:
        return f"MessageTimes({len(self)})"


# typed as optional, since error messages may lack them; ours never do
_offset: Callable[[Message], int] = Message.offset  # type: ignore[assignment] # see above
_number: Callable[[Message], int] = Message.partition  # type: ignore[assignment] # see above


def runs(messages: list[Message], *, one_topic: bool) -> list[Run]:
    """The messages (none of them an error) as one run a partition, in the log's order."""
    parts: dict[Partition, list[Message]] = {}
    for stretch in _stretches(messages, one_topic=one_topic):
        first = stretch[0]
        partition = Partition(str(first.topic()), int(first.partition() or 0))
        found = parts.get(partition)
        if found is None:
            parts[partition] = stretch
        else:
            found += stretch
    return [as_run(partition, part) for partition, part in parts.items()]


def as_run(partition: Partition, messages: list[Message]) -> Run:
    """Messages of one partition as columns."""
    first, last = int(messages[0].offset() or 0), int(messages[-1].offset() or 0)
    count = len(messages)
    if last - first + 1 == count:  # offsets ascend, hence none is missing in between
        offsets = np.arange(first, last + 1, dtype=np.int64)
    else:
        offsets = np.fromiter(map(_offset, messages), np.int64, count)
    values = list(map(Message.value, messages))
    return Run(partition, offsets, MessageTimes(messages), values, messages)


def _stretches(messages: list[Message], *, one_topic: bool) -> Iterator[list[Message]]:
    """Cut where the partition changes; a fetch brings hundreds in a row from one."""
    numbers = _numbers(messages)
    cuts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(messages)]
    for start, stop in pairwise(cuts):
        stretch = messages if stop - start == len(messages) else messages[start:stop]
        if one_topic:
            yield stretch
            continue
        topics = list(map(Message.topic, stretch))
        if topics.count(topics[0]) == len(topics):
            yield stretch
        else:  # the same number in several topics, one after the other
            yield from (list(group) for _, group in groupby(stretch, Message.topic))


def _numbers(messages: list[Message]) -> npt.NDArray[np.integer]:
    try:
        return np.frombuffer(bytes(map(_number, messages)), np.uint8)
    except ValueError:  # partition 256 and beyond, at three times the price
        return np.fromiter((m.partition() or 0 for m in messages), np.int64, len(messages))
