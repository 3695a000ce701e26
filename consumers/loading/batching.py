"""A run of one stream's events over the partitions that a loader holds, kept as columns."""

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from consumers.reading.stream import Counts, Judged, Samples, business_dates
from schemas import table
from schemas.events import OffsetRange, Partition
from schemas.telemetry import Hop

NOTHING = Counts(0, 0, 0, 0)
DAYS_AHEAD_MAX = 7  # a business date further in the future is a mistake of its source
DAYS_BEHIND_MAX = 3  # one longer past is a backfill's: nobody waits for its end, larger files do
_EPOCH = dt.date(1970, 1, 1)
_DAY = 86_400_000_000  # microseconds


@dataclass(slots=True)
class Span:
    """One partition's share of an open batch."""

    first: int
    after: int
    epoch: int
    bytes: int = 0
    counts: Counts = NOTHING
    dates: dict[str, int] = field(default_factory=dict)  # ISO business date: rows
    first_received: int | None = None  # microseconds
    last_received: int | None = None
    topic_id: str | None = None
    first_logged: int = 0  # the log's time of its messages, microseconds
    last_logged: int = 0


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When a batch closes."""

    rows_max: int
    bytes_max: int
    age_max: float  # seconds

    def within(self, sla: dt.timedelta | None) -> "FlushPolicy":
        """The policy of a stream that promises its rows in time: half of that is for the load."""
        if sla is None:
            return self
        return replace(self, age_max=min(self.age_max, sla.total_seconds() / 2))


@dataclass(slots=True)
class Batch:
    """An open batch; ``spans`` are contiguous with what the warehouse holds."""

    topic: str
    opened_at: int  # microseconds since the epoch
    spans: dict[Partition, Span] = field(default_factory=dict)
    frames: list[pl.DataFrame] = field(default_factory=list)
    samples: list[tuple[int, Samples]] = field(default_factory=list)  # when read, which
    date_over: bool = False  # it holds the first rows of a new business date, so the last is over

    @property
    def events(self) -> int:
        """Events read, whatever became of them."""
        return sum(span.counts.events for span in self.spans.values())

    @property
    def bytes(self) -> int:
        """Bytes of the messages read."""
        return sum(span.bytes for span in self.spans.values())

    def grow(self, judged: Judged, spans: dict[Partition, Span], now: int) -> None:
        """Add a poll's verdicts; ``spans`` say how far each partition got by ``now``."""
        for partition, new in spans.items():
            new.counts = judged.counts[partition]
            _add_received(new, judged, partition)
            self.spans[partition] = _joined(self.spans.get(partition), new)
        for number, date, rows in judged.business_dates.iter_rows():
            dates = self.spans[Partition(self.topic, number)].dates
            key = date.isoformat() if date is not None else ""
            dates[key] = dates.get(key, 0) + rows
        if judged.rows.height:
            self.frames.append(judged.rows)
            self.samples.append((now, judged.samples))

    def without(self, partitions: Collection[Partition]) -> "Batch | None":
        """The batch with these partitions taken out; None when nothing is left."""
        spans = {p: span for p, span in self.spans.items() if p not in partitions}
        if not spans:
            return None
        kept = Batch(
            self.topic, self.opened_at, spans, samples=self.samples, date_over=self.date_over
        )
        numbers = [p.number for p in spans]
        kept.frames = [f.filter(f[table.PARTITION].is_in(numbers)) for f in self.frames]
        return kept

    def reject(self, refused: pl.DataFrame, business_date: str | None) -> None:
        """These rows of the file are dead letters now, and not loaded."""
        for number, day, rows in business_dates(refused, business_date).iter_rows():
            span = self.spans[Partition(self.topic, number)]
            span.counts += Counts(0, -rows, 0, rows)
            key = day.isoformat() if day is not None else ""
            span.dates[key] -= rows
            if not span.dates[key]:
                del span.dates[key]

    def due(self, policy: FlushPolicy, now: int) -> bool:
        """Whether it has to close."""
        old = now - self.opened_at >= policy.age_max * 1_000_000
        return old or self.date_over or self.full(policy)

    def full(self, policy: FlushPolicy) -> bool:
        """Whether nothing more belongs into it."""
        return self.events >= policy.rows_max or self.bytes >= policy.bytes_max

    def latencies(self, committed_at: int) -> dict[Hop, npt.NDArray[np.float64]]:
        """Seconds by hop, of sampled events that stand for equal shares of the batch."""
        found: dict[Hop, list[npt.NDArray[np.float64]]] = {hop: [] for hop in Hop}
        for read_at, some in self.samples:
            known = some.happened >= 0
            found[Hop.SOURCE].append((some.received - some.happened)[known] / 1e6)
            found[Hop.RECEIVE].append((some.logged - some.received) / 1e6)
            found[Hop.LOG].append((read_at - some.logged) / 1e6)
            found[Hop.LOAD].append(np.full(some.received.shape, (committed_at - read_at) / 1e6))
            started = np.where(known, some.happened, some.received)
            found[Hop.TOTAL].append((committed_at - started) / 1e6)
        empty = [np.empty(0, dtype=np.float64)]
        return {hop: np.concatenate(parts or empty) for hop, parts in found.items()}

    def ranges(self) -> Iterator[tuple[OffsetRange, Span]]:
        """The offset ranges, by partition."""
        for partition, span in sorted(self.spans.items()):
            counts = span.counts
            yield (
                OffsetRange(
                    partition=partition,
                    first=span.first,
                    after=span.after,
                    events=counts.events,
                    loaded=counts.loaded,
                    duplicates=counts.duplicates,
                    dead=counts.dead,
                    epoch=span.epoch,
                    topic_id=span.topic_id,
                ),
                span,
            )


def latest_date(before: dt.date | None, judged: Judged, now: int) -> dt.date | None:
    """The stream's watermark after a poll: the latest business date seen, of ``before`` and these.

    Dates more than a week ahead of ``now`` (microseconds) are passed over, or one of them would
    hold the watermark for years; so are those of the past, which would cut a backfill by date.
    """
    today = _EPOCH + dt.timedelta(days=now // _DAY)
    first = today - dt.timedelta(days=DAYS_BEHIND_MAX)
    dates = judged.business_dates["date"]
    seen = dates.filter(dates.is_between(first, today + dt.timedelta(days=DAYS_AHEAD_MAX))).max()
    if not isinstance(seen, dt.date):
        return before
    return seen if before is None else max(before, seen)


def _joined(old: Span | None, new: Span) -> Span:
    if old is None:
        return new
    return Span(
        first=old.first,
        after=new.after,
        epoch=new.epoch,
        bytes=old.bytes + new.bytes,
        counts=old.counts + new.counts,
        dates=old.dates,
        first_received=_least(old.first_received, new.first_received),
        last_received=_most(old.last_received, new.last_received),
        topic_id=new.topic_id,
        first_logged=old.first_logged,
        last_logged=new.last_logged,
    )


def _add_received(span: Span, judged: Judged, partition: Partition) -> None:
    mine = judged.received_at[(judged.rows[table.PARTITION] == partition.number).to_numpy()]
    if mine.size:
        span.first_received, span.last_received = int(mine.min()), int(mine.max())


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
