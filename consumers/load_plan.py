"""A closed batch becomes one file with a derived name, and the SQL of one transaction."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from consumers import ledger
from consumers.batching import Batch
from schemas import table
from schemas.contract import Contract
from schemas.events import LoadPlan
from schemas.identity import batch_id
from schemas.sql import literal, timestamp


def plan_load(batch: Batch, contract: Contract, now: int) -> LoadPlan:
    """The plan of a closed batch; ``now`` in microseconds is its LOADEDON.

    The same ranges give the same batch id, file name and file bytes.
    """
    ranges = list(batch.ranges())
    name = batch_id(batch.topic, ((r.partition.number, r.first, r.after) for r, _ in ranges))
    frame = _in_order(batch.frames) if batch.frames else pl.DataFrame()
    file = f"{name}.parquet"
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
    )


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
