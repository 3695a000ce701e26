"""What doctor finds, a case each; every finding is reached here, and each names a remedy."""

import ast
import datetime as dt
import inspect
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from consumers import ledger
from schemas.errors import SetupError, TransientError
from services.adapters.kafka import IN_SYNC, TopicFacts
from services.bootstrap import read_project
from services.cli import doctor as command
from services.cli.init import write_project
from services.settings import Kafka
from services.setup import doctor, doctor_outside
from services.setup.doctor import FOLDER_CHECKS, Finding, Level, run_checks
from services.setup.doctor_outside import OUTSIDE_CHECKS
from tests.support.examined import (
    COLUMN,
    NOW,
    SECOND,
    TABLE,
    Examined,
    Slow,
    examined_project,
)

TOPIC = "shop.orders"
REFUSED = SetupError(
    "SQL access control error: Insufficient privileges to operate on table 'X'",
    where="snowflake",
    remedy="grant the role the privilege that the message names",
)
ASLEEP = SetupError("No active warehouse selected", where="snowflake", remedy="name a warehouse")
GONE = TransientError("the connection broke off", where="snowflake")
ROLE = "TO ROLE <the role in snowflake.role>"


@pytest.fixture
def project(tmp_path: Path) -> Examined:
    return examined_project(tmp_path / "shop")


def not_fine(found: Iterator[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level is not Level.FINE]


def test_nothing_is_found_where_all_is_well_and_every_session_ends(project: Examined) -> None:
    found = list(run_checks(project, OUTSIDE_CHECKS))
    assert not_fine(iter(found)) == []
    assert {finding.check for finding in found} == {
        *("broker", "topics", "registry", "warehouse", "cost", "clock", "ledger", "tables")
    }
    assert project.account.open == 0


@dataclass(frozen=True)
class Case:
    """One thing that is wrong, and the one finding that tells it."""

    wrong: Callable[[Examined], object]
    level: Level
    what: str
    remedy: str


def answers(part: str, *rows: Mapping[str, object]) -> Callable[[Examined], object]:
    return lambda p: p.account.answers.update({part: rows})


def session(**other: str | None) -> Callable[[Examined], object]:
    row = {"v": "9.1", "r": "LOADER", "d": "SLUICE", "s": "RAW"} | other
    return answers("CURRENT_VERSION", row)


def refuses(part: str, error: Exception = REFUSED) -> Callable[[Examined], object]:
    return lambda p: p.account.refused.update({part: error})  # type: ignore[dict-item] # ours


def topic(replicas: int, **settings: str) -> Callable[[Examined], object]:
    there = {name.replace("_", "."): value for name, value in settings.items()}

    def change(p: Examined) -> None:
        facts = p.cluster.topics[TOPIC]
        p.cluster.topics[TOPIC] = TopicFacts(facts.partitions, replicas, there)

    return change


def warehouse_time(seconds: float) -> Callable[[Examined], object]:
    theirs = dt.datetime.fromtimestamp(NOW / SECOND, dt.UTC) + dt.timedelta(seconds=seconds)
    return answers("CURRENT_TIMESTAMP", {"now": theirs})


def column(**other: object) -> Callable[[Examined], object]:
    return lambda p: p.account.columns[TABLE][COLUMN].update(other)


def lost(tables: str, name: str = "") -> Callable[[Examined], object]:
    """Without a table, or without a column of it."""
    return lambda p: p.account.columns[tables].pop(name) if name else p.account.columns.pop(tables)


FAILED, WARNING = Level.FAILED, Level.WARNING
OUTSIDE = {
    "no broker": Case(
        lambda p: setattr(p.cluster, "error", TransientError("no answer", where="admin")),
        *(FAILED, "admin: no answer", "run sluice doctor again"),
    ),
    "one broker": Case(
        lambda p: setattr(p.cluster, "brokers_there", 1),
        *(WARNING, "cluster cluster-1: 1 broker(s)", "use three brokers"),
    ),
    "two brokers": Case(
        lambda p: setattr(p.cluster, "brokers_there", 2),
        *(WARNING, "cluster cluster-1: 2 broker(s)", "use three brokers"),
    ),
    "a topic is not there": Case(
        lambda p: p.cluster.topics.pop(TOPIC),
        *(WARNING, f"not there yet: {TOPIC}", "sluice apply"),
    ),
    "a topic differs": Case(
        lambda p: setattr(p.cluster, "differs", (f"{TOPIC} has {IN_SYNC}=1",)),
        *(FAILED, f"{TOPIC} has {IN_SYNC}=1", "kafka-configs.sh"),
    ),
    "too few replicas": Case(
        topic(1, min_insync_replicas="1"),
        *(FAILED, f"{TOPIC} has 1 replica(s) and should have 3", "reassign its partitions"),
    ),
    "no session": Case(
        refuses("CURRENT_VERSION", GONE),
        *(FAILED, "snowflake: the connection broke off", "run sluice doctor again"),
    ),
    "no database": Case(
        session(d=None), FAILED, "the session has no database", "create the database"
    ),
    "no schema": Case(session(s=None), FAILED, "the session has no schema", "create the schema"),
    "no virtual warehouse": Case(
        answers("CURRENT_WAREHOUSE", {"w": None}),
        *(FAILED, "the session has no virtual warehouse", "name it in snowflake.warehouse"),
    ),
    "a virtual warehouse never sleeps": Case(
        answers("SHOW WAREHOUSES", {"size": "X-Small", "auto_suspend": 0}),
        *(WARNING, "never suspends", "SET AUTO_SUSPEND = 60"),
    ),
    "a large virtual warehouse is kept awake": Case(
        answers("SHOW WAREHOUSES", {"size": "Medium", "auto_suspend": 60}),
        *(WARNING, "LOADING is Medium", "an X-Small loads as fast"),
    ),
    "another time zone": Case(
        answers("TIMEZONE", {"value": "America/Los_Angeles"}),
        *(FAILED, "time zone is America/Los_Angeles, not UTC", "take TIMEZONE out of"),
    ),
    "no time zone": Case(answers("TIMEZONE"), FAILED, "time zone is unknown", "take TIMEZONE out"),
    "the warehouse is a little ahead": Case(
        warehouse_time(3), WARNING, "differ by 3.0 s", "follow a time server"
    ),
    "the warehouse is a little behind": Case(
        warehouse_time(-3), WARNING, "differ by 3.0 s", "follow a time server"
    ),
    "the warehouse is far ahead": Case(
        warehouse_time(61), FAILED, "differ by 61.0 s", "follow a time server"
    ),
    "the warehouse is far behind": Case(
        warehouse_time(-61), FAILED, "differ by 61.0 s", "follow a time server"
    ),
    "no stage": Case(
        answers("SHOW STAGES"), WARNING, f"not there yet: {ledger.STAGE}", "sluice apply"
    ),
    "no ledger": Case(
        lost(ledger.OFFSETS), WARNING, f"not there yet: {ledger.OFFSETS}", "sluice apply"
    ),
    "an older ledger": Case(
        lost(ledger.LEDGER, "FILE_SHA256"),
        *(FAILED, f"{ledger.LEDGER}.FILE_SHA256 is missing", "sluice apply"),
    ),
    "no table": Case(lost(TABLE), WARNING, f"not there yet: {TABLE}", "sluice apply"),
    "no column": Case(lost(TABLE, COLUMN), WARNING, f"{TABLE}.{COLUMN} is missing", "sluice apply"),
    "a column of another type": Case(
        column(data_type="FLOAT"), FAILED, f"{TABLE}.{COLUMN} is FLOAT", "by hand"
    ),
    "no INSERT on a table": Case(
        refuses(f"INSERT INTO {TABLE}"),
        *(FAILED, "Insufficient privileges", f"GRANT SELECT, INSERT ON TABLE {TABLE} {ROLE}"),
    ),
    "no INSERT on the ledger": Case(
        refuses(f"INSERT INTO {ledger.LEDGER}"),
        *(FAILED, "Insufficient", f"GRANT SELECT, INSERT ON TABLE {ledger.LEDGER} {ROLE}"),
    ),
    "no UPDATE on the offsets": Case(
        refuses(f"UPDATE {ledger.OFFSETS}"),
        *(FAILED, "Insufficient", f"GRANT SELECT, INSERT, UPDATE ON TABLE {ledger.OFFSETS} {ROLE}"),
    ),
    "no UPDATE on the locks": Case(
        refuses(f"UPDATE {ledger.LOCKS}"),
        *(FAILED, "Insufficient", f"GRANT SELECT, INSERT, UPDATE ON TABLE {ledger.LOCKS} {ROLE}"),
    ),
    "a table cannot be written for another reason": Case(
        refuses(f"INSERT INTO {TABLE}", ASLEEP),
        *(FAILED, "snowflake: No active warehouse selected", "name a warehouse"),
    ),
    "the connection goes in between": Case(
        refuses("INFORMATION_SCHEMA", GONE), FAILED, "broke off", "run sluice doctor again"
    ),
}


@pytest.mark.parametrize("case", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_what_is_wrong_outside_is_found_and_nothing_else(project: Examined, case: Case) -> None:
    case.wrong(project)
    (finding,) = not_fine(run_checks(project, OUTSIDE_CHECKS))
    assert finding.level is case.level
    assert case.what in finding.what
    assert case.remedy in finding.remedy
    assert project.account.open == 0


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "GMT", "Etc/GMT"])
def test_every_name_of_utc_is_fine(project: Examined, zone: str) -> None:
    answers("TIMEZONE", {"value": zone})(project)
    assert not_fine(run_checks(project, OUTSIDE_CHECKS)) == []


@pytest.mark.parametrize(("seconds", "found"), [(0, 0), (31, 0), (-2, 0), (-3, 1), (33.5, 1)])
def test_what_the_question_took_is_no_skew(project: Examined, seconds: float, found: int) -> None:
    """Asked at 0, answered at 31: any time in between may be the warehouse's own."""
    warehouse_time(seconds)(project)
    slow = replace(project, clock=Slow(question=31 * SECOND))
    assert len(not_fine(doctor_outside.check_warehouse(slow))) == found


@pytest.mark.parametrize(
    ("replicas", "in_sync", "told"),
    [
        (2, "1", [f"{TOPIC} has 2 replicas and {IN_SYNC}=1: one broker alone may acknowledge"]),
        (2, "2", []),
        (3, "1", []),  # ensure_topics tells it; see tests/unit/test_topics.py
    ],
)
def test_one_of_two_replicas_is_too_few(
    project: Examined, replicas: int, in_sync: str, told: list[str]
) -> None:
    project.cluster.brokers_there = 2
    for name, facts in project.cluster.topics.items():
        project.cluster.topics[name] = TopicFacts(facts.partitions, 2, {IN_SYNC: "2"})
    topic(replicas, min_insync_replicas=in_sync)(project)
    found = not_fine(doctor_outside.check_topics(project))
    assert [finding.what for finding in found] == told
    assert all("use three replicas" in finding.remedy for finding in found)


def test_one_embedded_broker_is_what_was_asked_for(project: Examined) -> None:
    project.cluster.brokers_there = 1
    settings = project.settings.model_copy(update={"kafka": Kafka(embedded=True)})
    assert not_fine(doctor_outside.check_broker(replace(project, settings=settings))) == []


# every finding


MODULES: tuple[ModuleType, ...] = (doctor, doctor_outside, command)
NO_PORTS = "[gateway]\nport = 0\n[admin]\ngateway_port = 0\nloader_port = 0\npoller_port = 0\n"
BY_ROW = """
from pydantic import BaseModel, field_validator
from schemas.contract import Contract


class Thing(BaseModel):
    id: str

    @field_validator("id")
    @classmethod
    def _same(cls, value: str) -> str:
        return value


CONTRACT = Contract(stream="shop.things", model=Thing)
"""

Change = Callable[[Path], object]
Site = tuple[str, int]


def file(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def in_settings(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "sluice.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


FOLDER: dict[str, Change] = {
    "no settings": file("sluice.toml", "[loader]\nlanes = 0\n"),
    "a secret that is empty": file("secrets/shop", ""),
    "a secret that others may read": lambda folder: (folder / "secrets/shop").chmod(0o644),
    "no source": file("sluice.toml", NO_PORTS),
    "a source that verifies nothing": in_settings(
        'verify = { scheme = "hmac",', 'verify = { scheme = "none", anyone_may_send = true } #'
    ),
    "a contract that is judged by row": file("contracts/things.py", BY_ROW),
    "a contract that cannot be read": file("contracts/things.py", "x = "),
    "an address for everybody": in_settings("[gateway]", '[gateway]\nhost = "0.0.0.0"'),
    "no state folder": file(".sluice", "a file"),
}


def made_in(modules: tuple[ModuleType, ...]) -> Iterator[Site]:
    """Every call that makes a finding, but for those that say that all is well."""
    for module in modules:
        name = str(inspect.getsourcefile(module))
        for function in ast.parse(Path(name).read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.name != "fine":
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                        yield name, node.lineno


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> set[Site]:
    """The calls that have made a finding."""
    found: set[Site] = set()

    def noted(*arguments: str | Level) -> Finding:
        caller = sys._getframe(1)
        found.add((caller.f_code.co_filename, caller.f_lineno))
        return Finding(*arguments)  # type: ignore[arg-type] # as it is called

    for module in MODULES:
        monkeypatch.setattr(module, "Finding", noted)
    return found


def of_the_folder(root: Path, change: Change) -> list[Finding]:
    write_project(root)
    change(root)
    try:
        project = read_project(root)
    except SetupError:
        return list(command.examined(root))  # ends there
    return list(run_checks(project, FOLDER_CHECKS))


def of_the_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Finding]:
    """What needs something else than another file or another answer."""
    write_project(root / "outside")
    FOLDER["a contract that cannot be read"](root / "outside")
    yield from command.examined(root / "outside")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        yield from of_the_folder(root / "port", in_settings("port = 8080", f"port = {port}"))
    pair = examined_project(root / "pair")
    pair.cluster.brokers_there = 2
    topic(2, min_insync_replicas="1")(pair)
    yield from run_checks(pair, {"topics": OUTSIDE_CHECKS["topics"]})
    for free in (doctor.FREE_BYTES_MIN, doctor.FREE_BYTES_FEW):
        usage = SimpleNamespace(free=free - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        yield from of_the_folder(root / f"free-{free}", lambda _: None)


@pytest.mark.enable_socket
def test_every_finding_names_a_remedy(
    reached: set[Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(of_the_rest(tmp_path, monkeypatch))
    for name, change in FOLDER.items():
        found += of_the_folder(tmp_path / name, change)
    for name, case in OUTSIDE.items():
        project = examined_project(tmp_path / name)
        case.wrong(project)
        found += run_checks(project, OUTSIDE_CHECKS)
    assert reached >= set(made_in(MODULES)), "a finding without a case here"
    bare = [f for f in found if f.level is not Level.FINE and not f.remedy.strip()]
    assert bare == []
    assert {f.level for f in found} == set(Level)
