"""One broker for the whole test session: the embedded one, or any that the environment names."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from services.adapters.kafka import KafkaAdmin, TopicSpec
from services.embedded.kafka import EmbeddedKafka

DOCKER_SOCKET = Path("/var/run/docker.sock")
_numbers = count(1)


class TestBroker:
    """A running Kafka; ``embedded`` is None where it is not ours to kill."""

    __test__ = False

    def __init__(self, bootstrap: str, embedded: EmbeddedKafka | None = None) -> None:
        self.client: dict[str, str | int] = {
            "bootstrap.servers": bootstrap,
            "heartbeat.interval.ms": 200,
            "session.timeout.ms": 6_000,
        }
        self.embedded = embedded
        self.admin = KafkaAdmin(self.client)

    def unique(self, name: str) -> str:
        """A name that nobody has used on this broker."""
        return f"{name}.{os.getpid()}.{next(_numbers)}"

    def topic(self, name: str = "t", partitions: int = 1, **config: str) -> str:
        """A new topic. Options with underscores for dots."""
        topic = self.unique(name)
        options = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.ensure_topics([TopicSpec(topic, partitions, config=options)])
        return topic


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    """Needs the marks ``embedded`` and ``enable_socket``."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if bootstrap:
        yield TestBroker(bootstrap)
        return
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield TestBroker(kafka.bootstrap, kafka)


@pytest.fixture(scope="session")
def docker_broker() -> Iterator[TestBroker]:
    """Needs the marks ``docker`` and ``enable_socket``; skips where no engine answers."""
    if not (os.environ.get("DOCKER_HOST") or DOCKER_SOCKET.exists()):
        pytest.skip("no Docker engine: neither DOCKER_HOST nor its socket is there")
    from docker.errors import DockerException  # noqa: PLC0415 - slow, and rarely needed
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415 - likewise

    try:
        container = KafkaContainer("confluentinc/cp-kafka:7.9.0").with_kraft()
        container.start()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    try:
        yield TestBroker(container.get_bootstrap_server())
    finally:
        container.stop()
