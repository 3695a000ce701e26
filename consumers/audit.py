"""Gathers what log and warehouse say, and proves that the books balance."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from consumers import books, ledger
from consumers.books import Books, Entry, Finding, PartitionFacts, Rows, Share, Totals
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import Stage, TransientError
from schemas.events import Partition
from schemas.ports import LogReader, Warehouse
from schemas.sql import identifier, literal

SNAPSHOT_TRIES = 20
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
Progress = Callable[[str, int], None]
"""Takes a topic and how many of its messages were read since the last call."""

NOWHERE = Partition("?", -1)  # of rows without lineage


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """What an audit reads; it writes nothing."""

    reader: LogReader
    warehouse: Warehouse
    progress: Progress = lambda _topic, _count: None


@dataclass(slots=True)
class _Dead:
    """The dead letters: rejected by a loader, by coordinates, or before the log, by count."""

    coordinates: dict[Partition, npt.NDArray[np.int64]] = field(default_factory=dict)
    before_log: dict[str, int] = field(default_factory=dict)  # by stream: distinct ones
    before_log_repeated: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Ledger and offsets at one moment."""

    entries: Mapping[Partition, list[Entry]]
    next_offsets: Mapping[Partition, int]
    doubled: frozenset[Partition]  # with more than one row of offsets


@dataclass(frozen=True, slots=True)
class _Scan:
    """A partition of the log, counted."""

    start: int
    end: int
    seen: list[int]
    before: int
    in_flight: int
    keys: list[str]  # of dead letter topics only: every message's
    keys_in_flight: list[str]


def audit_once(ports: AuditPorts, streams: Mapping[str, Contract]) -> Books:
    """Prove the books of all streams, while loaders may go on.

    The order matters: 1. ledger and offsets, at one moment; 2. the log, up to its end; 3. the
    tables, where batches that are newer than 1. are looked up again. Raises TransientError and
    SetupError as the ports do.
    """
    snapshot = _snapshot(ports.warehouse)
    scans = {
        partition: _scan(ports, partition, snapshot)
        for topic in streams
        for partition in ports.reader.partitions(topic)
    }
    rows = _rows(ports.warehouse, {c.table_name for c in streams.values()})
    rows = _without_newer(ports.warehouse, rows, snapshot)
    dead = _dead_letters(ports.warehouse, scans)
    facts = [_facts(p, scan, snapshot, rows, dead) for p, scan in scans.items()]
    found = _books(facts, dead)
    others = (*_doubled(snapshot), *_elsewhere(scans, snapshot, rows))
    return replace(found, findings=[*found.findings, *others])


def _snapshot(warehouse: Warehouse) -> _Snapshot:
    """Offsets are read before and after the ledger, until nothing moved in between."""
    offsets_sql = f"SELECT TOPIC, PART, NEXT_OFFSET FROM {ledger.OFFSETS}"
    ledger_sql = (
        "SELECT BATCH, TOPIC, PART, FIRST_OFFSET, NEXT_OFFSET, EVENTS, LOADED, DUPLICATES, DEAD, "
        f"TARGET_TABLE, COMMITTED_AT FROM {ledger.LEDGER} ORDER BY TOPIC, PART, FIRST_OFFSET"
    )
    for _ in range(SNAPSHOT_TRIES):
        rows = warehouse.rows(offsets_sql)
        before = _next_offsets(rows)
        entries: dict[Partition, list[Entry]] = {}
        for row in warehouse.rows(ledger_sql):
            partition = Partition(row["topic"], int(row["part"]))
            entries.setdefault(partition, []).append(_entry(row))
        if _next_offsets(warehouse.rows(offsets_sql)) == before:
            counts = Counter(Partition(r["topic"], int(r["part"])) for r in rows)
            return _Snapshot(entries, before, frozenset(p for p, n in counts.items() if n > 1))
    raise TransientError(
        "the ledger moves faster than it can be read",
        where=ledger.LEDGER,
        remedy="try again, or stop the loaders meanwhile",
    )


def _next_offsets(rows: Sequence[Mapping[str, Any]]) -> dict[Partition, int]:
    return {Partition(r["topic"], int(r["part"])): int(r["next_offset"]) for r in rows}


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        batch=row["batch"],
        table=row["target_table"],
        first=int(row["first_offset"]),
        after=int(row["next_offset"]),
        events=int(row["events"]),
        loaded=int(row["loaded"]),
        duplicates=int(row["duplicates"]),
        dead=int(row["dead"]),
        committed_at=_micros(row["committed_at"]),
    )


def _micros(moment: dt.datetime) -> int:
    """Of a TIMESTAMP_NTZ, which the ledger writes in UTC."""
    return (moment.replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(microseconds=1)


def _scan(ports: AuditPorts, partition: Partition, snapshot: _Snapshot) -> _Scan:
    """Count the visible messages of every ledger range. Reads all that the log still has."""
    entries = snapshot.entries.get(partition, [])
    stands = snapshot.next_offsets.get(partition, 0)
    start, end = ports.reader.bounds(partition)
    firsts = np.array([e.first for e in entries], dtype=np.int64)
    afters = np.array([e.after for e in entries], dtype=np.int64)
    seen = np.zeros(len(entries), dtype=np.int64)
    before = in_flight = 0
    keys: list[str] = []
    keys_in_flight: list[str] = []
    is_dead = partition.topic.endswith(DEAD_SUFFIX)
    for run in ports.reader.read(partition, start, end):
        offsets = run.offsets
        place = np.searchsorted(firsts, offsets, side="right") - 1
        inside = (place >= 0) & (offsets < afters[place]) if len(entries) else place >= 0
        seen += np.bincount(place[inside], minlength=len(entries))
        flying = offsets >= stands
        in_flight += int(flying.sum())
        before += int(((place < 0) & ~flying).sum())
        if is_dead:
            names = [_text(message.key()) for message in run.messages]
            keys += names
            keys_in_flight += [n for n, up in zip(names, flying.tolist(), strict=True) if up]
        ports.progress(partition.topic, len(run))
    return _Scan(start, end, [int(n) for n in seen], before, in_flight, keys, keys_in_flight)


def _text(key: bytes | str | None) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""


_Tables = dict[Partition, dict[tuple[str, str], Rows]]  # by table and batch


def _rows(warehouse: Warehouse, tables: set[str]) -> _Tables:
    found: _Tables = {}
    for name in sorted(tables):
        sql = (
            "SELECT _TOPIC, _PARTITION, _BATCH, COUNT(*) AS N, COUNT(DISTINCT _OFFSET) AS D, "
            f"MIN(_OFFSET) AS LO, MAX(_OFFSET) AS HI FROM {identifier(name)} "
            "GROUP BY _TOPIC, _PARTITION, _BATCH"
        )
        for row in warehouse.rows(sql):
            partition = Partition(
                row["_topic"] or NOWHERE.topic, _number(row["_partition"], NOWHERE.number)
            )
            counted = Rows(
                int(row["n"]), int(row["d"]), _number(row["lo"], 0), _number(row["hi"], -1)
            )
            found.setdefault(partition, {})[name, str(row["_batch"])] = counted
    return found


def _number(value: Any, otherwise: int) -> int:  # noqa: ANN401 - whatever the warehouse holds
    return otherwise if value is None else int(value)


def _without_newer(warehouse: Warehouse, rows: _Tables, snapshot: _Snapshot) -> _Tables:
    """Leave out batches that were committed after the snapshot."""
    known = {e.batch for entries in snapshot.entries.values() for e in entries}
    strangers = {batch for places in rows.values() for _, batch in places} - known
    if not strangers:
        return rows
    names = ", ".join(literal(batch) for batch in sorted(strangers))
    sql = f"SELECT DISTINCT BATCH FROM {ledger.LEDGER} WHERE BATCH IN ({names})"
    newer = {row["batch"] for row in warehouse.rows(sql)}
    return {
        p: {place: found for place, found in places.items() if place[1] not in newer}
        for p, places in rows.items()
    }


def _dead_letters(warehouse: Warehouse, scans: Mapping[Partition, _Scan]) -> _Dead:
    """From the table, and from the dead letter topics what has not been loaded yet."""
    dead = _Dead()
    loaded: dict[Partition, set[int]] = {}
    sql = (
        "SELECT STREAM, ORIGIN_PARTITION, ORIGIN_OFFSET, COUNT(*) AS N "
        f"FROM {DEAD_LETTERS} GROUP BY STREAM, ORIGIN_PARTITION, ORIGIN_OFFSET"
    )
    for row in warehouse.rows(sql):
        if row["origin_offset"] is None:
            dead.before_log[row["stream"]] = dead.before_log.get(row["stream"], 0) + int(row["n"])
        else:
            origin = Partition(row["stream"], int(row["origin_partition"]))
            loaded.setdefault(origin, set()).add(int(row["origin_offset"]))
    for (topic, _), scan in scans.items():
        if not topic.endswith(DEAD_SUFFIX):
            continue
        stream = topic.removesuffix(DEAD_SUFFIX)
        own = [key for key in scan.keys if key.endswith(f"/{Stage.ENCODE}")]
        repeats = len(own) - len(set(own))
        dead.before_log_repeated[stream] = dead.before_log_repeated.get(stream, 0) + repeats
        flying = {k for k in scan.keys_in_flight if k.endswith(f"/{Stage.ENCODE}")}
        settled = set(
            own[: len(own) - sum(k.endswith(f"/{Stage.ENCODE}") for k in scan.keys_in_flight)]
        )
        dead.before_log[stream] = dead.before_log.get(stream, 0) + len(flying - settled)
        for key in scan.keys_in_flight:
            origin_of = coordinates(key)
            if origin_of is not None:
                loaded.setdefault(origin_of[0], set()).add(origin_of[1])
    dead.coordinates = {p: np.array(sorted(found), dtype=np.int64) for p, found in loaded.items()}
    return dead


def coordinates(key: str) -> tuple[Partition, int] | None:
    """Where a dead letter came from, by its key; None if it never was on a topic."""
    parts = key.rsplit("/", 3)
    if len(parts) != 4 or parts[3] == Stage.ENCODE or not (parts[1] + parts[2]).isdigit():  # noqa: PLR2004 - stream, partition, offset, stage
        return None
    return Partition(parts[0], int(parts[1])), int(parts[2])


def _facts(
    partition: Partition,
    scan: _Scan,
    snapshot: _Snapshot,
    rows: _Tables,
    dead: _Dead,
) -> PartitionFacts:
    entries = snapshot.entries.get(partition, [])
    offsets = dead.coordinates.get(partition, np.empty(0, dtype=np.int64))
    ends = [(np.searchsorted(offsets, e.first), np.searchsorted(offsets, e.after)) for e in entries]
    return PartitionFacts(
        partition=partition,
        entries=entries,
        next_offset=snapshot.next_offsets.get(partition),
        log_start=scan.start,
        log_end=scan.end,
        seen=scan.seen,
        before=scan.before,
        in_flight=scan.in_flight,
        rows=rows.get(partition, {}),
        dead=[int(hi - lo) for lo, hi in ends],
    )


def _books(
    facts: Sequence[PartitionFacts],
    dead: _Dead,
) -> Books:
    shares: dict[Share, Totals] = {}
    findings = [finding for each in facts for finding in books.check(each)]
    notes = []
    for each in facts:
        topic = each.partition.topic
        past = sum(e.first < each.log_start for e in each.entries)
        if past:
            notes.append(
                f"{topic}/{each.partition.number}: {past} ranges are past the log's retention"
            )
        if not topic.endswith(DEAD_SUFFIX):
            shares |= books.shares_of(each)
    topics = dict.fromkeys(each.partition.topic for each in facts)
    streams = [topic for topic in topics if not topic.endswith(DEAD_SUFFIX)]
    for stream in streams:
        refused = dead.before_log.get(stream, 0)
        repeats = dead.before_log_repeated.get(stream, 0)
        if refused + repeats:
            shares[Share(stream, None, None)] = Totals(
                accepted=refused + repeats, duplicate=repeats, dead=refused
            )
    by_stream = {
        stream: books.summed(t for share, t in shares.items() if share.stream == stream)
        for stream in streams
    }
    return Books(books.summed(by_stream.values()), by_stream, findings, notes, shares)


def _doubled(snapshot: _Snapshot) -> Iterator[Finding]:
    for partition in sorted(snapshot.doubled):
        stands = snapshot.next_offsets[partition]
        what = f"{ledger.OFFSETS} has more than one row for the partition"
        yield Finding(partition, stands, stands, what)


def _elsewhere(
    scans: Mapping[Partition, _Scan], snapshot: _Snapshot, rows: _Tables
) -> Iterator[Finding]:
    """What ledger and tables say of partitions that are not in the log."""
    for partition in sorted(snapshot.entries.keys() - scans.keys()):
        last = snapshot.entries[partition][-1]
        yield Finding(partition, last.first, last.after, "in the ledger, but not in the log")
    for partition in sorted(rows.keys() - scans.keys() - snapshot.entries.keys()):
        yield from books.strangers(partition, rows[partition])
