"""Pre-flight checks of what the project talks to: broker, schema registry, warehouse."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

from consumers import ledger
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.errors import SetupError
from schemas.ports import Warehouse
from schemas.sql import identifier, literal
from services.adapters.kafka import IN_SYNC, REPLICATION, TopicFacts, TopicSpec
from services.bootstrap import Project
from services.settings import Kafka
from services.setup.apply import topic_specs
from services.setup.doctor import Check, Finding, Level, failed, fine
from services.setup.table_columns import BY_HAND, Columns, columns_there, misfits, missing

SECOND = 1_000_000
HOURS = 24
BILLED_SECONDS_MIN = 60  # from each start of a virtual warehouse
LOAD_SECONDS = 5  # of a COPY and its ledger
SIZES = ("XSMALL", "SMALL", "MEDIUM", "LARGE", "XLARGE", "2XLARGE", "3XLARGE", "4XLARGE")
CREDITS = {size: 2.0**place for place, size in enumerate(SIZES)}  # an hour
SKEW_SECONDS_FEW = 2.0
SKEW_SECONDS_MAX = 60.0  # signatures with a time are refused soon after
UTC_NAMES = {"UTC", "Etc/UTC", "GMT", "Etc/GMT"}
APPLY = "run: sluice apply (sluice up does it too)"


def check_broker(project: Project) -> Iterator[Finding]:
    """The brokers answer, and there are enough of them."""
    admin = project.admin()
    cluster, brokers = admin.cluster_id(), admin.brokers()
    what = f"cluster {cluster}: {brokers} broker(s)"
    if brokers < REPLICATION and not project.settings.embedded_kafka:
        remedy = "use three brokers, so that what was accepted survives the loss of one"
        yield Finding("broker", Level.WARNING, what, remedy)
    else:
        yield fine("broker", what)


def check_topics(project: Project) -> Iterator[Finding]:
    """Topics are as the contracts ask: partitions, retention, replicas."""
    admin, settings = project.admin(), project.settings.kafka or Kafka()
    specs = {spec.name: spec for spec in topic_specs(project.streams, settings)}
    facts = admin.described(specs)
    yield from _missing("topics", sorted(specs.keys() - facts.keys()))
    there = [specs[name] for name in specs if name in facts]
    wrong = admin.ensure_topics(there)  # creates nothing: they all exist
    for text in wrong:
        remedy = "alter the topic with the broker's own tools, such as kafka-configs.sh"
        yield Finding("topics", Level.FAILED, text, remedy)
    brokers = admin.brokers()
    for spec in there:
        yield from _replication(spec, facts[spec.name], brokers)
    if there and not wrong:
        yield fine("topics", f"{len(there)} topic(s) have the partitions and settings they need")


def _missing(check: str, names: list[str]) -> Iterator[Finding]:
    if names:
        yield Finding(check, Level.WARNING, f"not there yet: {', '.join(names)}", APPLY)


def _replication(spec: TopicSpec, facts: TopicFacts, brokers: int) -> Iterator[Finding]:
    """Copies of what is acknowledged; of three and more :meth:`ensure_topics` tells the rest."""
    wanted = spec.replication or min(REPLICATION, brokers)
    if facts.replicas < wanted:
        what = f"{spec.name} has {facts.replicas} replica(s) and should have {wanted}"
        yield Finding("topics", Level.FAILED, what, "reassign its partitions to more brokers")
    if 1 < facts.replicas < REPLICATION and facts.settings.get(IN_SYNC) == "1":
        what = f"{spec.name} has 2 replicas and {IN_SYNC}=1: one broker alone may acknowledge"
        remedy = "use three replicas; with 2 here nothing is written while one broker is away"
        yield Finding("topics", Level.WARNING, what, remedy)


def check_registry(project: Project) -> Iterator[Finding]:
    """Schema ids can be had."""
    project.registry.schema(1)
    url = project.settings.registry.url
    yield fine("registry", url or "avro/ids.json of this folder")


def check_warehouse(project: Project) -> Iterator[Finding]:
    """The session is the one that is wanted, and tells the time as we do."""
    warehouse = project.warehouse()
    try:
        yield from _session(project, warehouse)
        if not project.settings.embedded_warehouse:
            streams = sum(not name.endswith(DEAD_SUFFIX) for name in project.streams)
            seconds = project.settings.loader.age_seconds_max / max(1, streams)
            yield from check_cost(warehouse, seconds)
        yield from _zone(warehouse)
        yield from _skew(project, warehouse)
    finally:
        warehouse.close()


def _session(project: Project, warehouse: Warehouse) -> Iterator[Finding]:
    (row,) = warehouse.rows(
        "SELECT CURRENT_VERSION() AS V, CURRENT_ROLE() AS R, CURRENT_DATABASE() AS D, "
        "CURRENT_SCHEMA() AS S"
    )
    if project.settings.embedded_warehouse:
        yield fine("warehouse", f"the embedded stand-in, {row['d']}.{row['s']}")
        return
    yield fine("warehouse", f"Snowflake {row['v']} as role {row['r']}, {row['d']}.{row['s']}")
    for place, remedy in (
        ("d", "create the database in snowflake.database, or grant the role USAGE on it"),
        ("s", "create the schema in snowflake.schema, or grant the role USAGE on it"),
    ):
        if row[place] is None:
            what = f"the session has no {'database' if place == 'd' else 'schema'}"
            yield Finding("warehouse", Level.FAILED, what, remedy)
    (running,) = warehouse.rows("SELECT CURRENT_WAREHOUSE() AS W")
    if running["w"] is None:
        remedy = "name it in snowflake.warehouse and grant the role USAGE on it"
        yield Finding("warehouse", Level.FAILED, "the session has no virtual warehouse", remedy)


def check_cost(warehouse: Warehouse, batch_seconds: float) -> Iterator[Finding]:
    """What loading may cost at most, by the virtual warehouse's size and when it is suspended.

    ``batch_seconds``: between two batches, of whatever stream, while all of them have events.
    """
    (row,) = warehouse.rows("SELECT CURRENT_WAREHOUSE() AS W")
    found = warehouse.rows(f"SHOW WAREHOUSES LIKE {literal(row['w'])}") if row["w"] else []
    if not found:
        return
    name, size = str(row["w"]), str(found[0]["size"])
    hourly = CREDITS.get(size.replace("-", "").upper())
    suspend = int(found[0]["auto_suspend"] or 0)
    if hourly is None:
        yield fine("cost", f"{name} is of size {size}: no estimate")
        return
    price = credits_a_day(hourly, suspend, batch_seconds)
    what = f"loading costs at most {price:.1f} credits a day: {name} is {size}, "
    what += f"suspends after {suspend} s" if suspend else "never suspends"
    what += f", and a batch closes every {batch_seconds:g} s"
    if not suspend:
        remedy = f"ALTER WAREHOUSE {identifier(name)} SET AUTO_SUSPEND = {BILLED_SECONDS_MIN}"
        yield Finding("cost", Level.WARNING, what, remedy)
    elif price >= hourly * HOURS and hourly > 1:
        remedy = "an X-Small loads as fast; or raise loader.age_seconds_max above AUTO_SUSPEND"
        yield Finding("cost", Level.WARNING, what, remedy)
    else:
        yield fine("cost", what)


def credits_a_day(hourly: float, suspend_seconds: int, every_seconds: float) -> float:
    """Most credits that loads ``every_seconds`` keep a warehouse awake for; 0 never suspends."""
    awake = max(BILLED_SECONDS_MIN, suspend_seconds) + LOAD_SECONDS
    if not suspend_seconds or every_seconds <= awake:
        return hourly * HOURS
    return hourly * HOURS * awake / every_seconds


def _zone(warehouse: Warehouse) -> Iterator[Finding]:
    rows = warehouse.rows("SHOW PARAMETERS LIKE 'TIMEZONE' IN SESSION")
    zone = str(rows[0]["value"]) if rows else "unknown"
    if zone in UTC_NAMES:
        yield fine("clock", f"the session's time zone is {zone}")
    else:
        what = f"the session's time zone is {zone}, not UTC"
        remedy = "take TIMEZONE out of snowflake.options; Sluice sets it to UTC"
        yield Finding("clock", Level.FAILED, what, remedy)


def _skew(project: Project, warehouse: Warehouse) -> Iterator[Finding]:
    """The warehouse's time against ours, less what the question itself took."""
    before = project.clock.now()
    (row,) = warehouse.rows("SELECT CURRENT_TIMESTAMP() AS NOW")
    after = project.clock.now()
    theirs = row["now"].astimezone(dt.UTC).timestamp() * SECOND
    skew = max(before - theirs, theirs - after, 0) / SECOND
    what = f"this machine and the warehouse differ by {skew:.1f} s"
    remedy = "let this machine follow a time server (chrony, systemd-timesyncd)"
    if skew > SKEW_SECONDS_MAX:
        yield Finding("clock", Level.FAILED, what, remedy)
    elif skew > SKEW_SECONDS_FEW:
        yield Finding("clock", Level.WARNING, what, remedy)
    else:
        yield fine("clock", what)


def check_tables(project: Project) -> Iterator[Finding]:
    """Ledger, stage and tables are there, as the contracts say, and the role may write them."""
    warehouse = project.warehouse()
    try:
        present = columns_there(warehouse)
        absent = [name for name in ledger.TABLES if name not in present]
        if not warehouse.rows(ledger.STAGE_SQL):
            absent.append(ledger.STAGE)
        yield from _missing("ledger", absent)
        for name in ledger.TABLES:
            if name in present:
                yield from check_ledger(warehouse, name, present[name])
        wanted = {c.table_name: c for c in project.streams.values()}
        yield from _missing("tables", sorted(wanted.keys() - present.keys()))
        for name in sorted(wanted.keys() & present.keys()):
            yield from _table(warehouse, wanted[name], present[name])
    finally:
        warehouse.close()


def check_ledger(warehouse: Warehouse, name: str, there: Columns) -> Iterator[Finding]:
    """One table of the ledger: it has every column, and the role may write it."""
    lacking = ledger.lacking({name: there})
    for _, column in lacking:
        yield Finding("ledger", Level.FAILED, f"{name}.{column} is missing: no loader works", APPLY)
    if not lacking:
        yield from _writable("ledger", warehouse, name)


def _table(warehouse: Warehouse, contract: Contract, there: Columns) -> Iterator[Finding]:
    name = contract.table_name
    lacking, wrong = list(missing(contract, there)), list(misfits(contract, there))
    for column in lacking:
        yield Finding("tables", Level.WARNING, f"{name}.{column} is missing", APPLY)
    for what in wrong:
        yield Finding("tables", Level.FAILED, what, BY_HAND)
    if not (lacking or wrong):
        yield from _writable("tables", warehouse, name)


def _writable(check: str, warehouse: Warehouse, name: str) -> Iterator[Finding]:
    """Statements that touch no row, and need the grants that loading needs."""
    table = identifier(name)
    statements = [f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"]
    if name in {ledger.OFFSETS, ledger.LOCKS}:
        column = "EPOCH" if name == ledger.OFFSETS else "NAME"
        statements.append(f"UPDATE {table} SET {column} = {column} WHERE 1 = 0")
    try:
        for statement in statements:
            warehouse.execute(statement)
    except SetupError as error:
        finding = failed(check, error)
        if "privilege" in error.what.lower():  # else it is not this grant
            grants = "SELECT, INSERT" + (", UPDATE" if len(statements) > 1 else "")
            remedy = f"GRANT {grants} ON TABLE {name} TO ROLE <the role in snowflake.role>"
            finding = replace(finding, remedy=remedy)
        yield finding
    else:
        yield fine(check, f"{name} is as it should be, and may be written")


OUTSIDE_CHECKS: dict[str, Check] = {
    "broker": check_broker,
    "topics": check_topics,
    "registry": check_registry,
    "warehouse": check_warehouse,
    "tables": check_tables,
}
"""What needs the broker or the warehouse."""
