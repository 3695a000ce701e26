"""Topics, and what monitors ask of a cluster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its documented names
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.errors import TransientError
from schemas.events import Partition
from services.adapters.kafka.clients import QUIET, Alarm, ClientConfig, ask
from services.adapters.kafka.errors import kafka_error, translating

SECONDS_MAX = 15.0
ID_SECONDS_MAX = 2.0  # the loader's turn waits for it
REPLICATION = 3  # where there are as many brokers
IN_SYNC = "min.insync.replicas"  # how many brokers acks=all waits for, at least
AT_LEAST = frozenset({IN_SYNC, "max.message.bytes", "retention.ms"})  # more is as good
FOREVER = -1
NO_ID = "A" * 22  # sixteen bytes of zero


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. ``replication`` None: three, or the brokers there are."""

    name: str
    partitions: int
    replication: int | None = None
    retention_ms: int = FOREVER
    compact: bool = False
    config: Mapping[str, str] = field(default_factory=dict)

    def settings(self, replicas: int) -> dict[str, str]:
        """The topic's configuration, where it has that many replicas."""
        kept = {"cleanup.policy": "compact" if self.compact else "delete"}
        if not self.compact:
            kept["retention.ms"] = str(self.retention_ms)
        if replicas >= REPLICATION:  # of two, both: then nothing is written while one is away
            kept[IN_SYNC] = "2"
        return {**kept, **self.config}


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is."""

    partitions: int
    replicas: int  # of the partition that has the fewest
    settings: Mapping[str, str]


class KafkaAdmin:
    """Every call waits for the cluster and raises TransientError or SetupError."""

    def __init__(self, client: ClientConfig) -> None:
        self._alarm = Alarm("admin")
        options: dict[str, Any] = {**QUIET, **client, "error_cb": self._alarm}
        with translating("admin"):
            self._admin = AdminClient(options)

    def cluster_id(self) -> str:
        """The cluster's own name for itself."""
        return str(self._metadata().cluster_id)

    def brokers(self) -> int:
        """How many brokers there are."""
        return len(self._metadata().brokers)

    def topics(self) -> Mapping[str, int]:
        """Partition counts by topic, without Kafka's own."""
        found = self._metadata().topics.items()
        return {
            name: len(topic.partitions)
            for name, topic in found
            if topic.error is None and not name.startswith("__")
        }

    def topic_id(self, name: str) -> str | None:
        """The topic's id; None where the brokers give topics none. One quick question."""
        where, wanted = f"admin, {name}", TopicCollection([name])
        with translating(where):
            asked = self._admin.describe_topics(wanted, request_timeout=ID_SECONDS_MAX)
            try:
                described = asked[name].result()
            except KafkaException as error:
                if kafka_error(error).name() != "UNKNOWN_TOPIC_OR_PART":
                    raise
                raise TransientError("there is no such topic at the moment", where=where) from error
        return None if str(described.topic_id) == NO_ID else str(described.topic_id)

    def described(self, names: Iterable[str]) -> Mapping[str, TopicFacts]:
        """Those of the named topics that exist, as they are."""
        found = self._metadata().topics
        there = [name for name in names if name in found and found[name].error is None]
        settings = self._settings(there) if there else {}
        return {
            name: TopicFacts(
                len(found[name].partitions),
                min((len(part.replicas) for part in found[name].partitions.values()), default=0),
                settings[name],
            )
            for name in there
        }

    def ensure_topics(self, specs: Iterable[TopicSpec]) -> list[str]:
        """Create what is missing; say how the others differ, without changing them."""
        wanted = {spec.name: spec for spec in specs}
        there = self.described(wanted)
        new = [spec for name, spec in wanted.items() if name not in there]
        if new:
            self._create(new)
        return [text for name, facts in there.items() for text in _differences(wanted[name], facts)]

    def delete_records(self, before: Mapping[Partition, int]) -> None:
        """Forget everything below these offsets, as retention would."""
        targets = [TopicPartition(*partition, offset) for partition, offset in before.items()]
        self._results(lambda: self._admin.delete_records(targets, request_timeout=SECONDS_MAX))

    def lag(self, group: str) -> Mapping[Partition, int]:
        """Messages between what the group has committed and the end, by partition."""
        groups = [ConsumerGroupTopicPartitions(group)]
        (state,) = self._results(
            lambda: self._admin.list_consumer_group_offsets(groups, request_timeout=SECONDS_MAX)
        ).values()
        committed = {
            Partition(one.topic, one.partition): one.offset
            for one in state.topic_partitions
            if one.offset >= 0
        }
        if not committed:
            return {}
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # confluent-kafka's gap
        ends = self._results(
            lambda: self._admin.list_offsets(
                {TopicPartition(*partition): latest for partition in committed},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=SECONDS_MAX,
            )
        )
        after = {Partition(one.topic, one.partition): end.offset for one, end in ends.items()}
        return {partition: after[partition] - offset for partition, offset in committed.items()}

    def _metadata(self) -> ClusterMetadata:
        with translating("admin"):
            return ask(
                lambda seconds: self._admin.list_topics(timeout=seconds),
                self._admin,
                self._alarm,
                SECONDS_MAX,
            )

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        default = min(REPLICATION, self.brokers())
        topics = []
        for spec in specs:
            replicas = spec.replication or default
            settings = spec.settings(replicas)
            topics.append(NewTopic(spec.name, spec.partitions, replicas, config=settings))
        with translating("admin, create topics"):
            for future in self._admin.create_topics(topics, request_timeout=SECONDS_MAX).values():
                try:
                    future.result()
                except KafkaException as error:
                    if kafka_error(error).name() != "TOPIC_ALREADY_EXISTS":  # another was faster
                        raise

    def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = self._results(
            lambda: self._admin.describe_configs(resources, request_timeout=SECONDS_MAX)
        )
        return {
            resource.name: {name: str(entry.value) for name, entry in entries.items()}
            for resource, entries in found.items()
        }

    def _results(self, start: Callable[[], Mapping[Any, Future[Any]]]) -> dict[Any, Any]:
        self._metadata()  # a future does not say that we are refused
        with translating("admin"):
            return {key: future.result() for key, future in start().items()}


def _differences(spec: TopicSpec, facts: TopicFacts) -> list[str]:
    found = []
    if facts.partitions < spec.partitions:
        found.append(
            f"{spec.name} has {facts.partitions} partition(s) and should have {spec.partitions}: "
            "add them when no loader is behind, since keys move to other partitions"
        )
    for name, value in spec.settings(facts.replicas).items():
        actual = facts.settings.get(name, "")
        if not _as_good(name, actual, value):
            found.append(f"{spec.name} has {name}={actual} and should have {value}: alter it")
    return found


def _as_good(name: str, actual: str, wanted: str) -> bool:
    """Whether a setting is as wanted, or keeps more."""
    if name == "retention.ms" and int(wanted) == FOREVER:
        return int(actual) == FOREVER
    if name == "retention.ms" and int(actual) == FOREVER:
        return True
    if name == IN_SYNC and not actual:  # such brokers have their own way of acknowledging
        return True
    return int(actual) >= int(wanted) if name in AT_LEAST else actual == wanted
