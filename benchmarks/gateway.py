"""The gateway beside FastAPI on the same broker, in turns, per CPU second of the serving process.

``python -m benchmarks.gateway`` starts the embedded Kafka and prints the table. Bodies of 1 KB,
128 connections, HMAC-SHA256, orjson, the same encoder, acks=all.
"""

import asyncio
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil

from benchmarks.fastapi_gateway import SECRET
from benchmarks.http_load import load

TOPIC = "bench.gateway"
CONNECTIONS = 128
SECONDS = 6.0
WARM_SECONDS = 2.0
ROUNDS = 3
BODY_BYTES = 1_024
BATCH = 100
ORDER = {
    "order_id": "o1",
    "customer_id": "c123456",
    "amount": 12.5,
    "currency": "EUR",
    "quantity": 3,
    "placed_at": "2026-11-23T04:45:48.796Z",
    "gift": False,
}


def one(number: int) -> dict[str, Any]:
    """An order of :data:`BODY_BYTES` bytes."""
    order = {**ORDER, "order_id": f"o{number:06}", "note": ""}
    return {**order, "note": "n" * (BODY_BYTES - len(orjson.dumps(order)))}


def serve_ours(bootstrap: str, topic: str) -> None:
    """The gateway, in this process."""
    import uvloop  # noqa: PLC0415 - the child's imports

    from benchmarks.events import SCHEMA_ID, contract  # noqa: PLC0415
    from producers.encode import StreamEncoder  # noqa: PLC0415
    from producers.webhook import find_plugins, make_source, read_config  # noqa: PLC0415
    from schemas.dead_letters import DeadLetterWriter  # noqa: PLC0415
    from services.adapters.clock import SystemClock  # noqa: PLC0415
    from services.adapters.kafka.group_commit import GroupCommit  # noqa: PLC0415
    from services.adapters.metrics import PrometheusMetrics  # noqa: PLC0415
    from services.gateway.ports import GatewayPorts  # noqa: PLC0415
    from services.gateway.serve import listen, serve  # noqa: PLC0415
    from services.settings import Gateway  # noqa: PLC0415

    plugins = find_plugins()
    table = {
        "secrets": ["env:BENCH"],
        "verify": {"scheme": "hmac", "header": "x-signature"},
        "stream": topic,
    }
    config = read_config("bench", table, plugins)
    settings = Gateway(port=0, ack_seconds_max=10)
    listener = listen(settings)
    print(listener.getsockname()[1], flush=True)

    async def main() -> None:
        ports = GatewayPorts(
            sources={"bench": make_source("bench", config, [SECRET.decode()], plugins)},
            encoders={topic: StreamEncoder(contract(topic), SCHEMA_ID)},
            dead_letters=DeadLetterWriter(SCHEMA_ID).records,
            sink=GroupCommit({"bootstrap.servers": bootstrap}, settings.ack_seconds_max),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(ports, settings, listener, stop)

    uvloop.run(main())


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own: its port and the process."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline()), psutil.Process(child.pid)
        finally:
            child.terminate()


def signed(events: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of a delivery of ``events`` events."""
    body = orjson.dumps(one(1) if events == 1 else [one(n) for n in range(events)])
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-signature": signature}, body


def measure(port: int, process: psutil.Process, events: int) -> dict[str, float]:
    """One load of bodies of ``events`` events: what a CPU second of the server did."""
    headers, body = signed(events)
    load(port, headers, body, CONNECTIONS, WARM_SECONDS)
    before = process.cpu_times()
    found = load(port, headers, body, CONNECTIONS, SECONDS)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return {
        "per_cpu_second": found["requests"] * events / spent,
        "per_second": found["requests"] * events / SECONDS,
        "p99_ms": found["p99_ms"],
    }


def run(bootstrap: str) -> dict[str, Any]:
    """{name: {value, unit, baseline, ratio, target, met}}."""
    from services.adapters.kafka import KafkaAdmin, TopicSpec  # noqa: PLC0415 - after the child's

    admin = KafkaAdmin({"bootstrap.servers": bootstrap})
    admin.ensure_topics([TopicSpec(TOPIC, 2)])
    with (
        serving("benchmarks.gateway", "serve", bootstrap, TOPIC) as ours,
        serving("benchmarks.fastapi_gateway", bootstrap, TOPIC) as theirs,
    ):
        rounds = [
            (measure(*theirs, 1), measure(*ours, 1), measure(*ours, BATCH)) for _ in range(ROUNDS)
        ]
    return {
        "gateway against FastAPI": _compared([(a, b) for a, b, _ in rounds], 3.0, "requests"),
        "bodies of 100 against bodies of 1": _compared(
            [(b, c) for _, b, c in rounds], 6.0, "events"
        ),
        "gateway, requests a second": _fast(
            [b["per_second"] for _, b, _ in rounds], 5_000, "requests a second, all on two cores"
        ),
        "gateway, events a second in bodies of 100": _fast(
            [c["per_second"] for _, _, c in rounds], 20_000, "events a second, all on two cores"
        ),
        "gateway p99": {
            "value": round(median(b["p99_ms"] for _, b, _ in rounds), 1),
            "unit": f"ms at {CONNECTIONS} connections",
            "baseline": round(median(a["p99_ms"] for a, _, _ in rounds), 1),
            "ratio": round(median(b["p99_ms"] / a["p99_ms"] for a, b, _ in rounds), 3),
            "target": 60,
            "met": median(b["p99_ms"] for _, b, _ in rounds) <= 60,
        },
    }


def _fast(rates: list[float], target: float, unit: str) -> dict[str, Any]:
    """A rate by the clock, with broker and load generator on the same cores."""
    rate = median(rates)
    return {"value": round(rate), "unit": unit, "target": target, "met": rate >= target}


def _compared(
    rounds: list[tuple[dict[str, float], dict[str, float]]], target: float, unit: str
) -> dict[str, Any]:
    ratio = median(b["per_cpu_second"] / a["per_cpu_second"] for a, b in rounds)
    return {
        "value": round(median(b["per_cpu_second"] for _, b in rounds)),
        "unit": f"{unit} per CPU second",
        "baseline": round(median(a["per_cpu_second"] for a, _ in rounds)),
        "ratio": round(ratio, 2),
        "target": target,
        "met": ratio >= target,
        "per_second": round(median(b["per_second"] for _, b in rounds)),
        "baseline_per_second": round(median(a["per_second"] for a, _ in rounds)),
    }


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve_ours(*sys.argv[2:4])
        return
    from services.embedded.kafka import EmbeddedKafka  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, EmbeddedKafka(Path(folder)) as kafka:
        print(json.dumps(run(kafka.bootstrap), indent=1))


if __name__ == "__main__":
    main()
