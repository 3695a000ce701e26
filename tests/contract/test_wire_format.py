"""Our messages and those of confluent-kafka's own Avro serializers are the same bytes."""

import datetime as dt
import json
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given, settings
from pydantic import BaseModel, Field

from consumers.reading.decode import Decoder
from producers.encode import StreamEncoder
from schemas import avro
from schemas.contract import Contract
from tests.support.contracts import DRAWS, Random, contract_of, incoming, page_of, shape_of

CONTEXT = SerializationContext("shop.orders", MessageField.VALUE)


class Peer:
    """Their serializer and deserializer of a contract, on a registry in memory."""

    def __init__(self, contract: Contract) -> None:
        registry = SchemaRegistryClient.new_client({"url": "mock://"})
        text = json.dumps(avro.wire_schema(contract))
        self.write = AvroSerializer(registry, text)
        self.read = AvroDeserializer(registry)
        empty = self.write({}, CONTEXT)
        assert empty is not None
        self.schema_id = avro.HEADER.unpack(empty[: avro.HEADER.size])[1]


@pytest.mark.parametrize("columnar_min", [1, 10**9], ids=["columnar", "by row"])
@settings(deadline=None)
@given(rng=DRAWS)
def test_what_they_read_of_our_messages_they_write_as_the_same_bytes(
    rng: Random, columnar_min: int
) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    peer = Peer(contract)
    encoder = StreamEncoder(contract, peer.schema_id, columnar_min)
    for record in encoder.encode(page_of(rng, shape)).records:
        assert peer.write(peer.read(record.value, CONTEXT), CONTEXT) == record.value


@settings(deadline=None)
@given(DRAWS)
def test_what_they_write_we_read_as_what_we_write(rng: Random) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    peer = Peer(contract)
    ours = [
        r.value for r in StreamEncoder(contract, peer.schema_id).encode(page_of(rng, shape)).records
    ]
    if not ours:
        return
    theirs = [peer.write(peer.read(value, CONTEXT), CONTEXT) for value in ours]
    decoder = Decoder(contract, {peer.schema_id: avro.wire_schema(contract)}.get)
    assert decoder.decode(theirs).frame.equals(decoder.decode(ours).frame)


class Order(BaseModel):
    order_id: str
    total: Annotated[Decimal, Field(max_digits=10, decimal_places=2)]
    state: Literal["new", "paid"]
    placed_at: dt.datetime
    due: dt.date
    tags: list[str]
    prices: dict[str, float]
    gift: bool | None = None


ORDERS = Contract(stream="shop.orders", model=Order, key=("order_id",), keep_raw=False)
ORDER = {
    "order_id": "o1",
    "total": "-655.36",
    "state": "paid",
    "placed_at": "2026-11-23T04:45:48.796+01:00",
    "due": "2026-11-30",
    "tags": ["a", "é"],
    "prices": {"eur": 0.5},
}
PEER_VALUE = {
    "order_id": "o1",
    "total": Decimal("-655.36"),
    "state": "paid",
    "placed_at": dt.datetime(2026, 11, 23, 3, 45, 48, 796_000, tzinfo=dt.UTC),
    "due": dt.date(2026, 11, 30),
    "tags": ["a", "é"],
    "prices": {"eur": 0.5},
    "gift": None,
    "_id": "o1",
    "_source": "shop",
    "_received_at": dt.datetime(2026, 11, 18, 11, 6, 40, tzinfo=dt.UTC),
    "_extra": None,
}


def test_an_order_is_these_values_to_them_and_these_bytes_to_both() -> None:
    peer = Peer(ORDERS)
    one = incoming(ORDER)._replace(source="shop", received_at=1_795_000_000_000_000)
    (record,) = StreamEncoder(ORDERS, peer.schema_id).encode([one]).records
    assert peer.read(record.value, CONTEXT) == PEER_VALUE
    assert peer.write(PEER_VALUE, CONTEXT) == record.value
    header, body = record.value[:5], record.value[5:]
    assert header == b"\x00" + peer.schema_id.to_bytes(4, "big")
    assert body.startswith(
        b"\x02\x04o1"  # a union's second branch, two characters
        b"\x02\x06\xff\x00\x00"  # -65536 in the three bytes that it needs
        b"\x02\x02"  # the second symbol
    )
