"""The port ``Warehouse`` in memory: product code for demos and flow tests, no SQL is run.

It takes the *values* of a plan (ranges, frame) and keeps the same promises as the real one: a
load commits whole or not at all, epochs fence, and faults strike where a test puts them.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import polars as pl

from consumers import ledger
from schemas.errors import FencedError, RefusedError, SetupError, TransientError
from schemas.events import Claim, LoadPlan, OffsetRange, Partition, Receipt

Effect = tuple[object, ...]
"""What happened: its name, then its values."""


class Step(StrEnum):
    """The effects of a load, in order."""

    PUT = "put"
    COPY = "copy"
    LEDGER = "ledger"
    FENCE = "fence"
    COMMIT = "commit"
    PROBE = "probe"  # after a COPY that failed: which rows does the table refuse


@dataclass(slots=True)
class WarehouseFault:
    """Raise ``error`` at a step: before it, or after it (after COMMIT: its reply is lost)."""

    step: Step
    error: BaseException = field(default_factory=lambda: TransientError("fault", where="memory"))
    after: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row of the ledger."""

    batch: str
    table: str
    file: str | None
    range: OffsetRange
    committed_at: int = 0  # microseconds since the epoch, UTC


@dataclass(slots=True)
class WarehouseState:
    """What several sessions share: the account, so to say."""

    journal: list[Effect] = field(default_factory=list)
    offsets: dict[Partition, Claim] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    tables: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    staged: dict[str, pl.DataFrame] = field(default_factory=dict)
    faults: list[WarehouseFault] = field(default_factory=list)
    refused: dict[str, pl.Expr] = field(default_factory=dict)  # by table: rows it does not take
    lock: threading.Lock = field(default_factory=threading.Lock)
    now: Callable[[], int] = lambda: 0  # microseconds since the epoch, for the ledger's times

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table; empty for one that has none."""
        frames = self.tables.get(name, [])
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


class MemoryWarehouse:
    """One session. Fits :class:`schemas.ports.Warehouse`."""

    def __init__(self, state: WarehouseState | None = None) -> None:
        self.state = state if state is not None else WarehouseState()

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        """Own these partitions; see the port."""
        with self.state.lock:
            for partition, start in sorted(starts.items()):
                known = self.state.offsets.get(partition, Claim(0, start))
                self.state.offsets[partition] = replace(known, epoch=known.epoch + 1)
            claims = {partition: self.state.offsets[partition] for partition in sorted(starts)}
        self.state.journal.append(("claim", claims))
        return {p: replace(claim, topic_id=self._topic_id(p)) for p, claim in claims.items()}

    def load(self, plan: LoadPlan) -> Receipt:
        """All of a plan, or nothing of it; see the port."""
        if plan.rows:
            self._effect(Step.PUT, plan, plan.file)
            self.state.staged[f"{plan.stage_path}{plan.file}"] = plan.frame
            self._done(Step.PUT)
        try:
            self._transaction(plan)
        except BaseException as error:
            self.state.journal.append(("rollback", plan.batch))
            if isinstance(error, RefusedError):
                if any(row.batch == plan.batch for row in self.state.ledger):
                    self._require_owned(plan)
                self._effect(Step.PROBE, plan, plan.table)
                self._done(Step.PROBE)
                self.state.journal.append(("rollback", plan.batch))
            raise
        with self.state.lock:
            self._require_owned(plan)  # nobody came between: what the lock does on Snowflake
            self._effect(Step.COMMIT, plan)
            self._commit(plan)
        self._done(Step.COMMIT)
        size = plan.frame.estimated_size() if plan.rows else 0
        return Receipt(plan.batch, plan.topic, None, f"query-{plan.batch}", int(size))

    def discard(self, plan: LoadPlan) -> None:
        """Delete the staged file of a plan; nothing happens where there is none."""
        self.state.staged.pop(f"{plan.stage_path}{plan.file}", None)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """A query over the ledger and the tables, run by Polars: plain SELECTs only."""
        context = pl.SQLContext(
            {name: self._upper(self.state.table(name)) for name in self.state.tables}
            | {ledger.OFFSETS: self._offsets(), ledger.LEDGER: self._ledger()}
        )
        found = context.execute(sql, eager=True)
        return found.rename({name: name.lower() for name in found.columns}).to_dicts()

    def execute(self, sql: str) -> int:
        """Into the journal and nowhere else; tables come to be when they are loaded."""
        self.state.journal.append(("execute", sql))
        return 0

    def close(self) -> None:
        """Nothing is left open."""

    def _topic_id(self, partition: Partition) -> str | None:
        """Of the partition's last ledger row."""
        rows = (row.range for row in reversed(self.state.ledger))
        return next((each.topic_id for each in rows if each.partition == partition), None)

    def _transaction(self, plan: LoadPlan) -> None:
        if plan.rows:
            self._effect(Step.COPY, plan, plan.table, plan.rows)
            self._require_taken(plan)
            self._done(Step.COPY)
        self._effect(Step.LEDGER, plan)
        self._done(Step.LEDGER)
        self._effect(Step.FENCE, plan)
        self._require_owned(plan)
        self._done(Step.FENCE)

    def _require_taken(self, plan: LoadPlan) -> None:
        refuses = self.state.refused.get(plan.table, pl.lit(value=False))
        rows = plan.frame.select(pl.arg_where(refuses)).to_series().to_list()
        if rows:
            cause = SetupError(
                f"COPY of {plan.file}: a value does not fit its column",
                where="memory",
                remedy="compare the contract with the table",
            )
            column = next(iter(refuses.meta.root_names()), "").upper()
            raise RefusedError(cause, tuple(rows), column, "it does not fit")

    def _require_owned(self, plan: LoadPlan) -> None:
        for span in plan.ranges:
            if self.state.offsets.get(span.partition) != Claim(span.epoch, span.first):
                raise FencedError(
                    f"partition {span.partition.number} does not stand at {span.first} with "
                    f"epoch {span.epoch}",
                    where=plan.topic,
                    remedy="nothing: the partitions are claimed again",
                )

    def _commit(self, plan: LoadPlan) -> None:
        if plan.rows:
            constants = {"_topic": plan.topic, "_batch": plan.batch}  # COPY adds them
            loaded = plan.frame.with_columns(pl.lit(v).alias(k) for k, v in constants.items())
            self.state.tables.setdefault(plan.table, []).append(loaded)
        for span in plan.ranges:
            file = plan.file if plan.rows else None
            row = LedgerRow(plan.batch, plan.table, file, span, self.state.now())
            self.state.ledger.append(row)
            self.state.offsets[span.partition] = Claim(span.epoch, span.after)

    def _effect(self, step: Step, plan: LoadPlan, *values: object) -> None:
        self._strike(step, after=False)
        self.state.journal.append((step.value, plan.batch, *values))

    def _done(self, step: Step) -> None:
        self._strike(step, after=True)

    def _strike(self, step: Step, *, after: bool) -> None:
        for fault in self.state.faults:
            if fault.step is step and fault.after is after and fault.times > 0:
                fault.times -= 1
                raise fault.error

    def _offsets(self) -> pl.DataFrame:
        schema = {"TOPIC": pl.String, "PART": pl.Int64, "NEXT_OFFSET": pl.Int64, "EPOCH": pl.Int64}
        rows = [
            (*partition, claim.next_offset, claim.epoch)
            for partition, claim in self.state.offsets.items()
        ]
        return pl.DataFrame(rows, schema, orient="row")

    def _ledger(self) -> pl.DataFrame:
        texts = ("BATCH", "TARGET_TABLE", "FILE", "TOPIC_ID", "TOPIC")
        numbers = ("PART", "FIRST_OFFSET", "NEXT_OFFSET", "EVENTS", "LOADED", "DUPLICATES", "DEAD")
        schema: dict[str, Any] = dict.fromkeys(texts, pl.String) | dict.fromkeys(
            (*numbers, "EPOCH"), pl.Int64
        )
        schema["COMMITTED_AT"] = pl.Datetime("us")
        rows = [
            (
                *(row.batch, row.table, row.file, row.range.topic_id, *row.range.partition),
                *(row.range.first, row.range.after, row.range.events, row.range.loaded),
                *(row.range.duplicates, row.range.dead, row.range.epoch),
                row.committed_at,
            )
            for row in self.state.ledger
        ]
        return pl.DataFrame(rows, schema, orient="row")

    @staticmethod
    def _upper(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.rename({name: name.upper() for name in frame.columns})
