"""What the warehouse says for an audit: ledger and offsets, tables by batch, dead letters.

Each question can be put for everything, or for what is new only.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consumers import ledger
from consumers.books.balance import Entry, Rows
from schemas.contract import Contract
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import Stage, TransientError
from schemas.events import Partition
from schemas.ports import Warehouse
from schemas.sql import folded, identifier, literal, literals

SNAPSHOT_TRIES = 20
NAMES_MAX = 1_000  # of one IN list; Snowflake takes 16,384
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NOWHERE = Partition("?", -1)  # of rows without lineage

Tables = dict[Partition, dict[tuple[str, str], Rows]]
"""What tables hold, by partition, then by table and batch."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Ledger and offsets at one moment."""

    entries: Mapping[Partition, list[Entry]]
    next_offsets: Mapping[Partition, int]
    doubled: frozenset[Partition]  # with more than one row of offsets

    @property
    def batches(self) -> frozenset[str]:
        """Of all the ledger rows."""
        return frozenset(e.batch for entries in self.entries.values() for e in entries)


def snapshot(warehouse: Warehouse, after: Mapping[Partition, int]) -> Snapshot:
    """Offsets, and the ledger rows beyond ``after``; without any, all rows.

    Offsets are read before and after the ledger, until nothing moved in between. Rows are told
    new from old by offsets and not by COMMITTED_AT: that is the time of a statement, and a load
    may become visible long after it.
    """
    offsets_sql = f"SELECT TOPIC, PART, NEXT_OFFSET FROM {ledger.OFFSETS}"
    for _ in range(SNAPSHOT_TRIES):
        rows = warehouse.rows(offsets_sql)
        before = _next_offsets(rows)
        entries = _entries(warehouse, before, after)
        if _next_offsets(warehouse.rows(offsets_sql)) == before:
            counts = Counter(Partition(r["topic"], int(r["part"])) for r in rows)
            return Snapshot(entries, before, frozenset(p for p, n in counts.items() if n > 1))
    raise TransientError(
        "the ledger moves faster than it can be read",
        where=ledger.LEDGER,
        remedy="try again, or stop the loaders meanwhile",
    )


def _entries(
    warehouse: Warehouse, stands: Mapping[Partition, int], after: Mapping[Partition, int]
) -> dict[Partition, list[Entry]]:
    moved = {p: after.get(p, -1) for p, stand in stands.items() if stand != after.get(p)}
    if after and not moved:
        return {}
    beyond = _beyond(moved if after else {})
    sql = (
        "SELECT BATCH, TOPIC, PART, FIRST_OFFSET, NEXT_OFFSET, EVENTS, LOADED, DUPLICATES, DEAD, "
        f"TARGET_TABLE, COMMITTED_AT, TOPIC_ID FROM {ledger.LEDGER} {beyond}"
        "ORDER BY TOPIC, PART, FIRST_OFFSET"
    )
    entries: dict[Partition, list[Entry]] = {}
    for row in warehouse.rows(sql):
        partition = Partition(row["topic"], int(row["part"]))
        entries.setdefault(partition, []).append(_entry(row))
    return entries


def _beyond(after: Mapping[Partition, int]) -> str:
    """The WHERE of ledger rows that end beyond these offsets; without any, of all."""
    conditions = " OR ".join(
        f"(TOPIC = {literal(topic)} AND PART = {literal(part)} AND NEXT_OFFSET > {literal(offset)})"
        for (topic, part), offset in sorted(after.items())
    )
    return f"WHERE {conditions} " if conditions else ""


def _next_offsets(rows: Sequence[Mapping[str, Any]]) -> dict[Partition, int]:
    return {Partition(r["topic"], int(r["part"])): int(r["next_offset"]) for r in rows}


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        batch=row["batch"],
        table=folded(row["target_table"]),  # older versions wrote it as the contract does
        first=int(row["first_offset"]),
        after=int(row["next_offset"]),
        events=int(row["events"]),
        loaded=int(row["loaded"]),
        duplicates=int(row["duplicates"]),
        dead=int(row["dead"]),
        committed_at=_micros(row["committed_at"]),
        topic_id=row["topic_id"],
    )


def _micros(moment: dt.datetime) -> int:
    """Of a TIMESTAMP_NTZ, which the ledger writes in UTC."""
    return (moment.replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(microseconds=1)


def all_rows(warehouse: Warehouse, tables: Collection[str], known: Snapshot) -> Tables:
    """Everything that the tables hold, but for batches committed after the snapshot."""
    found: Tables = {}
    for name in sorted(tables):
        _count(warehouse, found, name, None)
    return _without_newer(warehouse, found, known)


def new_rows(warehouse: Warehouse, tables: Collection[str], known: Snapshot) -> Tables:
    """What the tables hold of the snapshot's batches."""
    found: Tables = {}
    batches: dict[str, set[str]] = {}
    for entry in (e for entries in known.entries.values() for e in entries):
        batches.setdefault(entry.table, set()).add(entry.batch)
    for name in sorted(batches.keys() & set(tables)):
        for some in _in_parts(batches[name]):
            _count(warehouse, found, name, some)
    return found


def _in_parts(names: Collection[str]) -> Iterator[list[str]]:
    """Names, as many as one IN list takes."""
    ordered = sorted(names)
    for place in range(0, len(ordered), NAMES_MAX):
        yield ordered[place : place + NAMES_MAX]


def _of(batches: Sequence[str] | None) -> str:
    """The condition of rows of these batches; None: of all."""
    return "TRUE" if batches is None else f"_BATCH IN ({literals(batches)})"


def _count(warehouse: Warehouse, found: Tables, name: str, batches: Sequence[str] | None) -> None:
    sql = (
        "SELECT _TOPIC, _PARTITION, _BATCH, COUNT(*) AS N, COUNT(DISTINCT _OFFSET) AS D, "
        f"MIN(_OFFSET) AS LO, MAX(_OFFSET) AS HI FROM {identifier(name)} WHERE {_of(batches)} "
        "GROUP BY _TOPIC, _PARTITION, _BATCH"
    )
    for row in warehouse.rows(sql):
        partition = Partition(
            row["_topic"] or NOWHERE.topic, _number(row["_partition"], NOWHERE.number)
        )
        counted = Rows(int(row["n"]), int(row["d"]), _number(row["lo"], 0), _number(row["hi"], -1))
        found.setdefault(partition, {})[name, str(row["_batch"])] = counted


def _number(value: Any, otherwise: int) -> int:  # noqa: ANN401 - whatever the warehouse holds
    return otherwise if value is None else int(value)


def _without_newer(warehouse: Warehouse, rows: Tables, known: Snapshot) -> Tables:
    """Leave out batches that were committed after the snapshot."""
    strangers = {batch for places in rows.values() for _, batch in places} - known.batches
    newer: set[str] = set()
    for names in _in_parts(strangers):
        sql = f"SELECT DISTINCT BATCH FROM {ledger.LEDGER} WHERE BATCH IN ({literals(names)})"
        newer |= {row["batch"] for row in warehouse.rows(sql)}
    return {
        p: {place: found for place, found in places.items() if place[1] not in newer}
        for p, places in rows.items()
    }


def dead_letter_origins(
    warehouse: Warehouse, bounds: Mapping[Partition, int] | None
) -> dict[Partition, set[int]]:
    """The offsets that loaded dead letters came from: all, or from these offsets on."""
    if bounds is not None and not bounds:
        return {}
    conditions = " OR ".join(
        f"(STREAM = {literal(topic)} AND ORIGIN_PARTITION = {literal(part)} "
        f"AND ORIGIN_OFFSET >= {literal(first)})"
        for (topic, part), first in sorted((bounds or {}).items())
    )
    sql = (
        f"SELECT STREAM, ORIGIN_PARTITION, ORIGIN_OFFSET FROM {DEAD_LETTERS} "
        f"WHERE {conditions if bounds else 'ORIGIN_OFFSET IS NOT NULL'} "
        "GROUP BY STREAM, ORIGIN_PARTITION, ORIGIN_OFFSET"
    )
    return _origins(warehouse.rows(sql))


def unloadable_origins(warehouse: Warehouse, topic: str) -> dict[Partition, set[int]]:
    """The offsets of events that their table refused, of dead letters that are loaded."""
    sql = (
        f"SELECT STREAM, ORIGIN_PARTITION, ORIGIN_OFFSET FROM {DEAD_LETTERS} "
        f"WHERE STREAM = {literal(topic)} AND STAGE = {literal(Stage.LOAD.value)}"
    )
    return _origins(warehouse.rows(sql))


def _origins(letters: Iterable[Mapping[str, Any]]) -> dict[Partition, set[int]]:
    found: dict[Partition, set[int]] = {}
    for row in letters:
        origin = Partition(row["stream"], int(row["origin_partition"]))
        found.setdefault(origin, set()).add(int(row["origin_offset"]))
    return found


def refused_rows(
    warehouse: Warehouse, known: Snapshot, batches: Collection[str] | None
) -> Counter[str]:
    """Loaded dead letters that never were on a topic, by stream: all, or of these batches.

    Those of batches that the snapshot does not know are in flight to it, and left out.
    """
    found: Counter[str] = Counter()
    for some in [None] if batches is None else _in_parts(batches):
        sql = (
            f"SELECT STREAM, _BATCH, COUNT(*) AS N FROM {DEAD_LETTERS} "
            f"WHERE ORIGIN_OFFSET IS NULL AND {_of(some)} GROUP BY STREAM, _BATCH"
        )
        for row in warehouse.rows(sql):
            if row["_batch"] in known.batches:
                found[row["stream"]] += int(row["n"])
    return found


def offset_ranges(
    warehouse: Warehouse, contract: Contract
) -> dict[Partition, npt.NDArray[np.int64]]:
    """The offsets that a stream's table holds, as ranges: rows of first and last, ascending."""
    sql = (
        "SELECT PART, MIN(OFFS) AS LO, MAX(OFFS) AS HI FROM ("
        "SELECT PART, OFFS, OFFS - ROW_NUMBER() OVER (PARTITION BY PART ORDER BY OFFS) AS ISLAND "
        "FROM (SELECT DISTINCT _PARTITION AS PART, _OFFSET AS OFFS "
        f"FROM {identifier(contract.table_name)} WHERE _TOPIC = {literal(contract.topic)}) D) N "
        "GROUP BY PART, ISLAND ORDER BY PART, LO"
    )
    found: dict[Partition, list[tuple[int, int]]] = {}
    for row in warehouse.rows(sql):
        partition = Partition(contract.topic, int(row["part"]))
        found.setdefault(partition, []).append((int(row["lo"]), int(row["hi"])))
    return {p: np.array(ranges, dtype=np.int64) for p, ranges in found.items()}


def loaded_ids(
    warehouse: Warehouse, contract: Contract, partition: Partition, first: int, after: int
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Offsets from ``first`` to before ``after`` whose rows have an id, and those ids."""
    sql = (
        f"SELECT _OFFSET AS OFFS, _ID AS X FROM {identifier(contract.table_name)} "
        f"WHERE _TOPIC = {literal(partition.topic)} AND _PARTITION = {literal(partition.number)} "
        f"AND _OFFSET >= {literal(first)} AND _OFFSET < {literal(after)} AND _ID IS NOT NULL"
    )
    rows = warehouse.rows(sql)
    offsets = np.fromiter((int(row["offs"]) for row in rows), np.int64, len(rows))
    return offsets, [str(row["x"]) for row in rows]


def known_ids(warehouse: Warehouse, contract: Contract, ids: Collection[str]) -> set[str]:
    """Those of the ids that a stream's table holds, or that it refused."""
    loaded = f"SELECT _ID AS X FROM {identifier(contract.table_name)} WHERE _ID"
    load = literal(Stage.LOAD.value)
    refused = f"SELECT EVENT_ID AS X FROM {DEAD_LETTERS} WHERE STAGE = {load} AND EVENT_ID"
    return {
        str(row["x"])
        for some in _in_parts(ids)
        for sql in (loaded, refused)
        for row in warehouse.rows(f"{sql} IN ({literals(some)})")
    }
