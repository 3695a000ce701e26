"""NUMBER(38,0) holds 38 digits; fakesnow alone keeps it in 64 bits."""

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.compute as pc  # type: ignore[import-untyped]  # ships no types
from fakesnow.arrow import to_sf as as_it_is
from fakesnow.rowtype import ColumnInfo
from fakesnow.transforms import integer_precision
from sqlglot import Expr, exp

DIGITS = 38
_INT64 = 2**63


def wide_integers(expression: Expr) -> Expr:
    """INTEGER and its like stay 64 bits wide, NUMBER(38,0) does not."""
    if isinstance(expression, exp.DataType) and expression.this is exp.DataType.Type.DECIMAL:
        parameters = [parameter.name for parameter in expression.expressions]
        if parameters == [str(DIGITS), "0"]:
            return expression
    return integer_precision(expression)


def narrowed(table: pa.Table, rowtype: list[ColumnInfo]) -> pa.Table:
    """A result's integers in 64 bits where they fit, as Snowflake sends them.

    A client then gets an ``int``, and only of larger ones a ``Decimal``.
    """
    for place, column in enumerate(table.columns):
        if pa.types.is_decimal(column.type) and column.type.scale == 0 and _fits(column):
            table = table.set_column(place, table.field(place).name, column.cast(pa.int64()))
    return as_it_is(table, rowtype)


def _fits(column: pa.ChunkedArray) -> bool:
    ends = pc.min_max(column).as_py()
    return all(end is None or -_INT64 <= end < _INT64 for end in ends.values())
