"""Gathers what log and warehouse say, and proves that the books balance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from consumers import ledger
from consumers.books import audit_tables as tables
from consumers.books import balance
from consumers.books.audit_ids import IdPorts, Settled, check_ids
from consumers.books.audit_tables import Snapshot, Tables
from consumers.books.balance import Books, Finding, PartitionFacts, Share, Totals
from consumers.books.proved import NOTHING, Letters, Proved
from consumers.reading.decode import Decoder, SchemaLookup
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.errors import Stage
from schemas.events import Partition
from schemas.ports import LogReader, Warehouse

Progress = Callable[[str, int], None]
"""Takes a topic and how many of its messages were read since the last call."""


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """What an audit reads; it writes nothing."""

    reader: LogReader
    warehouse: Warehouse
    progress: Progress = lambda _topic, _count: None
    lookup: SchemaLookup | None = None  # given: events' ids are looked at too, of everything


@dataclass(frozen=True, slots=True)
class _Scan:
    """A partition of the log, counted."""

    start: int
    end: int
    seen: list[int]
    before: int
    in_flight: int
    keys: list[str]  # of dead letter topics only: of messages that are loaded
    keys_in_flight: list[str]  # and of those that are not


@dataclass(frozen=True, slots=True)
class _Dead:
    """The dead letters: rejected by a loader, by coordinates, or before the log, by stream."""

    coordinates: Mapping[Partition, npt.NDArray[np.int64]]
    letters: Mapping[str, Letters]
    in_flight: Mapping[str, list[str]] = field(default_factory=dict)  # keys of refused ones
    unloadable: Mapping[Partition, set[int]] = field(default_factory=dict)  # those in flight


def audit_once(ports: AuditPorts, streams: Mapping[str, Contract]) -> Books:
    """Prove the books of all streams, while loaders may go on. Raises as :func:`audit_since`."""
    return audit_since(ports, streams, NOTHING)[0]


def audit_since(
    ports: AuditPorts, streams: Mapping[str, Contract], proved: Proved
) -> tuple[Books, Proved]:
    """Prove what is new since ``proved``; the books of all there is, and where audits stand now.

    With :data:`NOTHING` everything is new. Otherwise ledger rows and log are read from where
    they were proved on, and the tables for batches that are new: damage to what was proved
    before stays unseen. ``Books.shares`` are those of what was read.

    The order matters: 1. ledger and offsets, at one moment; 2. the log, up to its end; 3. the
    tables, where batches that are newer than 1. are left out. Raises TransientError and
    SetupError as the ports do.
    """
    known = tables.snapshot(ports.warehouse, proved.after)
    scans = {
        partition: _scan(ports, partition, known, proved)
        for topic in streams
        for partition in ports.reader.partitions(topic)
    }
    names = {contract.table_name for contract in streams.values()}
    count = tables.new_rows if proved.after else tables.all_rows
    rows = count(ports.warehouse, names, known)
    dead = _dead_letters(ports.warehouse, scans, known, proved)
    facts = [_facts(p, scan, known, rows, dead) for p, scan in scans.items()]
    facts = [replace(each, proved=proved.after.get(each.partition)) for each in facts]
    found = _books(facts, dead, proved)
    replaced = _replaced(ports.reader, scans, known)
    ids = () if proved.after else _by_ids(ports, streams, (scans, known, dead))
    new = (*found.findings, *_doubled(known), *replaced, *_elsewhere(scans, known, rows), *ids)
    findings = tuple(dict.fromkeys((*proved.findings, *new)))
    return replace(found, findings=findings), Proved(
        after=_after(known, proved),
        totals=_settled(found, proved),
        letters=dead.letters,
        findings=findings,
    )


def _after(known: Snapshot, proved: Proved) -> dict[Partition, int]:
    """Where offsets and ledger ended. Never goes back, or ranges would be counted twice."""
    after = dict(proved.after)
    for partition, stands in known.next_offsets.items():
        ends = [entry.after for entry in known.entries.get(partition, ())]
        after[partition] = max(stands, after.get(partition, stands), *ends)
    return after


def _settled(found: Books, proved: Proved) -> dict[str, Totals]:
    """By stream: all that was proved, without what is in flight or was refused before the log."""
    totals = dict(proved.totals)
    for share, sides in found.shares.items():
        if share.hour is not None:
            totals[share.stream] = totals.get(share.stream, Totals()) + sides
    return totals


def _scan(ports: AuditPorts, partition: Partition, known: Snapshot, proved: Proved) -> _Scan:
    """Count the visible messages of every ledger range, from where they were proved on."""
    entries = known.entries.get(partition, [])
    stands = known.next_offsets.get(partition, 0)
    start, end = ports.reader.bounds(partition)
    firsts = np.array([e.first for e in entries], dtype=np.int64)
    afters = np.array([e.after for e in entries], dtype=np.int64)
    seen = np.zeros(len(entries), dtype=np.int64)
    before = in_flight = 0
    keys: tuple[list[str], list[str]] = ([], [])  # loaded, in flight
    is_dead = partition.topic.endswith(DEAD_SUFFIX)
    for run in ports.reader.read(partition, _first(partition, start, known, proved), end):
        offsets = run.offsets
        place = np.searchsorted(firsts, offsets, side="right") - 1
        inside = (place >= 0) & (offsets < afters[place]) if len(entries) else place >= 0
        seen += np.bincount(place[inside], minlength=len(entries))
        flying = offsets >= stands
        in_flight += int(flying.sum())
        before += int(((place < 0) & ~flying).sum())
        if is_dead:
            for message, up in zip(run.messages, flying.tolist(), strict=True):
                keys[up].append(_text(message.key()))
        ports.progress(partition.topic, len(run))
    return _Scan(start, end, [int(n) for n in seen], before, in_flight, *keys)


def _first(partition: Partition, start: int, known: Snapshot, proved: Proved) -> int:
    """Where reading begins: where it was proved, or where a ledger row says otherwise."""
    after = proved.after.get(partition, start)
    entries = known.entries.get(partition, [])
    return max(start, min([after, *(e.first for e in entries[:1])]))


def _text(key: bytes | str | None) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""


def _dead_letters(
    warehouse: Warehouse, scans: Mapping[Partition, _Scan], known: Snapshot, proved: Proved
) -> _Dead:
    """From the table, and from the dead letter topics what has not been loaded yet."""
    new_only = bool(proved.after)
    bounds = {p: entries[0].first for p, entries in known.entries.items()}
    loaded = tables.dead_letter_origins(warehouse, bounds if new_only else None)
    batches = {
        entry.batch
        for partition, entries in known.entries.items()
        for entry in entries
        if partition.topic.endswith(DEAD_SUFFIX)
    }
    rows = tables.refused_rows(warehouse, known, batches if new_only else None)
    keys: dict[str, list[str]] = {}
    in_flight: dict[str, list[str]] = {}
    unloadable: dict[Partition, set[int]] = {}
    for (topic, _), scan in scans.items():
        if not topic.endswith(DEAD_SUFFIX):
            continue
        stream = topic.removesuffix(DEAD_SUFFIX)
        keys.setdefault(stream, []).extend(filter(_never_logged, scan.keys))
        in_flight.setdefault(stream, []).extend(filter(_never_logged, scan.keys_in_flight))
        for key in scan.keys_in_flight:
            origin = coordinates(key)
            if origin is not None:
                loaded.setdefault(origin[0], set()).add(origin[1])
            if origin is not None and key.endswith(f"/{Stage.LOAD}"):
                unloadable.setdefault(origin[0], set()).add(origin[1])
    letters = {
        stream: proved.letters.get(stream, Letters()).settled(keys.get(stream, ()), rows[stream])
        for stream in proved.letters.keys() | keys.keys() | rows.keys()
    }
    origins = {p: np.array(sorted(found), dtype=np.int64) for p, found in loaded.items()}
    return _Dead(origins, letters, in_flight, unloadable)


def _never_logged(key: str) -> bool:
    return key.endswith(f"/{Stage.ENCODE}")


def coordinates(key: str) -> tuple[Partition, int] | None:
    """Where a dead letter came from, by its key; None if it never was on a topic."""
    parts = key.rsplit("/", 3)
    if len(parts) != 4 or parts[3] == Stage.ENCODE or not (parts[1] + parts[2]).isdigit():  # noqa: PLR2004 - stream, partition, offset, stage
        return None
    return Partition(parts[0], int(parts[1])), int(parts[2])


def _facts(
    partition: Partition,
    scan: _Scan,
    known: Snapshot,
    rows: Tables,
    dead: _Dead,
) -> PartitionFacts:
    entries = known.entries.get(partition, [])
    offsets = dead.coordinates.get(partition, np.empty(0, dtype=np.int64))
    ends = [(np.searchsorted(offsets, e.first), np.searchsorted(offsets, e.after)) for e in entries]
    return PartitionFacts(
        partition=partition,
        entries=entries,
        next_offset=known.next_offsets.get(partition),
        log_start=scan.start,
        log_end=scan.end,
        seen=scan.seen,
        before=scan.before,
        in_flight=scan.in_flight,
        rows=rows.get(partition, {}),
        dead=[int(hi - lo) for lo, hi in ends],
    )


def _books(facts: Sequence[PartitionFacts], dead: _Dead, proved: Proved) -> Books:
    shares: dict[Share, Totals] = {}
    notes = []
    for each in facts:
        topic = each.partition.topic
        past = sum(e.first < each.log_start for e in each.entries)
        if past:
            notes.append(
                f"{topic}/{each.partition.number}: {past} ranges are past the log's retention"
            )
        if not topic.endswith(DEAD_SUFFIX):
            shares |= balance.shares_of(each)
    topics = dict.fromkeys(each.partition.topic for each in facts)
    by_stream = {t: proved.totals.get(t, Totals()) for t in topics if not t.endswith(DEAD_SUFFIX)}
    for stream in by_stream:
        refused = dead.letters.get(stream, Letters()).sides(dead.in_flight.get(stream, ()))
        if refused.accepted:
            shares[Share(stream, None, None)] = refused
    for share, sides in shares.items():
        by_stream[share.stream] += sides
    findings = [finding for each in facts for finding in balance.check(each)]
    return Books(balance.summed(by_stream.values()), by_stream, findings, notes, shares)


def _doubled(known: Snapshot) -> Iterator[Finding]:
    for partition in sorted(known.doubled):
        stands = known.next_offsets[partition]
        what = f"{ledger.OFFSETS} has more than one row for the partition"
        yield Finding(partition, stands, stands, what)


def _by_ids(
    ports: AuditPorts,
    streams: Mapping[str, Contract],
    seen: tuple[Mapping[Partition, _Scan], Snapshot, _Dead],
) -> Iterator[Finding]:
    """What events' ids say of each partition, if they are to be looked at."""
    if ports.lookup is None:
        return
    scans, known, dead = seen
    none = np.empty(0, dtype=np.int64)
    stands = {p: known.next_offsets[p] for p in scans if p in known.next_offsets}
    for topic, contract in streams.items():
        mine = {p: after for p, after in stands.items() if p.topic == topic}
        if not mine:
            continue
        decoder = Decoder(contract, ports.lookup)
        here = IdPorts(ports.reader, ports.warehouse, contract, decoder, ports.progress)
        ranges = tables.offset_ranges(ports.warehouse, contract)
        refused = tables.unloadable_origins(ports.warehouse, topic)
        for partition, after in mine.items():
            unloadable = refused.get(partition, set()) | dead.unloadable.get(partition, set())
            settled = Settled(
                partition,
                scans[partition].start,
                min(after, scans[partition].end),
                ranges.get(partition, none.reshape(0, 2)),
                dead.coordinates.get(partition, none),
                np.array(sorted(unloadable), dtype=np.int64),
            )
            yield from check_ids(here, settled)


def _replaced(
    reader: LogReader, scans: Mapping[Partition, _Scan], known: Snapshot
) -> Iterator[Finding]:
    """Partitions whose last ledger row is of a topic that was deleted and made again since."""
    lasts = {p: entries[-1] for p, entries in known.entries.items() if p in scans}
    topics = sorted({p.topic for p, last in lasts.items() if last.topic_id is not None})
    ids = {topic: reader.topic_id(topic) for topic in topics}
    for partition, last in sorted(lasts.items()):
        now = ids.get(partition.topic)
        if now is not None and last.topic_id not in {None, now}:
            what = f"the topic was deleted and made again: loaded from {last.topic_id}, now {now}"
            yield Finding(partition, last.first, last.after, what)


def _elsewhere(
    scans: Mapping[Partition, _Scan], known: Snapshot, rows: Tables
) -> Iterator[Finding]:
    """What ledger and tables say of partitions that are not in the log."""
    for partition in sorted(known.entries.keys() - scans.keys()):
        last = known.entries[partition][-1]
        yield Finding(partition, last.first, last.after, "in the ledger, but not in the log")
    for partition in sorted(rows.keys() - scans.keys() - known.entries.keys()):
        yield from balance.strangers(partition, rows[partition])
