"""One lazily opened connection, with every statement recorded and every error translated."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import snowflake.connector
from snowflake.connector import errors

from schemas.errors import TransientError
from schemas.sql import literal
from services.adapters.snowflake.errors import lost_connection, translated
from services.adapters.snowflake.tags import tag_of

NO_DETECTION = "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"
ROWS_AT_ONCE = 1_000
JSON_TYPES = frozenset({5, 9, 10})  # the connector's type codes of VARIANT, OBJECT and ARRAY

Arguments = Callable[[], Mapping[str, Any]]
"""Makes the arguments of ``snowflake.connector.connect``: asked anew for every connection, so that
a key or token that was rotated is taken up without a restart. Raises SetupError."""

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


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a result."""

    columns: tuple[str, ...]  # lower case
    json: frozenset[int]  # places of the columns whose text is JSON
    rows: tuple[tuple[Any, ...], ...]


class Session:
    """A connection that is opened when it is needed, and dropped after any error."""

    def __init__(self, arguments: Arguments, record: Recorder = unrecorded) -> None:
        self._arguments = arguments
        self._record = record
        self._connection: Any = None
        self._about: Mapping[str, str] = {}
        self._configured = ""  # QUERY_TAG that the connection was opened with
        self._tag = ""  # and that it has now

    def about(self, about: Mapping[str, str]) -> None:
        """What the next statements are for, in their QUERY_TAG; nothing: the configured one.

        It is set with the next statement, on another connection too, and only where it differs.
        """
        self._about = about

    def run(self, statement: str, doing: str, *, first: bool = False) -> Answer:
        """Run one statement. Raises TransientError or SetupError; the connection is gone then.

        ``first``: nothing before it is open, and twice is as good as once. Where an older
        connection turns out to be gone, it is then run on a new one.
        """
        reused = first and self._connection is not None
        try:
            return self._run(statement)
        except errors.Error as error:
            lost = lost_connection(error)
            self.drop(roll_back=not lost)
            if not (reused and lost):
                raise translated(error, doing) from error
        except OSError as error:
            self._cut_off(error, doing)
        return self.run(statement, doing)

    def parts(self, statement: str, doing: str) -> Iterator[Part]:
        """The same, a few rows at a time: at least one part, for the columns. Raises as run."""
        try:
            with self._connected().cursor() as cursor:
                self._execute(cursor, statement)
                found = cursor.description or ()
                columns = tuple(str(column[0]).lower() for column in found)
                json = frozenset(n for n, column in enumerate(found) if column[1] in JSON_TYPES)
                rows = tuple(cursor.fetchmany(ROWS_AT_ONCE))
                yield Part(columns, json, rows)
                while rows := tuple(cursor.fetchmany(ROWS_AT_ONCE)):
                    yield Part(columns, json, rows)
        except errors.Error as error:
            self.drop(roll_back=not lost_connection(error))
            raise translated(error, doing) from error
        except OSError as error:
            self._cut_off(error, doing)

    def _cut_off(self, error: OSError, doing: str) -> NoReturn:
        """Connector 4 lets errors of its HTTP client through: an answer that breaks off."""
        self.drop(roll_back=False)
        raise TransientError(
            f"{doing}: the connection broke off ({type(error).__name__})", where="snowflake"
        ) from error

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
        except (errors.Error, OSError):  # the server rolls back by itself, once it misses us
            return

    def _run(self, statement: str) -> Answer:
        with self._connected().cursor() as cursor:
            self._execute(cursor, statement)
            columns = tuple(str(column[0]).lower() for column in cursor.description or ())
            rows = tuple(cursor.fetchall())
            touched = cursor.rowcount if cursor.rowcount is not None else 0
            return Answer(columns, rows, max(touched, 0), cursor.sfqid)

    def _execute(self, cursor: Any, statement: str) -> None:  # noqa: ANN401 - see below
        tag = tag_of(self._configured, self._about)
        if tag != self._tag:
            change = f"ALTER SESSION SET QUERY_TAG = {literal(tag)}"
            self._record(change)
            cursor.execute(change)
            self._tag = tag
        self._record(statement)
        cursor.execute(statement)

    def _connected(self) -> Any:  # noqa: ANN401 - the connector has no types
        if self._connection is None:
            # for its telemetry it would ask the metadata services of three clouds where it runs
            os.environ.setdefault(NO_DETECTION, "true")  # noqa: TID251 - there is no other switch
            arguments = self._arguments()
            self._connection = snowflake.connector.connect(**arguments)
            self._configured = str(arguments.get("session_parameters", {}).get("QUERY_TAG", ""))
            self._tag = self._configured
        return self._connection
