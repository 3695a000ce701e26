"""Which files the flush policy makes of a day: their number, their size, and how late rows are.

``python -m benchmarks flush``. The trace is simulated second by second with the loader's own
batches; how many bytes an event has in a file is measured.
"""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.encoding import NESTED, page, webhook
from benchmarks.events import SCHEMA_ID, contract, messages
from consumers.loading.batching import Batch, FlushPolicy, Span
from consumers.reading.stream import Counts, LoadStream
from producers.encode import StreamEncoder
from schemas.avro import wire_schema
from schemas.contract import Contract
from schemas.events import Partition, Run
from services.adapters.snowflake.copying import ROW_GROUP_ROWS, ZSTD_LEVEL
from services.settings import Loader

SAMPLE = 50_000  # events that are written to learn their size
DAY = 86_400  # seconds
SECOND = 1_000_000  # microseconds
BACKFILL_PER_SECOND = 30_000.0
LARGE = (100, 250)  # MB; https://docs.snowflake.com/en/user-guide/data-load-considerations-prepare


class _NoMessage:
    """A message without key and headers."""

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Kind:
    """Events of one kind: their bytes as messages and in a Parquet file."""

    name: str
    message_bytes: float
    file_bytes: float


def kind(name: str, stream: Contract, values: list[bytes]) -> Kind:
    """Measured: the rows of these messages as the loader writes them."""
    home = Partition(stream.topic, 0)
    offsets = np.arange(len(values))
    schema = wire_schema(stream)
    run = Run(home, offsets, offsets, values, [_NoMessage()] * len(values))
    rows = LoadStream(stream, {SCHEMA_ID: schema}.get).judge([run], {home: None}).rows
    out = io.BytesIO()
    rows.write_parquet(
        out,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        statistics=False,
    )
    size = sum(map(len, values)) / len(values)
    return Kind(name, size, len(out.getvalue()) / rows.height)


def day() -> Iterator[float]:
    """Events of every second: a quiet night, a busy noon, two hours of backfill in the evening."""
    for second in range(DAY):
        hour = second / 3_600
        wave = max(0.0, math.sin((hour - 6) / 16 * math.pi)) if 6 <= hour < 22 else 0.0
        backfill = BACKFILL_PER_SECOND if 20 <= hour < 22 else 0.0
        yield 0.2 + 800 * wave**3 + backfill


def files(of: Kind, policy: FlushPolicy) -> tuple[list[float], float]:
    """The megabytes of each file of the day, and the longest wait of an event in seconds."""
    home, found, longest, owed = Partition("bench.flush", 0), [], 0.0, 0.0
    batch: Batch | None = None
    for second, arrived in enumerate(day()):
        now = second * SECOND
        owed += arrived
        events, owed = int(owed), owed % 1
        if events:
            batch = batch or Batch(home.topic, now)
            old = batch.spans.get(home) or Span(0, 0, 1)
            counts = old.counts + Counts(events, events, 0, 0)
            size = old.bytes + round(events * of.message_bytes)
            batch.spans[home] = Span(0, counts.events, 1, size, counts)
        if batch is not None and batch.due(policy, now):
            found.append(batch.events * of.file_bytes / 1e6)
            longest = max(longest, (now - batch.opened_at) / SECOND)
            batch = None
    return found, longest


def run() -> dict[str, Any]:
    """{name: {value, unit, ...}}: the middle file of the backfill, and of the day."""
    values = [value for _, value in messages("bench.flush", 0, SAMPLE)]
    nested = StreamEncoder(NESTED, SCHEMA_ID).encode(page(webhook, SAMPLE // 5)).records
    kinds = (
        kind("8 fields", contract("bench.flush"), values),
        kind("nested, 1 KB", NESTED, [record.value for record in nested]),
    )
    usual = Loader()
    policies = {
        "defaults": FlushPolicy(usual.rows_max, usual.bytes_max, usual.age_seconds_max),
        "age 60 s": FlushPolicy(usual.rows_max, usual.bytes_max, 60),
        "large files": FlushPolicy(20_000_000, 2_000_000_000, 300),
    }
    found: dict[str, Any] = {}
    for of in kinds:
        for name, policy in policies.items():
            sizes, longest = files(of, policy)
            found[f"files of a day, {of.name}, {name}"] = {
                "value": round(max(sizes), 1),
                "unit": "MB, the largest",
                "baseline": round(float(np.median(sizes)), 3),
                "files": len(sizes),
                "bytes_an_event": round(of.file_bytes, 1),
                "longest_wait_seconds": longest,
                "of_100_to_250_mb": sum(LARGE[0] <= size <= LARGE[1] for size in sizes),
            }
    return found


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
