"""Topics as they are made, and what is said of those that differ."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource, NewTopic  # type: ignore[attr-defined] # its own

from services.adapters.kafka import IN_SYNC, KafkaAdmin, TopicSpec, admin

DELETED = {"cleanup.policy": "delete", "retention.ms": "-1"}


def done(value: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class Cluster:
    """A cluster of so many brokers whose topics have these replicas and settings."""

    def __init__(self, brokers: int, **topics: tuple[int, Mapping[str, str]]) -> None:
        self.brokers, self.topics = brokers, topics
        self.created: list[NewTopic] = []

    def list_topics(self, timeout: float) -> object:
        assert timeout > 0
        found = {
            name: SimpleNamespace(
                error=None, partitions={0: SimpleNamespace(replicas=list(range(replicas)))}
            )
            for name, (replicas, _) in self.topics.items()
        }
        return SimpleNamespace(brokers=dict.fromkeys(range(self.brokers)), topics=found)

    def create_topics(self, topics: Sequence[NewTopic], **_: float) -> dict[str, Future[Any]]:
        self.created += topics
        return {topic.topic: done(None) for topic in topics}

    def describe_configs(
        self, resources: Sequence[ConfigResource], **_: float
    ) -> dict[ConfigResource, Future[Any]]:
        return {
            resource: done(
                {
                    name: SimpleNamespace(value=value)
                    for name, value in self.topics[resource.name][1].items()
                }
            )
            for resource in resources
        }

    def ensure(self, monkeypatch: pytest.MonkeyPatch, spec: TopicSpec) -> list[str]:
        """What is said of it."""
        monkeypatch.setattr(admin, "AdminClient", lambda _: self)
        return KafkaAdmin({}).ensure_topics([spec])


@pytest.mark.parametrize(
    ("brokers", "replication", "replicas", "in_sync"),
    [
        (1, None, 1, None),
        (2, None, 2, None),
        (3, None, 3, "2"),
        (9, None, 3, "2"),
        (9, 5, 5, "2"),
        (9, 2, 2, None),
    ],
)
def test_of_three_replicas_two_must_have_what_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
    brokers: int,
    replication: int | None,
    replicas: int,
    in_sync: str | None,
) -> None:
    cluster = Cluster(brokers)
    assert cluster.ensure(monkeypatch, TopicSpec("t", 1, replication)) == []
    (topic,) = cluster.created
    assert (topic.replication_factor, (topic.config or {}).get(IN_SYNC)) == (replicas, in_sync)


def test_a_topics_own_setting_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(3)
    cluster.ensure(monkeypatch, TopicSpec("t", 1, config={IN_SYNC: "3"}))
    assert (cluster.created[0].config or {})[IN_SYNC] == "3"


@pytest.mark.parametrize(
    ("replicas", "there", "told"),
    [
        (3, {IN_SYNC: "1"}, [f"t has {IN_SYNC}=1 and should have 2: alter it"]),
        (3, {IN_SYNC: "2"}, []),
        (3, {IN_SYNC: "3"}, []),
        (3, {}, []),  # a broker that has another way of acknowledging
        (2, {IN_SYNC: "1"}, []),  # with 2 of two nothing is written while one is away
        (1, {IN_SYNC: "1"}, []),
    ],
)
def test_a_topic_that_one_broker_alone_may_acknowledge_differs(
    monkeypatch: pytest.MonkeyPatch, replicas: int, there: Mapping[str, str], told: list[str]
) -> None:
    cluster = Cluster(3, t=(replicas, {**DELETED, **there}))
    assert cluster.ensure(monkeypatch, TopicSpec("t", 1)) == told
    assert cluster.created == []


@pytest.mark.parametrize(
    ("name", "actual", "told"),
    [
        ("retention.ms", "3599999", True),
        ("retention.ms", "3600001", False),
        ("retention.ms", "-1", False),
        ("max.message.bytes", "999", True),
        ("max.message.bytes", "1001", False),
    ],
)
def test_what_keeps_more_does_not_differ(
    monkeypatch: pytest.MonkeyPatch, name: str, actual: str, told: bool
) -> None:
    wanted = {"retention.ms": "3600000", "max.message.bytes": "1000"}
    cluster = Cluster(1, t=(1, {"cleanup.policy": "delete", **wanted, name: actual}))
    spec = TopicSpec("t", 1, retention_ms=3_600_000, config={"max.message.bytes": "1000"})
    assert bool(cluster.ensure(monkeypatch, spec)) is told


def test_what_is_kept_for_ever_is_not_kept_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(1, t=(1, {**DELETED, "retention.ms": "86400000"}))
    (told,) = cluster.ensure(monkeypatch, TopicSpec("t", 1))
    assert told == "t has retention.ms=86400000 and should have -1: alter it"
