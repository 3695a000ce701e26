"""A fakesnow instance whose databases, stages and metadata outlive the process."""

from pathlib import Path
from typing import Any

import duckdb
from fakesnow import info_schema
from fakesnow.instance import GLOBAL_DATABASE_NAME, FakeSnow
from fakesnow.transforms import show
from fakesnow.transforms import stage as fakesnow_stage
from typing_extensions import override

from services.embedded.warehouse.extension.connection import ExtendedConnection
from services.embedded.warehouse.extension.results import BoundedResults

MEMORY_LIMIT = "1GB"


class DurableFakeSnow(FakeSnow):
    """One DuckDB with a file a database below ``folder/db`` and staged files in ``folder/stages``.

    ``folder/global.db`` holds what fakesnow keeps across databases: stages, file formats,
    comments. Databases found at the start are attached again. Load history survives because the
    stages' folder, which is part of its keys, stays the same.
    """

    def __init__(self, folder: Path) -> None:  # not super().__init__: it keeps all in memory
        databases = folder / "db"
        databases.mkdir(parents=True, exist_ok=True)
        (folder / "stages").mkdir(exist_ok=True)
        fakesnow_stage.LOCAL_BUCKET_PATH = str(folder / "stages")
        self.create_database_on_connect = True
        self.create_schema_on_connect = True
        self.db_path = databases
        self.nop_regexes = None
        self.results_cache = BoundedResults()
        self.duck_conn = duckdb.connect(
            ":memory:",
            config={
                "lambda_syntax": "ENABLE_SINGLE_ARROW",  # what sqlglot writes
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(folder / "spill"),
            },
        )
        self._attach(folder / "global.db", GLOBAL_DATABASE_NAME)
        self.duck_conn.execute(info_schema.fs_global_creation_sql())
        self.duck_conn.execute(show.fs_global_creation_sql())
        self.duck_conn.execute("SET GLOBAL TimeZone = 'UTC'")
        for file in sorted(databases.glob("*.db")):
            self._attach(file, file.stem)

    def _attach(self, file: Path, name: str) -> None:
        path = str(file).replace("'", "''")
        quoted = name.replace('"', '""')
        self.duck_conn.execute(f"ATTACH '{path}' AS \"{quoted}\"")

    @override
    def connect(
        self,
        database: str | None = None,
        schema: str | None = None,
        nop_regexes: list[str] | None = None,
        **options: Any,
    ) -> ExtendedConnection:
        """A session of its own, with :class:`ExtendedCursor` cursors."""
        return ExtendedConnection(
            self.duck_conn.cursor(),
            self.results_cache,
            database,
            schema,
            create_database=self.create_database_on_connect,
            create_schema=self.create_schema_on_connect,
            db_path=self.db_path,
            nop_regexes=nop_regexes,
            **options,
        )
