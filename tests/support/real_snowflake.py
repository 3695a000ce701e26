"""A real account for the contract suite: SLUICE_TEST_SNOWFLAKE names a project folder."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services import settings
from services.adapters.clock import SystemClock
from services.adapters.snowflake import SnowflakeWarehouse, connection_arguments
from tests.support.sql_lint import lint
from tests.support.warehouse import TABLE, Place, shared_server, table_ddl

VARIABLE = "SLUICE_TEST_SNOWFLAKE"
_numbers = itertools.count(1)


def why_not() -> str | None:
    """Why the suite is skipped; None if it is not."""
    if os.environ.get(VARIABLE):
        return None
    return f"{VARIABLE} is not set to a project folder whose sluice.toml has [snowflake]"


@dataclass
class RealPlace:
    """A transient schema of its own in the configured database."""

    statements: list[str] = field(default_factory=list)
    sessions: list[SnowflakeWarehouse] = field(default_factory=list)
    schema: str = field(default_factory=lambda: f"SLUICE_TEST_{os.getpid()}_{next(_numbers)}")

    def session(self, **given: Any) -> SnowflakeWarehouse:
        loaded = settings.load(Path(os.environ[VARIABLE]))
        assert loaded.snowflake is not None
        section = loaded.snowflake.model_copy(update={"schema_": self.schema} | given)
        arguments = connection_arguments(section, loaded.secret)
        warehouse = SnowflakeWarehouse(lambda: arguments, SystemClock(), self.statements.append)
        if not self.sessions:
            warehouse.execute(f"CREATE TRANSIENT SCHEMA IF NOT EXISTS {self.schema}")
        self.sessions.append(warehouse)
        return warehouse

    def ready(self) -> SnowflakeWarehouse:
        """A session with ledger and target table in place."""
        warehouse = self.session()
        warehouse.ensure_ledger()
        warehouse.execute(table_ddl(TABLE))
        return warehouse

    def faults(self, *rules: object) -> None:
        """A real account has none."""
        assert not rules

    def close(self) -> None:
        """Drop the schema and lint what was said."""
        for session in self.sessions[:1]:
            session.execute(f"DROP SCHEMA {self.schema}")
        for session in self.sessions:
            session.close()
        assert lint(self.statements) == []


EMBEDDED = pytest.param("embedded", marks=[pytest.mark.embedded, pytest.mark.enable_socket])
ACCOUNT = pytest.param(
    "account",
    marks=[
        pytest.mark.snowflake,
        pytest.mark.enable_socket,
        pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
    ],
)
AnyPlace = Place | RealPlace


@contextmanager
def opened(kind: str) -> Iterator[AnyPlace]:
    """A schema of its own: on the shared stand-in ("embedded"), or on the account."""
    place = Place(shared_server()) if kind == "embedded" else RealPlace()
    try:
        yield place
    finally:
        place.faults()
        place.close()
