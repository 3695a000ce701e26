"""The gateway on a real Apache Kafka: what is acknowledged is there, whatever the broker does.

No loader runs here, so there are no books to balance: what was sent and acknowledged is held
against the log itself, id by id.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop
from confluent_kafka import Consumer, TopicPartition

from schemas.errors import SluiceError
from schemas.events import Record
from services.adapters.kafka import TopicSpec
from services.adapters.kafka.group_commit import GroupCommit
from services.embedded.kafka import EmbeddedKafka
from services.settings import Gateway as GatewaySettings
from tests.support.http import Reply, World, exchange, request, served, source
from tests.support.kafka import TestBroker

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]


def event_id(value: bytes) -> str:
    return str(orjson.loads(value)["id"])


def read_all(client: dict[str, Any], topic: str) -> list[bytes]:
    consumer = Consumer({**client, "group.id": "t"})
    found: list[bytes] = []
    for number in consumer.list_topics(topic, timeout=5).topics[topic].partitions:
        place = TopicPartition(topic, number, 0)
        after = consumer.get_watermark_offsets(place, timeout=5)[1]
        consumer.assign([place])
        offset = 0
        while offset < after:
            for message in consumer.consume(1_000, 1.0):
                offset = int(message.offset() or 0) + 1
                found.append(message.value() or b"")
    consumer.close()
    return found


def new_topic(broker: TestBroker) -> str:
    """A new topic whose name a stream can have."""
    topic = broker.unique("shop.orders").replace("orders.", "orders-")
    topic = topic.rpartition(".")[0] + "-" + topic.rpartition(".")[2]
    broker.admin.ensure_topics([TopicSpec(topic, 2), TopicSpec(f"{topic}.dead", 1)])
    return topic


def world(topic: str, **changed: Any) -> World:
    settings = GatewaySettings(port=0).model_copy(update=changed)
    return World([source(stream=topic)], streams=(topic,), settings=settings)


def test_what_is_acknowledged_is_in_the_log_with_its_dead_letters(
    kafka_broker: TestBroker,
) -> None:
    topic = new_topic(kafka_broker)
    here = world(topic, ack_seconds_max=30)  # a shared machine may be slow

    async def scenario() -> list[Reply]:
        sink = GroupCommit(kafka_broker.client, here.settings.ack_seconds_max)
        async with served(here.ports_to(sink), here.settings) as port:
            bodies = [
                b'[{"id":"%d"},{"id":"%d-b"},{"id":"%d-c","amount":"x"}]' % (n, n, n)
                for n in range(200)
            ]
            answers = await asyncio.gather(*(exchange(port, request(body)) for body in bodies))
        return [reply for one in answers for reply in one]

    replies = uvloop.run(scenario())
    assert {reply.status for reply in replies} == {200}
    ids = sorted(id_ for reply in replies for id_ in reply.json["ids"])
    assert len(ids) == 600
    stored = read_all(kafka_broker.client, topic)
    dead = read_all(kafka_broker.client, f"{topic}.dead")
    assert (len(stored), len(dead)) == (400, 200)
    assert sorted(event_id(value) for value in stored + dead) == ids


def test_a_topic_that_is_not_there_is_an_error_in_time(kafka_broker: TestBroker) -> None:
    async def scenario() -> None:
        sink = GroupCommit(kafka_broker.client, 1.0)
        with pytest.raises(SluiceError):
            await sink.publish([Record(kafka_broker.unique("nowhere.t"), b"x")])
        await sink.close(1)

    asyncio.run(scenario())


def test_without_a_broker_every_answer_is_503_within_three_seconds() -> None:
    here = world("shop.orders")

    async def scenario() -> None:
        sink = GroupCommit({"bootstrap.servers": "127.0.0.1:1"}, here.settings.ack_seconds_max)
        async with served(here.ports_to(sink), here.settings) as port:
            started = time.monotonic()
            answers = await asyncio.gather(*(exchange(port, request(b"{}")) for _ in range(20)))
            assert time.monotonic() - started < 3
        for (reply,) in answers:
            assert reply.status == 503
            assert reply.headers["retry-after"]

    uvloop.run(scenario())


class Senders:
    """Deliver one event after another, and remember what was acknowledged."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent: set[str] = set()
        self.acknowledged: list[str] = []
        self.refused = 0
        self.seconds_max = 0.0
        self.ended = False

    async def send(self, name: int) -> None:
        number = 0
        while not self.ended:
            number += 1
            started = time.monotonic()
            self.sent.add(f"{name}-{number}")
            (reply,) = await exchange(self.port, request(b'{"id":"%d-%d"}' % (name, number)))
            self.seconds_max = max(self.seconds_max, time.monotonic() - started)
            assert reply.status in {200, 503}
            self.refused += reply.status == 503
            if reply.status == 200:
                self.acknowledged += reply.json["ids"]

    async def more(self, count: int) -> None:
        """Wait for so many further acknowledgements."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(20):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - nobody to set an event
                await asyncio.sleep(0.05)


@contextmanager
def killed(kafka: EmbeddedKafka) -> Iterator[None]:
    """Its connections are refused."""
    kafka.kill()
    yield
    kafka.revive()


@contextmanager
def frozen(kafka: EmbeddedKafka) -> Iterator[None]:
    """Its connections stay open and nothing comes back, as from a machine that was suspended."""
    pid = kafka.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


async def outage(how: AbstractContextManager[None], here: World, sink: GroupCommit) -> Senders:
    """The broker goes away under load, for longer than an answer may take, and returns."""
    async with served(here.ports_to(sink), here.settings) as port:
        senders = Senders(port)
        tasks = [asyncio.create_task(senders.send(n)) for n in range(8)]
        await senders.more(200)
        await asyncio.to_thread(how.__enter__)
        await asyncio.sleep(6)
        await asyncio.to_thread(how.__exit__, None, None, None)
        await senders.more(200)
        senders.ended = True
        await asyncio.gather(*tasks)
    return senders


@pytest.mark.parametrize("away", [killed, frozen])
def test_a_broker_that_goes_and_comes_back_loses_nothing_acknowledged(
    tmp_path: Path, away: Callable[[EmbeddedKafka], AbstractContextManager[None]]
) -> None:
    """And every answer comes in time."""
    with EmbeddedKafka(tmp_path) as kafka:
        broker = TestBroker(kafka.bootstrap, kafka)
        topic = new_topic(broker)
        here = world(topic)

        async def scenario() -> Senders:
            sink = GroupCommit(broker.client, here.settings.ack_seconds_max)
            return await outage(away(kafka), here, sink)

        senders = uvloop.run(scenario())
        stored = Counter(event_id(value) for value in read_all(broker.client, topic))
        dead = read_all(broker.client, f"{topic}.dead")
    assert len(senders.acknowledged) + senders.refused == len(senders.sent)
    assert set(senders.acknowledged) <= stored.keys() <= senders.sent
    assert set(stored.values()) == {1}, "sent once, and more than once in the log"
    assert dead == []
    assert senders.refused > 0
    assert senders.seconds_max < 3.5
