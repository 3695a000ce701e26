"""What a loader tells its monitors: counts of a committed batch, and where everything stands."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from consumers.loading.batching import Batch
from consumers.loading.loader import LoadPorts, LoadState
from consumers.loading.ownership import Held, Phase
from schemas.errors import SetupError, SluiceError
from schemas.events import LoadPlan, Partition, Receipt
from schemas.telemetry import Hop

NOT_CAUGHT_UP = "has not caught up with its log yet"
FAILURES_MAX = 3  # in a row of a partition, that are no blip any more
LATENCY_SAMPLES = 20  # of a batch, each standing for as many events


def count_committed(ports: LoadPorts, batch: Batch, plan: LoadPlan, receipt: Receipt) -> None:
    """Counts and times of a batch that has committed."""
    metrics, topic, now = ports.metrics, plan.topic, ports.clock.now()
    metrics.count("load_batches", stream=topic)
    metrics.count("load_events_loaded", plan.rows, stream=topic)
    metrics.count("load_events_duplicate", sum(r.duplicates for r in plan.ranges), stream=topic)
    metrics.observe("load_batch_rows", plan.rows, stream=topic)
    metrics.observe("load_batch_bytes", receipt.bytes, stream=topic)
    metrics.observe("load_seconds", receipt.seconds, stream=topic)
    metrics.gauge("load_committed_timestamp_seconds", now / 1e6, stream=topic)
    for hop, seconds in batch.latencies(now).items():
        _observe(ports, topic, hop, seconds, plan.rows)


def _observe(
    ports: LoadPorts, topic: str, hop: Hop, seconds: npt.NDArray[np.float64], events: int
) -> None:
    """A few quantiles, each for its share of the events."""
    if not seconds.size:
        return
    samples = min(LATENCY_SAMPLES, seconds.size)
    share = max(1, events // samples)
    for sample in np.quantile(seconds, (np.arange(samples) + 0.5) / samples):
        ports.metrics.observe(
            "event_latency_seconds",
            max(0.0, float(sample)),
            times=share,
            stream=topic,
            hop=hop.value,
        )


def tell_state(ports: LoadPorts, state: LoadState) -> None:
    """The gauges of everything held now. Asks nobody: costs no time of the log or warehouse."""
    now = ports.clock.now()
    by_topic: dict[str, dict[Partition, Held]] = {topic: {} for topic in state.streams}
    for partition, here in state.ownership.held.items():
        by_topic[partition.topic][partition] = here
    for topic, held in by_topic.items():
        batch, loading = state.open.get(topic), state.loading.get(topic)
        waiting = sum(h.phase is not Phase.OWNED for h in held.values())
        paused = len(held) if topic in state.paused else waiting
        kept = sum(b.bytes for b in (batch, loading and loading[1]) if b)
        age = (now - batch.opened_at) / 1e6 if batch is not None else 0
        ports.metrics.gauge("load_partitions_assigned", len(held), stream=topic)
        ports.metrics.gauge("load_partitions_paused", paused, stream=topic)
        ports.metrics.gauge("load_memory_bytes", kept, stream=topic)
        ports.metrics.gauge("load_batch_open_seconds", age, stream=topic)
        keys = sum(h.keys.remembered + h.keys.pending for h in held.values() if h.keys is not None)
        ports.metrics.gauge("load_dedupe_keys", keys, stream=topic)
        _tell_lag(ports, topic, held)


def forget_gauges(ports: LoadPorts, partition: Partition) -> None:
    """What was said of a partition that is someone else's now, who says it from here on."""
    gauge, stream, number = ports.metrics.gauge, partition.topic, str(partition.number)
    gauge("load_lag_events", float("nan"), stream=stream, partition=number)
    gauge("load_breaker_open", float("nan"), stream=stream, partition=number)


def unready(here: Held) -> SluiceError | str:
    """Why a partition is not up to date; empty if it is, or if what keeps it may be a blip.

    It has caught up once everything is loaded that the log held when its delivery began; what
    comes later is lag. A failure is a reason with the third in a row, and at once if only people
    can mend it. It stays one, through all tries, until something loads or nothing is left to.
    """
    if here.error is not None and (
        isinstance(here.error, SetupError) or here.failures >= FAILURES_MAX
    ):
        return here.error
    return "" if here.taken_up else NOT_CAUGHT_UP


def _take_up(here: Held) -> None:
    """Whether the partition has caught up, and its failures are over."""
    if here.phase is not Phase.OWNED or here.end is None or here.committed is None:
        return
    goal = here.end if here.goal is None else here.goal
    here.goal = min(goal, here.end)  # less the markers at its end
    # beyond the end is no place to be: the log is another one, which the next poll tells
    here.taken_up = here.taken_up or here.goal <= here.committed <= here.end
    if here.committed == here.end:
        here.failures, here.error = 0, None


def _tell_lag(ports: LoadPorts, topic: str, held: Mapping[Partition, Held]) -> None:
    """How far behind: by events for each partition, by age of the first that is not loaded.

    Of all that are held, those that wait above all: their messages are not even read. Where none
    of a partition was ever read here, its age counts from now on.
    """
    now = ports.clock.now()
    ends = ports.log.ends(list(held))
    for partition, here in held.items():
        here.end = ends.get(partition)
        _take_up(here)
        lag = here.lag
        if lag is not None:
            number = str(partition.number)
            ports.metrics.gauge("load_lag_events", lag, stream=topic, partition=number)
        if lag == 0:
            here.oldest = None
        elif here.oldest is None and (lag is not None or here.committed is None):
            here.oldest = now
    ages = [(now - here.oldest) / 1e6 for here in held.values() if here.oldest is not None]
    ports.metrics.gauge("load_lag_seconds", max(0.0, *ages, 0.0), stream=topic)
