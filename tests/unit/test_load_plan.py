"""A closed batch becomes one file and one transaction, always the same for the same ranges."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.loading.batching import Batch, Span
from consumers.loading.load_plan import plan_load, plan_rest
from schemas.events import LoadPlan, Run
from tests.support.runs import run_of
from tests.support.streams import CONTRACT, P0, P1, P2, keys, order, orders, stream

NOW = 1_795_000_000_000_000
RUNS = {
    P0: run_of(P0, [*orders(*(order(n % 7) for n in range(12))), None], 100),
    P1: run_of(P1, orders(*(order(n) for n in range(9))), 0),
    P2: run_of(P2, orders(*(order(n, amount=float(n % 2) - 0.5) for n in range(5))), 9),
}


def part(run: Run, first: int, after: int) -> Run:
    return Run(
        run.partition,
        run.offsets[first:after],
        np.asarray(run.timestamps)[first:after],
        run.values[first:after],
        run.messages[first:after],
    )


def plan_of(polls: list[list[Run]], now: int = NOW) -> LoadPlan:
    return planned(polls, now)[1]


def planned(polls: list[list[Run]], now: int = NOW) -> tuple[Batch, LoadPlan]:
    batch = Batch(CONTRACT.topic, now - 5_000_000)
    reader, known = stream(), keys()
    for runs in polls:
        spans = {r.partition: Span(int(r.offsets[0]), r.next_offset, 1, len(r)) for r in runs}
        batch.grow(reader.judge(runs, known), spans, now)
    return batch, plan_load(batch, CONTRACT, now)


def file_bytes(plan: LoadPlan) -> bytes:
    out = io.BytesIO()
    plan.frame.write_parquet(out)
    return out.getvalue()


WHOLE = plan_of([list(RUNS.values())])


@settings(deadline=None)
@given(st.data())
def test_the_same_ranges_give_the_same_name_and_bytes_however_they_were_polled(
    data: st.DataObject,
) -> None:
    left = dict.fromkeys(RUNS, 0)
    polls = []
    while open_ones := [p for p in RUNS if left[p] < len(RUNS[p])]:
        chosen = data.draw(st.permutations(open_ones))[: data.draw(st.integers(1, len(open_ones)))]
        runs = []
        for partition in chosen:
            after = data.draw(st.integers(left[partition] + 1, len(RUNS[partition])))
            runs.append(part(RUNS[partition], left[partition], after))
            left[partition] = after
        polls.append(runs)
    plan = plan_of(polls)
    assert (plan.batch, plan.file, plan.ranges) == (WHOLE.batch, WHOLE.file, WHOLE.ranges)
    assert plan.ledger_sql == WHOLE.ledger_sql
    assert plan.copy_sql == WHOLE.copy_sql
    assert file_bytes(plan) == file_bytes(WHOLE)


def test_without_rows_it_is_the_same_batch_in_another_file() -> None:
    batch, plan = planned([list(RUNS.values())])
    rest = plan_rest(plan, batch, CONTRACT, (0, 5, 17), NOW + 1)
    assert rest.batch == plan.batch
    assert [(r.first, r.after, r.events) for r in rest.ranges] == [
        (r.first, r.after, r.events) for r in plan.ranges
    ]
    assert (rest.rows, rest.refused) == (15, 3)
    gone = plan.frame[[0, 5, 17]]
    assert rest.frame.rows() == [r for n, r in enumerate(plan.frame.rows()) if n not in {0, 5, 17}]
    for old, new in zip(plan.ranges, rest.ranges, strict=True):
        refused = int((gone["_partition"] == old.partition.number).sum())
        assert (new.loaded, new.dead) == (old.loaded - refused, old.dead + refused)
    assert rest.file != plan.file
    assert rest.file in rest.copy_sql
    assert f"'{rest.file}'" in rest.ledger_sql
    again, other = planned([list(RUNS.values())]), planned([list(RUNS.values())])
    assert plan_rest(again[1], again[0], CONTRACT, (0, 5, 17), NOW).file == rest.file
    assert plan_rest(other[1], other[0], CONTRACT, (0, 5), NOW).file != rest.file


def test_rows_left_out_twice_are_a_bug() -> None:
    batch, plan = planned([list(RUNS.values())])
    with pytest.raises(RuntimeError, match="18 rows are not 17 to load and 2 dead"):
        plan_rest(plan, batch, CONTRACT, (3, 3), NOW)


def test_rows_are_in_the_logs_order() -> None:
    where = WHOLE.frame.select("_partition", "_offset").rows()
    assert where == sorted(where)
    assert WHOLE.rows == len(where) == sum(r.loaded for r in WHOLE.ranges) == 18
    assert [r.events for r in WHOLE.ranges] == [13, 9, 5]


def test_other_ranges_give_another_name() -> None:
    assert plan_of([[RUNS[P0]]]).batch != WHOLE.batch
    assert plan_of([[part(RUNS[P0], 0, 5)]]).batch != plan_of([[RUNS[P0]]]).batch


def test_the_sql_names_file_batch_and_ranges() -> None:
    assert WHOLE.stage_path == "@SLUICE_STAGE/shop.orders/"
    assert WHOLE.file == f"{WHOLE.batch}.parquet"
    assert f"FROM @SLUICE_STAGE/shop.orders/{WHOLE.file})" in WHOLE.copy_sql
    assert f"'{WHOLE.batch}'::VARCHAR" in WHOLE.copy_sql
    assert "'2026-11-18 11:06:40.000000'::TIMESTAMP_NTZ" in WHOLE.copy_sql
    assert WHOLE.table == "SHOP_ORDERS"
    assert WHOLE.batch in WHOLE.ledger_sql
    assert "SLUICE_OFFSETS" in WHOLE.fence_sql


@pytest.mark.parametrize("lost", [False, True], ids=["nothing loaded", "rows lost"])
def test_a_batch_without_rows_still_has_its_ranges(lost: bool) -> None:
    batch = Batch(CONTRACT.topic, NOW)
    run = run_of(P0, [None, b""], 3)
    runs = [run, run_of(P1, orders(order(1)), 0)] if lost else [run]
    spans = {r.partition: Span(int(r.offsets[0]), r.next_offset, 1) for r in runs}
    batch.grow(stream().judge(runs, keys()), spans, NOW)
    kept = batch.without({P1})
    assert kept is not None
    plan = plan_load(kept, CONTRACT, NOW)
    assert plan.rows == 0
    assert [(r.first, r.after, r.dead) for r in plan.ranges] == [(3, 5, 2)]
