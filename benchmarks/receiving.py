"""One delivery in this process, without sockets and broker: what `receive` costs an event.

``python -m benchmarks receiving``.
"""

import json
from collections.abc import Callable
from statistics import median
from typing import Any

import orjson

from benchmarks.encoding import microseconds
from benchmarks.events import SCHEMA_ID, contract
from benchmarks.gateway import BATCH, one
from producers.encode import StreamEncoder
from producers.receive import Limits, Received, receive
from producers.webhook import find_plugins, make_source, read_config
from schemas.events import Delivery

STREAM = "bench.gateway"
NOW = 1_795_000_000_000_000
ROUNDS = 9


def receiving(events: int) -> Callable[[], object]:
    """Receive a body of so many events of 1 KB, without a signature."""
    table = {"verify": {"scheme": "none", "anyone_may_send": True}, "stream": STREAM}
    plugins = find_plugins()
    source = make_source("bench", read_config("bench", table, plugins), [], plugins)
    encoders = {STREAM: StreamEncoder(contract(STREAM), SCHEMA_ID)}
    body = orjson.dumps(one(1) if events == 1 else [one(n) for n in range(events)])
    headers = {"content-type": "application/json"}
    delivery = Delivery("bench", headers, body, body, NOW, "POST", "/v1/in/bench")
    outcome = receive(delivery, source, encoders, Limits())
    assert isinstance(outcome, Received)
    assert len(outcome.records) == events
    return lambda: receive(delivery, source, encoders, Limits())


def run() -> dict[str, Any]:
    """{name: {value, unit}}"""
    found = {}
    for events in (1, BATCH):
        work = receiving(events)
        spent = median(microseconds(work, events) for _ in range(ROUNDS))
        name = f"receive alone, bodies of {events}"
        found[name] = {"value": round(spent, 2), "unit": "us of CPU an event"}
    return found


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
