"""Makes topics and tables what the contracts say: created or widened, never dropped."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from consumers import ledger
from schemas import dead_letters, table
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.dead_letters import SUBJECT
from schemas.events import CURSORS_TOPIC, REPORTS
from schemas.ports import Warehouse
from services.adapters.kafka import KafkaAdmin, TopicSpec
from services.settings import Kafka
from services.setup.table_columns import BY_HAND, columns_there, misfits

HOUR_MS = 3_600_000
STREAM, DEAD = "<source>.<stream>", f"<source>.<stream>{DEAD_SUFFIX}"


class Ledgered(Warehouse, Protocol):
    """A session that can make the ledger's own tables."""

    def ensure_ledger(self) -> None:
        """Create stage and ledger tables where they are missing."""


@dataclass(slots=True)
class Changes:
    """What was done, what is left to a person, and what may come of it."""

    done: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is on a topic, in words."""

    what: str
    partitions: str
    kept: str
    key: str
    value: str
    writers: str
    readers: str


_TWO_WINDOWS = (
    "`kafka.retention_hours`, but never less than two windows of deduplication and an hour: "
    "what a rebuild of the remembered ids reads"
)
_AVRO = "Avro in Confluent's wire format; its subject (a registry has it with `-value`) is "
TRAFFIC: Mapping[str, Traffic] = {
    STREAM: Traffic(
        what="A stream's events, one record each.",
        partitions="`partitions` of the contract, or `kafka.partitions`",
        kept=_TWO_WINDOWS,
        key="the contract's `key`, or the event id where it has none",
        value=f"{_AVRO}the topic's name",
        writers="gateway, poller; others may",
        readers="loader, `sluice audit`, `sluice duplicates`",
    ),
    DEAD: Traffic(
        what="Events of the stream that were rejected, with their original bytes.",
        partitions="1",
        kept=f"{_TWO_WINDOWS}; their window is seven days",
        key="the dead letter's own id",
        value=f"{_AVRO}`{SUBJECT}`, one for all streams",
        writers="gateway, poller, loader",
        readers="loader, `sluice audit`",
    ),
    REPORTS: Traffic(
        what="What each batch loaded, for whoever wants to be told. The ledger is the proof.",
        partitions="1",
        kept="`kafka.retention_hours`",
        key="the batch's topic",
        value="JSON: `batch`, `topic`, `table`, `rows`, `query_id`, `committed_at` "
        "(microseconds), and `ranges` of `partition`, `first`, `after`, `events`, `loaded`, "
        "`duplicates`, `dead`",
        writers="loader, after COMMIT; a crash can leave one out or repeat one",
        readers="nothing of Sluice's own",
    ),
    CURSORS_TOPIC: Traffic(
        what="How far each polled stream is, in one transaction with its page.",
        partitions="1",
        kept="the last record of each key, for ever",
        key="`poll/<source>/<stream>`",
        value="JSON: version `v`, `cursor` and its `kind`, the unreadable page `bad`, and the "
        "`run` under way",
        writers="poller",
        readers="poller, at its start",
    ),
}
"""The topics of a project, by name or by pattern."""


def topic_specs(streams: Mapping[str, Contract], settings: Kafka) -> list[TopicSpec]:
    """The topics of all streams, and Sluice's own. Retention is never below two dedupe windows."""
    specs = [
        TopicSpec(
            contract.topic,
            1 if name.endswith(DEAD_SUFFIX) else contract.partitions or settings.partitions,
            settings.replication,
            # two windows: what a rebuild of the remembered keys reads
            max(
                settings.retention_hours * HOUR_MS,
                2 * round(contract.dedupe_window.total_seconds() * 1000) + HOUR_MS,
            ),
            config={"max.message.bytes": str(dead_letters.BYTES_MAX)}
            if name.endswith(DEAD_SUFFIX)
            else {},
        )
        for name, contract in streams.items()
    ]
    own = TopicSpec(REPORTS, 1, settings.replication, settings.retention_hours * HOUR_MS)
    return [*specs, own, TopicSpec(CURSORS_TOPIC, 1, settings.replication, compact=True)]


def apply_topics(admin: KafkaAdmin, specs: list[TopicSpec], changes: Changes) -> None:
    """Create what is missing."""
    there = admin.topics()
    changes.differences += admin.ensure_topics(specs)
    changes.done += [f"created topic {spec.name}" for spec in specs if spec.name not in there]


def apply_tables(warehouse: Ledgered, streams: Mapping[str, Contract], changes: Changes) -> None:
    """Create and widen tables, the ledger's too. Outside any load: DDL would commit it.

    Columns of another type than the contract's are differences: people decide.
    """
    warehouse.ensure_ledger()
    present = columns_there(warehouse)
    for statement in ledger.add_columns(present):
        warehouse.execute(statement)
        changes.done.append(statement)
    for contract in {c.table_name: c for c in streams.values()}.values():
        columns = present.get(contract.table_name)
        if columns is None:
            warehouse.execute(table.create_table(contract))
            changes.done.append(f"created table {contract.table_name}")
            continue
        for statement in table.add_columns(contract, columns):
            warehouse.execute(statement)
            changes.done.append(statement)
        changes.warnings += _newly_required(contract, columns)
        changes.differences += [f"{what}; {BY_HAND}" for what in misfits(contract, columns)]


def _newly_required(contract: Contract, present: Container[str]) -> list[str]:
    """What events that were written before will lack: each of them becomes a dead letter."""
    new = [
        f.source
        for f in contract.fields
        if f.required and not f.nullable and f.name.upper() not in present
    ]
    told = (
        f"{contract.stream}: new and required: {', '.join(new)}; events without, those that wait "
        "in the log too, become dead letters. Until all senders have it, give it a default or "
        "`| None`"
    )
    return [told] if new else []
