"""What was found in the warehouse, and how it differs from what was expected."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from consumers import ledger
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import RejectReason, Stage
from schemas.ports import Warehouse
from schemas.sql import identifier
from services.demo.expected import FLIGHTS, WEATHER, Carrier, Expected, Letter


@dataclass(frozen=True, slots=True)
class Fresh:
    """When a stream's rows were loaded last, and the latest business date that they speak of."""

    loaded_at: dt.datetime | None = None
    business_date: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """When a stream's events were received and committed: first and last of each."""

    received: tuple[dt.datetime, dt.datetime]
    committed: tuple[dt.datetime, dt.datetime]
    opened: dt.datetime  # its first batch

    def joined(self, other: "Span") -> "Span":
        """Both together."""
        return Span(
            (min(self.received[0], other.received[0]), max(self.received[1], other.received[1])),
            (
                min(self.committed[0], other.committed[0]),
                max(self.committed[1], other.committed[1]),
            ),
            min(self.opened, other.opened),
        )


@dataclass(frozen=True, slots=True)
class Delay:
    """From received to committed, over a table's rows, in seconds."""

    rows: int
    median: float
    p95: float
    longest: float


@dataclass(slots=True)
class Facts:
    """What ``SELECT`` says. Keys are those of :class:`services.demo.expected.Expected`."""

    rows: Counter[str] = field(default_factory=Counter)
    ids: Counter[str] = field(default_factory=Counter)  # different event ids, by stream
    duplicates: Counter[str] = field(default_factory=Counter)
    dead: Counter[Letter] = field(default_factory=Counter)
    details: dict[Letter, str] = field(default_factory=dict)  # one example of each
    carriers: dict[str, Carrier] = field(default_factory=dict)
    dates: dict[str, dict[str, int]] = field(default_factory=dict)
    fresh: dict[str, Fresh] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    delays: dict[str, Delay] = field(default_factory=dict)
    precipitation: Decimal = Decimal(0)
    last_hour: dt.datetime | None = None


def on_topic(warehouse: Warehouse) -> Counter[str]:
    """How many messages of each topic the ledger has."""
    sql = f"SELECT TOPIC, SUM(EVENTS) AS N FROM {ledger.LEDGER} GROUP BY TOPIC"
    return Counter({row["topic"]: int(row["n"]) for row in warehouse.rows(sql)})


def read_facts(warehouse: Warehouse, streams: Mapping[str, Contract]) -> Facts:
    """Everything that the report and the comparison need."""
    facts = Facts()
    tables = {n: c.table_name for n, c in streams.items() if not n.endswith(DEAD_SUFFIX)}
    for stream, table in tables.items():
        sql = f"SELECT COUNT(*) AS N, COUNT(DISTINCT _ID) AS D FROM {identifier(table)}"
        row = warehouse.rows(sql)[0]
        facts.rows[stream], facts.ids[stream] = int(row["n"]), int(row["d"])
        facts.delays[stream] = _delay(warehouse, table)
    _read_dead(warehouse, facts)
    _read_ledger(warehouse, facts)
    _read_values(warehouse, tables, facts)
    return facts


def _delay(warehouse: Warehouse, table: str) -> Delay:
    """Of every row: the ledger says when its batch was committed."""
    sql = (
        "SELECT COUNT(*) AS N, MEDIAN(S) AS P50, APPROX_PERCENTILE(S, 0.95) AS P95, MAX(S) AS P100 "
        "FROM (SELECT DATEDIFF('millisecond', R._RECEIVED_AT, L.AT) / 1000 AS S "
        f"FROM {identifier(table)} R JOIN (SELECT BATCH, MAX(COMMITTED_AT) AS AT "
        f"FROM {ledger.LEDGER} GROUP BY BATCH) L ON R._BATCH = L.BATCH)"
    )
    row = warehouse.rows(sql)[0]
    seconds = (round(float(row[name] or 0), 3) for name in ("p50", "p95", "p100"))
    return Delay(int(row["n"]), *seconds)


def _read_dead(warehouse: Warehouse, facts: Facts) -> None:
    sql = (
        "SELECT STREAM, STAGE, REASON, COUNT(*) AS N, MIN(PATH) AS PATH, MIN(DETAIL) AS DETAIL "
        f"FROM {DEAD_LETTERS} GROUP BY STREAM, STAGE, REASON"
    )
    for row in warehouse.rows(sql):
        letter = Letter(row["stream"], Stage(row["stage"]), RejectReason(row["reason"]))
        facts.dead[letter] = int(row["n"])
        facts.details[letter] = f"{row['path']}: {row['detail']}"


def _read_ledger(warehouse: Warehouse, facts: Facts) -> None:
    sql = (
        "SELECT TOPIC, LOADED, DUPLICATES, BUSINESS_DATES, OPENED_AT, CLOSED_AT, COMMITTED_AT, "
        f"FIRST_SOURCE_AT, LAST_SOURCE_AT FROM {ledger.LEDGER} ORDER BY CLOSED_AT"
    )
    for row in warehouse.rows(sql):
        topic = str(row["topic"])
        stream = topic.removesuffix(DEAD_SUFFIX)
        facts.duplicates[stream] += int(row["duplicates"])
        if stream != topic or not int(row["loaded"]):
            continue
        dates = facts.dates.setdefault(stream, {})
        for date, rows in json.loads(row["business_dates"]).items():
            if date:
                dates[date] = dates.get(date, 0) + rows
        facts.fresh[stream] = Fresh(row["closed_at"], max(dates, default=None))
        committed = row["committed_at"]
        received = (row["first_source_at"], row["last_source_at"])
        span = Span(received, (committed, committed), row["opened_at"])
        facts.spans[stream] = span.joined(facts.spans.get(stream, span))


def _read_values(warehouse: Warehouse, tables: Mapping[str, str], facts: Facts) -> None:
    flights, weather = identifier(tables[FLIGHTS]), identifier(tables[WEATHER])
    sql = (
        "SELECT CARRIER, COUNT(*) AS FLIGHTS, COUNT_IF(DEP_TIME IS NULL) AS CANCELLED, "
        f"COALESCE(SUM(DEP_DELAY), 0) AS DELAY FROM {flights} GROUP BY CARRIER"
    )
    for row in warehouse.rows(sql):
        numbers = (int(row[name]) for name in ("flights", "cancelled", "delay"))
        facts.carriers[row["carrier"]] = Carrier(*numbers)
    row = warehouse.rows(f"SELECT CAST(SUM(PRECIP) AS NUMBER(38,2)) AS P FROM {weather}")[0]
    facts.precipitation = Decimal(str(row["p"] or 0))
    row = warehouse.rows(f"SELECT MAX(TIME_HOUR) AS H FROM {flights}")[0]
    facts.last_hour = row["h"]


def differences(expected: Expected, facts: Facts) -> list[str]:
    """What is not as it has to be, each in a sentence."""
    return [
        *_counted("rows of", expected.rows, facts.rows),
        *_counted("event ids of", expected.rows, facts.ids),
        *_counted("duplicates of", expected.duplicates, facts.duplicates),
        *_counted(
            "dead letters of",
            {" ".join(letter): n for letter, n in expected.dead.items()},
            {" ".join(letter): n for letter, n in facts.dead.items()},
        ),
        *_counted("flights, cancelled, delay of", expected.carriers, facts.carriers),
        *(
            line
            for stream in (FLIGHTS, WEATHER)
            for line in _counted(
                f"{stream}, rows of", expected.dates.get(stream, {}), facts.dates.get(stream, {})
            )
        ),
        *_same("inches of rain", expected.precipitation, facts.precipitation),
        *_same("last hour of flights", expected.last_hour, facts.last_hour),
    ]


def _counted(what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        yield from _same(f"{what} {name}", wanted.get(name) or 0, found.get(name) or 0)


def _same(what: str, wanted: object, found: object) -> Iterator[str]:
    if wanted != found:
        yield f"{what}: expected {wanted}, found {found}"
