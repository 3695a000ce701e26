"""Kafka over TLS with SCRAM, from a project's sluice.toml on: taken, or refused with the reason."""

import asyncio
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import SetupError, TransientError
from schemas.events import Partition, Record
from services.adapters.kafka import (
    KafkaLog,
    KafkaLogReader,
    KafkaPublisher,
    KafkaTransactions,
    TopicSpec,
)
from services.adapters.kafka.group_commit import GroupCommit
from services.bootstrap import Project, read_project
from tests.support.logs import Member, until
from tests.support.secure_kafka import MECHANISM, USER, SecureKafka, authority, secure_kafka

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]
P0 = Partition("shop.orders", 0)
WRONG_PASSWORD = "Xq7-not-the-one-9Zt"
REFUSED_SECONDS_MAX = 8.0  # every client's own time limit for an answer is longer


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def project(folder: Path, kafka: SecureKafka) -> Project:
    """A project that knows the broker by its settings only."""
    (folder / "password").write_text(f"{kafka.password}\n")
    (folder / "sluice.toml").write_text(f"""
[kafka.options]
"bootstrap.servers" = "{kafka.bootstrap}"
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "{MECHANISM}"
"sasl.username" = "{USER}"
"ssl.ca.location" = "{kafka.ca}"

[kafka.secrets]
"sasl.password" = "file:password"
""")
    return read_project(folder)


def through_the_gateway(project: Project, *records: Record) -> None:
    async def publish() -> None:
        sink = GroupCommit(project.kafka_options, project.settings.gateway.ack_seconds_max)
        try:
            await sink.publish(records)
        finally:
            await sink.close(0.1)

    asyncio.run(publish())


def polled(project: Project) -> None:
    log = KafkaLog(project.kafka_options, "g", [P0.topic])
    member, deadline = Member(log), time.monotonic() + REFUSED_SECONDS_MAX
    try:
        while time.monotonic() < deadline:
            with suppress(TransientError):  # a client may say first that no broker is up
                member.poll()
    finally:
        log.close()


SOME = Record(P0.topic, b"x")
WAYS: Mapping[str, Callable[[Project], object]] = {
    "topics": lambda p: p.admin().ensure_topics([TopicSpec(*P0)]),
    "lag": lambda p: p.admin().lag("g"),
    "publisher": lambda p: KafkaPublisher(p.kafka_options).publish([SOME]),
    "transactions": lambda p: KafkaTransactions(p.kafka_options, "tx").publish_atomically([SOME]),
    "gateway": lambda p: through_the_gateway(p, SOME),
    "group": polled,
    "partitions": lambda p: p.reader().partitions(P0.topic),
    "bounds": lambda p: p.reader().bounds(P0),
    "range": lambda p: list(p.reader().read(P0, 0, 1)),
}


def refused(project: Project, way: Callable[[Project], object]) -> SetupError:
    """How the broker's or our own refusal is told, in time and without any secret."""
    began = time.monotonic()
    with pytest.raises(SetupError) as caught:
        way(project)
    assert time.monotonic() - began < REFUSED_SECONDS_MAX
    told = "".join(traceback.format_exception(caught.value))
    assert project.kafka_options["sasl.password"] not in told
    assert "check sasl.*, ssl.* and security.protocol in [kafka]" in caught.value.remedy
    return caught.value


def test_topics_are_made_and_records_written_and_read_over_tls_with_a_password(
    tmp_path: Path, kafka: SecureKafka
) -> None:
    here = project(tmp_path, kafka)
    admin, reader = here.admin(), here.reader()
    assert admin.ensure_topics([TopicSpec(P0.topic, 1)]) == []
    KafkaPublisher(here.kafka_options).publish([Record(P0.topic, b"published")])
    KafkaTransactions(here.kafka_options, "tx").publish_atomically([Record(P0.topic, b"atomic")])
    through_the_gateway(here, Record(P0.topic, b"delivered"))
    assert admin.topics()[P0.topic] == 1
    assert list(reader.partitions(P0.topic)) == [P0]
    written = KafkaLogReader(here.kafka_options, isolation="read_uncommitted").bounds(P0)
    found = [value for run in reader.read(P0, *written) for value in run.values]
    assert found == [b"published", b"atomic", b"delivered"]
    member = Member(KafkaLog(here.kafka_options, "readers", [P0.topic]), lambda _: 0)
    until(lambda: member.values[P0] == found, member)
    member.log.commit({P0: member.offsets[P0][-1] + 1})
    member.log.close()
    assert admin.lag("readers") == {P0: reader.bounds(P0)[1] - member.offsets[P0][-1] - 1}


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_password_is_told_soon_and_never_shown(
    tmp_path: Path, kafka: SecureKafka, way: str
) -> None:
    here = project(tmp_path, replace(kafka, password=WRONG_PASSWORD))
    error = refused(here, WAYS[way])
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512" in error.what
    assert kafka.password not in str(error)


@pytest.mark.parametrize("way", ["topics", "publisher", "gateway", "group", "range"])
def test_a_server_that_our_authority_did_not_sign_is_not_spoken_to(
    tmp_path: Path, kafka: SecureKafka, way: str
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(authority("somebody else").pem)
    error = refused(project(tmp_path, replace(kafka, ca=other)), WAYS[way])
    assert "certificate verify failed" in error.what
    assert "verify that ssl.ca.location is correctly configured" in error.what


def test_an_authority_that_is_not_there_is_told_before_anything_is_sent(
    tmp_path: Path, kafka: SecureKafka
) -> None:
    here = project(tmp_path, replace(kafka, ca=tmp_path / "nowhere.pem"))
    for way in ("topics", "publisher", "gateway", "group", "range"):
        with pytest.raises(SetupError, match=r"ssl\.ca\.location") as caught:
            WAYS[way](here)
        assert kafka.password not in str(caught.value)
