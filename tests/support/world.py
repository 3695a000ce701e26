"""A loader in a world of memory ports that share one journal of effects."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import polars as pl
from pydantic import BaseModel, Field

from consumers.audit import AuditPorts, audit_once
from consumers.batching import FlushPolicy
from consumers.books import Books
from consumers.breaker import Breaker
from consumers.load import drain_once, load_once
from consumers.loader import LoadPolicy, LoadPorts, LoadState
from consumers.stream import LoadStream
from producers.encode import StreamEncoder
from schemas.avro import field_types, wire_schema
from schemas.columns import dtype_of
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter, dead_contract
from schemas.events import Claimed, Incoming, LoadPlan, Partition, Receipt, Record
from schemas.keys import Found, Keys, Segment
from schemas.ports import Seen, Warehouse
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.log import MemoryLog, MemoryLogReader, MemoryPublisher
from services.adapters.memory_keys import MemoryStores
from services.adapters.memory_warehouse import MemoryWarehouse, WarehouseState
from services.adapters.metrics import MemoryMetrics

STREAM = "shop.orders"
START = 1_795_000_000_000_000


class Order(BaseModel):
    order_id: str = Field(min_length=1)
    amount: float = Field(ge=0)
    placed_at: dt.datetime


CONTRACT = Contract(stream=STREAM, model=Order, key=("order_id",), business_date="placed_at")
SCHEMAS = {1: wire_schema(CONTRACT), 2: wire_schema(dead_contract(STREAM))}


class Crash(BaseException):
    """The process has died."""


class Journal(list[tuple[object, ...]]):
    """Every effect, in order; the process dies at the ``crash_at``-th, once."""

    crash_at: int | None = None

    def append(self, effect: tuple[object, ...], /) -> None:
        super().append(effect)
        if self.crash_at is not None and len(self) >= self.crash_at:
            self.crash_at = None
            raise Crash

    @property
    def names(self) -> list[str]:
        return [str(effect[0]) for effect in self]


class StepClock:
    """Moves only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1e6

    def sleep(self, seconds: float) -> None:
        self.at += round(seconds * 1e6)


class InlineLanes:
    """Does at once what lanes do beside the reading."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._answers: list[Receipt | Claimed] = []
        self.slow = False  # while it is, nothing comes back

    def claim(self, starts: Mapping[Partition, int]) -> None:
        try:
            answer = Claimed(tuple(starts), self._warehouse.claim(starts))
        except Exception as error:  # noqa: BLE001 - as ThreadLanes does
            answer = Claimed(tuple(starts), error=error)
        self._answers.append(answer)

    def load(self, plan: LoadPlan) -> None:
        try:
            self._answers.append(self._warehouse.load(plan))
        except Exception as error:  # noqa: BLE001 - as ThreadLanes does
            self._answers.append(Receipt(plan.batch, plan.topic, error=error))

    def finished(self) -> Sequence[Receipt | Claimed]:
        if self.slow:
            return []
        answers, self._answers = self._answers, []
        return answers

    def close(self, timeout: float) -> None:
        del timeout


@dataclass
class JournaledStore:
    """A store whose ``remember`` is an effect of the journal."""

    inner: Seen
    partition: Partition
    journal: Journal

    @property
    def applied(self) -> int:
        return self.inner.applied

    @property
    def rows(self) -> int:
        return self.inner.rows

    @property
    def lost(self) -> str | None:
        return self.inner.lost

    def latest(self, keys: Keys) -> Found:
        return self.inner.latest(keys)

    def remember(self, parts: Sequence[Segment], next_offset: int, now: int) -> None:
        self.inner.remember(parts, next_offset, now)
        self.journal.append(("remember", self.partition, next_offset))

    def close(self) -> None:
        self.inner.close()


def empty_table(contract: Contract) -> pl.DataFrame:
    """As ``sluice apply`` makes it."""
    constants = {"_topic": pl.String(), "_batch": pl.String(), "_loaded_at": pl.Datetime("us")}
    types = {name: dtype_of(kind) for name, kind in field_types(contract).items()}
    lineage = {"_partition": pl.Int32(), "_offset": pl.Int64()}
    return pl.DataFrame(schema={**types, **lineage, **constants})


@dataclass
class World:
    """Broker, warehouse and disk; they outlive the loaders that a test starts and kills."""

    journal: Journal = field(default_factory=Journal)
    clock: StepClock = field(default_factory=StepClock)
    policy: LoadPolicy = field(
        default_factory=lambda: LoadPolicy(FlushPolicy(1000, 10**9, 1.0), 100, 0.05)
    )
    notes: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    partitions: int = 2
    breaker: tuple[float, int, int] = (0.9, 1000, 1000)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock, self.journal)
        self.broker.create_topic(STREAM, self.partitions)
        self.broker.create_topic(STREAM + ".dead")
        self.broker.create_topic("sluice.batches")
        self.account = WarehouseState(journal=self.journal, now=self.clock.now)
        for contract in (CONTRACT, dead_contract(STREAM)):
            self.account.tables[contract.table_name] = [empty_table(contract)]
        self.disk = MemoryStores()
        self.metrics = MemoryMetrics()
        self.encoder = StreamEncoder(CONTRACT, 1)

    def open(self, partition: Partition, until: int, window: int) -> JournaledStore:
        """Fits SeenStores."""
        return JournaledStore(self.disk.open(partition, until, window), partition, self.journal)

    def produce(self, *orders: Mapping[str, object] | bytes) -> None:
        """Put orders, or raw values, on the topic: no effect of the loader's."""
        records = []
        for order in orders:
            if isinstance(order, bytes):
                records.append(Record(STREAM, order, b"raw"))
                continue
            full = {"placed_at": "2026-11-20T10:00:00Z", **order}
            incoming = Incoming(full, orjson.dumps(full), None, "shop", self.clock.now())
            records += self.encoder.encode([incoming]).records
        crash_at, self.journal.crash_at = self.journal.crash_at, None
        self.broker.publish(records)
        self.journal.pop()
        self.journal.crash_at = crash_at

    def loader(self) -> "Loader":
        """A new loader process."""
        return Loader(self)

    def audit(self) -> Books:
        streams = {STREAM: CONTRACT, STREAM + ".dead": dead_contract(STREAM)}
        reader, warehouse = MemoryLogReader(self.broker), MemoryWarehouse(self.account)
        return audit_once(AuditPorts(reader, warehouse, lookup=SCHEMAS.get), streams)

    def loaded(self) -> list[str]:
        """The order ids in the table, sorted."""
        table = self.account.table("SHOP_ORDERS")
        return sorted(table["order_id"].to_list()) if table.width else []


class Loader:
    """One loader process: its ports, its state."""

    def __init__(self, world: World) -> None:
        self.world = world
        topics = [STREAM, STREAM + ".dead"]
        self.log = MemoryLog(world.broker, "loaders", topics)
        self.lanes = InlineLanes(MemoryWarehouse(world.account))
        self.ports = LoadPorts(
            log=self.log,
            reader=MemoryLogReader(world.broker),
            publisher=MemoryPublisher(world.broker),
            lanes=self.lanes,
            stores=world,
            clock=world.clock,
            metrics=world.metrics,
            note=lambda event, fields: world.notes.append((event, fields)),
            dead_letters=DeadLetterWriter(2).records,
        )
        contracts = (CONTRACT, dead_contract(STREAM))
        self.state = LoadState(
            {c.stream: LoadStream(c, SCHEMAS.get) for c in contracts}, Breaker(*world.breaker)
        )

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            load_once(self.ports, self.state, self.world.policy)

    def run(self, seconds: float) -> None:
        """Turn for so long, by the world's clock."""
        end = self.world.clock.monotonic() + seconds
        while self.world.clock.monotonic() < end:
            self.turn()
            self.world.clock.sleep(0.05)

    def drain(self) -> None:
        """As after SIGTERM."""
        while not self.state.idle:
            drain_once(self.ports, self.state)
