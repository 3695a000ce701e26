"""The ledger in the warehouse: its tables, and the SQL that claims, records and fences.

No I/O: only text and values. ``SLUICE_OFFSETS`` has one row a partition and is the only authority
on what is loaded; ``SLUICE_LEDGER`` has one row a batch and partition range and is append-only.
No constraints are declared: Snowflake would not enforce them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import UnclaimableError
from schemas.events import Claim, OffsetRange, Partition
from schemas.sql import identifier, literal, literals, timestamp

OFFSETS = "SLUICE_OFFSETS"
LEDGER = "SLUICE_LEDGER"
LOCKS = "SLUICE_LOCKS"
STAGE = "SLUICE_STAGE"

_CLAIMS = "claims"  # the one lock there is
_NOW = "SYSDATE()"  # UTC, whatever the session's time zone
_QUERY_ID = "NULL /* COPY_QUERY_ID */"
_FILE_SHA256 = "NULL /* FILE_SHA256 */"


@dataclass(frozen=True, slots=True)
class LedgerColumn:
    """One column of the ledger's tables."""

    type: str
    comment: str
    null: bool = False


_TEXT, _NUMBER, _TIME = "VARCHAR", "NUMBER(38,0)", "TIMESTAMP_NTZ"

COLUMNS: Mapping[str, Mapping[str, LedgerColumn]] = {
    OFFSETS: {
        "TOPIC": LedgerColumn(_TEXT, "The topic."),
        "PART": LedgerColumn(_NUMBER, "The partition's number."),
        "NEXT_OFFSET": LedgerColumn(_NUMBER, "Everything before it is loaded, nothing else is."),
        "EPOCH": LedgerColumn(_NUMBER, "Raised by every claim; an older one cannot commit."),
        "BATCH": LedgerColumn(
            _TEXT, "The batch that moved it last; null before the first.", null=True
        ),
        "UPDATED_AT": LedgerColumn(_TIME, "When it was claimed or moved last, UTC.", null=True),
    },
    LEDGER: {
        "BATCH": LedgerColumn(_TEXT, "The batch, by topic, partitions and offsets."),
        "TOPIC": LedgerColumn(_TEXT, "Its topic."),
        "PART": LedgerColumn(_NUMBER, "The partition of this range."),
        "FIRST_OFFSET": LedgerColumn(_NUMBER, "The first offset of the range."),
        "NEXT_OFFSET": LedgerColumn(_NUMBER, "The offset after the range."),
        "EVENTS": LedgerColumn(_NUMBER, "Events read: loaded + duplicates + dead."),
        "LOADED": LedgerColumn(_NUMBER, "Events that are rows of the target."),
        "DUPLICATES": LedgerColumn(_NUMBER, "Events whose id was there before."),
        "DEAD": LedgerColumn(_NUMBER, "Events that became dead letters."),
        "BYTES": LedgerColumn(_NUMBER, "Bytes of the messages read."),
        "FILE": LedgerColumn(_TEXT, "The staged file; null where no event was loaded.", null=True),
        "TARGET_TABLE": LedgerColumn(_TEXT, "The table that it was loaded into."),
        "BUSINESS_DATES": LedgerColumn(_TEXT, "JSON: rows loaded by business date."),
        "EPOCH": LedgerColumn(_NUMBER, "The claim under which it was read."),
        "OPENED_AT": LedgerColumn(_TIME, "When the batch began, UTC."),
        "CLOSED_AT": LedgerColumn(_TIME, "When it was closed, UTC."),
        "COMMITTED_AT": LedgerColumn(_TIME, "When this row was written, just before COMMIT, UTC."),
        "FIRST_SOURCE_AT": LedgerColumn(
            _TIME, "When the first of its rows was received, UTC.", null=True
        ),
        "LAST_SOURCE_AT": LedgerColumn(
            _TIME, "When the last of its rows was received, UTC.", null=True
        ),
        "QUERY_ID": LedgerColumn(
            _TEXT, "Snowflake's id of the COPY; null without a file.", null=True
        ),
        "TOPIC_ID": LedgerColumn(_TEXT, "Kafka's id of the topic, where it has one.", null=True),
        "FILE_SHA256": LedgerColumn(
            _TEXT, "SHA-256 of the file, in hex; null without one.", null=True
        ),
    },
    LOCKS: {
        "NAME": LedgerColumn(_TEXT, "What is locked: claims."),
        "TAKEN_AT": LedgerColumn(_TIME, "When it was taken last, UTC.", null=True),
    },
}
"""The ledger's tables, with their columns in order."""

ABOUT: Mapping[str, str] = {
    OFFSETS: "One row a partition: the only authority on what is loaded.",
    LEDGER: "One row a batch and partition range, only ever inserted.",
    LOCKS: "One row, so that two loaders never insert the same new partition twice.",
}
"""What each table is."""


def _create(name: str) -> str:
    lines = ",\n  ".join(
        f"{column} {of.type}{'' if of.null else ' NOT NULL'} COMMENT {literal(of.comment)}"
        for column, of in COLUMNS[name].items()
    )
    return f"CREATE TABLE IF NOT EXISTS {identifier(name)} (\n  {lines}\n)"


TABLES: Mapping[str, str] = {name: _create(name) for name in COLUMNS}
"""The DDL of each ledger table."""

ADDED: Mapping[str, tuple[str, ...]] = {LEDGER: ("TOPIC_ID", "FILE_SHA256")}
"""Columns that a table made by an older version lacks."""

STAGE_SQL = f"SHOW STAGES LIKE {literal(STAGE)}"
STAGE_DDL = f"CREATE STAGE IF NOT EXISTS {STAGE}"

TABLES_SQL = (
    "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = CURRENT_SCHEMA()"
    f" AND TABLE_NAME IN ({literals(tuple(TABLES))})"
)
"""Which of the ledger tables are there."""

LOCK_ROWS_SQL = f"SELECT COUNT(*) AS N FROM {LOCKS} WHERE NAME = {literal(_CLAIMS)}"
LOCK_INSERT_SQL = f"INSERT INTO {LOCKS} (NAME, TAKEN_AT) VALUES ({literal(_CLAIMS)}, {_NOW})"
LOCK_SQL = f"UPDATE {LOCKS} SET TAKEN_AT = {_NOW} WHERE NAME = {literal(_CLAIMS)}"
"""Held until COMMIT, so that two loaders never insert the same new partition twice."""


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What all ledger rows of a batch say. Times are microseconds since the epoch, UTC."""

    batch: str
    table: str
    file: str | None  # None: nothing to load
    opened_at: int
    closed_at: int


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """What one ledger row says of its range, beside the counts."""

    range: OffsetRange
    bytes: int
    business_dates: Mapping[str, int] = field(default_factory=dict)  # ISO date: rows
    first_source_at: int | None = None  # microseconds since the epoch, UTC
    last_source_at: int | None = None


def claim_update(partitions: Iterable[Partition]) -> str:
    """Raise the epoch of all these partitions; touches those that the warehouse knows."""
    # Every column is written: DuckDB sees conflicts per column, Snowflake per row or more.
    return (
        f"UPDATE {OFFSETS} SET NEXT_OFFSET = NEXT_OFFSET, EPOCH = EPOCH + 1, BATCH = BATCH, "
        f"UPDATED_AT = {_NOW} WHERE {_where(partitions)}"
    )


def claim_select(partitions: Iterable[Partition]) -> str:
    """Where these partitions stand: topic, part, next_offset, epoch."""
    return f"SELECT TOPIC, PART, NEXT_OFFSET, EPOCH FROM {OFFSETS} WHERE {_where(partitions)}"


def claim_insert(starts: Mapping[Partition, int]) -> str:
    """Rows for partitions that the warehouse has never seen, with epoch 1."""
    rows = ", ".join(
        f"({literals((topic, part, start, 1, None))}, {_NOW})"
        for (topic, part), start in sorted(starts.items())
    )
    return (
        f"INSERT INTO {OFFSETS} (TOPIC, PART, NEXT_OFFSET, EPOCH, BATCH, UPDATED_AT) VALUES {rows}"
    )


def read_claims(rows: Iterable[Mapping[str, Any]]) -> dict[Partition, Claim]:
    """The answer to :func:`claim_select`. Raises UnclaimableError for those with two rows."""
    claims: dict[Partition, Claim] = {}
    doubled: set[Partition] = set()
    for row in rows:
        partition = Partition(str(row["topic"]), int(row["part"]))
        if partition in claims:
            doubled.add(partition)
        claims[partition] = Claim(int(row["epoch"]), int(row["next_offset"]))
    if doubled:
        named = ", ".join(f"{p.topic}/{p.number}" for p in sorted(doubled))
        raise UnclaimableError(
            f"more than one row: {named}",
            frozenset(doubled),
            where=OFFSETS,
            remedy="stop the loaders, compare with the partition's last row of "
            f"{LEDGER}, and delete the row with the smaller NEXT_OFFSET",
        )
    return claims


def topic_ids_select(partitions: Iterable[Partition]) -> str:
    """The topic's id in the last ledger row of each partition: topic, part, topic_id.

    The last row is that of the batch which moved the partition's offset. Partitions without one
    are left out.
    """
    return (
        "SELECT L.TOPIC, L.PART, MAX(L.TOPIC_ID) AS TOPIC_ID FROM "
        f"(SELECT TOPIC, PART, BATCH FROM {OFFSETS} WHERE {_where(partitions)}) O "
        f"JOIN {LEDGER} L ON L.BATCH = O.BATCH AND L.TOPIC = O.TOPIC AND L.PART = O.PART "
        "GROUP BY L.TOPIC, L.PART"
    )


def read_topic_ids(rows: Iterable[Mapping[str, Any]]) -> dict[Partition, str]:
    """The answer to :func:`topic_ids_select`, without the ids that nobody knew."""
    return {
        Partition(str(row["topic"]), int(row["part"])): str(row["topic_id"])
        for row in rows
        if row["topic_id"] is not None
    }


def add_columns(there: Mapping[str, Iterable[str]]) -> list[str]:
    """The ALTERs that bring these tables' columns up to date; absent tables are left out."""
    return [
        f"ALTER TABLE {name} ADD COLUMN {column} {COLUMNS[name][column].type}"
        for name, column in lacking(there)
    ]


def lacking(there: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Tables and columns of the ledger that an older version did not make."""
    present = {name: set(columns) for name, columns in there.items()}
    return [
        (name, column)
        for name, columns in ADDED.items()
        for column in columns
        if name in present and column not in present[name]
    ]


def ledger_insert(facts: BatchFacts, ranges: Sequence[RangeFacts]) -> str:
    """One row a range; what the load alone knows comes in by :func:`with_load_facts`."""
    rows = ",\n".join(f"({_ledger_row(facts, each)})" for each in ranges)
    return f"INSERT INTO {LEDGER} ({', '.join(COLUMNS[LEDGER])}) VALUES\n{rows}"


def _ledger_row(facts: BatchFacts, each: RangeFacts) -> str:
    span = each.range
    counts = (span.events, span.loaded, span.duplicates, span.dead, each.bytes)
    return ", ".join(
        (
            literals((facts.batch, *span.partition, span.first, span.after, *counts)),
            literals((facts.file, facts.table, dict(each.business_dates), span.epoch)),
            timestamp(facts.opened_at),
            timestamp(facts.closed_at),
            _NOW,
            timestamp(each.first_source_at),
            timestamp(each.last_source_at),
            _QUERY_ID,
            literal(span.topic_id),
            _FILE_SHA256,
        )
    )


def with_load_facts(ledger_sql: str, query_id: str | None, file_sha256: str | None) -> str:
    """The same INSERT, with the id of the batch's COPY and its file's SHA-256 (hex) in every row.

    Both are None for a batch without rows.
    """
    known = ledger_sql.replace(_QUERY_ID, literal(query_id))
    return known.replace(_FILE_SHA256, literal(file_sha256))


def fence_update(ranges: Sequence[OffsetRange], batch: str) -> str:
    """Compare-and-set over all partitions of a batch: must touch one row a range.

    A row moves on only if it stands at the range's first offset and still has the epoch under
    which the range was read, so neither a zombie nor a repeat can commit.
    """
    rows = ", ".join(
        f"({literals((*span.partition, span.first, span.after, span.epoch))})" for span in ranges
    )
    return (
        f"UPDATE {OFFSETS} O SET NEXT_OFFSET = V.NEXT_OFFSET, EPOCH = V.EPOCH, "
        f"BATCH = {literal(batch)}, UPDATED_AT = {_NOW} FROM "
        "(SELECT COLUMN1 AS TOPIC, COLUMN2 AS PART, COLUMN3 AS FIRST_OFFSET, "
        f"COLUMN4 AS NEXT_OFFSET, COLUMN5 AS EPOCH FROM VALUES {rows}) V "
        "WHERE O.TOPIC = V.TOPIC AND O.PART = V.PART "
        "AND O.NEXT_OFFSET = V.FIRST_OFFSET AND O.EPOCH = V.EPOCH"
    )


def batch_rows(table: str, batch: str) -> str:
    """How many rows of a batch the target holds, as N."""
    return f"SELECT COUNT(*) AS N FROM {identifier(table)} WHERE _BATCH = {literal(batch)}"


def batch_places(table: str, batch: str) -> str:
    """Where the rows of a batch come from that the target holds: _partition, _offset."""
    return f"SELECT _PARTITION, _OFFSET FROM {identifier(table)} WHERE _BATCH = {literal(batch)}"


def _where(partitions: Iterable[Partition]) -> str:
    numbers: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        numbers.setdefault(topic, []).append(number)
    return " OR ".join(
        f"(TOPIC = {literal(topic)} AND PART IN ({literals(parts)}))"
        for topic, parts in numbers.items()
    )
