"""What happens to our clients when brokers die, and that they heal by themselves."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from threading import Timer
from typing import TypeVar

import pytest
from confluent_kafka import Producer

from schemas.errors import OversizedError, SetupError, TransientError
from schemas.events import Partition, Record
from services.adapters.kafka import (
    IN_SYNC,
    KafkaAdmin,
    KafkaLog,
    KafkaLogReader,
    KafkaPublisher,
    KafkaTransactions,
    TopicSpec,
    read_compacted,
)
from services.embedded import kafka as kafka_nodes
from services.embedded.kafka import EmbeddedKafka
from tests.support.kafka import TestBroker
from tests.support.logs import Member, until

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]
SOON = {"message.timeout.ms": 3_000}
Answer = TypeVar("Answer", bound=Sized)


@pytest.fixture
def embedded(kafka_broker: TestBroker) -> Iterator[EmbeddedKafka]:
    """The session's broker, which is up again afterwards."""
    if kafka_broker.embedded is None:
        pytest.skip("the broker is not ours to kill")
    yield kafka_broker.embedded
    kafka_broker.embedded.revive()


def record(topic: str, number: int) -> Record:
    return Record(topic, b"%d" % number, b"k")


def values(client: dict[str, str | int], topic: str) -> list[int]:
    """All that was acknowledged. A commit's markers follow it, hence the end of all written."""
    partition = Partition(topic, 0)
    bounds = KafkaLogReader(client, isolation="read_uncommitted").bounds(partition)
    runs = KafkaLogReader(client).read(partition, *bounds)
    return [int(value or b"") for run in runs for value in run.values]


def raises_within(seconds: float, call: Callable[[], object]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            call()
        except TransientError:
            return
    pytest.fail(f"no TransientError within {seconds} s")


def heals_within(seconds: float, member: Member, count: int) -> None:
    began = time.monotonic()
    while member.count < count:
        assert time.monotonic() - began < seconds
        with contextlib.suppress(TransientError):
            member.poll()


def test_a_killed_broker_is_a_transient_error_and_acknowledged_messages_survive(
    kafka_broker: TestBroker, embedded: EmbeddedKafka
) -> None:
    topic = kafka_broker.topic()
    publisher = KafkaPublisher({**kafka_broker.client, **SOON})
    writer = KafkaTransactions({**kafka_broker.client, **SOON}, kafka_broker.unique("tx"))
    member = Member(KafkaLog(kafka_broker.client, kafka_broker.unique("g"), [topic]))
    publisher.publish([record(topic, n) for n in range(500)])
    writer.publish_atomically([record(topic, n) for n in range(500, 600)])
    until(lambda: member.count == 600, member)
    embedded.kill()
    raises_within(10, lambda: publisher.publish([record(topic, 600)]))
    raises_within(10, lambda: member.poll(0.1))
    raises_within(60, lambda: writer.publish_atomically([record(topic, 601)]))
    embedded.revive()
    publisher.publish([record(topic, 602)])
    writer.publish_atomically([record(topic, 603)])
    found = values(kafka_broker.client, topic)
    assert found[:600] == list(range(600))
    assert set(found[600:]) <= {600, 601, 602, 603}
    assert {602, 603} <= set(found[600:])
    heals_within(30, member, len(found))
    assert [int(v) for v in member.values[Partition(topic, 0)]] == found


def test_a_broker_that_dies_unasked_comes_back_by_itself(
    kafka_broker: TestBroker, embedded: EmbeddedKafka
) -> None:
    topic = kafka_broker.topic()
    publisher = KafkaPublisher({**kafka_broker.client, "message.timeout.ms": 30_000})
    publisher.publish([record(topic, 1)])
    pid = embedded.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    publisher.publish([record(topic, 2)])
    assert values(kafka_broker.client, topic) == [1, 2]
    assert embedded.pid() not in {None, pid}


def test_a_cursor_behind_the_open_transaction_of_another_writer_is_found(
    kafka_broker: TestBroker,
) -> None:
    topic = kafka_broker.topic()
    other = Producer({**kafka_broker.client, "transactional.id": kafka_broker.unique("tx")})
    other.init_transactions(10)
    other.begin_transaction()
    other.produce(topic, b"never", b"other")
    other.flush(10)
    mine = KafkaTransactions(kafka_broker.client, kafka_broker.unique("tx"))
    mine.publish_atomically([record(topic, 7)])
    reader = KafkaLogReader(kafka_broker.client)
    assert reader.bounds(Partition(topic, 0)) == (0, 0)
    ends = Timer(1, other.abort_transaction, [10])
    ends.start()
    assert read_compacted(kafka_broker.client, topic) == {b"k": b"7"}
    ends.join()


def test_wrong_options_are_setup_errors() -> None:
    with pytest.raises(SetupError, match=r"no\.such"):
        KafkaPublisher({"bootstrap.servers": "127.0.0.1:1", "no.such": "x"})
    with pytest.raises(SetupError):
        KafkaLog({"bootstrap.servers": "127.0.0.1:1", "session.timeout.ms": "x"}, "g", ["t"])


def test_no_broker_at_all_is_a_transient_error() -> None:
    client = {"bootstrap.servers": "127.0.0.1:1", **SOON}
    with pytest.raises(TransientError):
        KafkaPublisher(client).publish([record("t", 1)])
    log = KafkaLog(client, "g", ["t"])
    raises_within(5, lambda: log.poll(10, 0.1))
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 5


def test_a_record_that_the_topic_refuses_is_named(kafka_broker: TestBroker) -> None:
    topic = kafka_broker.topic(max_message_bytes="2000")
    some = [record(topic, n) for n in range(3)]
    some[1] = Record(topic, bytes(range(256)) * 50)
    client = {**kafka_broker.client, "compression.type": "none"}
    for publish in (
        KafkaPublisher(client).publish,
        KafkaTransactions(client, kafka_broker.unique("tx")).publish_atomically,
    ):
        with pytest.raises(OversizedError, match="12") as caught:
            publish(some)
        assert caught.value.index == 1
        publish([some[0], some[2]])


def test_topics_are_made_once_and_differences_are_told(kafka_broker: TestBroker) -> None:
    admin, name = kafka_broker.admin, kafka_broker.unique("made")
    spec = TopicSpec(name, 2, retention_ms=3_600_000)
    assert admin.ensure_topics([spec]) == []
    assert admin.ensure_topics([spec]) == []
    assert admin.topics()[name] == 2
    assert admin.ensure_topics([TopicSpec(name, 1, retention_ms=60_000)]) == []
    partitions, retention = admin.ensure_topics([TopicSpec(name, 4, retention_ms=7_200_000)])
    assert "2 partition(s) and should have 4" in partitions
    assert "retention.ms=3600000 and should have 7200000" in retention
    (policy,) = admin.ensure_topics([TopicSpec(name, 2, compact=True)])
    assert "cleanup.policy=delete and should have compact" in policy
    assert admin.topics()[name] == 2
    assert admin.brokers() >= 1
    assert len(admin.cluster_id()) > 10


@pytest.mark.slow
def test_a_stock_cluster_of_three_gives_topics_of_ours_two_in_sync_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = kafka_nodes._properties
    monkeypatch.setattr(kafka_nodes, "_properties", lambda *node: {**properties(*node), IN_SYNC: 1})
    with EmbeddedKafka(tmp_path, nodes=3) as kafka:
        admin = KafkaAdmin({"bootstrap.servers": kafka.bootstrap})
        others = TopicSpec("others", 1, config={IN_SYNC: "1"})
        admin.ensure_topics([TopicSpec("ours", 1), TopicSpec("pair", 1, 2), others])
        found = once_known(2, lambda: admin.described(["ours", "pair"]))
        assert [(f.replicas, f.settings[IN_SYNC]) for f in found.values()] == [(3, "2"), (2, "1")]
        (told,) = once_known(1, lambda: admin.ensure_topics([TopicSpec("others", 1)]))
        assert told == f"others has {IN_SYNC}=1 and should have 2: alter it"


def once_known(count: int, call: Callable[[], Answer]) -> Answer:
    """The answer of so many parts, once the brokers that are asked have heard of the topics."""
    found: list[Answer] = []

    def answered() -> bool:
        with contextlib.suppress(SetupError):
            found[:] = [call()]
        return bool(found) and len(found[0]) == count

    until(answered)
    return found[0]


@pytest.mark.slow
def test_leaders_killed_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, nodes=3) as kafka:
        client: dict[str, str | int] = {
            "bootstrap.servers": kafka.bootstrap,
            "message.timeout.ms": 60_000,
        }
        admin = KafkaAdmin(client)
        assert admin.brokers() == 3
        assert admin.ensure_topics([TopicSpec("t", 1)]) == []
        publisher = KafkaPublisher(client)
        member = Member(KafkaLog(client, "g", ["t"]))
        sent = 0
        for step in range(60):
            publisher.publish([record("t", n) for n in range(sent, sent + 200)])
            sent += 200
            if step in {10, 35}:
                kafka.kill(1 if step == 10 else 2)
            if step in {25, 50}:
                kafka.revive(1 if step == 25 else 2)
            with contextlib.suppress(TransientError):
                member.poll(0.01)
        until(lambda: member.count == sent, member)
        assert [int(v) for v in member.values[Partition("t", 0)]] == list(range(sent))
        member.log.close()


@pytest.mark.parametrize("wished", [{}, {"enable.idempotence": False, "acks": 1}])
def test_what_is_sent_again_while_a_broker_hangs_is_in_the_log_once(
    kafka_broker: TestBroker, embedded: EmbeddedKafka, wished: dict[str, str | int]
) -> None:
    """Its requests wait in the sockets, and all of them are served later. No setting allows it."""
    short: dict[str, str | int] = {"request.timeout.ms": 500, "socket.timeout.ms": 500}
    client = {**kafka_broker.client, **short, "message.timeout.ms": 60_000, **wished}
    topic = kafka_broker.topic()
    publisher = KafkaPublisher(client)
    publisher.publish([record(topic, 0)])
    pid = embedded.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    thawing = threading.Timer(3, os.kill, (pid, signal.SIGCONT))
    thawing.start()
    publisher.publish([record(topic, n) for n in range(1, 200)])
    thawing.join()
    assert values(kafka_broker.client, topic) == list(range(200))
