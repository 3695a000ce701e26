"""A loader in a world of memory ports that share one journal of effects."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
import polars as pl
from pydantic import BaseModel, Field

from consumers.books.audit import AuditPorts, audit_once
from consumers.books.balance import Books
from consumers.loading.batching import FlushPolicy
from consumers.loading.breaker import Breaker
from consumers.loading.load import drain_once, load_once
from consumers.loading.loader import LoadPolicy, LoadPorts, LoadState
from consumers.loading.measure import unready
from consumers.reading.stream import LoadStream
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
    """Every effect, in order; the process dies at the ``crash_at``-th moment, once.

    A moment follows every effect. What commits leaves its trace beforehand, so that there is
    one more when it has committed and nobody knows of it.
    """

    crash_at: int | None = None
    moments = 0
    meanwhile: Callable[[], None] | None = None  # what others do at every moment

    def append(self, effect: tuple[object, ...], /) -> None:
        super().append(effect)
        self.moment()

    def moment(self) -> None:
        self.moments += 1
        if self.crash_at is not None and self.moments >= self.crash_at:
            self.crash_at = None
            raise Crash
        if self.meanwhile is not None:
            self.meanwhile()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Somebody else's doing: it leaves no trace, and nobody dies of it."""
        kept = self.crash_at, self.moments, self.meanwhile, len(self)
        self.crash_at = self.meanwhile = None
        try:
            yield
        finally:
            self.crash_at, self.moments, self.meanwhile, length = kept
            del self[length:]

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
    """Does at once, or ``late``, what lanes do beside the reading."""

    def __init__(self, warehouse: Warehouse, journal: Journal) -> None:
        self._warehouse = warehouse
        self._journal = journal
        self._waiting: list[tuple[int, LoadPlan]] = []  # how many looks from now, and what
        self._answers: list[Receipt | Claimed] = []
        self.slow = False  # while it is, nothing comes back
        self.late = 0  # looks for answers before a load begins: the next batch grows meanwhile

    def claim(self, starts: Mapping[Partition, int]) -> None:
        try:
            answer = Claimed(tuple(starts), self._warehouse.claim(starts))
        except Exception as error:  # noqa: BLE001 - as ThreadLanes does
            answer = Claimed(tuple(starts), error=error)
        self._answers.append(answer)

    def load(self, plan: LoadPlan) -> None:
        self._waiting.append((self.late, plan))
        self.work(0)

    def work(self, looks: int) -> None:
        """Begin the loads that begin within so many looks; the warehouse needs no loader for it."""
        due = [plan for left, plan in self._waiting if left <= looks]
        self._waiting = [(left - looks, plan) for left, plan in self._waiting if left > looks]
        for plan in due:
            try:
                receipt = self._warehouse.load(plan)
            except Exception as error:  # noqa: BLE001 - as ThreadLanes does
                receipt = Receipt(plan.batch, plan.topic, error=error)
            self._journal.moment()
            self._answers.append(receipt)

    def finished(self) -> Sequence[Receipt | Claimed]:
        if self.slow:
            return []
        self.work(1)
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


@dataclass(frozen=True)
class JournaledStores:
    """The disk of a loader's machine. Fits SeenStores."""

    inner: MemoryStores
    journal: Journal

    def open(self, partition: Partition, until: int, window: int) -> JournaledStore:
        return JournaledStore(self.inner.open(partition, until, window), partition, self.journal)


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
    damaged: str = ""  # why its books need not balance when a test has ended

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
        with self.journal.aside():
            self.broker.publish(records)

    def loader(self, group: str = "loaders") -> "Loader":
        """A new loader process, on the machine that has the disk now."""
        return Loader(self, group)

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

    def __init__(self, world: World, group: str) -> None:
        self.world = world
        topics = [STREAM, STREAM + ".dead"]
        self.log = MemoryLog(world.broker, group, topics)
        self.lanes = InlineLanes(MemoryWarehouse(world.account), world.journal)
        self.ports = LoadPorts(
            log=self.log,
            reader=MemoryLogReader(world.broker),
            publisher=MemoryPublisher(world.broker),
            lanes=self.lanes,
            stores=JournaledStores(world.disk, world.journal),
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

    def why_unready(self) -> str:
        """What keeps its partitions from being ready."""
        held = sorted(self.state.ownership.held.items())
        whys = [(partition, unready(here)) for partition, here in held]
        return "; ".join(f"{p.topic}/{p.number}: {why}" for p, why in whys if why)

    def drain(self) -> None:
        """As after SIGTERM."""
        while not self.state.idle:
            drain_once(self.ports, self.state)
