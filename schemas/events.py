"""The values that cross a boundary between two hops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, SupportsInt, overload

import numpy as np
import numpy.typing as npt

from schemas.errors import RejectReason, Stage

if TYPE_CHECKING:
    import polars as pl  # half a start's time, and only those need it who make frames

Headers = Mapping[str, str]
"""HTTP headers: lower-case names; a repeated header's values joined by ``, ``."""
RecordHeaders = tuple[tuple[str, bytes], ...]
OriginalHeaders = tuple[tuple[str, bytes | None], ...]
"""Headers as any producer may write them: a null value is not an empty one."""
REPORTS = "sluice.batches"
"""The topic of what each batch loaded."""
CURSORS_TOPIC = "sluice.cursors"
"""The topic of polled streams' cursors: compacted, one key a stream."""


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int


class Delivery(NamedTuple):
    """One webhook call: ``body`` as it came over the wire, ``payload`` after decompression."""

    source: str
    headers: Headers
    body: bytes
    payload: bytes
    received_at: int  # microseconds since the epoch, UTC
    method: str = "POST"
    url: str = ""  # path and query as the client sent them
    trace: RecordHeaders = ()  # its trace context, for the log


class Incoming(NamedTuple):
    """One JSON record on its way to the encoder. A tuple, since there are many of them."""

    value: dict[str, Any]
    raw: bytes  # the record's own bytes, as they came
    event_id: str | None  # None: derive it from key and version, or from the raw bytes
    source: str
    received_at: int  # microseconds since the epoch, UTC
    headers: RecordHeaders = ()  # that its record gets


OVERHEAD_BYTES = 100  # of a message in its batch, at most, without its headers
HEADER_BYTES = 10  # of one header, beside its name and value


class Record(NamedTuple):
    """One message for the log. A tuple, since there are many of them."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: RecordHeaders = ()

    @property
    def log_bytes(self) -> int:
        """What it needs in the log, at most."""
        size = len(self.value) + len(self.key or b"") + OVERHEAD_BYTES
        for name, value in self.headers:
            size += len(name) + len(value) + HEADER_BYTES
        return size


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: a JSON path such as ``$.items[2].price``, the code, and what was found.

    ``detail`` repeats nothing of the event; ``found`` does, and is for dead letters only.
    """

    path: str
    reason: RejectReason
    detail: str
    found: str = ""

    @property
    def told(self) -> str:
        """All of it in words."""
        return f"{self.detail}; found {self.found}" if self.found else self.detail


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that cannot go on, with everything that a repair needs."""

    stream: str
    stage: Stage
    violations: tuple[Violation, ...]  # at least one; the first gives the reason
    value: bytes | None  # the original bytes
    key: bytes | None = None
    headers: OriginalHeaders = ()
    partition: int | None = None  # None: it never reached the log
    offset: int | None = None
    schema_id: int | None = None
    event_id: str | None = None
    source: str | None = None
    seen_at: int = 0  # microseconds since the epoch, UTC

    @property
    def reason(self) -> RejectReason:
        """The first violation's code."""
        return self.violations[0].reason


class Message(Protocol):
    """What is looked at for a rejected message only. confluent-kafka's Message fits."""

    def key(self) -> bytes | str | None:
        """The message's key."""

    def headers(self) -> Sequence[tuple[str, Any]] | Mapping[str, Any] | None:
        """The message's headers."""


class Timestamps(Protocol):
    """A column of times that may cost a tenth of reading: take ``numpy.asarray`` if you need it.

    NumPy arrays fit; the Kafka adapter reads the messages only when it is looked at.
    """

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, row: int, /) -> SupportsInt: ...
    @overload
    def __getitem__(self, row: slice, /) -> "Timestamps": ...

    def __array__(self) -> npt.NDArray[np.int64]:
        """All of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive visible messages of one partition, as parallel columns of equal length.

    Offsets ascend, but not always by one: transaction markers and compaction leave gaps.
    """

    partition: Partition
    offsets: npt.NDArray[np.int64]
    timestamps: Timestamps  # the log's own, milliseconds since the epoch
    values: Sequence[bytes | None]
    messages: Sequence[Message]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def next_offset(self) -> int:
        """Where reading goes on."""
        return int(self.offsets[-1]) + 1

    def since(self, offset: int) -> "Run":
        """The messages from an offset on."""
        if not len(self) or int(self.offsets[0]) >= offset:
            return self
        cut = int(np.searchsorted(self.offsets, offset))
        return Run(
            self.partition,
            self.offsets[cut:],
            np.asarray(self.timestamps)[cut:],
            self.values[cut:],
            self.messages[cut:],
        )


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought: runs of messages, and changes of ownership to act on first."""

    runs: Sequence[Run] = ()
    assigned: frozenset[Partition] = frozenset()  # paused until the loop seeks and resumes them
    revoked: frozenset[Partition] = frozenset()  # given back in good order, or lost
    gone: Mapping[Partition, str] = field(default_factory=dict)  # positions the log deleted: why


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """``[first, after)`` of one partition, with what became of its events."""

    partition: Partition
    first: int
    after: int
    events: int
    loaded: int
    duplicates: int
    dead: int
    epoch: int  # of the claim under which it was read
    topic_id: str | None = None  # of the topic that was read; None where the broker tells none


@dataclass(frozen=True, slots=True)
class Claim:
    """Ownership of a partition, as the warehouse granted it."""

    epoch: int
    next_offset: int
    topic_id: str | None = None  # of the topic that was loaded last; None where nobody knew


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim: ``error`` is None when the partitions are ours."""

    partitions: tuple[Partition, ...]
    claims: Mapping[Partition, Claim] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a load: ``error`` is None when it has committed."""

    batch: str
    topic: str
    error: Exception | None = None
    query_id: str | None = None
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One closed batch, ready for the warehouse: the values, and the SQL that says the same.

    The adapter writes ``frame`` as one Parquet file called ``file``, PUTs it to ``stage_path``,
    then runs ``copy_sql`` (must load ``rows`` rows), ``ledger_sql`` and ``fence_sql`` (must touch
    one row a range) in one transaction. Without rows there is no file and no COPY.
    """

    batch: str
    topic: str
    table: str
    ranges: tuple[OffsetRange, ...]
    frame: "pl.DataFrame"
    file: str
    stage_path: str  # @stage/directory/
    copy_sql: str
    ledger_sql: str
    fence_sql: str
    refused: int = 0  # rows of these ranges that the target did not take: dead letters

    @property
    def rows(self) -> int:
        """Rows that COPY must report as loaded."""
        return self.frame.height
