"""Rows that COPY cannot load: found, left out by ON_ERROR=CONTINUE, and texts that are too long.

Only for COPY with a projection, ``COPY INTO T (...) FROM (SELECT ... FROM @S/file)``. A row is
refused where a value does not become its column's type, is longer than the column, or is NULL in
a NOT NULL column. https://docs.snowflake.com/en/sql-reference/sql/copy-into-table
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
from fakesnow.copy_into import (
    LoadHistoryRecord,
    _extract_table,
    _from_source,
    _inserts,
    _params,
    _result_file_name,
    _source_glob,
    stage_url_from_var,
)
from fakesnow.transforms import stage as fakesnow_stage
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from services.embedded.warehouse.extension.ddl import Place
from services.embedded.warehouse.extension.errors import TOO_LONG

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
ROW = "file_row_number"
ANSWER = (
    *("file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen"),
    *("first_error", "first_error_line", "first_error_character", "first_error_column_name"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A target column of a COPY, and what the file says for it. Expressions are DuckDB's SQL."""

    name: str
    type: str
    required: bool
    length: int | None  # of texts, most
    projected: str
    source: str | None  # the file's own column; None for a constant

    @property
    def value(self) -> str:
        """What is loaded; NULL where it does not become the column's type."""
        return f"TRY(CAST({self.projected} AS {self.type}))"

    @property
    def too_long(self) -> str:
        """Whether a text is longer than the column."""
        return "FALSE" if self.length is None else f"length({self.value}) > {self.length}"

    @property
    def refused(self) -> str:
        """Whether the row cannot be loaded because of this column; never NULL."""
        unfit = "FALSE" if self.source is None else f"{self.source} IS NOT NULL"
        empty = "TRUE" if self.required else unfit
        return f"(({self.value} IS NULL AND {empty}) OR coalesce({self.too_long}, FALSE))"

    def told(self, found: str | None) -> str:
        """What Snowflake says of a value, which it repeats."""
        if found is None:
            return "NULL result in a non-nullable column"
        if self.length is not None:
            return f"User character length limit ({self.length}) exceeded by string '{found}'"
        if self.type.startswith("DECIMAL") and _NUMBER.fullmatch(found):
            return f"Numeric value '{found}' is out of range"
        return f"Failed to cast variant value {found} to {self.type}"


def takes_what_fits(copy: exp.Copy) -> bool:
    """Whether this is a COPY with ON_ERROR=CONTINUE."""
    return any(_is_on_error(p) and p.expression.name.upper() == "CONTINUE" for p in _options(copy))


def projects(copy: exp.Copy) -> bool:
    """Whether this is a COPY of one file, or several, through a SELECT into named columns."""
    return isinstance(copy.args["files"][0], exp.Subquery) and isinstance(copy.this, exp.Schema)


def _options(copy: exp.Copy) -> list[Any]:
    found: list[Any] = copy.args.get("params") or []
    return found


def _is_on_error(param: exp.CopyParameter) -> bool:
    return param.this.name.upper() == "ON_ERROR" and isinstance(param.expression, exp.Expression)


class Copying:
    """One COPY with a projection, looked at before it is run."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, copy: exp.Copy, place: Place) -> None:
        statement = copy.copy()
        statement.set("params", [p for p in _options(statement) if not _is_on_error(p)])
        self._duck = duck
        self._statement = statement
        self._params = _params(statement, None, duck, *place)
        table = _extract_table(statement.this)
        self._table = (table.catalog or place[0], table.db or place[1], table.name)
        self._place = place

    def refuse_long_texts(self) -> None:
        """Raises ProgrammingError for a text that is longer than its column.

        DuckDB knows no limit.
        """
        if not any(self._lengths()):
            return
        for url, insert in self._inserts():
            for column in () if self._skips(url) else self._columns(insert):
                sql = f"SELECT 1 FROM {_rows(url)} WHERE {column.too_long} LIMIT 1"
                if column.length is not None and self._duck.execute(sql).fetchone():
                    errno, sqlstate = TOO_LONG
                    what = f"a text is too long for column {column.name} and would be truncated"
                    raise ProgrammingError(msg=what, errno=errno, sqlstate=sqlstate)

    def load_what_fits(self) -> list[tuple[Any, ...]]:
        """COPY with ON_ERROR=CONTINUE: a row of :data:`ANSWER` for each file."""
        loads = [self._load(url, insert) for url, insert in self._inserts()]
        new = [load for load in loads if load.status != "LOAD_SKIPPED"]
        if new:
            places = ", ".join("?" * len(LoadHistoryRecord._fields))
            self._duck.executemany(
                f"INSERT INTO _fs_information_schema._fs_load_history VALUES ({places})",
                [tuple(load) for load in new],
            )
        return [
            (
                *(_result_file_name(load.file_name), load.status, load.row_parsed),
                *(load.row_count, load.error_limit, load.error_count, load.first_error_message),
                *(load.first_error_line_number, None, load.first_error_col_name),
            )
            for load in loads
        ]

    def _inserts(self) -> Iterator[tuple[str, Any]]:
        """Each file's address, and the INSERT that fakesnow makes of it."""
        if not projects(self._statement):
            raise ProgrammingError(
                msg="ON_ERROR=CONTINUE is only for COPY INTO T (...) FROM (SELECT ...)", errno=9999
            )
        source = stage_url_from_var(
            _from_source(self._statement)[1:],
            self._duck,
            *self._place,
            {},  # type: ignore[arg-type] # no table stages
            exp.Table(),
        )
        for url in _source_glob(source, self._duck):
            (insert,) = _inserts(self._statement.copy(), self._params, [url])
            yield url, insert

    def _load(self, url: str, insert: exp.Insert) -> LoadHistoryRecord:
        if self._skips(url):
            return self._record(url, "LOAD_SKIPPED", (0, 0), "File was loaded before.")
        columns = list(self._columns(insert))
        rows = _rows(url)
        refused = " OR ".join(column.refused for column in columns)
        (parsed,) = self._duck.execute(f"SELECT count(*) FROM {rows}").fetchall()[0]
        names = ", ".join(f'"{column.name}"' for column in columns)
        values = ", ".join(column.value for column in columns)
        target = ".".join(f'"{part}"' for part in self._table)
        first = self._first_refused(rows, columns)
        (loaded,) = self._duck.execute(
            f"INSERT INTO {target} ({names}) SELECT {values} FROM {rows} WHERE NOT ({refused})"
        ).fetchall()[0]
        status = "LOADED" if loaded == parsed else "PARTIALLY_LOADED" if loaded else "LOAD_FAILED"
        if first is None:
            return self._record(url, status, (parsed, loaded), None)
        row, column, found = first
        place = f'"{self._table[2]}"["{column.name}":{columns.index(column) + 1}]'
        told = self._record(url, status, (parsed, loaded), column.told(found))
        return told._replace(first_error_line_number=row + 1, first_error_col_name=place)

    def _record(
        self, url: str, status: str, counts: tuple[int, int], told: str | None
    ) -> LoadHistoryRecord:
        parsed, loaded = counts
        return LoadHistoryRecord(
            schema_name=self._table[1],
            file_name=url,
            table_name=self._table[2],
            last_load_time=dt.datetime.now(dt.UTC).isoformat(),  # noqa: TID251 - a server's own
            status=status,
            row_count=loaded,
            row_parsed=parsed,
            first_error_message=told,
            first_error_line_number=None,
            first_error_character_position=None,
            first_error_col_name=None,
            error_count=parsed - loaded,
            error_limit=parsed,
        )

    def _skips(self, url: str) -> bool:
        """Whether COPY knows the file and is not forced."""
        if self._params.force:
            return False
        found = self._duck.execute(
            "SELECT 1 FROM _fs_information_schema._fs_load_history "
            "WHERE FILE_NAME = ? AND TABLE_NAME = ? AND SCHEMA_NAME = ?",
            [url, self._table[2], self._table[1]],
        )
        return found.fetchone() is not None

    def _first_refused(
        self, rows: str, columns: list[Column]
    ) -> tuple[int, Column, str | None] | None:
        """The first row that is refused, the first column it is refused for, and its value."""
        cases = " ".join(f"WHEN {c.refused} THEN {n}" for n, c in enumerate(columns))
        found = self._duck.execute(
            f"SELECT * FROM (SELECT {ROW}, CASE {cases} END AS n FROM {rows}) "
            f"WHERE n IS NOT NULL ORDER BY {ROW} LIMIT 1"
        ).fetchone()
        if found is None:
            return None
        row, column = int(found[0]), columns[found[1]]
        if column.source is None:
            return row, column, None
        text = f"SELECT CAST({column.source} AS VARCHAR) FROM {rows} WHERE {ROW} = {row}"
        (value,) = self._duck.execute(text).fetchall()[0]
        return row, column, value

    def _columns(self, insert: exp.Insert) -> Iterator[Column]:
        """The columns that a COPY names, with what is projected into each."""
        lengths = dict(self._lengths())
        facts = {
            str(name).upper(): (kind, not nullable)
            for name, kind, nullable in self._duck.execute(
                "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
                "WHERE database_name = ? AND schema_name = ? AND table_name = ?",
                self._table,
            ).fetchall()
        }
        for name, projected in zip(
            insert.this.expressions, insert.expression.expressions, strict=True
        ):
            kind, required = facts[name.name.upper()]
            sources = [c.sql(dialect="duckdb") for c in projected.find_all(exp.Column)]
            yield Column(
                name=name.name,
                type=kind,
                required=required,
                length=lengths.get(name.name.upper()),
                projected=projected.sql(dialect="duckdb"),
                source=sources[0] if sources else None,
            )

    def _lengths(self) -> list[tuple[str, int]]:
        """The columns whose texts have a limit."""
        found = self._duck.execute(
            "SELECT upper(ext_column_name), ext_character_maximum_length "
            "FROM _fs_global._fs_information_schema._fs_columns_ext WHERE ext_table_catalog = ? "
            "AND ext_table_schema = ? AND ext_table_name = ? "
            "AND ext_character_maximum_length < 16777216",
            self._table,
        )
        return [(str(name), int(length)) for name, length in found.fetchall()]


def _rows(url: str) -> str:
    literal = fakesnow_stage.file_path(url).replace("'", "''")
    return f"read_parquet('{literal}', {ROW} = true)"
