"""The books: what log, ledger and tables say of every range, held against each other.

Pure: facts in, findings out. ``accepted = loaded + duplicate + dead + in flight``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from schemas.events import Partition

HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger row: a batch's range of one partition."""

    batch: str
    table: str
    first: int
    after: int
    events: int
    loaded: int
    duplicates: int
    dead: int
    committed_at: int = 0  # microseconds since the epoch, UTC
    topic_id: str | None = None  # of the topic that was read; None where the broker told none


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table holds of one batch and partition."""

    count: int
    distinct_offsets: int
    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """Everything known of one partition."""

    partition: Partition
    entries: Sequence[Entry]  # by first offset
    next_offset: int | None  # of SLUICE_OFFSETS; None: never claimed
    log_start: int
    log_end: int
    seen: Sequence[int]  # visible messages in the log, by entry
    before: int  # visible messages below the first entry, or below next_offset without any
    in_flight: int  # visible messages from next_offset on
    rows: Mapping[tuple[str, str], Rows]  # what each table holds of each batch: table, batch
    dead: Sequence[int]  # dead letters of the ledger's range, loaded or on their way, by entry
    proved: int | None = None  # everything below was proved by an earlier audit; None: nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not balance, with the range that it is in."""

    partition: Partition
    first: int
    after: int
    what: str

    @override
    def __str__(self) -> str:
        topic, number = self.partition
        return f"{topic}/{number} [{self.first}, {self.after}): {self.what}"


@dataclass(frozen=True, slots=True)
class Totals:
    """The four sides, and what was accepted by the log's own count."""

    accepted: int = 0
    loaded: int = 0
    duplicate: int = 0
    dead: int = 0
    in_flight: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.accepted + other.accepted,
            self.loaded + other.loaded,
            self.duplicate + other.duplicate,
            self.dead + other.dead,
            self.in_flight + other.in_flight,
        )

    @property
    def balanced(self) -> bool:
        """Whether the two sides are equal."""
        return self.accepted == self.loaded + self.duplicate + self.dead + self.in_flight

    @override
    def __str__(self) -> str:
        return self.told(balanced=self.balanced)

    def told(self, *, balanced: bool) -> str:
        """In one line; as a sum only where the books balance."""
        sides = f"loaded {self.loaded}", f"duplicate {self.duplicate}", f"dead {self.dead}"
        rest = (*sides, f"in flight {self.in_flight}")
        if balanced:
            return f"books balance: accepted {self.accepted} = {' + '.join(rest)}"
        return f"books do not balance: accepted {self.accepted}, {', '.join(rest)}"


@dataclass(frozen=True, slots=True)
class Share:
    """What one entry of the books is about."""

    stream: str
    partition: int | None  # None: refused before the log, hence on no partition
    hour: int | None  # of the commit, in hours since the epoch (UTC); None: in flight, or refused

    @property
    def source(self) -> str:
        """The stream's: streams are called ``<source>.<stream>``."""
        return self.stream.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Books:
    """The verdict over all partitions; ``shares`` are what the totals are made of."""

    totals: Totals
    by_stream: Mapping[str, Totals]
    findings: Sequence[Finding] = field(default_factory=list)
    notes: Sequence[str] = field(default_factory=list)  # explained, such as ranges past retention
    shares: Mapping[Share, Totals] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether nothing was found and the sides are equal."""
        return not self.findings and self.totals.balanced

    @override
    def __str__(self) -> str:
        return self.totals.told(balanced=self.balanced)


def check(facts: PartitionFacts) -> list[Finding]:
    """Everything about a partition that does not balance."""
    return [*_chain(facts), *_entries(facts), *_strangers(facts)]


def shares_of(facts: PartitionFacts) -> dict[Share, Totals]:
    """A partition's part of the books, by the hour of the commits; in flight by itself.

    What the log has forgotten is taken from the ledger.
    """
    found: dict[Share, Totals] = {}
    stream, number = facts.partition
    for entry, seen in zip(facts.entries, facts.seen, strict=True):
        forgotten = entry.first < facts.log_start and seen < entry.events
        share = Share(stream, number, entry.committed_at // HOUR)
        found[share] = found.get(share, Totals()) + Totals(
            accepted=entry.events if forgotten else seen,
            loaded=entry.loaded,
            duplicate=entry.duplicates,
            dead=entry.dead,
        )
    if facts.in_flight:
        found[Share(stream, number, None)] = Totals(
            accepted=facts.in_flight, in_flight=facts.in_flight
        )
    return found


def summed(parts: Iterable[Totals]) -> Totals:
    """All of them together."""
    return sum(parts, Totals())


def _chain(facts: PartitionFacts) -> Iterator[Finding]:
    """Ranges follow each other, up to where the warehouse stands, within the log."""
    for one, other in zip(facts.entries, facts.entries[1:], strict=False):
        yield from _joint(facts.partition, (one.after, one.batch), other)
    if facts.proved is not None and facts.entries:
        yield from _joint(facts.partition, (facts.proved, "proved before"), facts.entries[0])
    last = facts.entries[-1].after if facts.entries else facts.proved
    stands = facts.next_offset
    if last is not None and stands is not None and last != stands:
        what = f"the ledger ends at {last}, SLUICE_OFFSETS says {stands}"
        yield Finding(facts.partition, min(last, stands), max(last, stands), what)
    if last is not None and stands is None:
        yield Finding(facts.partition, last, last, "SLUICE_OFFSETS has no row for the partition")
    if stands is not None and stands > facts.log_end:
        what = f"the log ends at {facts.log_end}, before what was loaded: it lost messages"
        yield Finding(facts.partition, facts.log_end, stands, what)
    first = facts.entries[0].first if facts.entries else stands
    if first is not None and facts.before and facts.proved is None:
        what = f"{facts.before} messages without a ledger row"
        yield Finding(facts.partition, facts.log_start, first, what)


def _joint(partition: Partition, end: tuple[int, str], entry: Entry) -> Iterator[Finding]:
    """The range begins where the one before it ended; ``end``: there, and its batch."""
    after, batch = end
    if after < entry.first:
        yield Finding(partition, after, entry.first, "no ledger row covers this range")
    if after > entry.first:
        what = f"two ledger rows cover this range ({batch}, {entry.batch})"
        yield Finding(partition, entry.first, after, what)


def _entries(facts: PartitionFacts) -> Iterator[Finding]:
    """Each range's counts add up, and agree with the log, the table and the dead letters."""
    for place, entry in enumerate(facts.entries):
        for what in _entry(entry, facts, place):
            yield Finding(
                facts.partition, entry.first, entry.after, f"{what} (batch {entry.batch})"
            )


def _entry(entry: Entry, facts: PartitionFacts, place: int) -> Iterator[str]:
    parts = entry.loaded + entry.duplicates + entry.dead
    if entry.events != parts:
        yield (
            f"the ledger read {entry.events} events, but loaded {entry.loaded} + duplicate "
            f"{entry.duplicates} + dead {entry.dead} = {parts}"
        )
    seen = facts.seen[place]
    if seen != entry.events and entry.first >= facts.log_start:
        yield f"the ledger read {entry.events} events, the log holds {seen}"
    if seen > entry.events and entry.first < facts.log_start:
        yield f"the ledger read {entry.events} events, the log still holds {seen}"
    if facts.dead[place] != entry.dead:
        yield f"the ledger has {entry.dead} dead letters, SLUICE_DEAD_LETTERS {facts.dead[place]}"
    rows = facts.rows.get((entry.table, entry.batch))
    count = rows.count if rows is not None else 0
    if count != entry.loaded:
        yield f"the ledger loaded {entry.loaded} rows, {entry.table} holds {count}"
    if rows is None or not rows.count:
        return
    if rows.distinct_offsets != rows.count:
        doubled = rows.count - rows.distinct_offsets
        yield f"{entry.table} holds {doubled} rows whose offset is there already"
    if rows.lowest < entry.first or rows.highest >= entry.after:
        yield f"{entry.table} holds offsets {rows.lowest} to {rows.highest} for this batch"


def _strangers(facts: PartitionFacts) -> Iterator[Finding]:
    """Rows of batches that the ledger does not know."""
    known = {(entry.table, entry.batch) for entry in facts.entries}
    yield from strangers(
        facts.partition, {place: rows for place, rows in facts.rows.items() if place not in known}
    )


def strangers(partition: Partition, rows: Mapping[tuple[str, str], Rows]) -> Iterator[Finding]:
    """Rows that no ledger row speaks of, by table and batch."""
    for (table, batch), found in rows.items():
        what = f"{found.count} rows in {table} of batch {batch}, which has no ledger row"
        yield Finding(partition, found.lowest, found.highest + 1, what)
