"""The usual way, as a baseline: a Faust agent that does the loader's work event by event."""

import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import fastavro
import faust
import polars as pl
from pydantic import ValidationError

from benchmarks.events import Order, contract
from benchmarks.loader import cpu_seconds
from schemas.avro import HEADER, wire_schema

BATCH_ROWS = 10_000


def application(bootstrap: str, topic: str, events: int, folder: Path) -> faust.App:
    """Consume, decode, validate, deduplicate, write Parquet; prints its CPU time at the end."""
    app = faust.App(
        f"faust-{events}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        datadir=str(folder),
    )
    schema = fastavro.parse_schema(wire_schema(contract(topic)))
    seen: set[str] = set()
    rows: list[dict[str, Any]] = []
    counts = {"events": 0, "dead": 0, "duplicates": 0}

    @app.agent(app.topic(topic, value_serializer="raw", key_serializer="raw"))
    async def load(stream: Any) -> None:
        began = 0.0
        async for value in stream:
            began = began or cpu_seconds()
            counts["events"] += 1
            body = io.BytesIO(value)
            body.seek(HEADER.size)
            record: Any = fastavro.schemaless_reader(body, schema, None)
            try:
                order = Order.model_validate(record)
            except ValidationError:
                counts["dead"] += 1
            else:
                if order.order_id in seen:
                    counts["duplicates"] += 1
                else:
                    seen.add(order.order_id)
                    rows.append(record)
            if len(rows) >= BATCH_ROWS:
                pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "f.parquet")
                rows.clear()
            if counts["events"] >= events:
                spent = cpu_seconds() - began
                found = json.dumps({"per_cpu_second": events / spent, **counts})
                os.write(1, found.encode())  # Faust has made a log of sys.stdout
                os._exit(0)  # a worker that is told to end waits for its broker for minutes

    return app


def main() -> None:
    bootstrap, topic, events = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        app = application(bootstrap, topic, int(events), Path(folder))
        sys.argv[1:] = ["worker", "--without-web", "-l", "error"]
        app.main()


if __name__ == "__main__":
    main()
