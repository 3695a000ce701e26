"""A loader on one topic, put together by hand, with what it has done so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.events import SCHEMA_ID, contract
from consumers.loading.batching import FlushPolicy
from consumers.loading.breaker import Breaker
from consumers.loading.load import load_once
from consumers.loading.loader import LoadPolicy, LoadPorts, LoadState
from consumers.reading.stream import LoadStream
from schemas.avro import wire_schema
from schemas.dead_letters import DeadLetterWriter
from schemas.events import Claim, LoadPlan, Partition, Receipt
from schemas.ports import Warehouse
from services.adapters.clock import SystemClock
from services.adapters.kafka import KafkaLog, KafkaLogReader, KafkaPublisher
from services.adapters.lanes import ThreadLanes, discards
from services.adapters.metrics import PrometheusMetrics
from services.adapters.seen_keys import SegmentStores
from services.adapters.snowflake import SnowflakeWarehouse, embedded_arguments
from services.adapters.snowflake.copying import ZSTD_LEVEL
from services.collector import calm_collector
from services.settings import Loader, Snowflake
from services.setup.apply import Changes, apply_tables

_BY_DEFAULT = Loader()
POLICY = LoadPolicy(
    FlushPolicy(_BY_DEFAULT.rows_max, _BY_DEFAULT.bytes_max, _BY_DEFAULT.age_seconds_max),
    _BY_DEFAULT.poll_messages_max,
)


@dataclass(slots=True)
class Done:
    events: int = 0
    rows: int = 0
    duplicates: int = 0
    dead: int = 0

    def add(self, plan: LoadPlan) -> None:
        self.events += sum(r.events for r in plan.ranges)
        self.rows += plan.rows
        self.duplicates += sum(r.duplicates for r in plan.ranges)
        self.dead += sum(r.dead for r in plan.ranges)


class FileWarehouse:
    """Writes the Parquet file of every load, and forgets it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        return {p: Claim(1, start) for p, start in starts.items()}

    def load(self, plan: LoadPlan) -> Receipt:
        path = self._folder / plan.file
        plan.frame.write_parquet(
            path, compression="zstd", compression_level=ZSTD_LEVEL, statistics=False
        )
        size = path.stat().st_size
        path.unlink()
        return Receipt(plan.batch, plan.topic, bytes=size)

    def discard(self, plan: LoadPlan) -> None:
        del plan  # no file is staged

    def rows(self, sql: str) -> list[dict[str, Any]]:
        raise AssertionError(sql)

    def execute(self, sql: str) -> int:
        raise AssertionError(sql)

    def close(self) -> None:
        pass


class Counting:
    """Passes loads on and counts what has committed."""

    def __init__(self, inner: Warehouse, done: Done) -> None:
        self._inner = inner
        self._done = done
        self.claim, self.discard, self.rows, self.execute, self.close = (
            inner.claim, inner.discard, inner.rows, inner.execute, inner.close
        )  # fmt: skip

    def load(self, plan: LoadPlan) -> Receipt:
        receipt = self._inner.load(plan)
        self._done.add(plan)
        return receipt


def loop(
    bootstrap: str, topic: str, folder: Path, connection: Mapping[str, Any] | None
) -> tuple[Callable[[], None], LoadState, Done]:
    """One turn, the state, and what has been committed."""
    client, clock, done = {"bootstrap.servers": bootstrap}, SystemClock(), Done()
    stream = contract(topic)
    arguments = embedded_arguments(Snowflake(embedded=True), connection) if connection else None
    if arguments is not None:
        made = SnowflakeWarehouse(lambda: arguments, clock)
        made.execute("DROP TABLE IF EXISTS ORDERS")
        made.execute("DROP TABLE IF EXISTS SLUICE_OFFSETS")
        apply_tables(made, {topic: stream}, Changes())
        made.close()

    def connect() -> Warehouse:
        return Counting(
            FileWarehouse(folder)
            if arguments is None
            else SnowflakeWarehouse(lambda: arguments, clock),
            done,
        )

    ports = LoadPorts(
        log=KafkaLog(client, f"bench-{clock.now()}", [topic]),
        reader=KafkaLogReader(client),
        publisher=KafkaPublisher(client),
        lanes=ThreadLanes(connect, 2, discards(noted)),
        stores=SegmentStores(folder / "seen"),
        clock=clock,
        metrics=PrometheusMetrics(),
        note=noted,
        dead_letters=DeadLetterWriter(2).records,
    )
    schema = wire_schema(stream)
    state = LoadState(
        {topic: LoadStream(stream, lambda id_: schema if id_ == SCHEMA_ID else None)},
        Breaker(
            _BY_DEFAULT.breaker_ratio,
            _BY_DEFAULT.breaker_events_min,
            _BY_DEFAULT.breaker_in_a_row_max,
        ),
    )
    calm_collector()
    return lambda: load_once(ports, state, POLICY), state, done


def noted(event: str, fields: Mapping[str, object]) -> None:
    """What is not as it should be."""
    if event not in QUIET:
        print(event, fields)


QUIET = {"committed", "delivering", "keys_lost"}
