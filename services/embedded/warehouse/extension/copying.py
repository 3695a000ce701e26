"""COPY INTO as Snowflake has it: options that are FALSE, FILES=, field names, load metadata."""

import duckdb
from fakesnow.copy_into import _extract_table, _source_urls
from fakesnow.transforms import stage as fakesnow_stage
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from services.embedded.warehouse.extension.ddl import Place


def without_false_options(copy: exp.Copy) -> exp.Copy:
    """Drop FORCE=FALSE and PURGE=FALSE, which fakesnow takes for TRUE."""
    statement = copy.copy()
    kept = [p for p in statement.args.get("params", []) if not _is_false_switch(p)]
    statement.set("params", kept)
    return statement


def _is_false_switch(param: exp.Expression) -> bool:
    value = param.args.get("expression")
    is_switch = param.this.name.upper() in {"FORCE", "PURGE"}
    return is_switch and isinstance(value, exp.Boolean) and not value.this


def require_current_database(copy: exp.Copy, database: str) -> None:
    """Raises ProgrammingError for a target in another database.

    Load metadata is in the current one, and a transaction can write to one database only.
    """
    target = _extract_table(copy.this)
    if target.catalog and target.catalog != database:
        raise ProgrammingError(
            msg="the embedded warehouse loads only into the session's current database",
            errno=9999,
            sqlstate="99999",
        )


def forget_loads(
    connection: duckdb.DuckDBPyConnection, truncate: exp.TruncateTable, place: Place
) -> None:
    """TRUNCATE deletes load metadata: the same files may be loaded again.

    https://docs.snowflake.com/en/sql-reference/sql/truncate-table
    """
    for table in truncate.expressions:
        catalog, schema = table.catalog or place[0], table.db or place[1]
        connection.execute(
            f'DELETE FROM "{catalog}"._fs_information_schema._fs_load_history '
            "WHERE SCHEMA_NAME = ? AND TABLE_NAME = ?",
            [schema, table.name],
        )


def source_urls(source: str, files: list[str]) -> list[str]:
    """The files of ``FILES=(...)``; fakesnow knows external stages only."""
    if fakesnow_stage.is_internal(source):
        return [f"{source.rstrip('/')}/{file}" for file in files]
    return list(_source_urls(source, files))


def columns_of_fields(select: exp.Select) -> exp.Select:
    """``$1:"order"::VARCHAR`` as ``CAST("order" AS VARCHAR)``.

    fakesnow leaves the name unquoted, so that a field called like a keyword is a syntax error.
    """
    for dollar in list(select.find_all(exp.Parameter)):
        extract = dollar.parent
        key = extract.expression.find(exp.JSONPathKey) if extract is not None else None
        if dollar.name == "1" and extract is not None and key is not None:
            extract.replace(exp.column(key.this, quoted=True))
    return select
