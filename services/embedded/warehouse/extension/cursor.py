"""Statements that fakesnow runs otherwise than Snowflake, put right before and after it."""

from dataclasses import dataclass
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.params import MutableParams
from snowflake.connector.errors import Error, ProgrammingError
from sqlglot import Expr, exp
from typing_extensions import override

from services.embedded.warehouse.extension import copying, ddl, refusing, stages, variants
from services.embedded.warehouse.extension.account import is_account_statement
from services.embedded.warehouse.extension.errors import ABORTED, SEVERAL, as_snowflake

DONE = "Statement executed successfully."


@dataclass(slots=True)
class Transaction:
    """A session's explicit transaction; fakesnow itself knows only those without autocommit."""

    open: bool = False
    failed: bool = False  # a statement in it has failed
    aborted: bool = False  # rolled back by the server, which its client has not heard of yet

    def end(self) -> None:
        """After COMMIT, ROLLBACK and logout."""
        self.open = self.failed = self.aborted = False


class ExtendedCursor(FakeSnowflakeCursor):
    """fakesnow's cursor; every difference is a function of a module beside this one."""

    def __init__(
        self,
        connection: FakeSnowflakeConnection,
        duck: duckdb.DuckDBPyConnection,
        transaction: Transaction,
    ) -> None:
        super().__init__(connection, duck)
        self._transaction = transaction

    @override
    def execute(
        self, command: str, params: Any = None, *args: Any, **kwargs: Any
    ) -> "ExtendedCursor":
        """Run one statement. Raises ProgrammingError with a number for whatever DuckDB says."""
        if self._transaction.aborted:
            self._tell_aborted(command)
        try:
            prefix = stages.removed_prefix(command)
            if prefix is not None:
                self._remove(prefix)
            elif is_account_statement(command):
                self._answer(DONE)
            else:
                super().execute(command, params, *args, **kwargs)
        except duckdb.Error as error:
            self._transaction.failed = self._busy
            raise as_snowflake(error) from error
        except Error:
            self._transaction.failed = self._busy
            raise
        return self

    @override
    def _inline_variables(self, sql: str) -> str:
        """Session variables in SQL text, which is left alone where none is set.

        fakesnow looks for ``$name`` in string literals as well, and calls what it finds unknown.
        """
        return super()._inline_variables(sql) if self._conn.variables._variables else sql  # noqa: SLF001 - no accessor

    @override
    def _transform(self, expression: Expr, params: Any) -> Expr:
        if isinstance(expression, exp.Block):
            expression = _only(expression)
        overwrite = stages.overwrites(expression)
        transformed = super()._transform(ddl.without_temporary(expression), params)
        stages.set_overwrite(transformed, overwrite=overwrite)
        return ddl.without_empty_comment(variants.with_all_digits(transformed))

    @override
    def _execute(self, transformed: Expr, params: Any = None) -> None:
        match transformed:
            case exp.Transaction() if self._busy:
                self._answer(DONE)  # Snowflake: BEGIN inside a transaction does nothing
            case exp.Commit() if self._transaction.failed:
                self._refuse_commit()
            case exp.Create() if ddl.exists_already(self._duck_conn, transformed, self._place):
                self._answer("The table already exists, statement succeeded.")
            case exp.Copy():
                self._copy(transformed, params)
            case _:
                super()._execute(transformed, params)
                self._note(transformed)

    @property
    def _place(self) -> tuple[str, str]:
        return self._conn.database or "", self._conn._schema or ""  # noqa: SLF001 - the public property renames INFORMATION_SCHEMA

    @property
    def _busy(self) -> bool:
        return self._transaction.open or self._conn._in_transaction  # noqa: SLF001 - no accessor

    def _note(self, done: Expr) -> None:
        """Remember what a statement that succeeded means for the session and for COPY."""
        match done:
            case exp.Transaction():
                self._transaction.open = True
            case exp.Commit() | exp.Rollback():
                self._transaction.end()
            case exp.TruncateTable():
                copying.forget_loads(self._duck_conn, done, self._place)
            case _:
                pass

    def _tell_aborted(self, command: str) -> None:
        """The first statement since then fails, lest it were committed by itself."""
        self._transaction.end()
        if command.strip().upper() != "ROLLBACK":
            errno, sqlstate = ABORTED
            raise ProgrammingError(
                msg="the transaction was idle for too long and has been rolled back",
                errno=errno,
                sqlstate=sqlstate,
            )

    def _refuse_commit(self) -> None:
        # DuckDB would answer success and commit nothing; Snowflake would commit the rest.
        self._duck_conn.rollback()
        self._transaction.end()
        errno, sqlstate = ABORTED
        raise ProgrammingError(
            msg="COMMIT after a failed statement: the transaction was rolled back",
            errno=errno,
            sqlstate=sqlstate,
        )

    def _copy(self, statement: exp.Copy, params: MutableParams | None) -> None:
        statement = copying.without_false_options(statement)
        copying.require_current_database(statement, self._place[0])
        if self._busy or not self._conn._autocommit:  # noqa: SLF001 - fakesnow has no accessor
            self._load(statement, params)
            return
        self._duck_conn.begin()  # all files or none
        try:
            self._load(statement, params)
        except (duckdb.Error, Error):
            self._duck_conn.rollback()
            raise
        self._duck_conn.commit()

    def _load(self, statement: exp.Copy, params: MutableParams | None) -> None:
        if refusing.takes_what_fits(statement):
            files = refusing.Copying(self._duck_conn, statement, self._place).load_what_fits()
            rows = exp.values(files, alias="t", columns=refusing.ANSWER)
            super()._execute(exp.select("*").from_(rows), None)
            return
        if refusing.projects(statement):
            refusing.Copying(self._duck_conn, statement, self._place).refuse_long_texts()
        super()._execute(statement, params)

    def _remove(self, prefix: str) -> None:
        found = stages.files_below(self._duck_conn, prefix, self._place)
        super()._execute(stages.removed_rows([stages.remove(file) for file in found]), None)

    def _answer(self, status: str) -> None:
        super()._execute(exp.select(exp.Literal.string(status).as_("status")), None)


def _only(block: exp.Block) -> Expr:
    """The one statement of a text with semicolons; a comment may follow. Raises for several."""
    statements = [e for e in block.expressions if not isinstance(e, exp.Semicolon)]
    if len(statements) != 1:
        errno, sqlstate = SEVERAL
        what = f"{len(statements)} statements at once; the desired statement count is 1"
        raise ProgrammingError(msg=what, errno=errno, sqlstate=sqlstate)
    found: Expr = statements[0]
    return found
