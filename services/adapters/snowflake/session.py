"""One lazily opened connection, with every statement recorded and every error translated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import snowflake.connector
from snowflake.connector import errors

from services.adapters.snowflake.errors import lost_connection, translated

Recorder = Callable[[str], None]
"""Is told every statement before it is sent."""


def unrecorded(_: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A statement's result."""

    columns: tuple[str, ...]  # lower case
    rows: tuple[tuple[Any, ...], ...]
    touched: int  # rows that DML changed
    query_id: str | None

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by lower-case column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Session:
    """A connection that is opened when it is needed, and dropped after any error."""

    def __init__(self, arguments: Mapping[str, Any], record: Recorder = unrecorded) -> None:
        self._arguments = arguments
        self._record = record
        self._connection: Any = None

    def run(self, statement: str, doing: str) -> Answer:
        """Run one statement. Raises TransientError or SetupError; the connection is gone then."""
        self._record(statement)
        try:
            return self._run(statement)
        except errors.Error as error:
            self.drop(roll_back=not lost_connection(error))
            raise translated(error, doing) from error

    def drop(self, *, roll_back: bool) -> None:
        """Close the connection, however it is; its transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if roll_back:
                self._record("ROLLBACK")
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            connection.close(retry=False)
        except errors.Error:  # the server rolls back by itself, once it misses us
            return

    def _run(self, statement: str) -> Answer:
        if self._connection is None:
            self._connection = snowflake.connector.connect(**self._arguments)
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            columns = tuple(str(column[0]).lower() for column in cursor.description or ())
            rows = tuple(cursor.fetchall())
            touched = cursor.rowcount if cursor.rowcount is not None else 0
            return Answer(columns, rows, max(touched, 0), cursor.sfqid)
