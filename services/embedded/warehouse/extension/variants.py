"""Semi-structured values as Snowflake keeps them."""

from sqlglot import Expr, exp


def with_all_digits(statement: Expr) -> Expr:
    """PARSE_JSON as a cast, which keeps the text of numbers.

    DuckDB's ``json()`` reads what has a point into doubles; Snowflake keeps up to 38 digits.
    https://docs.snowflake.com/en/sql-reference/functions/parse_json
    """
    for parse in list(statement.find_all(exp.ParseJSON)):
        parse.replace(exp.cast(parse.this, exp.DataType.Type.JSON))
    return statement
