"""Many records at once are encoded as one by one."""

import io
from decimal import Decimal
from typing import Any

import fastavro
from hypothesis import Phase, given, settings

from producers.encode import Encoded, StreamEncoder
from schemas import avro
from schemas.contract import Contract
from schemas.events import Incoming
from tests.support.contracts import DRAWS, Random, contract_of, leaves, page_of, shape_of

SLOW = settings(
    deadline=None,
    max_examples=int(__import__("os").environ.get("N", "150")),
    phases=[Phase.generate],
    report_multiple_bugs=True,
)


def decoded(contract: Contract, value: bytes) -> dict[str, Any]:
    stream = io.BytesIO(value)
    stream.seek(avro.HEADER.size)
    record = fastavro.schemaless_reader(
        stream, fastavro.parse_schema(avro.wire_schema(contract)), None
    )
    assert stream.read() == b""
    return record  # type: ignore[return-value] # a record schema gives a dict


def apart(encoder: StreamEncoder, page: list[Incoming]) -> Encoded:
    """Every record on its own."""
    parts = [encoder.encode([each]) for each in page]
    return Encoded(
        tuple(r for p in parts for r in p.records),
        tuple(r for p in parts for r in p.rejections),
        tuple(i for p in parts for i in p.ids),
    )


@SLOW
@given(DRAWS)
def test_a_page_is_encoded_as_its_records_one_by_one(rng: Random) -> None:
    shape = shape_of(rng)
    contract, page = contract_of(rng, shape), page_of(rng, shape)
    encoder = StreamEncoder(contract, 7, columnar_min=2)
    together, single = encoder.encode(page), apart(encoder, page)
    assert together.ids == single.ids
    assert together.rejections == single.rejections
    assert [(r.topic, r.key, r.headers) for r in together.records] == [
        (r.topic, r.key, r.headers) for r in single.records
    ]
    for one, other in zip(together.records, single.records, strict=True):
        if one.value == other.value:
            continue
        here, there = decoded(contract, one.value), decoded(contract, other.value)
        assert repr(here) == repr(there)  # NaN equals itself here
        assert any(isinstance(leaf, Decimal) and leaf < 0 for leaf in leaves(here))
