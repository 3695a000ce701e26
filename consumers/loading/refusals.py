"""Rows that a table refuses: they become dead letters, and the rest of their batch is loaded."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from consumers.loading.breaker import Breaker, BreakerOpenError, Verdicts
from consumers.loading.diversion import count_dead, publish_dead
from consumers.loading.load_plan import plan_rest
from consumers.loading.loader import LoadPorts, LoadState
from consumers.reading.stream import LoadStream
from schemas import avro, table
from schemas.errors import RefusedError, RejectReason, SetupError, TransientError
from schemas.events import LoadPlan, Partition, Receipt, Rejection, Violation


def load_the_rest(ports: LoadPorts, state: LoadState, receipt: Receipt) -> Receipt | None:
    """Divert the rows that a table refuses, and load the others; None while that is under way.

    In this order, so that a crash between any two repeats work: 1. read the refused events again
    from the log. 2. Publish their dead letters. Durable on return. 3. Hand the rest of the batch,
    over the same ranges, to the lanes.
    Any other receipt comes back, and so does this one, with the error that stands in the way.
    """
    error = receipt.error
    if not isinstance(error, RefusedError):
        return receipt
    plan, batch = state.loading[receipt.topic]
    stream = state.streams[receipt.topic]
    refused = plan.frame[list(error.rows)]
    try:
        require_few(plan, error, state.refusals, stream)
        rejections = list(_read_again(ports, stream, refused, _why(error, stream)))
        publish_dead(ports, rejections)
    except (TransientError, SetupError) as problem:
        return replace(receipt, error=problem)
    count_dead(ports, receipt.topic, rejections)
    told = {"topic": plan.topic, "batch": plan.batch, "rows": len(error.rows), "of": plan.rows}
    ports.note("rows_refused", {**told, "column": error.column, "error": error.told})
    rest = plan_rest(plan, batch, stream.contract, error.rows, ports.clock.now())
    state.loading[receipt.topic] = rest, batch
    ports.lanes.load(rest)
    return None


def require_few(plan: LoadPlan, error: RefusedError, breaker: Breaker, stream: LoadStream) -> None:
    """Raises SetupError where so many rows are refused that the table is wrong, not they.

    That is what the breaker does not let pass, which counts over batches: one refused row can be
    all of its batch in a quiet stream. Rows of dead letters are never diverted: they would come
    back for ever.
    """
    count = len(error.rows)
    if stream.is_dead:
        why = "dead letters have no other place"
    else:
        try:
            breaker.check(_verdicts(plan, error.rows))
        except BreakerOpenError as open_error:
            why = open_error.what
        else:
            return
    raise SetupError(
        f"{error.what}; the table refuses {count} of {plan.rows} rows: {why}; the first for "
        f"column {error.column}: {error.told}",
        where=error.where,
        remedy=f"compare {plan.table} with the contract; the events wait in the log",
    )


def _verdicts(plan: LoadPlan, rows: tuple[int, ...]) -> dict[Partition, Verdicts]:
    """How many rows each partition has in the batch, and which of them are refused."""
    numbers = plan.frame[table.PARTITION].to_numpy()
    marks = np.zeros(plan.rows, dtype=np.bool_)
    marks[list(rows)] = True
    return {
        Partition(plan.topic, number): Verdicts(
            int((numbers == number).sum()), np.flatnonzero(marks[numbers == number])
        )
        for number in np.unique(numbers).tolist()
    }


def _why(error: RefusedError, stream: LoadStream) -> Violation:
    """Only of one row is the column known for which it is refused: COPY tells its first error."""
    told = f"column {error.column}: {error.told}"
    if len(error.rows) > 1:
        detail = f"the table refuses {len(error.rows)} rows of the batch; the first for {told}"
        return Violation("$", RejectReason.UNLOADABLE, detail)
    fields = {field.name.upper(): field.name for field in stream.contract.fields}
    name = fields.get(error.column.upper())
    return Violation(f"$.{name}" if name else "$", RejectReason.UNLOADABLE, told)


def _read_again(
    ports: LoadPorts, stream: LoadStream, refused: pl.DataFrame, why: Violation
) -> Iterator[Rejection]:
    """The refused events as they are in the log. Raises TransientError if not all are there."""
    columns = [table.PARTITION, table.OFFSET, avro.ID, avro.SOURCE]
    for (number,), rows in (
        refused.select(columns).partition_by(table.PARTITION, as_dict=True).items()
    ):
        partition = Partition(stream.topic, int(number))
        ids = {offset: (event_id, source) for _, offset, event_id, source in rows.iter_rows()}
        count = 0
        for run in ports.reader.read(partition, min(ids), max(ids) + 1):
            found = stream.refused(run, ids, why)
            count += len(found)
            yield from found
        if count != len(ids):
            raise TransientError(
                f"the log shows {count} of {len(ids)} events that the table refuses",
                where=f"{partition.topic}/{partition.number}",
                remedy="nothing: the partition is read again",
            )
