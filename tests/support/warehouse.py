"""Warehouses for tests: one embedded server for the whole run, a schema of its own a test."""

import atexit
import contextlib
import functools
import http.client
import itertools
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from consumers import ledger
from schemas.events import LoadPlan, OffsetRange, Partition
from schemas.identity import batch_id
from schemas.sql import identifier
from services.adapters.clock import SystemClock
from services.adapters.snowflake import SnowflakeWarehouse, embedded_arguments
from services.embedded.warehouse import EmbeddedWarehouse
from services.settings import Snowflake
from tests.support.sql_lint import lint

DATABASE = "TEST"
TABLE = "SHOP_ORDERS"
TOPIC = "shop.orders"

_numbers = itertools.count(1)


@functools.cache
def shared_server() -> EmbeddedWarehouse:
    """The run's one server, with fault injection; started by whoever asks first."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-warehouse-"))
    server = EmbeddedWarehouse(folder, idle_transaction_seconds=2, faults=True)
    server.start()
    atexit.register(shutil.rmtree, folder)
    atexit.register(server.stop)
    return server


@dataclass
class Place:
    """A schema in the embedded warehouse. Every statement of its sessions is linted at the end."""

    server: EmbeddedWarehouse
    schema: str = field(default_factory=lambda: f"T{next(_numbers)}")
    statements: list[str] = field(default_factory=list)
    sessions: list[SnowflakeWarehouse] = field(default_factory=list)

    def session(self, **settings: Any) -> SnowflakeWarehouse:
        """A session of its own; its settings are those of ``[snowflake]``."""
        given = {"database": DATABASE, "schema": self.schema, "embedded": True} | settings
        arguments = embedded_arguments(Snowflake(**given), self.server.connection)
        warehouse = SnowflakeWarehouse(lambda: arguments, SystemClock(), self.statements.append)
        self.sessions.append(warehouse)
        return warehouse

    def ready(self) -> SnowflakeWarehouse:
        """A session with ledger and target table in place."""
        warehouse = self.session()
        warehouse.ensure_ledger()
        warehouse.execute(table_ddl())
        return warehouse

    def faults(self, *rules: Mapping[str, object]) -> None:
        """Replace the server's fault rules."""
        inject(self.server.port, rules)

    def close(self) -> None:
        """End the sessions and lint what they said."""
        for session in self.sessions:
            session.close()
        assert lint(self.statements) == []


def inject(port: int, rules: Sequence[Mapping[str, object]]) -> None:
    """Replace the fault rules of the server on that port."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        client.request("POST", "/sluice/faults", json.dumps(list(rules)))
        answer = client.getresponse()
        answer.read()
    assert answer.status == 200


def table_ddl(table: str = TABLE) -> str:
    """The target of :func:`plan`."""
    lineage = "_PARTITION NUMBER(38,0), _OFFSET NUMBER(38,0), _BATCH VARCHAR"
    return f"CREATE TABLE IF NOT EXISTS {identifier(table)} (ID NUMBER(38,0), {lineage})"


def span(part: int, first: int, after: int, epoch: int, loaded: int | None = None) -> OffsetRange:
    """A range of :data:`TOPIC`, whose events are all loaded unless told."""
    events = after - first
    rows = events if loaded is None else loaded
    return OffsetRange(Partition(TOPIC, part), first, after, events, rows, events - rows, 0, epoch)


def plan(*ranges: OffsetRange, table: str = TABLE) -> LoadPlan:
    """A plan over these ranges: an ``id`` a row (partition * 1,000,000 + offset) and its batch."""
    name = batch_id(TOPIC, [(r.partition.number, r.first, r.after) for r in ranges])
    places = [(r.partition.number, r.first + i) for r in ranges for i in range(r.loaded)]
    ids = [number * 1_000_000 + offset for number, offset in places]
    frame = pl.DataFrame(
        [(row, *place, name) for row, place in zip(ids, places, strict=True)],
        {"id": pl.Int64, "_partition": pl.Int32, "_offset": pl.Int64, "_batch": pl.String},
        orient="row",
    )
    stage_path, file = f"@{ledger.STAGE}/{TOPIC}/", f"{name}.parquet"
    copy_sql = (
        f"COPY INTO {identifier(table)} (ID, _PARTITION, _OFFSET, _BATCH) "
        'FROM (SELECT $1:"id"::NUMBER(38,0), $1:"_partition"::NUMBER(38,0), '
        f'$1:"_offset"::NUMBER(38,0), $1:"_batch"::VARCHAR FROM {stage_path}{file}) '
        "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE) ON_ERROR=ABORT_STATEMENT"
    )
    facts = ledger.BatchFacts(name, table, file if ids else None, 1_000_000, 2_000_000)
    rows = [ledger.RangeFacts(r, 100, {"2026-01-01": r.loaded}, None, 3_000_000) for r in ranges]
    return LoadPlan(
        batch=name,
        topic=TOPIC,
        table=table,
        ranges=ranges,
        frame=frame,
        file=file,
        stage_path=stage_path,
        copy_sql=copy_sql,
        ledger_sql=ledger.ledger_insert(facts, rows),
        fence_sql=ledger.fence_update(ranges, name),
    )
