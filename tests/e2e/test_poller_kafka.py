"""The poller on a real broker: killed at any moment, and with a twin.

No loader runs here, so there are no books to balance: what the source has is held against the
log itself, id by id.
"""

import asyncio
import io
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import pytest

from producers.cursors import load_state
from schemas import avro
from schemas.errors import FencedError
from schemas.events import CURSORS_TOPIC, Record
from services.adapters.kafka import (
    KafkaAdmin,
    KafkaLogReader,
    KafkaTransactions,
    TopicSpec,
    read_compacted,
)
from services.embedded.kafka import EmbeddedKafka
from services.poller.run import run
from tests.support.api import Api, Call, Reply, page, serving
from tests.support.poller_process import CONTRACT, STREAM, ports
from tests.support.polling import KEY, settings_of

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded]

COUNT, SIZE = 200, 5
ID = "sluice-poll-shop-shop.orders"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap


@pytest.fixture
def topics(broker: str) -> str:
    """The broker, with empty topics."""
    admin = KafkaAdmin({"bootstrap.servers": broker})
    reader = KafkaLogReader({"bootstrap.servers": broker})
    names = (CONTRACT.topic, CONTRACT.dead_topic)
    admin.ensure_topics(
        [*(TopicSpec(name, 2) for name in names), TopicSpec(CURSORS_TOPIC, 1, compact=True)]
    )
    admin.delete_records(
        {part: reader.bounds(part)[1] for name in names for part in reader.partitions(name)}
    )
    reader.close()
    return broker


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        found.route("/orders", listing)
        yield found


def listing(call: Call) -> Reply:
    time.sleep(0.01)
    since, first = int(call.query.get("since", 0)), int(call.query.get("first", 0))
    rows: list[Any] = [{"id": n, "name": f"order {n}"} for n in range(since, COUNT)]
    after = first + SIZE
    data = rows[first:after]
    if first == 0 and since == 0:
        data = [*data, "no object"]
    return page(
        {"data": data, "next": f"?since={since}&first={after}" if after < len(rows) else None}
    )


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "did not happen"
        await asyncio.sleep(0.01)


def events(broker: str, topic: str) -> list[dict[str, Any]]:
    """All committed events of a topic, in the order of each partition."""
    contract = CONTRACT if topic == CONTRACT.topic else None
    client = {"bootstrap.servers": broker}
    reader, written = KafkaLogReader(client), KafkaLogReader(client, isolation="read_uncommitted")
    try:
        values = [
            value
            for part in reader.partitions(topic)
            for found in reader.read(part, *written.bounds(part))
            for value in found.values
        ]
    finally:
        reader.close()
        written.close()
    if contract is None:
        return [{"value": value} for value in values]
    schema = fastavro.parse_schema(avro.wire_schema(contract))
    decoded = [fastavro.schemaless_reader(io.BytesIO(v[5:]), schema) for v in values if v]
    return [event for event in decoded if isinstance(event, dict)]


@pytest.mark.timeout(240)
def test_killed_at_any_moment_every_record_arrives_once_after_deduplication(
    topics: str, api: Api
) -> None:
    command = [sys.executable, "-m", "tests.support.poller_process", api.url, topics]
    draw = random.Random(7)
    kills = 0
    for _ in range(6):
        before = len(api.calls)
        child = subprocess.Popen(command)
        end = time.monotonic() + 30
        pages = draw.randint(1, 7)
        while child.poll() is None and len(api.calls) < before + pages:
            assert time.monotonic() < end
            time.sleep(0.002)
        time.sleep(draw.random() * 0.03)
        kills += child.poll() is None
        child.kill()
        child.wait()
    assert kills >= 4
    subprocess.run(command, check=True, timeout=60)
    found = events(topics, CONTRACT.topic)
    assert {event["_id"] for event in found} == {str(n) for n in range(COUNT)}
    assert len(found) - COUNT <= kills * 2 * SIZE  # at most what was under way, and its re-reading
    assert 1 <= len(events(topics, CONTRACT.dead_topic)) <= kills + 1
    stored = read_compacted({"bootstrap.servers": topics}, CURSORS_TOPIC)
    state = load_state(stored[KEY])
    assert (state.cursor, state.run) == (COUNT - 1, None)


def test_a_twin_fences_a_poller_which_then_writes_nothing(topics: str, api: Api) -> None:
    found = ports(topics)

    async def twins() -> None:
        stop = asyncio.Event()
        settings = settings_of(api.url, {**STREAM, "every": "50ms"})
        task = asyncio.create_task(run(found, settings, stop))
        await until(lambda: bool(found.board.rows) and found.board.rows[0].pages > 2)
        twin = KafkaTransactions({"bootstrap.servers": topics}, ID)
        await asyncio.to_thread(twin.publish_atomically, ())
        await until(lambda: found.board.rows[0].state == "fenced")
        written = found.board.rows[0].pages
        asked = len(api.calls)
        await asyncio.sleep(0.3)
        assert (found.board.rows[0].pages, len(api.calls)) == (written, asked)
        stop.set()
        await task

    asyncio.run(asyncio.wait_for(twins(), 60))
    assert "another poller has taken shop.orders over" in found.board.rows[0].error


def test_an_empty_transaction_is_enough_to_fence(topics: str) -> None:
    client = {"bootstrap.servers": topics}
    old, new = KafkaTransactions(client, "twin"), KafkaTransactions(client, "twin")
    old.publish_atomically(())
    old.publish_atomically([Record(CONTRACT.topic, b"1")])
    new.publish_atomically(())
    with pytest.raises(FencedError):
        old.publish_atomically([Record(CONTRACT.topic, b"2")])
