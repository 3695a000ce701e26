"""A project whose broker and warehouse answer what a test says, for what only looks at them."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from typing_extensions import override

from consumers import ledger
from schemas.errors import SluiceError
from schemas.table import columns_of
from services.adapters.kafka import TopicFacts, TopicSpec
from services.bootstrap import Project
from services.cli.init import write_project
from services.embedded.stack import Endpoints
from services.settings import Kafka, load
from services.setup.apply import topic_specs

NOW = 1_795_000_000_000_000
SECOND = 1_000_000
TABLE, COLUMN = "SHOP_ORDERS", "AMOUNT"
_CONNECTIONS = """
[kafka]
options = { "bootstrap.servers" = "broker:9092" }

[snowflake]
account = "org-account"
user = "SLUICE"
auth = "password"
password = "file:secrets/shop"
role = "LOADER"
warehouse = "LOADING"
"""

Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass
class Slow:
    """A clock on which every question takes its time."""

    now_micros: int = NOW
    question: int = 0

    def now(self) -> int:
        now, self.now_micros = self.now_micros, self.now_micros + self.question
        return now

    def monotonic(self) -> float:
        return self.now_micros / SECOND

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


@dataclass
class Cluster:
    """Brokers and topics as they are; ``differs`` is what their settings are told for."""

    brokers_there: int = 3
    topics: dict[str, TopicFacts] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    error: SluiceError | None = None

    def cluster_id(self) -> str:
        if self.error is not None:
            raise self.error
        return "cluster-1"

    def brokers(self) -> int:
        return self.brokers_there

    def described(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        return {name: self.topics[name] for name in names if name in self.topics}

    def ensure_topics(self, specs: Iterable[TopicSpec]) -> list[str]:
        assert {spec.name for spec in specs} <= self.topics.keys(), "doctor creates nothing"
        return list(self.differs)


@dataclass
class Account:
    """A session: rows by a part of the question, and errors by a part of the statement."""

    answers: dict[str, Rows]
    columns: dict[str, dict[str, dict[str, Any]]]
    refused: dict[str, SluiceError] = field(default_factory=dict)
    open: int = 0

    def rows(self, sql: str) -> Rows:
        self._refuse(sql)
        if "INFORMATION_SCHEMA.COLUMNS" in sql:
            return [row for columns in self.columns.values() for row in columns.values()]
        (found,) = (rows for part, rows in self.answers.items() if part in sql)
        return found

    def execute(self, sql: str) -> int:
        assert sql.endswith("WHERE 1 = 0"), "doctor changes nothing"
        self._refuse(sql)
        return 0

    def close(self) -> None:
        self.open -= 1

    def _refuse(self, sql: str) -> None:
        for part, error in self.refused.items():
            if part in sql:
                raise error


@dataclass(frozen=True)
class Examined(Project):
    """The project of ``sluice init`` with a broker and an account that are as they should be."""

    cluster: Cluster
    account: Account

    @override
    def admin(self) -> Cluster:  # type: ignore[override] # all that is asked of it
        return self.cluster

    @override
    def warehouse(self) -> Account:  # type: ignore[override] # likewise
        self.account.open += 1
        return self.account


def examined_project(root: Path) -> Examined:
    """A new project in ``root`` that is well."""
    write_project(root)
    path = root / "sluice.toml"
    path.write_text(path.read_text() + _CONNECTIONS)
    settings = load(root)
    bare = Project(settings, Endpoints(), Slow())
    specs = topic_specs(bare.streams, settings.kafka or Kafka())
    topics = {spec.name: TopicFacts(spec.partitions, 3, spec.settings(3)) for spec in specs}
    account = Account(_answers(), _columns(bare))
    return Examined(settings, Endpoints(), Slow(), Cluster(topics=topics), account)


def _answers() -> dict[str, Rows]:
    now = dt.datetime.fromtimestamp(NOW / SECOND, dt.UTC)
    return {
        "CURRENT_VERSION": [{"v": "9.1", "r": "LOADER", "d": "SLUICE", "s": "RAW"}],
        "CURRENT_WAREHOUSE": [{"w": "LOADING"}],
        "SHOW WAREHOUSES": [{"size": "X-Small", "auto_suspend": 60}],
        "TIMEZONE": [{"value": "UTC"}],
        "CURRENT_TIMESTAMP": [{"now": now}],
        "SHOW STAGES": [{"name": ledger.STAGE}],
    }


def _columns(project: Project) -> dict[str, dict[str, dict[str, Any]]]:
    tables = {name: {"TOPIC_ID": "VARCHAR", "FILE_SHA256": "VARCHAR"} for name in ledger.TABLES}
    for contract in project.streams.values():
        tables[contract.table_name] = {c.name.upper(): c.type for c in columns_of(contract)}
    return {
        table: {name: _catalogued(table, name, kind) for name, kind in columns.items()}
        for table, columns in tables.items()
    }


def _catalogued(table: str, name: str, kind: str) -> dict[str, Any]:
    """A column as the catalogue tells it."""
    base, _, digits = kind.rstrip(")").partition("(")
    precision, _, scale = digits.partition(",")
    number = base == "NUMBER"
    return {
        "table_name": table,
        "column_name": name,
        "data_type": base,
        "numeric_precision": int(precision) if number else None,
        "numeric_scale": int(scale) if number else None,
        "is_nullable": "YES",
    }
