"""What the loader's loop needs from outside, and what it holds between two turns."""

import datetime as dt
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consumers.loading.batching import Batch, FlushPolicy
from consumers.loading.breaker import Breaker
from consumers.loading.ownership import Ownership
from consumers.reading.stream import LoadStream
from schemas.errors import FencedError, SetupError, SluiceError
from schemas.events import LoadPlan, Partition, Record, Rejection, Run
from schemas.ports import Clock, Lanes, Log, LogReader, Metrics, Publisher, SeenStores

RETRY_SECONDS = 0.5  # the first wait after a failure; doubles
RETRY_SECONDS_MAX = 30.0
JITTER = 0.3  # of a wait, so that loaders do not come back at once
REFUSED_IN_A_ROW = 10  # so many that a table refuses are its fault, unlike one in a quiet stream
STOPPED_SECONDS = 60.0  # how long a partition rests whose setup or events are wrong

Note = Callable[[str, Mapping[str, object]], None]
"""Takes a log event's name and fields; never raises."""


@dataclass(frozen=True, slots=True)
class LoadPorts:
    """Everything outside that a loader needs."""

    log: Log
    reader: LogReader
    publisher: Publisher
    lanes: Lanes
    stores: SeenStores
    clock: Clock
    metrics: Metrics
    note: Note
    dead_letters: Callable[[Sequence[Rejection]], Sequence[Record]]


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """When batches close, and how much one poll brings."""

    flush: FlushPolicy
    poll_messages_max: int
    poll_seconds: float = 0.05


@dataclass(slots=True)
class LoadState:
    """Nothing of it is needed after a crash: log and warehouse say it all again."""

    streams: Mapping[str, LoadStream]
    breaker: Breaker
    ownership: Ownership = field(default_factory=Ownership)
    restoring: dict[Partition, Iterator[Run]] = field(default_factory=dict)
    open: dict[str, Batch] = field(default_factory=dict)
    loading: dict[str, tuple[LoadPlan, Batch]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    watermarks: dict[str, dt.date] = field(default_factory=dict)  # latest business dates seen
    explained: dict[Partition, float] = field(default_factory=dict)  # gaps; monotonic seconds
    draining: bool = False  # towards a stop
    mute: bool = False  # no more reports: one was refused while draining
    refusals: Breaker = field(init=False)  # of rows that targets refuse

    def __post_init__(self) -> None:
        self.refusals = self.breaker.twin("do not fit the table", REFUSED_IN_A_ROW)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the warehouse."""
        return not self.open and not self.loading

    def batched(self, partition: Partition) -> bool:
        """Whether a batch under way holds events of the partition."""
        batch = self.open.get(partition.topic)
        loading = self.loading.get(partition.topic)
        return (batch is not None and partition in batch.spans) or (
            loading is not None and partition in loading[1].spans
        )


def backoff(error: SluiceError, failures: int, early: float) -> float:
    """Seconds until the next try: the other side's own wish, long for what somebody must mend.

    ``early``, from 0 to 1, says how much of :data:`JITTER` comes off.
    """
    if isinstance(error, SetupError):
        return STOPPED_SECONDS
    if isinstance(error, FencedError) and failures == 0:
        return 0.0
    wish = getattr(error, "retry_after", None)
    usual = min(RETRY_SECONDS * 2**failures, RETRY_SECONDS_MAX) * (1 - JITTER * early)
    return float(wish or usual)


def _early(partitions: Sequence[Partition]) -> float:
    """From 0 to 1, another one for each loader: no two hold the same partition."""
    return zlib.crc32(repr(min(partitions)).encode()) / 2**32


def give_up(
    ports: LoadPorts, state: LoadState, partitions: Sequence[Partition], error: SluiceError
) -> None:
    """Stop delivery and claim again later; what is already batched of them still loads.

    ``error`` says how long later is, by its class, and what monitors are told meanwhile.
    """
    if not partitions:
        return
    now, early = ports.clock.monotonic(), _early(partitions)
    ports.log.pause(partitions)
    for partition in partitions:
        held = state.ownership.held.get(partition)
        if held is None:
            continue
        state.restoring.pop(partition, None)
        state.ownership.wait([partition], now + backoff(error, held.failures, early), error)
