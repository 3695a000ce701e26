"""A closed batch becomes one file with a derived name, and the SQL of one transaction."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from consumers import ledger
from consumers.loading.batching import Batch
from schemas import table
from schemas.contract import Contract
from schemas.events import LoadPlan
from schemas.identity import batch_id, digest
from schemas.sql import literal, timestamp

_ROW = "__row"


def plan_load(batch: Batch, contract: Contract, now: int, refused: int = 0) -> LoadPlan:
    """The plan of a closed batch; ``now`` in microseconds is its LOADEDON.

    The same ranges give the same batch id, file name and file bytes; without rows that the target
    has ``refused`` the file has another name, for COPY remembers files by their names.
    """
    ranges = list(batch.ranges())
    name = batch_id(batch.topic, ((r.partition.number, r.first, r.after) for r, _ in ranges))
    frame = _in_order(batch.frames) if batch.frames else pl.DataFrame()
    file = f"{name}-{_kept(frame)}.parquet" if refused else f"{name}.parquet"
    directory = f"@{ledger.STAGE}/{batch.topic}/"
    constants = {
        table.TOPIC: literal(batch.topic),
        table.BATCH: literal(name),
        table.LOADED_AT: timestamp(now),
    }
    facts = ledger.BatchFacts(
        batch=name,
        table=contract.table_name,
        file=file if frame.height else None,
        opened_at=batch.opened_at,
        closed_at=now,
    )
    return LoadPlan(
        batch=name,
        topic=batch.topic,
        table=contract.table_name,
        ranges=tuple(r for r, _ in ranges),
        frame=frame,
        file=file,
        stage_path=directory,
        copy_sql=table.copy_into(contract, directory + file, constants),
        ledger_sql=ledger.ledger_insert(
            facts,
            [
                ledger.RangeFacts(
                    range=r,
                    bytes=span.bytes,
                    business_dates=dict(sorted(span.dates.items())),
                    first_source_at=span.first_received,
                    last_source_at=span.last_received,
                )
                for r, span in ranges
            ],
        ),
        fence_sql=ledger.fence_update([r for r, _ in ranges], name),
        refused=refused,
    )


def plan_rest(
    plan: LoadPlan, batch: Batch, contract: Contract, rows: Sequence[int], now: int
) -> LoadPlan:
    """The same batch without these rows, which are dead letters; ``batch`` counts them so.

    Raises RuntimeError if not every row of the file is either of the two.
    """
    frame = plan.frame.with_row_index(_ROW)
    refused = frame.filter(pl.col(_ROW).is_in(rows)).drop(_ROW)
    batch.reject(refused, contract.business_date)
    batch.frames = [frame.filter(~pl.col(_ROW).is_in(rows)).drop(_ROW)]
    rest = plan_load(batch, contract, now, plan.refused + len(rows))
    batch.frames.clear()
    loaded = sum(each.loaded for each in rest.ranges)
    if not plan.rows == rest.rows + len(rows) == loaded + refused.height:
        raise RuntimeError(
            f"{plan.batch}: {plan.rows} rows are not {loaded} to load and {len(rows)} dead"
        )
    return rest


def _kept(frame: pl.DataFrame) -> str:
    """A name for the rows that a file holds."""
    return digest(*(frame[name].to_numpy().tobytes() for name in (table.PARTITION, table.OFFSET)))


def _in_order(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Partition after partition, however the polls cut them: each has ascending offsets."""
    slices: list[tuple[int, pl.DataFrame]] = []
    for frame in frames:
        numbers = frame[table.PARTITION].to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for first, after in pairwise(edges):
            if after > first:
                slices.append((int(numbers[first]), frame[first:after]))
    slices.sort(key=lambda each: each[0])  # stable: polls stay in order
    return pl.concat([part for _, part in slices] or frames[:1], rechunk=True)
