"""DuckDB's errors as Snowflake's, so that a client sees an error and not an HTTP 500.

The connector retries an HTTP 500 for a long time; an error with a number ends the statement.
"""

import duckdb
from snowflake.connector.errors import ProgrammingError

NULL_IN_NOT_NULL = (100072, "22000")
CONSTRAINT = (200001, "22000")  # Snowflake does not enforce keys; DuckDB does
ABORTED = (625, "57014")  # a statement after a failed one in the same transaction
CONFLICT = (610, "40001")  # another transaction changed the same rows; nearest to a deadlock
SEVERAL = (8, "0A000")  # statements in one text, where MULTI_STATEMENT_COUNT is 1
TOO_LONG = (100078, "22000")
BAD_VALUE = (100069, "22P02")
INTERNAL = (603, "XX000")
TOKEN_EXPIRED = (390112, "08001")  # the connector then asks for another token
SESSION_GONE = (390111, "08001")


def as_snowflake(error: duckdb.Error) -> ProgrammingError:
    """The same error with Snowflake's number and SQL state."""
    text = str(error).split("\n", 1)[0]
    errno, sqlstate = _code(error, text)
    return ProgrammingError(msg=f"{type(error).__name__}: {text}", errno=errno, sqlstate=sqlstate)


def _code(error: duckdb.Error, text: str) -> tuple[int, str]:
    match error:
        case duckdb.ConstraintException():
            return NULL_IN_NOT_NULL if "NOT NULL" in text else CONSTRAINT
        case duckdb.TransactionException():
            return ABORTED if "aborted" in text.lower() else CONFLICT
        case duckdb.InvalidInputException() | duckdb.OutOfRangeException():
            return BAD_VALUE
        case _:
            return INTERNAL
