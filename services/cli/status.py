"""``sluice status``: where every stream stands, and whether the processes are well."""

import datetime as dt
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.text import Text

from consumers import ledger
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.events import Partition
from schemas.ports import LogReader, Warehouse
from schemas.sql import identifier, literal
from schemas.table import columns_of
from services.admin_ports import asked, roles
from services.bootstrap import Project
from services.cli.answers import print_json, screen, span, table
from services.exit_codes import ExitCode
from services.setup.table_columns import columns_there

SECOND = 1_000_000
COUNTED_MAX = 100  # offsets; so few are looked at, since they may be markers only


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition in the log and in the warehouse."""

    number: int
    log_start: int
    log_end: int
    next_offset: int | None  # None: no loader has claimed it yet
    lag: int  # events that are not loaded yet; of many, offsets: transaction markers count too


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream, from log to table. Times are ISO 8601, UTC; None where there is nothing yet."""

    stream: str
    table: str
    lag: int
    rows_loaded: int
    loaded_on: str | None  # LOADEDON: the last load that brought rows
    loaded_seconds_ago: float | None
    business_date: str | None  # the latest one in the table
    dead_letters: int  # in their table
    dead_letters_in_flight: int
    partitions: list[PartitionStatus] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What a process's admin port says."""

    role: str
    address: str
    state: str  # ready, not ready, no answer
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class _Books:
    """What the warehouse knows, by topic; empty before the first ``sluice apply``."""

    next_offsets: Mapping[Partition, int]
    loads: Mapping[str, Mapping[str, Any]]
    dates: Mapping[str, str]
    dead: Mapping[str, int]


def show_status(project: Project, *, as_json: bool) -> ExitCode:
    """Answer ``sluice status``. Raises SetupError and TransientError."""
    streams, processes = stream_statuses(project), process_statuses(project)
    if as_json:
        print_json(
            {
                "streams": [asdict(each) for each in streams],
                "processes": [asdict(each) for each in processes],
            }
        )
    else:
        show(streams, processes)
    return ExitCode.OK


def stream_statuses(project: Project) -> list[StreamStatus]:
    """Every stream but those of dead letters. Raises SetupError and TransientError."""
    warehouse, reader = project.warehouse(), project.reader()
    try:
        books = _books(warehouse, project.streams.values())
        now = dt.datetime.fromtimestamp(project.clock.now() / SECOND, dt.UTC)
        return [
            _stream(contract, reader, books, now)
            for name, contract in sorted(project.streams.items())
            if not name.endswith(DEAD_SUFFIX)
        ]
    finally:
        warehouse.close()
        reader.close()


def _books(warehouse: Warehouse, streams: Iterable[Contract]) -> _Books:
    there = columns_there(warehouse)
    if not {ledger.OFFSETS, ledger.LEDGER, DEAD_LETTERS} <= there.keys():
        return _Books({}, {}, {}, {})
    offsets = warehouse.rows(f"SELECT TOPIC, PART, NEXT_OFFSET FROM {ledger.OFFSETS}")
    loads = warehouse.rows(
        "SELECT TOPIC, SUM(LOADED) AS LOADED, MAX(COMMITTED_AT) AS LOADED_ON "
        f"FROM {ledger.LEDGER} WHERE LOADED > 0 GROUP BY TOPIC"
    )
    dead = warehouse.rows(f"SELECT STREAM, COUNT(*) AS N FROM {DEAD_LETTERS} GROUP BY STREAM")
    return _Books(
        {Partition(row["topic"], int(row["part"])): int(row["next_offset"]) for row in offsets},
        {row["topic"]: row for row in loads},
        _latest_dates(warehouse, streams, there),
        {row["stream"]: int(row["n"]) for row in dead},
    )


def _latest_dates(
    warehouse: Warehouse, streams: Iterable[Contract], there: Mapping[str, Container[str]]
) -> dict[str, str]:
    """Each stream's latest business date, asked of its table.

    The ledger knows it too, but only in the JSON of every batch that there ever was.
    """
    questions = [
        f"SELECT {literal(contract.topic)} AS TOPIC, CAST(MAX({column.sql_name}) AS DATE) AS LATEST"
        f" FROM {identifier(contract.table_name)} WHERE _TOPIC = {literal(contract.topic)}"
        for contract in streams
        for column in columns_of(contract)
        if column.name == contract.business_date
        and column.name.upper() in there.get(contract.table_name, ())
    ]
    rows = warehouse.rows(" UNION ALL ".join(questions)) if questions else []
    return {row["topic"]: row["latest"].isoformat() for row in rows if row["latest"] is not None}


def _partitions(reader: LogReader, topic: str, books: _Books) -> list[PartitionStatus]:
    found = []
    for partition in reader.partitions(topic):
        start, end = reader.bounds(partition)
        stands = books.next_offsets.get(partition)
        first = max(start, stands if stands is not None else start)
        lag = max(end - first, 0)
        if lag <= COUNTED_MAX:
            lag = sum(map(len, reader.read(partition, first, end)))
        found.append(PartitionStatus(partition.number, start, end, stands, lag))
    return found


def _stream(contract: Contract, reader: LogReader, books: _Books, now: dt.datetime) -> StreamStatus:
    name = contract.stream
    partitions = _partitions(reader, name, books)
    load = books.loads.get(name)
    loaded_on = load["loaded_on"].replace(tzinfo=dt.UTC) if load is not None else None
    return StreamStatus(
        stream=name,
        table=contract.table_name,
        lag=sum(each.lag for each in partitions),
        rows_loaded=int(load["loaded"]) if load is not None else 0,
        loaded_on=loaded_on.isoformat(timespec="milliseconds") if loaded_on else None,
        loaded_seconds_ago=round((now - loaded_on).total_seconds(), 1) if loaded_on else None,
        business_date=books.dates.get(name),
        dead_letters=books.dead.get(name, 0),
        dead_letters_in_flight=sum(
            each.lag for each in _partitions(reader, contract.dead_topic, books)
        ),
        partitions=partitions,
    )


def process_statuses(project: Project) -> list[ProcessStatus]:
    """The processes that the project needs, by their admin ports; never raises."""
    found = []
    for role, port in roles(project).items():
        address = f"{project.settings.admin.host}:{port}"
        body = asked(f"http://{address}/ready") if port else None
        if body is None:
            why = ["its port is 0, so nobody knows it"] if port == 0 else []
            found.append(ProcessStatus(role, address, "no answer", why))
        else:
            state = "ready" if body.get("ok") else "not ready"
            found.append(ProcessStatus(role, address, state, list(body.get("reasons", ()))))
    return found


_COLUMNS = (
    *("stream", "lag", "rows", "loaded on (UTC)", "ago", "business date"),
    *("dead", "dead in flight"),
)
_COLORS = {"ready": "green", "not ready": "red", "no answer": "yellow"}


def show(streams: list[StreamStatus], processes: list[ProcessStatus]) -> None:
    """One screen: streams, their partitions, processes."""
    console = screen()
    console.print(
        table(
            _COLUMNS,
            (
                (
                    each.stream,
                    each.lag,
                    each.rows_loaded,
                    (each.loaded_on or "-")[:19].replace("T", " "),
                    "-" if each.loaded_seconds_ago is None else span(each.loaded_seconds_ago),
                    each.business_date or "-",
                    each.dead_letters,
                    each.dead_letters_in_flight,
                )
                for each in streams
            ),
            "Streams",
        )
    )
    console.print(
        table(
            ("stream", "partition", "log start", "log end", "next offset", "lag"),
            (
                (each.stream, p.number, p.log_start, p.log_end, p.next_offset, p.lag)
                for each in streams
                for p in each.partitions
            ),
            "Partitions",
        )
    )
    console.print(Text("Processes", "bold"))
    for process in processes:
        line = Text.assemble(
            f"  {process.role:<8} {process.address:<22} ",
            (process.state, _COLORS[process.state]),
            f"  {'; '.join(process.reasons)}",
        )
        console.print(line, soft_wrap=True)
    if processes and all(each.state == "no answer" and not each.reasons for each in processes):
        console.print("  start them with: sluice up")
