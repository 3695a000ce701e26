"""An auditor that stays, on the embedded stack: damage rises, repair is seen, and it leaves."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from services.cli.up import Member, asked
from services.demo.measured import scrape
from tests.support.damage import DEAD, damaged, kept_site, row_at, rows_of
from tests.support.orders import ORDERS_TABLE
from tests.support.project import ORDERS, Site, until

mark = pytest.mark
pytestmark = [mark.enable_socket, mark.embedded, mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with kept_site(tmp_path_factory.mktemp("auditor")) as site:
        yield site


def unbalanced_seconds(member: Member, stream: str = ORDERS) -> float | None:
    """The gauge of a running auditor; None before its first audit."""
    labels = {"stream": stream}
    found = [
        sample.value
        for sample in scrape([member.admin])
        if (sample.name, sample.labels) == ("sluice_books_unbalanced_seconds", labels)
    ]
    return found[0] if found else None


def lines_of(site: Site, event: str) -> list[dict[str, Any]]:
    """The auditor's log lines about an event."""
    lines = map(json.loads, filter(None, site.log_of("auditor").splitlines()))
    return [line for line in lines if line["event"] == event]


def test_a_running_auditor_tells_damage_once_and_when_it_was_repaired(site: Site) -> None:
    row = rows_of(site)[2]
    lost = f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, row)}"
    with site.up("auditor") as members:
        auditor = members["auditor"]
        until(lambda: unbalanced_seconds(auditor) == 0, 30, "the first audit")
        with damaged(site, lost):
            until(lambda: (unbalanced_seconds(auditor) or 0) > 2, 30, "the gauge rises")
            told = lines_of(site, "does not balance")
            keys = ("topic", "partition", "first", "after")
            assert [tuple(line[key] for key in keys) for line in told] == [row.range]
            assert told[0]["level"] == "error"
            assert unbalanced_seconds(auditor, DEAD) == 0
            assert asked(f"{auditor.admin}/ready") is not None
        until(lambda: unbalanced_seconds(auditor) == 0, 30, "the gauge is back at 0")
        assert len(lines_of(site, "does not balance")) == 1
        assert len(lines_of(site, "balances again")) == 1
        audits = lines_of(site, "audited")
        assert {line["everything"] for line in audits} == {True, False}
        cheap = [line["messages"] for line in audits if not line["everything"]]
        assert set(cheap) == {0}  # nothing was new
        advanced = asked(f"{auditor.admin}/progress")
        assert advanced is not None
        assert advanced["advances"]["books"]["detail"]["balanced"] is True
    assert site.audit().balanced


@pytest.mark.parametrize("whole", [True, False])
def test_an_auditor_that_leaves_says_whether_the_books_balance(site: Site, whole: bool) -> None:
    lost = f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, rows_of(site)[2])}"
    command = ["audit", "--every", "1s", "--for", "1s", "-C", str(site.root)]
    with nullcontext() if whole else damaged(site, lost):
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *command],
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == (0 if whole else 1), done.stdout + done.stderr
    assert site.audit().balanced


def test_by_hour_puts_what_was_just_loaded_into_the_hours_of_now(site: Site) -> None:
    code, answer = site.audit_command("--by", "hour")
    assert code == 0
    now = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    hours = {f"{now - dt.timedelta(hours=ago):%Y-%m-%dT%H:00:00Z}" for ago in (0, 1)}
    assert {e["hour"] for e in answer["by_hour"] if e["partition"] is not None} <= hours
    assert {(e["source"], e["partition"]) for e in answer["by_hour"]} == {
        *(("shop", part) for part in (0, 1, None))
    }
    for side in ("accepted", "loaded", "duplicate", "dead", "in_flight"):
        assert sum(e[side] for e in answer["by_hour"]) == answer[side]
    assert answer["loaded"] > 0
