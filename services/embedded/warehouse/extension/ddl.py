"""CREATE TABLE as Snowflake has it: IF NOT EXISTS changes nothing, and no stray writes."""

import duckdb
from sqlglot import Expr, exp

Place = tuple[str, str]
"""Current database and schema."""


def exists_already(connection: duckdb.DuckDBPyConnection, create: exp.Create, place: Place) -> bool:
    """Whether this is CREATE TABLE IF NOT EXISTS of a table that is there.

    fakesnow would forget which files the table has loaded.
    """
    table = create.find(exp.Table)
    if create.kind != "TABLE" or not create.args.get("exists") or table is None:
        return False
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() "
        "WHERE database_name = ? AND schema_name = ? AND table_name = ?",
        [table.catalog or place[0], table.db or place[1], table.name],
    )
    return found.fetchone() is not None


def without_temporary(expression: Expr) -> Expr:
    """Drop TEMPORARY from a table with a qualified name, which DuckDB refuses."""
    if isinstance(expression, exp.Create) and expression.kind in {"TABLE", "VIEW"}:
        table, properties = expression.find(exp.Table), expression.args.get("properties")
        if table is not None and table.db and properties is not None:
            kept = [p for p in properties.expressions if not isinstance(p, exp.TemporaryProperty)]
            properties.set("expressions", kept)
    return expression


def without_empty_comment(transformed: Expr) -> Expr:
    """Drop a comment that is None.

    fakesnow would write it to its global database, and a transaction can write to one only; its
    own MERGE needs a temporary table, so MERGE would fail inside a transaction.
    """
    comment = transformed.args.get("table_comment")
    if comment is not None and comment[1] is None:
        transformed.args.pop("table_comment")
    return transformed
