"""Names and values in SQL text: the only place that quotes them, for Snowflake's lexer."""

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

IDENTIFIER_CHARS_MAX = 255

Value = str | int | bool | Decimal | dt.datetime | dt.date | Mapping[str, object] | None
"""What can be a literal; a mapping becomes its JSON text."""

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")

# Snowflake, "Reserved & limited keywords": what cannot be a column, table or alias unquoted.
_SNOWFLAKE_WORDS = """
ACCOUNT ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONNECTION CONSTRAINT
CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DELETE
DISTINCT DROP ELSE EXISTS FALSE FOLLOWING FOR FROM FULL GRANT GROUP GSCLUSTER HAVING ILIKE IN
INCREMENT INNER INSERT INTERSECT INTO IS ISSUE JOIN LATERAL LEFT LIKE LOCALTIME LOCALTIMESTAMP
MINUS NATURAL NOT NULL OF ON OR ORDER ORGANIZATION QUALIFY REGEXP REVOKE RIGHT RLIKE ROW ROWS
SAMPLE SCHEMA SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE TRY_CAST UNION
UNIQUE UPDATE USING VALUES VIEW WHEN WHENEVER WHERE WITH
"""
_DUCKDB_WORDS = """
ANALYSE ANALYZE ANTI ARRAY ASC ASOF ASYMMETRIC AT AUTHORIZATION BINARY BOTH COLLATE COLLATION
COLUMNS CONCURRENTLY DEFAULT DEFERRABLE DESC DESCRIBE DO END EXCEPT FETCH FOREIGN FREEZE GENERATED
GLOB INITIALLY ISNULL LAMBDA LEADING LIMIT MAP NOTNULL OFFSET ONLY OUTER OVERLAPS PIVOT
PIVOT_LONGER PIVOT_WIDER PLACING POSITIONAL PRIMARY REFERENCES RETURNING SEMI SHOW SIMILAR STRUCT
SUMMARIZE SYMMETRIC TRAILING TUPLE UNPACK UNPIVOT VARIADIC VERBOSE WINDOW
"""
_RESERVED = frozenset(_SNOWFLAKE_WORDS.split()) | frozenset(_DUCKDB_WORDS.split())

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROS_MIN = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1)
_MICROS_MAX = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1)

_ESCAPES = str.maketrans({"\\": "\\\\", "'": "''", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def identifier(name: str) -> str:
    """A column, table, stage or schema name: ``order_id`` is ``ORDER_ID``, ``order`` ``"ORDER"``.

    Others than simple names are quoted. Raises ValueError for what can be no name at all.
    """
    if not name or len(name) > IDENTIFIER_CHARS_MAX or not name.isprintable():
        msg = f"not an identifier: {name[:IDENTIFIER_CHARS_MAX]!r}"
        raise ValueError(msg)
    found = folded(name)
    simple = _SIMPLE.fullmatch(found) and found not in _RESERVED
    return found if simple else quoted(found)


def folded(name: str) -> str:
    """The name as the warehouse's catalogue has it.

    Simple names are folded to upper case, as Snowflake folds them itself; others keep their case.
    """
    return name.upper() if _SIMPLE.fullmatch(name) else name


def quoted(name: str) -> str:
    """``"name"``, its case kept: for the fields of a staged file, ``$1:"name"``."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """A value as SQL text. Raises ValueError for what has none (NaN, NUL, naive times)."""
    text = next((write(value) for kind, write in _WRITERS if isinstance(value, kind)), None)
    if text is None:
        msg = f"no SQL literal for {type(value).__name__}"
        raise ValueError(msg)
    return text


def literals(values: Sequence[Value]) -> str:
    """``1, 'a', NULL``."""
    return ", ".join(literal(value) for value in values)


def timestamp(micros: int | None) -> str:
    """Microseconds since the epoch, UTC, as TIMESTAMP_NTZ; NULL for None.

    Producers may send any 64 bits: what lies beyond the years 1 to 9999 becomes their edge.
    """
    if micros is None:
        return "NULL"
    inside = min(max(micros, _MICROS_MIN), _MICROS_MAX)
    return literal(_EPOCH + dt.timedelta(microseconds=inside))


def _string(text: str) -> str:
    # Snowflake reads backslash escapes in single-quoted strings
    if "\0" in text or not _encodable(text):
        msg = "no SQL literal for text with NUL or lone surrogates"
        raise ValueError(msg)
    return f"'{text.translate(_ESCAPES)}'"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        msg = f"no SQL literal for {value}"
        raise ValueError(msg)
    return f"{value:f}"


def _datetime(value: dt.datetime) -> str:
    if value.tzinfo is None:
        msg = "a time without a zone has no meaning here"
        raise ValueError(msg)
    utc = value.astimezone(dt.UTC).replace(tzinfo=None)
    return f"'{utc.isoformat(sep=' ', timespec='microseconds')}'::TIMESTAMP_NTZ"


def _json(value: Mapping[str, object]) -> str:
    return _string(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


# bool before int, datetime before date: the first kind that fits is taken
_WRITERS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (type(None), lambda _: "NULL"),
    (bool, lambda value: "TRUE" if value else "FALSE"),
    (int, str),
    (Decimal, _decimal),
    (str, _string),
    (dt.datetime, _datetime),
    (dt.date, lambda value: f"'{value.isoformat()}'::DATE"),
    (Mapping, _json),
)
