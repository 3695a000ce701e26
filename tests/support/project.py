"""A project folder on the embedded stack: one webhook source, one polled source, free ports."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consumers import ledger
from consumers.books.balance import Books
from schemas.events import Incoming, Record
from schemas.ports import Warehouse
from services.adapters.clock import SystemClock
from services.adapters.kafka import KafkaPublisher
from services.auditing import audit_project_by_ids
from services.bootstrap import Project
from services.cli.applying import apply_project
from services.cli.up import Member, asked, running
from services.demo.folder import free_ports
from services.embedded.kafka import EmbeddedKafka
from services.embedded.parts import Parts
from services.embedded.process import Process, ProcessSpec
from services.embedded.stack import embedded
from services.embedded.warehouse import EmbeddedWarehouse
from services.settings import load
from tests.support.warehouse import inject

SECRET = "whsec_Y2hhb3MgbmVlZHMgYSBzZWNyZXQgdG9vLCBvZiBjb3Vyc2U="
ORDERS, CONTACTS = "shop.orders", "crm.contacts"
CONTACTS_PATH = "/contacts"
PAGE_ROWS = 40
COMMANDS = {"auditor": ("audit", "--every", "1s")}  # where it is not called as the process
STOP_SECONDS_MAX = 25.0  # as `sluice up` allows a loader

_SETTINGS = """
project = "chaos"

[kafka]
embedded = true
partitions = {partitions}
options = {{ "session.timeout.ms" = 6000, "heartbeat.interval.ms" = 500 }}

[gateway]
port = {gateway}

[admin]
gateway_port = {gateway_admin}
poller_port = {poller_admin}
loader_port = {loader_admin}
auditor_port = {auditor_admin}

[audit]
full_every_seconds = 4

[loader]
{loader}

[poller]
timeout_seconds = 5
backoff_seconds_max = 2

[sources.shop]
kind = "webhook"
secrets = ["file:shop.secret"]
verify = {{ scheme = "standard_webhooks" }}
stream = "shop.orders"
event_id = "{{webhook-id}}"
"""

_POLLED = """
[sources.crm]
kind = "rest"
base_url = "{api}"

[[sources.crm.streams]]
stream = "crm.contacts"
path = "{path}"
records = "/contacts"
pager = {{ kind = "cursor", token = "/next", size = {page_rows} }}
cursor = {{ field = "changed", param = "since", format = "integer" }}
sorted = true
every = "1s"
"""

_ELSEWHERE = """
[snowflake]
account = "embedded"
user = "sluice"
auth = "password"
password = "file:warehouse.secret"
warehouse = "ANY"
role = "SYSADMIN"
options = {{ {place}, use_proxy_env = false }}
"""

_ORDERS = """
import datetime as dt

from pydantic import BaseModel, Field

from schemas.contract import Contract


class Order(BaseModel):
    order_id: str = Field(min_length=1)
    amount: float = Field(ge=0)
    placed_at: dt.datetime


CONTRACT = Contract(
    stream="shop.orders", model=Order, key=("order_id",), business_date="placed_at"
)
"""

_CONTACTS = """
from pydantic import BaseModel, Field

from schemas.contract import Contract


class Contact(BaseModel):
    contact_id: str
    changed: int = Field(ge=0)
    name: str


CONTRACT = Contract(
    stream="crm.contacts", model=Contact, key=("contact_id",), version=("changed",)
)
"""


@dataclass
class Site:
    """A project whose broker and warehouse run, owned by the test."""

    root: Path
    project: Project
    kafka: EmbeddedKafka
    warehouse: EmbeddedWarehouse
    gateway_port: int
    sessions: list[Warehouse] = field(default_factory=list)
    publishers: list[KafkaPublisher] = field(default_factory=list)

    @contextmanager
    def up(self, *roles: str) -> Iterator[dict[str, Member]]:
        """Processes as ``sluice up`` runs them: those of these roles, or all."""
        if not roles:
            with running(self.project) as members:
                yield {member.role: member for member in members}
            return
        admin = self.project.settings.admin
        members = {}
        try:
            for role in roles:
                port: int = getattr(admin, f"{role}_port")
                members[role] = Member(role, self.process(role, port), f"http://127.0.0.1:{port}")
                members[role].process.launch()
            for member in members.values():
                member.process.wait_ready()
            yield members
        finally:
            for member in members.values():
                member.process.stop()

    def elsewhere(self, name: str) -> Process:
        """A loader of the same project with a disk of its own, as on another machine."""
        root = self.root.with_name(name)
        if not root.exists():
            shutil.copytree(self.root, root, ignore=shutil.ignore_patterns(".sluice"))
            text = (root / "sluice.toml").read_text()
            bootstrap = self.project.kafka_options["bootstrap.servers"]
            text = text.replace("embedded = true\n", "").replace(
                "options = {", f'options = {{ "bootstrap.servers" = "{bootstrap}",', 1
            )
            here = self.warehouse.connection
            (root / "warehouse.secret").write_text(here["password"])
            place = f'host = "{here["host"]}", port = {here["port"]}, protocol = "http"'
            (root / "sluice.toml").write_text(text + _ELSEWHERE.format(place=place))
        return self.process("loader", free_ports(1)[0], name, root)

    def process(self, role: str, port: int, name: str = "", root: Path | None = None) -> Process:
        """One process of the project with its admin port at ``port``, not started."""
        url = f"http://127.0.0.1:{port}/live"
        words = COMMANDS.get(role, (role,))
        command = [sys.executable, "-m", "services.cli", *words, "-C", str(root or self.root)]
        return Process(
            ProcessSpec(
                name=name or role,
                command=command,
                folder=self.project.settings.state / "logs",
                environ={f"SLUICE_ADMIN__{role.upper()}_PORT": str(port)},
                ready=lambda: asked(url) is not None,
                stop_seconds_max=STOP_SECONDS_MAX,
            )
        )

    def produce(self, *orders: Mapping[str, Any]) -> None:
        """Orders onto the topic; durable on return."""
        self.publish(*self.encoded(*orders))

    def encoded(self, *orders: Mapping[str, Any]) -> list[Record]:
        """Orders as the gateway would put them onto the topic."""
        now = SystemClock().now()
        incoming = [
            Incoming(dict(order), json.dumps(order).encode(), order["order_id"], "shop", now)
            for order in orders
        ]
        return list(self.project.encoders[ORDERS].encode(incoming).records)

    def publish(self, *records: Record) -> None:
        """Anything onto any topic; durable on return."""
        if not self.publishers:
            large = {**self.project.kafka_options, "message.max.bytes": 20_000_000}
            self.publishers.append(KafkaPublisher(large, "test"))
        self.publishers[0].publish(records)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What the warehouse answers, in a session that outlives the call."""
        if not self.sessions:
            self.sessions.append(self.project.warehouse())
        return [dict(row) for row in self.sessions[0].rows(sql)]

    def execute(self, sql: str) -> int:
        """One statement; the rows that it touched."""
        self.rows("SELECT 1 AS ONE")
        return self.sessions[0].execute(sql)

    def count(self, table: str, where: str = "TRUE") -> int:
        return int(self.rows(f"SELECT COUNT(*) AS N FROM {table} WHERE {where}")[0]["n"])

    def positions(self) -> dict[tuple[str, int], int]:
        """Where the warehouse stands, by topic and partition."""
        found = self.rows(f"SELECT TOPIC, PART, NEXT_OFFSET FROM {ledger.OFFSETS}")
        return {(r["topic"], int(r["part"])): int(r["next_offset"]) for r in found}

    def faults(self, *rules: Mapping[str, object]) -> None:
        """Replace the warehouse's fault rules."""
        inject(self.warehouse.port, rules)

    def audit(self) -> Books:
        return audit_project_by_ids(self.project)

    def audit_command(self, *options: str) -> tuple[int, dict[str, Any]]:
        """``sluice audit --json``: its exit code and its answer."""
        here = ("audit", "--json", "-C", str(self.root))
        command = [sys.executable, "-m", "services.cli", *here, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    def log_of(self, name: str) -> str:
        """A process's whole log."""
        return (self.project.settings.state / "logs" / f"{name}.log").read_text()


@contextmanager
def standing(
    root: Path, api: str | None = "http://127.0.0.1:9", partitions: int = 2, **loader: float
) -> Iterator[Site]:
    """A new project in ``root``, applied, its broker and warehouse (with faults) running.

    ``api``: where the polled source is; None: there is none.
    """
    root.mkdir(parents=True, exist_ok=True)
    names = ("gateway", "gateway_admin", "poller_admin", "loader_admin", "auditor_admin")
    numbers = dict(zip(names, free_ports(len(names)), strict=True)) | {"partitions": partitions}
    _write(root, numbers, api, {"age_seconds_max": 1, "rows_max": 2000, **loader})
    with started(root, numbers["gateway"]) as site:
        yield site


@contextmanager
def started(root: Path, gateway_port: int) -> Iterator[Site]:
    """The project in ``root``, applied, its broker and warehouse (with faults) running."""
    settings, clock = load(root), SystemClock()
    kafka = EmbeddedKafka(settings.state / "kafka")
    warehouse = EmbeddedWarehouse(
        settings.state / "warehouse", idle_transaction_seconds=10, faults=True
    )
    with embedded(settings, clock, lambda _: Parts(kafka, warehouse)) as endpoints:
        project = Project(settings, endpoints, clock)
        apply_project(project)
        site = Site(root, project, kafka, warehouse, gateway_port)
        try:
            yield site
        finally:
            for session in site.sessions:
                session.close()  # type: ignore[attr-defined] # the Snowflake adapter's


def _write(
    root: Path, numbers: Mapping[str, int], api: str | None, loader: Mapping[str, float]
) -> None:
    lines = "\n".join(f"{name} = {value}" for name, value in loader.items())
    text = _SETTINGS.format(**numbers, loader=lines)
    if api is not None:
        text += _POLLED.format(api=api, path=CONTACTS_PATH, page_rows=PAGE_ROWS)
    (root / "sluice.toml").write_text(text)
    (root / "shop.secret").write_text(SECRET)
    (root / "contracts").mkdir(exist_ok=True)
    (root / "contracts" / "orders.py").write_text(_ORDERS)
    if api is not None:
        (root / "contracts" / "contacts.py").write_text(_CONTACTS)


def kill_now(pid: int | None) -> bool:
    """KILL, from outside; whether there was something to kill."""
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def until(holds: Callable[[], bool], seconds: float, what: str, pause: float = 0.2) -> float:
    """Wait until it holds; the seconds that it took. Fails after ``seconds``."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return time.monotonic() - began


def drained(site: Site) -> bool:
    """Whether nothing is in flight: the warehouse stands where every topic ends."""
    before = site.positions()
    time.sleep(3)
    if site.positions() != before:
        return False
    reader = site.project.reader()
    try:
        return not any(
            len(run)
            for topic in site.project.streams
            for p in reader.partitions(topic)
            for run in reader.read(p, before.get((p.topic, p.number), 0), reader.bounds(p)[1])
        )
    finally:
        reader.close()
