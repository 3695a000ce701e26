"""The loader against bare consumption of the same topic, per CPU second, in turns.

``python -m benchmarks.loader`` prints the table. Each measurement is a process of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.events import fill, verdicts
from services.collector import calm_collector

TOPIC = "bench.orders"
EVENTS = 2_000_000
ROUNDS = 3


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare(bootstrap: str, topic: str, events: int, collector: str = "") -> dict[str, float]:
    """Nothing but consume(); with Python's garbage collector as it is, or ``calm`` as ours."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415 - the child's imports

    from services.adapters.kafka.clients import CONSUMER, READING  # noqa: PLC0415

    if collector == "calm":
        calm_collector()
    consumer = Consumer({**CONSUMER, **READING, "bootstrap.servers": bootstrap, "group.id": "bare"})
    consumer.assign([TopicPartition(topic, p, 0) for p in (0, 1)])
    seen, began, cpu = 0, time.monotonic(), cpu_seconds()
    while seen < events:
        seen += len(consumer.consume(25_000, 0.5))
    return _measured(events, began, cpu)


def peak_megabytes() -> float:
    """This program's largest resident set. Not ``ru_maxrss``: that is the parent's at first."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _measured(events: int, began: float, cpu: float, **more: float) -> dict[str, float]:
    spent = cpu_seconds() - cpu
    return {
        "per_cpu_second": events / spent,
        "per_second": events / (time.monotonic() - began),
        "cpu_seconds": spent,
        "peak_mb": peak_megabytes(),
        **more,
    }


def load(bootstrap: str, topic: str, events: int, connection: str = "") -> dict[str, float]:
    """The real loop on real Kafka; the warehouse only writes Parquet, or is the embedded one."""
    from benchmarks.loading import loop  # noqa: PLC0415 - the child's imports

    with tempfile.TemporaryDirectory() as folder:
        arguments = json.loads(connection) if connection else None
        turn, state, done = loop(bootstrap, topic, Path(folder), arguments)
        while not state.ownership.held or not all(
            state.ownership.owned(p) for p in state.ownership.held
        ):
            turn()
        began, cpu = time.monotonic(), cpu_seconds()
        while done.events < events:
            turn()
        return _measured(
            events, began, cpu, rows=done.rows, duplicates=done.duplicates, dead=done.dead
        )


def child(what: str, *arguments: str) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.loader", what, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def filled(bootstrap: str, events: int) -> str:
    """A topic with so many events; made once a broker."""
    from services.adapters.kafka import KafkaAdmin, TopicSpec  # noqa: PLC0415

    topic = f"{TOPIC}{events}"
    admin = KafkaAdmin({"bootstrap.servers": bootstrap})
    if topic not in admin.topics():
        admin.ensure_topics(
            [TopicSpec(topic, 2), TopicSpec(topic + ".dead", 1), TopicSpec("sluice.batches", 1)]
        )
        print(f"{events} events of {fill(bootstrap, topic, events)} bytes")
    return topic


def measured_load(
    bootstrap: str, events: int, connection: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """The loader over a topic of so many events, into the embedded warehouse if there is one."""
    extra = [json.dumps(dict(connection))] if connection else []
    found = child("load", bootstrap, filled(bootstrap, events), str(events), *extra)
    exact = verdicts(events)
    if tuple(found[name] for name in ("rows", "duplicates", "dead")) != exact:
        raise RuntimeError(f"rows, duplicates and dead are not {exact}: {found}")
    return found


def run(
    bootstrap: str, events: int = EVENTS, connection: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """{name: {value, unit, baseline, ratio, target, met}}; fills the topic first."""
    topic = filled(bootstrap, events)
    results = {}
    measured: list[tuple[str, float | None, str, Mapping[str, Any] | None]] = [
        ("loader", 0.45, "", None),
        ("loader, both with the collector calm", None, "calm", None),
    ]
    if connection:
        measured.append(("loader with warehouse", 0.35, "", connection))
    for name, target, collector, into in measured:
        rounds = [
            (
                child("bare", bootstrap, topic, str(events), collector),
                measured_load(bootstrap, events, into),
            )
            for _ in range(ROUNDS)
        ]
        ratio = median(b["per_cpu_second"] / a["per_cpu_second"] for a, b in rounds)
        results[name] = {
            "value": round(median(b["per_cpu_second"] for _, b in rounds)),
            "unit": "events per CPU second",
            "baseline": round(median(a["per_cpu_second"] for a, _ in rounds)),
            "ratio": round(ratio, 3),
            "target": target,
            "met": None if target is None else ratio >= target,
            "per_second": round(median(b["per_second"] for _, b in rounds)),
            "peak_mb": round(max(b["peak_mb"] for _, b in rounds)),
            "exact": rounds[-1][1],
        }
    return results


def main() -> None:
    if len(sys.argv) > 1:
        what, bootstrap, topic, events, *more = sys.argv[1:]
        measure = {"bare": bare, "load": load}[what]
        print(json.dumps(measure(bootstrap, topic, int(events), *more)))
        return
    from services.embedded.kafka import EmbeddedKafka  # noqa: PLC0415
    from services.embedded.warehouse import EmbeddedWarehouse  # noqa: PLC0415

    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedKafka(Path(folder) / "kafka") as kafka,
        EmbeddedWarehouse(Path(folder) / "warehouse") as warehouse,
    ):
        print(json.dumps(run(kafka.bootstrap, connection=warehouse.connection), indent=1))


if __name__ == "__main__":
    main()
