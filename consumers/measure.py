"""What a loader tells its monitors: counts of a committed batch, and where everything stands."""

import numpy as np
import numpy.typing as npt

from consumers.batching import Batch
from consumers.loader import LoadPorts, LoadState
from consumers.ownership import Phase
from schemas.events import LoadPlan, Receipt
from schemas.telemetry import Hop

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
        gauges = {
            "load_partitions_assigned": len(held),
            "load_partitions_paused": sum(h.phase is not Phase.OWNED for h in held.values())
            if topic not in state.paused
            else len(held),
            "load_memory_bytes": sum(b.bytes for b in (batch, loading and loading[1]) if b),
            "load_batch_open_seconds": (now - batch.opened_at) / 1e6 if batch is not None else 0,
            "load_dedupe_keys": sum(h.keys.pending for h in held.values() if h.keys is not None),
        }
        for name, value in gauges.items():
            ports.metrics.gauge(name, value, stream=topic)
