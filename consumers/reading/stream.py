"""One stream on its way through the loader: messages in, rows, duplicates and rejections out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from consumers.loading.breaker import Verdicts
from consumers.reading.decode import Decoder, SchemaLookup
from consumers.reading.dedupe import PartitionKeys, dedupe_keys, key_hashes, stamps_of
from consumers.reading.judge import judge
from schemas import avro, table
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.errors import Stage
from schemas.events import Message, OriginalHeaders, Partition, Rejection, Run, Violation
from schemas.file_columns import FileColumns
from schemas.keys import KeyHashes
from schemas.rules import compile_rules

Integers = npt.NDArray[np.int64]

SAMPLES_MAX = 32  # of one poll and stream, to measure latency by


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a partition's events."""

    events: int
    loaded: int
    duplicates: int
    dead: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.events + other.events,
            self.loaded + other.loaded,
            self.duplicates + other.duplicates,
            self.dead + other.dead,
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """Some of a poll's accepted events, each for its share of them. Times in microseconds."""

    happened: Integers  # by the event's own clock; -1 where it says none
    received: Integers
    logged: Integers
    events: int  # that they stand for


@dataclass(frozen=True, slots=True)
class Judged:
    """A poll's messages of one stream, judged: rows with file columns, and everything else."""

    rows: pl.DataFrame
    business_dates: pl.DataFrame  # partition, date, rows
    received_at: Integers  # microseconds, of the rows
    rejections: Sequence[Rejection]
    counts: Mapping[Partition, Counts]
    samples: Samples


class LoadStream:
    """A contract, compiled for loading. Keeps caches, no positions."""

    def __init__(self, contract: Contract, lookup: SchemaLookup) -> None:
        self.contract = contract
        self.topic = contract.topic
        self.is_dead = contract.stream.endswith(DEAD_SUFFIX)
        self.window = round(contract.dedupe_window.total_seconds() * 1_000_000)
        self.rules = compile_rules(contract)
        self._decoder = Decoder(contract, lookup)
        self._file = FileColumns(contract)

    def judge(
        self,
        runs: Sequence[Run],
        keys: Mapping[Partition, PartitionKeys | None],
        check: Callable[[Mapping[Partition, Verdicts]], None] | None = None,
    ) -> Judged:
        """Verdicts on runs of different partitions; accepted keys are pending afterwards.

        ``check`` sees each run's events and rejects before any key is remembered, and
        may raise. Raises TransientError when a schema cannot be looked up now.
        """
        read = _Read.of(runs)
        decoded = self._decoder.decode(read.values)
        rows = decoded.rows if decoded.rows is not None else np.arange(len(read.values))
        broken = judge(decoded.frame, self.rules)
        rejections = [
            read.rejection(u.row, Stage.DECODE, (u.violation,), self.contract.stream)
            for u in decoded.unreadable
        ]
        rejections += [
            replace(
                read.rejection(int(rows[b.row]), Stage.JUDGE, b.violations, self.contract.stream),
                event_id=decoded.frame[avro.ID][b.row],
                source=decoded.frame[avro.SOURCE][b.row],
            )
            for b in broken
        ]
        rejected = read.places(
            [u.row for u in decoded.unreadable] + [int(rows[b.row]) for b in broken]
        )
        dead = [len(places) for places in rejected]
        if check is not None:
            check(
                {
                    run.partition: Verdicts(len(run), places)
                    for run, places in zip(runs, rejected, strict=True)
                }
            )
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[[b.row for b in broken]] = False
        candidates = _Candidates(decoded.frame, rows, keep)
        counts = self._drop_duplicates(runs, read, candidates, dead, keys)
        return self._judged(read, candidates, rejections, counts)

    def restore(self, run: Run, keys: PartitionKeys) -> None:
        """Remember what was accepted of a run whose batch has committed long ago."""
        self.judge([run], {run.partition: keys})

    def refused(
        self, run: Run, ids: Mapping[int, tuple[str | None, str | None]], why: Violation
    ) -> list[Rejection]:
        """The messages of a run whose rows the table refuses.

        ``ids``: event id and source of each, by offset.
        """
        read = _Read.of([run])
        return [
            replace(
                read.rejection(row, Stage.LOAD, (why,), self.contract.stream),
                event_id=ids[offset][0],
                source=ids[offset][1],
            )
            for row, offset in enumerate(run.offsets.tolist())
            if offset in ids
        ]

    def _drop_duplicates(
        self,
        runs: Sequence[Run],
        read: "_Read",
        candidates: "_Candidates",
        dead: Sequence[int],
        keys: Mapping[Partition, PartitionKeys | None],
    ) -> dict[Partition, Counts]:
        """Take the duplicates out of ``candidates.keep``; remember the others as pending."""
        rows, keep = candidates.rows, candidates.keep
        edges = np.searchsorted(rows, read.edges)
        hashes = stamps = None
        if self.window:
            hashes = key_hashes(dedupe_keys(self.contract, candidates.frame))
            stamps = stamps_of(candidates.frame, lambda: read.timestamps()[rows])
        counts = {}
        for place, run in enumerate(runs):
            mine = np.arange(edges[place], edges[place + 1])
            fine = mine[keep[mine]] if dead[place] else mine
            known = keys[run.partition]
            doubled = 0
            if known is not None and hashes is not None and stamps is not None:
                duplicate = known.duplicates(
                    KeyHashes(hashes.h1[fine], hashes.h2[fine], hashes.null[fine]),
                    read.offsets[rows[fine]],
                    stamps[fine],
                )
                keep[fine[duplicate]] = False
                doubled = int(duplicate.sum())
            counts[run.partition] = Counts(len(run), len(fine) - doubled, doubled, dead[place])
        return counts

    def _judged(
        self,
        read: "_Read",
        candidates: "_Candidates",
        rejections: Sequence[Rejection],
        counts: Mapping[Partition, Counts],
    ) -> Judged:
        frame, rows, keep = candidates.frame, candidates.rows, candidates.keep
        if not keep.all():
            frame, rows = frame.filter(pl.Series(keep)), rows[keep]
        frame = frame.with_columns(
            pl.Series(table.PARTITION, read.numbers[rows], dtype=pl.Int32),
            pl.Series(table.OFFSET, read.offsets[rows]),
        )
        stamps = stamps_of(frame, lambda: read.timestamps()[rows])
        return Judged(
            self._file.of(frame),
            business_dates(frame, self.contract.business_date),
            stamps,
            rejections,
            counts,
            self._samples(read, frame, rows, stamps),
        )

    def _samples(
        self, read: "_Read", frame: pl.DataFrame, rows: Integers, stamps: Integers
    ) -> Samples:
        some = np.arange(0, len(rows), max(1, len(rows) // SAMPLES_MAX))
        logged = np.array([read.timestamp(int(row)) for row in rows[some]], dtype=np.int64)
        happened = np.full(len(some), -1, dtype=np.int64)
        name = self.contract.business_date
        if name is not None and isinstance(frame.schema[name], pl.Datetime):
            happened = frame[name].gather(some).to_physical().fill_null(-1).to_numpy()
        return Samples(happened, stamps[some], logged * 1000, len(rows))


def business_dates(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    """How many rows there are of each partition and business date: partition, date, rows.

    ``name``: the column of the business date; None: there is none, and the date is null.
    """
    date = pl.col(name).cast(pl.Date) if name else pl.lit(None, dtype=pl.Date)
    return (
        rows.lazy()
        .select(pl.col(table.PARTITION).alias("partition"), date.alias("date"))
        .group_by("partition", "date")
        .agg(pl.len().alias("rows"))
        .collect()
    )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Decoded rows, which messages they were, and which of them are to be loaded."""

    frame: pl.DataFrame
    rows: Integers
    keep: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Read:
    """Several partitions' runs, end to end."""

    runs: Sequence[Run]
    values: Sequence[bytes | None]
    offsets: Integers
    numbers: Integers
    edges: Integers  # where each run begins, and the end

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "_Read":
        if len(runs) == 1:
            values = runs[0].values
        else:
            values = [value for run in runs for value in run.values]
        sizes = [len(run) for run in runs]
        return cls(
            runs,
            values,
            np.concatenate([run.offsets for run in runs]),
            np.repeat(np.array([run.partition.number for run in runs]), sizes),
            np.concatenate([[0], np.cumsum(sizes)]),
        )

    def timestamps(self) -> Integers:
        """The log's times (milliseconds). Costs a call a message, so only where they are needed."""
        return np.concatenate([np.asarray(run.timestamps) for run in self.runs])

    def place(self, row: int) -> tuple[Run, int]:
        """The run of a row, and the row's place in it."""
        at = int(np.searchsorted(self.edges, row, side="right")) - 1
        return self.runs[at], row - int(self.edges[at])

    def timestamp(self, row: int) -> int:
        """The log's time of one row (milliseconds)."""
        run, place = self.place(row)
        return int(run.timestamps[place])

    def places(self, rows: Sequence[int]) -> list[Integers]:
        """Where in each run these rows are, ascending."""
        ascending = np.sort(np.asarray(rows, dtype=np.int64))
        cuts = np.searchsorted(ascending, self.edges)
        return [ascending[cuts[n] : cuts[n + 1]] - self.edges[n] for n in range(len(self.runs))]

    def rejection(
        self, row: int, stage: Stage, violations: tuple[Violation, ...], stream: str
    ) -> Rejection:
        """The message of a row as a rejection, with its key and headers."""
        run, place = self.place(row)
        message = run.messages[place]
        value = self.values[row]
        header = value[: avro.HEADER.size] if value is not None else b""
        framed = len(header) == avro.HEADER.size and header[0] == avro.MAGIC
        return Rejection(
            stream=stream,
            stage=stage,
            violations=violations,
            value=value,
            key=_bytes(message.key()),
            headers=_headers(message),
            partition=run.partition.number,
            offset=int(self.offsets[row]),
            schema_id=avro.HEADER.unpack(header)[1] if framed else None,
            seen_at=int(run.timestamps[place]) * 1000,
        )


def _bytes(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


def _headers(message: Message) -> OriginalHeaders:
    found = message.headers() or ()
    pairs = found.items() if isinstance(found, Mapping) else found
    return tuple(
        (name, value if isinstance(value, bytes | None) else str(value).encode())
        for name, value in pairs
    )
