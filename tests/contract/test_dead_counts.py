"""``sluice dead count`` on a warehouse: one line a fault, with when it was seen first and last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from schemas.dead_letters import TABLE, dead_contract
from schemas.sql import literals
from schemas.table import create_table
from services.adapters.clock import SystemClock
from services.adapters.snowflake import SnowflakeWarehouse
from services.bootstrap import Project
from services.cli import dead, running
from services.cli.app import declared
from services.cli.init import write_project
from services.embedded.stack import Endpoints
from services.settings import load
from tests.support.warehouse import Place

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]
COLUMNS = "STREAM, STAGE, REASON, PATH, FINGERPRINT, _ID, _RECEIVED_AT"
LETTERS = [
    ("shop.orders", "judge", "out_of_range", "$.amount", "f1", "a2", "2026-01-02 12:00:00"),
    ("shop.orders", "judge", "out_of_range", "$.amount", "f1", "a1", "2026-01-01 23:59:59.000001"),
    ("shop.orders", "judge", "out_of_range", "$.amount", "f1", "a3", "2026-01-01 23:59:59.5"),
    ("shop.orders", "judge", "missing", "$.id", "f2", "a4", "2026-01-03 00:00:00"),
    ("shop.refunds", "judge", "missing", "$.id", "f3", "b1", "2026-01-04 00:00:00"),
    ("shop.refunds", "judge", "missing", "$.id", "f3", "b2", "2026-01-05 00:00:00"),
]
FIRST, LAST = "2026-01-01T23:59:59.000001", "2026-01-02T12:00:00"


@dataclass(frozen=True)
class OnPlace(Project):
    """A new project whose session is the test's."""

    session: SnowflakeWarehouse

    @override
    def warehouse(self) -> SnowflakeWarehouse:
        return self.session


@pytest.fixture
def project(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    session = place.ready()
    session.execute(create_table(dead_contract("any.stream")))
    for letter in LETTERS:
        session.execute(f"INSERT INTO {TABLE} ({COLUMNS}) VALUES ({literals(letter)})")
    write_project(tmp_path / "shop")
    project = OnPlace(load(tmp_path / "shop"), Endpoints(), SystemClock(), session)

    @contextmanager
    def opened(_: Path) -> Iterator[Project]:
        yield project

    monkeypatch.setattr(running, "open_project", opened)
    return project


def counted(project: Project, *options: str) -> str:
    command = ["dead", "count", "-C", str(project.settings.root), *options]
    done = CliRunner().invoke(declared(), command)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_each_fault_of_a_stream_has_its_first_and_last_letters_time_in_json(
    project: Project,
) -> None:
    found = json.loads(counted(project, "--json"))
    assert [(row["fingerprint"], row["stream"], row["letters"]) for row in found] == [
        ("f1", "shop.orders", 3),  # the most frequent first
        ("f3", "shop.refunds", 2),
        ("f2", "shop.orders", 1),
    ]
    assert (found[0]["first_seen"], found[0]["last_seen"]) == (FIRST, LAST)
    assert found[2]["first_seen"] == found[2]["last_seen"] == "2026-01-03T00:00:00"
    assert (found[0]["path"], found[0]["sample"]) == ("$.amount", "a1")


def test_the_table_shows_the_same_times(project: Project) -> None:
    shown = counted(project, "--stream", "shop.orders", "--reason", "out_of_range")
    head, line = (next(x for x in shown.splitlines() if word in x) for word in ("letters", "f1"))
    assert head.index("first_seen") < head.index("last_seen")
    assert line.index("2026-01-01 23:59:59.000") < line.index("2026-01-02 12:00:00.000")
    assert "f2" not in shown
    assert "f3" not in shown


def test_what_is_older_than_asked_for_does_not_count(project: Project) -> None:
    since = dead.Filter(since=1_767_398_400_000_000)  # 2026-01-03
    found = dead.counted(project, since)
    assert [(row["fingerprint"], row["letters"]) for row in found] == [("f3", 2), ("f2", 1)]
