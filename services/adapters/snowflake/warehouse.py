"""The port ``Warehouse`` on Snowflake, or on the embedded stand-in: the same statements."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from consumers import ledger
from schemas.errors import FencedError, SetupError, TransientError
from schemas.events import Claim, LoadPlan, Partition, Receipt
from schemas.ports import Clock
from schemas.sql import literal
from schemas.table import going_on
from services.adapters.snowflake.copying import NO_FILE, Copied, StagedFile, write_parquet
from services.adapters.snowflake.errors import MisfitError
from services.adapters.snowflake.refused import Told, refusal
from services.adapters.snowflake.session import (
    Answer,
    Arguments,
    Part,
    Recorder,
    Session,
    unrecorded,
)

UPLOADED = "UPLOADED"


class SnowflakeWarehouse:
    """One session. Fits :class:`schemas.ports.Warehouse`; not for several threads at once.

    Connects when it is first needed, and again after any error. ``arguments`` makes those of
    ``snowflake.connector.connect``, database and schema included; ``record`` is told every
    statement before it is sent.
    """

    def __init__(self, arguments: Arguments, clock: Clock, record: Recorder = unrecorded) -> None:
        self._session = Session(arguments, record)
        self._clock = clock

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        """Own these partitions: in one transaction raise their epochs and read where they stand.

        1. SELECT the ids of the topics that were loaded last. 2. UPDATE the epochs of those that
        are known. 3. SELECT them. 4. For those that are new, take the lock, look again and INSERT
        the rest. 5. COMMIT. The first comes before anything is claimed, so that ledger tables
        which `sluice apply` has not brought up to date turn nobody out.
        Raises SetupError for a partition with more than one row and for such tables,
        TransientError otherwise.
        """
        if not starts:
            return {}
        self._session.about({})
        sql = ledger.topic_ids_select(starts)
        ids = ledger.read_topic_ids(self._run(sql, "claim", first=True).dicts())
        self._run("BEGIN", first=True)
        try:
            self._run(ledger.claim_update(starts), "claim")
            claims = self._claims(starts)
            new = {key: start for key, start in starts.items() if key not in claims}
            if new:
                claims |= self._insert_claims(new)
        except (SetupError, TransientError):
            self._session.drop(roll_back=True)
            raise
        self._run("COMMIT", "COMMIT of a claim, outcome unknown")
        return {p: replace(claim, topic_id=ids.get(p)) for p, claim in claims.items()}

    def load(self, plan: LoadPlan) -> Receipt:
        """PUT, then COPY, ledger and fence in one transaction; see the port for what it promises.

        The fence comes last, so that its lock is short. Whatever fails, the transaction is rolled
        back and the connection dropped.
        """
        self._session.about({"topic": plan.topic, "table": plan.table})
        began = self._clock.monotonic()
        file = self._put(plan) if plan.rows else NO_FILE
        self._run("BEGIN", first=True)
        try:
            query_id = self._copy(plan) if plan.rows else None
            self._run(ledger.with_load_facts(plan.ledger_sql, query_id, file.sha256), "ledger")
            self._fence(plan)
        except (SetupError, TransientError):
            self._session.drop(roll_back=True)
            raise
        self._run("COMMIT", f"COMMIT of batch {plan.batch}, outcome unknown")
        seconds = self._clock.monotonic() - began
        return Receipt(plan.batch, plan.topic, None, query_id, file.bytes, seconds)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, by lower-case column name."""
        self._session.about({})
        return self._run(sql, "query", first=True).dicts()

    def parts(self, sql: str) -> Iterator[Part]:
        """The rows of any statement, a few at a time: at least one part, for the columns."""
        self._session.about({})
        return self._session.parts(sql, "query")

    def execute(self, sql: str) -> int:
        """One statement outside a transaction; the number of rows that it touched."""
        self._session.about({})
        return self._run(sql).touched

    def ensure_ledger(self) -> None:
        """Create the stage and the ledger tables that are missing; runs no DDL otherwise."""
        there = {str(row["table_name"]) for row in self.rows(ledger.TABLES_SQL)}
        missing = [ddl for name, ddl in ledger.TABLES.items() if name not in there]
        if not self.rows(ledger.STAGE_SQL):
            missing.append(ledger.STAGE_DDL)
        for ddl in missing:
            self.execute(ddl)
        if not self.rows(ledger.LOCK_ROWS_SQL)[0]["n"]:
            self.execute(ledger.LOCK_INSERT_SQL)

    def discard(self, plan: LoadPlan) -> None:
        """Delete the staged file of a plan; nothing happens where there is none."""
        if plan.rows:
            self._session.about({"topic": plan.topic, "table": plan.table})
            self._run(f"REMOVE {plan.stage_path}{plan.file}", f"REMOVE of {plan.file}", first=True)

    def close(self) -> None:
        """End the session; an open transaction is rolled back."""
        self._session.drop(roll_back=False)

    def _run(self, statement: str, doing: str = "", *, first: bool = False) -> Answer:
        doing = doing or statement.split("\n", 1)[0][:60]
        return self._session.run(statement, doing, first=first)

    def _claims(self, partitions: Iterable[Partition]) -> dict[Partition, Claim]:
        return ledger.read_claims(self._run(ledger.claim_select(partitions), "claim").dicts())

    def _insert_claims(self, starts: Mapping[Partition, int]) -> dict[Partition, Claim]:
        """Rows for new partitions, by one loader at a time."""
        if self._run(ledger.LOCK_SQL, "lock for new partitions").touched == 0:
            raise SetupError(
                "the row that new partitions are inserted under is missing",
                where=ledger.LOCKS,
                remedy="run `sluice apply`",
            )
        if self._claims(starts):
            raise TransientError("another loader claimed a new partition first", where="claim")
        self._run(ledger.claim_insert(starts), "claim")
        return {partition: Claim(1, start) for partition, start in starts.items()}

    def _put(self, plan: LoadPlan) -> StagedFile:
        """Upload the batch's file; repeating it changes nothing."""
        with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
            path = write_parquet(plan, Path(folder))
            answer = self._run(
                f"PUT {literal(path.as_uri())} {plan.stage_path} "
                "AUTO_COMPRESS=FALSE OVERWRITE=TRUE",
                f"PUT of {plan.file}",
                first=True,
            )
            states = [row["status"] for row in answer.dicts()]
            if states != [UPLOADED]:
                raise TransientError(f"PUT of {plan.file} answered {states}", where=plan.stage_path)
            return StagedFile.of(path)

    def _copy(self, plan: LoadPlan) -> str | None:
        """Load the file; the query's id. Whatever COPY answers, exactly ``plan.rows`` or none."""
        try:
            return self._copied(plan)
        except MisfitError as error:  # and the transaction is gone
            raise self._refusal(plan, error) from error

    def _refusal(self, plan: LoadPlan, error: SetupError) -> SetupError | TransientError:
        """The error, with the rows that the target refuses where it takes others.

        1. Make sure that nobody else has loaded the batch. 2. COPY what fits, whatever COPY knows
        of the file. 3. SELECT what is there now. 4. ROLLBACK, whatever happens.
        """
        self._run("BEGIN", first=True)
        try:
            self._require_unloaded(plan)
            told = self._run(going_on(plan.copy_sql), f"COPY of what fits of {plan.file}")
            there = self._run(ledger.batch_places(plan.table, plan.batch), "what fits")
        except SetupError:
            return error
        finally:
            self._session.drop(roll_back=True)
        return refusal(plan, Told.of(told.rows), there.rows, error)

    def _copied(self, plan: LoadPlan) -> str | None:
        answer = self._run(plan.copy_sql, f"COPY of {plan.file}")
        copied = Copied.of(answer.rows)
        if copied.skipped:  # load metadata knows the file, but the offsets say it is not loaded
            self._require_unloaded(plan)
            answer = self._run(f"{plan.copy_sql} FORCE=TRUE", f"forced COPY of {plan.file}")
            copied = Copied.of(answer.rows)
        if copied.problem or copied.loaded != plan.rows:
            raise SetupError(
                f"COPY of {plan.file} loaded {copied.loaded} rows instead of {plan.rows}"
                f" {copied.problem}".rstrip(),
                where=plan.table,
                remedy="compare the contract with the table; nothing was committed",
            )
        return answer.query_id

    def _require_unloaded(self, plan: LoadPlan) -> None:
        """Raises FencedError where somebody else has loaded the batch, SetupError if nobody has."""
        there = self._run(ledger.batch_rows(plan.table, plan.batch), "check").dicts()[0]["n"]
        if there:
            self._fence(plan)
            raise SetupError(
                f"{plan.table} holds {there} rows of batch {plan.batch}, which the offsets say "
                "was never loaded",
                where=ledger.OFFSETS,
                remedy="find out who wrote them; delete the rows or restore the offsets",
            )

    def _fence(self, plan: LoadPlan) -> None:
        moved = self._run(plan.fence_sql, "fence").touched
        if moved != len(plan.ranges):
            raise FencedError(
                f"{moved} of {len(plan.ranges)} partitions of batch {plan.batch} stand where it "
                "begins: another loader owns the rest, or it is loaded already",
                where=plan.topic,
                remedy="nothing: the partitions are claimed again",
            )
