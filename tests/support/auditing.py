"""An auditor over the world in memory, which counts what it reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from typing_extensions import override

from consumers.books.audit import AuditPorts
from consumers.books.auditor import AuditorPolicy, AuditorPorts, AuditorState, audit_next
from consumers.books.balance import Books
from schemas.dead_letters import dead_contract
from schemas.events import Partition, Run
from services.adapters.memory.log import MemoryLogReader
from services.adapters.memory_warehouse import MemoryWarehouse
from services.adapters.metrics import MemoryMetrics
from tests.support.world import CONTRACT, STREAM, World

STREAMS = {STREAM: CONTRACT, STREAM + ".dead": dead_contract(STREAM)}
Event = tuple[str, Mapping[str, object]]


class CountingReader(MemoryLogReader):
    messages = 0

    @override
    def read(self, partition: Partition, first: int, after: int) -> Iterator[Run]:
        for run in super().read(partition, first, after):
            self.messages += len(run)
            yield run


class CountingWarehouse(MemoryWarehouse):
    """Knows every statement, and how many rows each gave."""

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found = super().rows(sql)
        self.asked.append((sql, len(found)))
        return found

    asked: list[tuple[str, int]]


@dataclass
class Auditing:
    """One auditor process."""

    world: World
    policy: AuditorPolicy = field(default_factory=lambda: AuditorPolicy(60, 3_600))
    notes: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = CountingReader(self.world.broker)
        self.warehouse = CountingWarehouse(self.world.account)
        self.warehouse.asked = []
        self.metrics = MemoryMetrics()
        self.state = AuditorState(STREAMS)
        self.ports = AuditorPorts(
            AuditPorts(self.reader, self.warehouse),
            self.world.clock,
            self.metrics,
            lambda event, fields: self.notes.append((event, fields)),
        )

    def turn(self) -> Books | None:
        return audit_next(self.ports, self.state, self.policy)

    def after(self, seconds: float) -> Books:
        """The audit that is due when so much time has passed."""
        self.reader.messages = 0
        self.warehouse.asked.clear()
        self.notes.clear()
        self.world.clock.sleep(seconds)
        found = self.turn()
        assert found is not None
        return found

    def unbalanced_seconds(self, stream: str = STREAM) -> float | None:
        return self.metrics.last("books_unbalanced_seconds", stream=stream)

    def told(self, event: str) -> list[Mapping[str, object]]:
        return [fields for name, fields in self.notes if name == event]


def lose_rows(world: World, *offsets: int) -> pl.DataFrame:
    """Delete rows of the first partition from the table; what it held before."""
    world.damaged = "rows were deleted from the table"
    held = world.account.table("SHOP_ORDERS")
    gone = (pl.col("_partition") == 0) & pl.col("_offset").is_in(offsets)
    world.account.tables["SHOP_ORDERS"] = [held.filter(~gone)]
    assert world.account.table("SHOP_ORDERS").height == held.height - len(offsets)
    return held
