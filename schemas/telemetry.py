"""Every metric there is: names are a type, and the documentation comes from this table.

Two rules. An event that will be tried again is *retried*, never counted as dropped, and nothing
is counted twice on the way. Labels are low-cardinality codes: never an event id, a key, a path or
a message.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

PREFIX = "sluice_"
SERIES_MAX = 2_000  # label combinations of one metric; more are refused, not kept

Label = Literal[
    "stream",
    "source",
    "partition",
    "stage",
    "reason",
    "status",
    "hop",
    "loop",
    "check",
    "kind",
    "role",
    "version",
]
"""The label names that exist."""

LABELS: Mapping[Label, str] = MappingProxyType(
    {
        "stream": "A stream that the project declares, such as `shop.orders`.",
        "source": "A source that the project declares; `unknown` for any other.",
        "partition": "The number of a topic's partition.",
        "stage": "Where an event left the path: a value of `schemas.errors.Stage`.",
        "reason": "A code from a closed list, such as a value of `schemas.errors.RejectReason`.",
        "status": "The status code of an HTTP answer, or `error` where none came.",
        "hop": "A stretch of an event's way: a value of `schemas.telemetry.Hop`.",
        "loop": "The name of a loop that the supervisor runs, or of a heartbeat.",
        "check": "The name of a readiness check.",
        "kind": "What one does about an error: a value of `schemas.telemetry.ErrorKind`.",
        "role": "The process: `gateway`, `poller`, `loader`, `auditor` or another command.",
        "version": "The version of Sluice.",
    }
)


class Kind(StrEnum):
    """What can be done with a metric."""

    COUNTER = "counter"  # only grows; starts from zero with the process
    GAUGE = "gauge"  # is set to what holds now
    HISTOGRAM = "histogram"  # observations, by bucket


class Hop(StrEnum):
    """The stretches of an event's way, for :data:`METRICS` ``event_latency_seconds``."""

    SOURCE = "source"  # the event's own time -> received by the gateway or the poller
    RECEIVE = "receive"  # received -> the log's timestamp
    LOG = "log"  # the log's timestamp -> read by the loader
    LOAD = "load"  # read -> committed in the warehouse
    TOTAL = "total"  # the event's own time (or when it was received) -> committed


class ErrorKind(StrEnum):
    """What one does about an error."""

    SETUP = "setup"  # alert, unhealthy, slow retry
    TRANSIENT = "transient"  # backoff
    FENCED = "fenced"  # claim again
    BUG = "bug"  # crash without committing


Unit = Literal["seconds", "bytes", "events", "rows", "requests", ""]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``exposed`` is its name with prefix and suffix, as queries spell it."""

    name: str
    kind: Kind
    unit: Unit
    labels: tuple[Label, ...]
    help: str
    buckets: tuple[float, ...] = ()  # upper bounds, ascending, without infinity

    @property
    def exposed(self) -> str:
        """The family's name in PromQL, without a histogram's suffixes."""
        return f"{PREFIX}{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its time series in PromQL."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.exposed,)
        return tuple(f"{self.exposed}_{part}" for part in ("bucket", "sum", "count"))


class UnknownMetricError(LookupError):
    """A name, a kind or a label that the table does not have: a bug of the caller."""


CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LATENCY_SECONDS = (
    *(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60),
    *(120, 300, 600, 1_800, 3_600, 21_600, 86_400, 604_800),
)
ROWS = (1, 10, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
BYTES = (
    *(1_000, 10_000, 100_000, 1_000_000, 5_000_000, 10_000_000),
    *(25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000),
)


def _counter(name: str, unit: Unit, text: str, *labels: Label) -> Metric:
    return Metric(name, Kind.COUNTER, unit, labels, text)


def _gauge(name: str, unit: Unit, text: str, *labels: Label) -> Metric:
    return Metric(name, Kind.GAUGE, unit, labels, text)


def _seconds(name: str, buckets: tuple[float, ...], text: str, *labels: Label) -> Metric:
    return Metric(name, Kind.HISTOGRAM, "seconds", labels, text, buckets)


GATEWAY = (
    _counter(
        "gateway_requests", "requests", "Webhook calls answered, by status.", "source", "status"
    ),
    _counter(
        "gateway_refusals",
        "requests",
        "Calls refused at the door, by why: the signature, a limit, the rate, a full buffer.",
        "source",
        "reason",
    ),
    _counter(
        "gateway_events", "events", "Events acknowledged after the broker had them.", "stream"
    ),
    _counter(
        "gateway_events_dead",
        "events",
        "Events that became dead letters before the log.",
        "stream",
        "reason",
    ),
    _counter("gateway_bytes", "bytes", "Bytes of bodies as they came over the wire.", "source"),
    _gauge("gateway_in_flight_events", "events", "Events that wait for the broker."),
    _seconds("gateway_ack_seconds", CALL_SECONDS, "From the whole body to its answer.", "source"),
)

POLLER = (
    _counter("poll_pages", "", "Pages published together with their cursor.", "stream"),
    _counter("poll_records", "events", "Records published from pages.", "stream"),
    _counter(
        "poll_records_dead", "events", "Records that became dead letters.", "stream", "reason"
    ),
    _counter(
        "poll_requests",
        "requests",
        "Requests to a source, tries included, by status.",
        "source",
        "status",
    ),
    _counter("poll_rate_waits", "", "Waits for a source's rate limit.", "source"),
    _seconds("poll_run_seconds", LATENCY_SECONDS, "One turn of a polled stream.", "stream"),
    _counter("poll_failures", "", "Turns that ended early, by kind of error.", "stream", "kind"),
    _gauge(
        "poll_cursor_age_seconds", "seconds", "Now minus the cursor, where it is a time.", "stream"
    ),
)

LOADER = (
    _counter("load_polls", "", "Polls of the log, empty ones included."),
    _counter("load_events_read", "events", "Events read from the log.", "stream"),
    _counter("load_events_loaded", "events", "Events committed in the warehouse.", "stream"),
    _counter("load_events_duplicate", "events", "Events dropped as duplicates.", "stream"),
    _counter(
        "load_events_dead",
        "events",
        "Events that became dead letters.",
        "stream",
        "stage",
        "reason",
    ),
    _counter("load_batches", "", "Batches committed in the warehouse.", "stream"),
    Metric("load_batch_rows", Kind.HISTOGRAM, "rows", ("stream",), "Rows of a batch.", ROWS),
    Metric(
        "load_batch_bytes", Kind.HISTOGRAM, "bytes", ("stream",), "Bytes of a batch's file.", BYTES
    ),
    _seconds("load_seconds", LATENCY_SECONDS, "PUT, COPY, ledger, fence, COMMIT.", "stream"),
    _seconds(
        "event_latency_seconds",
        LATENCY_SECONDS,
        "Time of committed events by hop; one observation an event, from its headers and times.",
        "stream",
        "hop",
    ),
    _gauge("load_lag_events", "events", "Log end minus what is committed.", "stream", "partition"),
    _gauge(
        "load_lag_seconds",
        "seconds",
        "Age in the log of the oldest message not loaded; 0 without.",
        "stream",
    ),
    _gauge("load_memory_bytes", "bytes", "Bytes of messages held in batches.", "stream"),
    _gauge("load_batch_open_seconds", "seconds", "Age of the open batch; 0 without.", "stream"),
    _gauge(
        "load_committed_timestamp_seconds", "seconds", "Unix time of the last commit.", "stream"
    ),
    _gauge("load_partitions_assigned", "", "Partitions that this loader holds.", "stream"),
    _gauge("load_partitions_paused", "", "Held partitions that deliver nothing.", "stream"),
    _counter("load_claims", "", "Partitions claimed in the warehouse.", "stream"),
    _counter("load_fences_lost", "", "Loads that the fence turned away.", "stream"),
    _counter(
        "load_retries", "", "Loads given up and read again, by kind of error.", "stream", "kind"
    ),
    _gauge(
        "load_breaker_open", "", "1 while too many rejects stop a partition.", "stream", "partition"
    ),
    _gauge("load_dedupe_keys", "", "Keys that deduplication remembers.", "stream"),
    _counter(
        "load_offset_gaps", "", "Offsets skipped without an explanation.", "stream", "partition"
    ),
    _counter(
        "load_offset_overlaps", "", "Ranges that began before the last end.", "stream", "partition"
    ),
    _counter(
        "load_offset_rewinds", "", "Log ends that went back: a lost log.", "stream", "partition"
    ),
)

AUDITOR = (
    _gauge(
        "books_unbalanced_seconds",
        "seconds",
        "How long a stream's books have not balanced; 0 while they do. `unknown`: what is found "
        "of no stream.",
        "stream",
    ),
    _gauge("books_audited_timestamp_seconds", "seconds", "Unix time of the last audit's end."),
    _seconds("books_audit_seconds", LATENCY_SECONDS, "One audit, of everything or of what is new."),
    _counter("books_messages_read", "events", "Messages of the log that audits have read."),
)

PROCESS = (
    _gauge("process_info", "", "Always 1; says what runs.", "role", "version"),
    _gauge("process_live", "", "1 while every loop turns."),
    _gauge("process_ready", "", "1 while every readiness check holds."),
    _gauge("process_check", "", "1 while this readiness check holds.", "check"),
    _gauge("process_beat_age_seconds", "seconds", "Time since a loop's last turn.", "loop"),
    _gauge("process_advance_age_seconds", "seconds", "Time since a durable advance.", "check"),
    _counter("process_stuck", "", "Times that a loop was found stuck.", "loop"),
    _counter("loop_turns", "", "Steps that ended well.", "loop"),
    _counter("loop_errors", "", "Steps that ended with an error.", "loop", "kind"),
    _counter("loop_wait_seconds", "seconds", "Time spent waiting after errors.", "loop", "kind"),
    _gauge("loop_setup_failing", "", "1 while a loop waits for a repair of its setup.", "loop"),
    _counter(
        "telemetry_refused",
        "",
        "Calls of metrics that were wrong, or one series too many.",
        "reason",
    ),
    _counter("telemetry_pushes", "", "Pushes of all metrics that a collector took."),
    _counter("telemetry_push_failures", "", "Pushes that failed; the next one says everything."),
)

GROUPS: Mapping[str, tuple[Metric, ...]] = MappingProxyType(
    {
        "Gateway": GATEWAY,
        "Poller": POLLER,
        "Loader": LOADER,
        "Auditor": AUDITOR,
        "Every process": PROCESS,
    }
)
METRICS: Mapping[str, Metric] = MappingProxyType(
    {metric.name: metric for group in GROUPS.values() for metric in group}
)


def known(name: str, kind: Kind, labels: Collection[str]) -> Metric:
    """The metric of this name. Raises UnknownMetricError if name, kind or labels do not fit."""
    metric = METRICS.get(name)
    if metric is None:
        raise UnknownMetricError(f"no metric {name!r}: add it to schemas/telemetry.py")
    if metric.kind is not kind:
        raise UnknownMetricError(f"metric {name!r} is a {metric.kind}, used as a {kind}")
    if set(labels) != set(metric.labels):
        raise UnknownMetricError(
            f"metric {name!r} has the labels {sorted(metric.labels)}, got {sorted(labels)}"
        )
    return metric
