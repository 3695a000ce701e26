"""Records of a page that the log does not take: dead letters, and the cursor moves on."""

import asyncio
import io
from dataclasses import replace
from typing import Any

import fastavro
import orjson
import pytest

from producers.cursors import load_state, parse
from producers.encode import StreamEncoder
from producers.exchange import Request, Response
from schemas import avro
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter, dead_contract
from schemas.events import CURSORS_TOPIC
from services.poller.run import run
from tests.support.polling import MemoryLog, answered, ports_of, settings_of
from tests.support.virtual import LoopClock, MemoryApi, run_virtually
from tests.support.world import Order

NAME = "shop.orders"
STREAM = {"stream": NAME, "path": "orders", "cursor": {"field": "placed_at"}}
CONTRACT = Contract(stream=NAME, model=Order, key=("order_id",), keep_raw=False)
DEAD = fastavro.parse_schema(avro.wire_schema(dead_contract(NAME)))
RECORD_MAX, LETTER_MAX = 1_000, 4_000


def order(number: int, **more: object) -> dict[str, object]:
    placed = f"2023-11-01T10:00:0{number}Z"
    return {"order_id": f"o{number}", "amount": 1, "placed_at": placed, **more}


def polled(*records: dict[str, object]) -> MemoryLog:
    """What is in the log after one run over a page of these records."""

    async def answer(_: Request) -> Response:
        return answered(list(records))

    log = MemoryLog()
    api = MemoryApi({"/orders": answer})
    ports = replace(
        ports_of(log, http=api.open, clock=LoopClock()),
        encoders={NAME: StreamEncoder(CONTRACT, 1)},
        dead_letters=DeadLetterWriter(2).records,
        record_bytes_max=RECORD_MAX,
        dead_letter_bytes_max=LETTER_MAX,
    )
    settings = settings_of("https://api.example.com", STREAM)
    run_virtually(run(ports, settings, asyncio.Event(), once=True))
    assert len(log.transactions) == 2, "the fence, and the page with its cursor at once"
    return log


def letters(log: MemoryLog) -> list[dict[str, Any]]:
    values = [record.value[avro.HEADER.size :] for record in log.of(f"{NAME}.dead")]
    return [dict(fastavro.schemaless_reader(io.BytesIO(value), DEAD, None)) for value in values]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("large", "reasons", "kept"),
    [
        ({"order_id": "x" * 2_000}, ["oversized"], True),
        ({"extra": "x" * 2_000}, ["oversized"], True),
        ({"extra": "x" * 5_000}, ["oversized", "oversized"], False),
        ({"amount": "much", "extra": "x" * 5_000}, ["wrong_type", "oversized"], False),
    ],
    ids=["an event", "its unknown fields", "too large for a dead letter too", "a broken one"],
)
def test_a_record_that_the_log_does_not_take_is_a_dead_letter(
    large: dict[str, object], reasons: list[str], kept: bool
) -> None:
    log = polled(order(1), order(2, **large), order(3))
    assert len(log.of(NAME)) == 2
    assert all(record.log_bytes <= RECORD_MAX for record in log.of(NAME))
    assert all(record.log_bytes <= LETTER_MAX for record in log.of(f"{NAME}.dead"))
    (letter,) = letters(log)
    assert [violation["reason"] for violation in orjson.loads(letter["violations"])] == reasons
    assert (letter["original_value"] is not None) is kept
    assert letter["_id"] == log.of(f"{NAME}.dead")[0].key.decode()  # type: ignore[union-attr]
    (cursor,) = log.of(CURSORS_TOPIC)
    assert load_state(cursor.value).cursor == parse("2023-11-01T10:00:03Z", "rfc3339")


def test_two_that_are_too_large_have_two_names() -> None:
    """Without a key: their bytes, which are left out, are what names them."""
    broken = {**order(1), "amount": "much", "extra": "x" * 5_000}
    log = polled(broken | {"order_id": 1}, broken | {"order_id": 2})
    assert len({record.key for record in log.of(f"{NAME}.dead")}) == 2
