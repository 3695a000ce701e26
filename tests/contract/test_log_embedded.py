"""The embedded broker: what survives, and what it says when it cannot start."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import SetupError
from schemas.events import Partition, Record
from services.adapters.kafka import KafkaAdmin, KafkaLogReader, KafkaPublisher, TopicSpec
from services.embedded import jars
from services.embedded.kafka import EmbeddedKafka

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]


def test_ports_identity_and_messages_survive_a_restart(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        before = kafka.bootstrap
        admin = KafkaAdmin({"bootstrap.servers": before})
        identity = admin.cluster_id()
        admin.ensure_topics([TopicSpec("t", 1)])
        KafkaPublisher({"bootstrap.servers": before}).publish([Record("t", b"kept")])
        kafka.kill()
    with EmbeddedKafka(tmp_path) as kafka:
        assert kafka.bootstrap == before
        client = {"bootstrap.servers": before}
        assert KafkaAdmin(client).cluster_id() == identity
        (run,) = KafkaLogReader(client).read(Partition("t", 0), 0, 1)
        assert list(run.values) == [b"kept"]
    with pytest.raises(SetupError, match="remove the folder"):
        EmbeddedKafka(tmp_path, nodes=3).start()
    with pytest.raises(SetupError, match="remove the folder"):
        EmbeddedKafka(tmp_path, port=1234).start()


def test_a_port_that_is_taken_is_a_setup_error_that_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        kafka = EmbeddedKafka(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(SetupError, match="Address already in use"):
            kafka.start()
        assert kafka.pid() is None


def test_the_address_is_unknown_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has not been started"):
        _ = EmbeddedKafka(tmp_path).bootstrap


def test_without_the_jars_the_error_names_the_ways_out(tmp_path: Path) -> None:
    code = "from services.embedded import jars; jars.classpath()"
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:1")
    homes = {"M2_REPO": str(tmp_path / "m2"), "JGO_CACHE_DIR": str(tmp_path / "jgo")}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, env={**os.environ, **nowhere, **homes}, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    for way in ("could not be fetched", "KAFKA_BOOTSTRAP_SERVERS", "[kafka]", "docker compose"):
        assert way in ran.stderr


def test_a_jar_that_differs_from_the_lock_is_noticed(tmp_path: Path) -> None:
    real = [Path(name) for name in jars.classpath().split(":")]
    assert jars.differences(real) == set()
    cut = tmp_path / real[0].name
    shutil.copyfile(real[0], cut)
    with cut.open("r+b") as file:
        file.truncate(1000)
    assert jars.differences([cut, *real[1:]]) == {cut.name}
    assert jars.differences(real[1:]) == {cut.name}
