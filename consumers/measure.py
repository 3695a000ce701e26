"""What a loader tells its monitors: counts of a committed batch, and where everything stands."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from consumers.batching import Batch
from consumers.loader import LoadPorts, LoadState
from consumers.ownership import Held, Phase
from schemas.events import LoadPlan, Partition, Receipt
from schemas.telemetry import Hop

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
    for topic in state.streams:
        held = {p: h for p, h in state.ownership.held.items() if p.topic == topic}
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
        opened = [b.opened_at for b in (batch, loading and loading[1]) if b]
        _tell_lag(ports, topic, held, min(opened, default=now))


def not_taken_up(ports: LoadPorts, state: LoadState) -> str:
    """What keeps this loader from being up to date with its partitions; empty if nothing does.

    A partition is taken up once everything is loaded that the log held when its delivery began.
    What comes later is lag; a failure is a reason again with the third in a row, and at once if
    only people can mend it.
    """
    held = state.ownership.held
    new = [p for p, h in held.items() if h.phase is Phase.OWNED and not h.taken_up]
    for partition, end in ports.log.ends(new).items():
        here = held[partition]
        here.goal = end if here.goal is None else min(here.goal, end)  # less the markers at its end
        here.taken_up = here.committed >= here.goal
    for partition, here in sorted(held.items()):
        if here.trouble:
            return f"{partition.topic}/{partition.number}: {here.trouble}"
    waiting = [
        p
        for p, h in held.items()
        if not h.taken_up or (h.phase is not Phase.OWNED and h.failures >= FAILURES_MAX)
    ]
    if not waiting:
        return ""
    topic, number = min(waiting)
    return (
        f"{len(waiting)} of {len(held)} partitions are not taken up yet, such as {topic}/{number}"
    )


def _tell_lag(ports: LoadPorts, topic: str, held: Mapping[Partition, Held], oldest: int) -> None:
    """How far behind: by events for each partition, by age of the oldest batch under way."""
    owned = {p: h for p, h in held.items() if h.phase is Phase.OWNED}
    behind = 0
    for partition, end in ports.log.ends(list(owned)).items():
        lag = max(0, end - owned[partition].committed)
        behind += lag
        number = str(partition.number)
        ports.metrics.gauge("load_lag_events", lag, stream=topic, partition=number)
    seconds = (ports.clock.now() - oldest) / 1e6 if behind else 0.0
    ports.metrics.gauge("load_lag_seconds", seconds, stream=topic)
