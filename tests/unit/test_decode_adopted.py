"""What a stream without a contract wrote is read by the contract that it has got since."""

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel, Field

from consumers.reading.decode import Decoded, Decoder
from producers.encode import StreamEncoder
from schemas import avro
from schemas.contract import Contract, Raw
from schemas.errors import RejectReason
from schemas.events import Incoming

RAW = Contract(stream="billing.invoices", model=Raw)


class Line(BaseModel):
    sku: str
    price: Decimal = Field(max_digits=10, decimal_places=2)


class Invoice(BaseModel):
    id: str
    issued: dt.date
    paid_at: dt.datetime | None = None
    lines: list[Line]
    tags: dict[str, str] = {}


CONTRACT = Contract(stream="billing.invoices", model=Invoice, key=("id",), business_date="issued")
INVOICE: dict[str, Any] = {
    "id": "i1",
    "issued": "2026-11-20",
    "paid_at": "2026-11-21T10:00:00+02:00",
    "lines": [{"sku": "a", "price": "1.50"}],
    "tags": {"k": "v"},
    "colour": "red",
}


def decoded(contract: Contract, *values: object) -> Decoded:
    """Records that came before there was a contract, one schema id, read by the contract."""
    raws = [orjson.dumps(value) for value in values]
    incoming = [Incoming(orjson.loads(raw), raw, None, "billing", 5) for raw in raws]
    records = StreamEncoder(RAW, 1).encode(incoming).records
    schemas = {1: avro.wire_schema(RAW), 2: avro.wire_schema(CONTRACT)}
    return Decoder(contract, schemas.get).decode([record.value for record in records])


def test_the_payload_becomes_the_contracts_columns() -> None:
    found = decoded(CONTRACT, INVOICE, INVOICE | {"id": "i2", "paid_at": None})
    assert found.unreadable == []
    row, other = found.frame.rows(named=True)
    assert row["id"] == "i1"
    assert row["issued"] == dt.date(2026, 11, 20)
    assert row["paid_at"] == dt.datetime.fromisoformat("2026-11-21T08:00:00")
    assert row["lines"] == [{"sku": "a", "price": Decimal("1.50")}]
    assert orjson.loads(row[avro.EXTRA]) == {"colour": "red"}
    assert row[avro.ID].startswith("body:")
    assert (other["id"], other["paid_at"]) == ("i2", None)


def test_it_reads_like_the_same_record_sent_under_the_contract() -> None:
    raw = orjson.dumps(INVOICE)
    incoming = [Incoming(INVOICE, raw, None, "billing", 5)]
    (record,) = StreamEncoder(CONTRACT, 2).encode(incoming).records
    schemas = {2: avro.wire_schema(CONTRACT)}
    now = Decoder(CONTRACT, schemas.get).decode([record.value]).frame.drop(avro.ID, avro.RAW)
    before = decoded(CONTRACT, INVOICE).frame.drop(avro.ID, avro.RAW)
    assert before.rows() == now.select(before.columns).rows()


def test_a_payload_that_does_not_fit_is_named_and_its_neighbours_survive() -> None:
    found = decoded(CONTRACT, INVOICE, INVOICE | {"issued": "soon"}, INVOICE)
    assert found.frame.height == 2
    (bad,) = found.unreadable
    assert (bad.row, bad.violation.path) == (1, "$.issued")
    assert bad.violation.reason is RejectReason.WRONG_TYPE


def test_a_contract_with_a_payload_of_its_own_means_that_field() -> None:
    class Own(BaseModel):
        payload: str

    own = Contract(stream="billing.invoices", model=Own)
    assert decoded(own, {"a": 1}).frame["payload"].to_list() == ['{"a":1}']
