"""Synthetic events for the benchmarks: small orders, some twice, some broken."""

import datetime as dt
from typing import Literal

import numpy as np
import polars as pl
from confluent_kafka import Producer
from pydantic import BaseModel, Field

from schemas import avro
from schemas.columns import FrameWriter
from schemas.contract import Contract

SCHEMA_ID = 1
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK", "JPY", "NOK", "DKK")
EPOCH = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - naive UTC, as columns are


class Order(BaseModel):
    order_id: str = Field(min_length=1)
    customer_id: str = Field(pattern=r"^c[0-9]{6}$")
    amount: float = Field(ge=0, le=100_000)
    currency: Literal["EUR", "USD", "GBP", "CHF", "SEK", "JPY", "NOK", "DKK"]
    quantity: int
    placed_at: dt.datetime
    gift: bool
    note: str | None = None


def contract(topic: str) -> Contract:
    return Contract(
        stream=topic,
        model=Order,
        key=("order_id",),
        business_date="placed_at",
        keep_raw=False,
        table="ORDERS",
    )


def frame(first: int, count: int, seed: int = 1) -> pl.DataFrame:
    """Orders ``first`` on; 1 % repeat an earlier order, 0.1 % have a negative amount."""
    rng = np.random.default_rng(seed + first)
    number = np.arange(first, first + count)
    repeated = (number % 100 == 50) & (number > 1000)
    number = np.where(repeated, number - rng.integers(100, 1000, count) // 100 * 100 - 7, number)
    amount = np.round(rng.uniform(0, 500, count), 2)
    amount[number % 1000 == 13] = -1
    text = pl.Series(number).cast(pl.String)
    at = pl.Series(number * 1000).cast(pl.Duration("us")) + EPOCH
    return pl.DataFrame(
        {
            "order_id": "o" + text,
            "customer_id": "c" + pl.Series(rng.integers(100_000, 999_999, count)).cast(pl.String),
            "amount": amount,
            "currency": np.array(CURRENCIES)[rng.integers(0, 8, count)],
            "quantity": rng.integers(1, 10, count),
            "placed_at": at,
            "gift": number % 3 == 0,
            avro.ID: "o" + text,
            avro.RECEIVED_AT: at,
        }
    ).with_columns(
        pl.when(number % 4 == 0).then(pl.lit("leave at door")).alias("note"),
        pl.lit("shop").alias(avro.SOURCE),
        pl.lit(None, dtype=pl.String).alias(avro.EXTRA),
    )


def verdicts(count: int) -> tuple[int, int, int]:
    """Of the orders before ``count``: those that are loaded, duplicates, and dead."""
    number = np.arange(count)
    duplicates = int(((number % 100 == 50) & (number > 1000)).sum())
    dead = int((number % 1000 == 13).sum())
    return count - duplicates - dead, duplicates, dead


def messages(topic: str, first: int, count: int) -> list[tuple[bytes, bytes]]:
    """Key and value of each."""
    made = frame(first, count)
    writer = FrameWriter(avro.field_types(contract(topic)), SCHEMA_ID)
    values = writer.write(made, b"0123456789abcde\xff")
    assert values is not None
    return list(zip([k.encode() for k in made["order_id"].to_list()], values, strict=True))


def fill(bootstrap: str, topic: str, count: int, step: int = 100_000) -> int:
    """Produce ``count`` events; the mean size of a message in bytes."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    total = 0
    for first in range(0, count, step):
        batch = [
            {"key": k, "value": v} for k, v in messages(topic, first, min(step, count - first))
        ]
        total += sum(len(m["value"]) for m in batch)
        producer.produce_batch(topic, batch)
        assert not [m for m in batch if m.get("_error")]
        producer.flush(60)
    return total // count
