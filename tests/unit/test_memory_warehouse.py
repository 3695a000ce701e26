"""The warehouse in memory: its journal and its faults."""

import pytest

from schemas.errors import FencedError, TransientError
from schemas.events import Claim, Partition
from services.adapters.memory_warehouse import (
    MemoryWarehouse,
    Step,
    WarehouseFault,
    WarehouseState,
)
from tests.support.warehouse import TABLE, TOPIC, plan, span

P0 = Partition(TOPIC, 0)
WORK = plan(span(0, 0, 3, epoch=1))


@pytest.fixture
def warehouse() -> MemoryWarehouse:
    warehouse = MemoryWarehouse(WarehouseState())
    warehouse.claim({P0: 0})
    return warehouse


def test_the_journal_holds_every_effect_in_order(warehouse: MemoryWarehouse) -> None:
    warehouse.load(WORK)
    assert warehouse.state.journal == [
        ("claim", {P0: Claim(1, 0)}),
        ("put", WORK.batch, WORK.file),
        ("copy", WORK.batch, TABLE, 3),
        ("ledger", WORK.batch),
        ("fence", WORK.batch),
        ("commit", WORK.batch),
    ]


def test_an_empty_batch_has_neither_put_nor_copy(warehouse: MemoryWarehouse) -> None:
    work = plan(span(0, 0, 3, epoch=1, loaded=0))
    warehouse.load(work)
    assert [effect[0] for effect in warehouse.state.journal[1:]] == ["ledger", "fence", "commit"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", [step for step in Step if step is not Step.PROBE])
def test_a_fault_leaves_all_or_nothing(
    warehouse: MemoryWarehouse, step: Step, *, after: bool
) -> None:
    state = warehouse.state
    state.faults.append(WarehouseFault(step, TransientError("x"), after=after))
    with pytest.raises(TransientError):
        warehouse.load(WORK)
    committed = step is Step.COMMIT and after
    assert state.table(TABLE).height == (3 if committed else 0)
    assert len(state.ledger) == (1 if committed else 0)
    assert state.offsets == {P0: Claim(1, 3 if committed else 0)}
    claim = warehouse.claim({P0: 0})[P0]
    if not committed:
        warehouse.load(plan(span(0, claim.next_offset, 3, epoch=claim.epoch)))
    assert state.table(TABLE).height == 3


def test_a_crash_passes_through_and_commits_nothing(warehouse: MemoryWarehouse) -> None:
    warehouse.state.faults.append(WarehouseFault(Step.FENCE, KeyboardInterrupt(), after=True))
    with pytest.raises(KeyboardInterrupt):
        warehouse.load(WORK)
    assert warehouse.state.ledger == []


def test_a_fence_is_in_the_journal_before_the_rollback(warehouse: MemoryWarehouse) -> None:
    MemoryWarehouse(warehouse.state).claim({P0: 0})
    with pytest.raises(FencedError):
        warehouse.load(WORK)
    assert warehouse.state.journal[-2:] == [("fence", WORK.batch), ("rollback", WORK.batch)]


def test_plain_queries_are_answered(warehouse: MemoryWarehouse) -> None:
    warehouse.load(WORK)
    rows = warehouse.rows("SELECT NEXT_OFFSET, EPOCH FROM SLUICE_OFFSETS WHERE PART = 0")
    assert rows == [{"next_offset": 3, "epoch": 1}]
    assert warehouse.rows("SELECT SUM(LOADED) AS N FROM SLUICE_LEDGER") == [{"n": 3}]
    assert warehouse.rows(f"SELECT MAX(ID) AS M FROM {TABLE}") == [{"m": 2}]


def test_other_statements_only_leave_a_trace(warehouse: MemoryWarehouse) -> None:
    assert warehouse.execute("ALTER TABLE T ADD COLUMN A VARCHAR") == 0
    assert warehouse.state.journal[-1] == ("execute", "ALTER TABLE T ADD COLUMN A VARCHAR")
