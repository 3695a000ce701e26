"""The loader's ports, its state at the start and its policy."""

from consumers.loading.batching import FlushPolicy
from consumers.loading.breaker import Breaker
from consumers.loading.loader import LoadPolicy, LoadPorts, LoadState, Note
from consumers.reading.stream import LoadStream
from services.adapters.kafka import KafkaLog, KafkaPublisher
from services.adapters.lanes import ThreadLanes, discards, nothing
from services.adapters.seen_keys import SegmentStores
from services.bootstrap.project import Project


def load_ports(project: Project, note: Note) -> LoadPorts:
    """What the loader works with; ``note`` takes what happens on the way."""
    settings = project.settings.loader
    group = f"{project.settings.project}-{settings.group}"
    return LoadPorts(
        reader=project.reader(),
        publisher=KafkaPublisher(project.large_options, "loader"),
        lanes=ThreadLanes(
            project.warehouse, settings.lanes, nothing if settings.keep_files else discards(note)
        ),
        stores=SegmentStores(project.settings.state / "seen"),
        clock=project.clock,
        metrics=project.metrics,
        note=note,
        dead_letters=project.dead_letters.records,
        # last, after what may fail: a consumer that nobody closes keeps the process from ending
        log=KafkaLog(project.kafka_options, group, list(project.streams)),
    )


def load_state(project: Project) -> LoadState:
    """A loader's state at its start."""
    settings = project.settings.loader
    return LoadState(
        streams={
            name: LoadStream(contract, project.registry.schema)
            for name, contract in project.streams.items()
        },
        breaker=Breaker(
            settings.breaker_ratio,
            settings.breaker_events_min,
            settings.breaker_in_a_row_max,
        ),
    )


def load_policy(project: Project) -> LoadPolicy:
    """When batches close."""
    settings = project.settings.loader
    return LoadPolicy(
        FlushPolicy(settings.rows_max, settings.bytes_max, settings.age_seconds_max),
        settings.poll_messages_max,
    )
