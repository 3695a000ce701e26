"""Nothing lost, nothing doubled: the tables against the log, by other means than the loader's."""

import datetime as dt
import io
from typing import Any

import fastavro
from pydantic import ValidationError

from consumers.loading.batching import FlushPolicy
from consumers.loading.loader import LoadPolicy
from schemas import avro
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import Stage
from schemas.events import Partition
from tests.support.world import CONTRACT, SCHEMAS, STREAM, Order, World

SCHEMA = fastavro.parse_schema(SCHEMAS[1])
TURNS_MAX = 1_000
AT_ONCE = LoadPolicy(FlushPolicy(1000, 10**9, 0.0), 1000, 0.05)
LENIENT = (1.0, 10**9, 10**9)

Place = tuple[int, int]
"""Partition and offset."""


def require_conserved(world: World) -> None:
    """Mend what a test has broken, load what there is, and hold the tables against the log."""
    finish(world)
    books = world.audit()
    assert books.balanced, list(map(str, books.findings)) or str(books)
    assert books.totals.in_flight == 0, str(books)
    require_exact(world)


def require_exact(world: World) -> None:
    """Every event of the log that is good and new is one row, or was refused by the table."""
    expected = accepted(world)
    table = world.account.table(CONTRACT.table_name)
    rows = table.select("_partition", "_offset", "order_id").rows() if table.width else []
    found = [(row[:2], row[2]) for row in rows if _in_the_log(world, *row[:2])]
    assert len(found) == len(dict(found)), "an offset was loaded twice"
    refused = {place: expected[place] for place in _refused(world) if place in expected}
    assert dict(found) | refused == expected
    assert not dict(found).keys() & refused.keys(), "loaded, and a dead letter too"


def finish(world: World) -> None:
    """A last loader on healthy ports, until it has loaded all that the log holds."""
    world.journal.crash_at = world.journal.meanwhile = None
    world.account.faults.clear()
    world.account.refused.clear()
    world.broker.up = True
    world.broker._failures.clear()
    world.broker.groups.clear()  # all others have gone
    world.policy, world.breaker = AT_ONCE, LENIENT
    if all_loaded(world):
        return
    last = world.loader()
    for _ in range(TURNS_MAX):
        if last.state.idle and all_loaded(world):
            break
        last.turn()
    last.log.close()


def all_loaded(world: World) -> bool:
    """Whether the warehouse stands behind the last message of every partition."""
    ends = {
        partition: log.messages[-1].offset
        for partition, log in world.broker.logs.items()
        if partition.topic in {STREAM, STREAM + ".dead"} and log.messages
    }
    claims = world.account.offsets
    return all(p in claims and claims[p].next_offset > end for p, end in ends.items())


def accepted(world: World) -> dict[Place, str]:
    """Place and order id of what is good and new. As the README tells it: event by event."""
    found: dict[Place, str] = {}
    for partition, log in world.broker.logs.items():
        last: dict[str, dt.datetime] = {}  # when each id was accepted
        for message in log.messages if partition.topic == STREAM else ():
            event = _read(message.record.value)
            if event is None:
                continue
            name, received = event[avro.ID], event[avro.RECEIVED_AT]
            if name not in last or received - last[name] > CONTRACT.dedupe_window:
                last[name] = received
                found[partition.number, message.offset] = event["order_id"]
    return found


def _read(value: bytes) -> dict[str, Any] | None:
    """The event; None for one that breaks its contract."""
    stream = io.BytesIO(value)
    if stream.read(5) != avro.wire_header(1):
        return None
    try:
        event = fastavro.schemaless_reader(stream, SCHEMA, None)
        Order.model_validate(event)
    except (EOFError, IndexError, UnicodeDecodeError, ValueError, ValidationError):
        return None
    return event if isinstance(event, dict) and not stream.read(1) else None


def _refused(world: World) -> list[Place]:
    dead = world.account.table(DEAD_LETTERS)
    if not dead.height:
        return []
    mine = dead.filter(stream=STREAM, stage=Stage.LOAD.value)
    return mine.select("origin_partition", "origin_offset").rows()


def _in_the_log(world: World, partition: int, offset: int) -> bool:
    return offset >= world.broker.logs[Partition(STREAM, partition)].first
