"""An inferred contract loads, and every sample that it came from fulfils it."""

import json
import keyword
from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from consumers.reading.decode import Decoder
from consumers.reading.judge import judge
from producers.encode import StreamEncoder
from schemas import table
from schemas.avro import wire_schema
from schemas.contract import Contract
from schemas.errors import SetupError
from schemas.events import Incoming
from schemas.rules import compile_rules
from services.dictionary import type_text
from services.infer import contract_text
from services.project import load_contract
from services.samples import parse_record, read_samples

_numbers = count(1)


def inferred(folder: Path, records: Sequence[dict[str, Any]]) -> Contract:
    path = folder / f"orders{next(_numbers)}.py"
    exact = [parse_record(json.dumps(record, default=float)) for record in records]
    path.write_text(contract_text("shop.orders", exact, "samples"), errors="backslashreplace")
    return load_contract(path)


def types_of(contract: Contract) -> dict[str, str]:
    """Types in words; an enumeration's name is not of interest."""
    return {field.source: type_text(field.type) for field in contract.fields}


def assert_all_pass(contract: Contract, records: Sequence[dict[str, Any]]) -> None:
    """Through the encoder, the wire and the judge, as events go."""
    schema = wire_schema(contract)
    raws = [json.dumps(record, default=float).encode() for record in records]
    incoming = [
        Incoming(value=orjson.loads(raw), raw=raw, event_id=None, source="shop", received_at=1)
        for raw in raws
    ]
    encoded = StreamEncoder(contract, 1).encode(incoming)
    assert encoded.rejections == ()
    table.create_table(contract)
    decoded = Decoder(contract, {1: schema}.get).decode([r.value for r in encoded.records])
    assert decoded.unreadable == []
    assert judge(decoded.frame, compile_rules(contract)) == []


def order(number: int, **more: object) -> dict[str, Any]:
    return {"order_id": f"A-{number}", "amount": 12.5 + number, "n": number} | more


def test_types_follow_the_values(tmp_path: Path) -> None:
    records = [
        order(
            number,
            flag=True,
            ratio=number / 7,
            at="2026-01-31T08:00:00.125Z",
            day="2026-01-31",
            uid=f"123e4567-e89b-12d3-a456-4266141740{number:02}",
            status=("new", "paid")[number % 2],
            zip="00123",
            big=2**70,
        )
        for number in range(40)
    ]
    contract = inferred(tmp_path, records)
    assert types_of(contract) == {
        "order_id": "string",
        "amount": "decimal(18, 1)",
        "n": "integer",
        "flag": "boolean",
        "ratio": "float",
        "at": "timestamp",
        "day": "date",
        "uid": "uuid",
        "status": "one of new, paid",
        "zip": "string",
        "big": "decimal(38, 0)",
    }
    assert_all_pass(contract, records)


def test_what_is_missing_or_null_somewhere_is_optional_and_nothing_else(tmp_path: Path) -> None:
    contract = inferred(tmp_path, [{"a": 1, "b": 1, "c": 1}, {"a": 2, "b": None}])
    assert {f.source: (f.required, f.nullable) for f in contract.fields} == {
        "a": (True, False),
        "b": (False, True),
        "c": (False, True),
    }


def test_objects_become_models_and_lists_lists_of_them(tmp_path: Path) -> None:
    records = [
        {"Customer": {"name": "x", "home": {"zip": "1"}}, "lines": [{"sku": "a", "qty": 1}]},
        {"Customer": None, "lines": [{"sku": "b", "qty": None}]},
    ]
    contract = inferred(tmp_path, records)
    kinds = {field.name: type(field.type).__name__ for field in contract.fields}
    assert kinds == {"Customer": "Record", "lines": "Array"}
    assert_all_pass(contract, records)


@pytest.mark.parametrize(
    "values",
    [[1, "a"], [{}, {}], [[], []], [None, None], [[[1]], [[2]]], [{"a": 1}, [1]], [10**50, 1]],
    ids=["mixed", "empty objects", "empty lists", "nulls", "nested lists", "both", "wide integers"],
)
def test_what_has_no_single_type_is_json(values: list[Any], tmp_path: Path) -> None:
    contract = inferred(tmp_path, [{"id": n, "x": value} for n, value in enumerate(values)])
    assert types_of(contract)["x"] == "json"


def test_few_records_make_no_enumeration(tmp_path: Path) -> None:
    contract = inferred(tmp_path, [{"status": "new"}, {"status": "new"}, {"status": "paid"}])
    assert types_of(contract) == {"status": "string"}


def test_many_keys_that_are_rarely_shared_make_a_map_not_a_model(tmp_path: Path) -> None:
    records = [{"by_id": {f"k{n}": n}} for n in range(30)]
    assert types_of(inferred(tmp_path, records)) == {"by_id": "json"}


def test_keys_and_dates_are_proposed_as_comments_not_decided(tmp_path: Path) -> None:
    records = [order(n, placed_at="2026-01-31T08:00:00Z", shop="one") for n in range(3)]
    text = contract_text("shop.orders", records, "a file")
    assert '# key=("order_id",),  # unique in all 3 records' in text
    assert '# business_date="placed_at",' in text
    assert '"shop"' not in text.split("CONTRACT")[1]
    contract = inferred(tmp_path, records)
    assert (contract.key, contract.business_date) == ((), None)
    for comment in ('key=("order_id",),', 'business_date="placed_at",'):
        text = text.replace(f"# {comment}", comment)
    path = tmp_path / "uncommented.py"
    path.write_text(text)
    assert load_contract(path).key == ("order_id",)


def test_no_value_of_a_sample_is_repeated_in_the_file() -> None:
    text = contract_text("shop.people", [{"name": "Ada Lovelace", "born": "1815-12-10"}], "f")
    assert "Ada" not in text
    assert "1815" not in text


NASTY = [
    *("class", "from", "dt", "Decimal", "str", "list", "json", "schema", "copy", "model_dump"),
    *(
        "model_x",
        "_id",
        "__x",
        "1st",
        "a b",
        "A",
        "a",
        "ä",
        "",
        "Field",
        "CONTRACT",
        "x-y",
        "x_y",
        "b",
        "B",
    ),
    *('quo"te', "back\\slash", "new\nline", "Record", "None", "self", "Orders", "validate", "🙂"),
]


def test_no_name_of_a_key_breaks_the_file(tmp_path: Path) -> None:
    records = [{key: {"inner": n} if n % 2 else None for key in NASTY} for n in range(4)]
    contract = inferred(tmp_path, records)
    assert [field.source for field in contract.fields] == [key for key in NASTY if key]
    names = [field.name for field in contract.fields]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in names)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(-1e9, 1e9).map(lambda x: round(x, 8)),
    st.decimals(-1000, 1000, places=2).map(float),
    st.sampled_from(["2026-01-31", "2026-13-31", "2026-01-31T08:00:00Z", "2026-01-31 08:00", "x"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*NASTY, "id", "lines"]), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*NASTY, "id", "amount", "lines"]), values, max_size=5),
        min_size=1,
        max_size=12,
    )
)
@settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_the_samples_are_they_fulfil_what_is_inferred(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    assume(any(key for record in records for key in record))
    contract = inferred(tmp_path, records)
    assert_all_pass(contract, records)


def test_records_without_a_field_are_refused() -> None:
    with pytest.raises(SetupError, match="no record has a field"):
        contract_text("shop.orders", [{}, {}], "a file")


# files


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def record(**cells: object) -> dict[str, Any]:
    return cells


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"a": 1.50}, {"a": 2}]'),
        ("a.ndjson", '{"a": 1.50}\n\n{"a": 2}\n'),
        ("a.jsonl", '\ufeff{"a": 1.50}\r\n{"a": 2}'),
    ],
    ids=["array", "lines", "byte order mark"],
)
def test_json_in_every_form_gives_exact_numbers(name: str, text: str, tmp_path: Path) -> None:
    records = read_samples(written(tmp_path, name, text), 10)
    assert [str(record["a"]) for record in records] == ["1.50", "2"]


def test_one_json_object_is_one_record(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{\n "a": {"b": 1}\n}')
    assert read_samples(path, 10) == [{"a": {"b": 1}}]


def test_a_column_of_csv_has_the_narrowest_type_of_all_its_cells(tmp_path: Path) -> None:
    text = 'id,zip,amount,paid,note,mixed\n1,00123,1.50,true,"a\nb",1\n2,1,2,FALSE,,x\n'
    records = read_samples(written(tmp_path, "a.csv", text), 10)
    assert records == [
        record(id=1, zip="00123", amount=Decimal("1.50"), paid=True, note="a\nb", mixed="1"),
        record(id=2, zip="1", amount=Decimal(2), paid=False, note=None, mixed="x"),
    ]
    contract = inferred(tmp_path, records)
    assert_all_pass(contract, records)


def test_no_more_records_are_taken_than_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "a.ndjson", '{"a": 1}\n' * 5 + "not JSON")
    assert len(read_samples(path, 3)) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[1]"),
        ("a.json", "[]"),
        ("a.json", ""),
        ("a.ndjson", '{"a": 1}\n{"a":'),
        ("a.ndjson", '{"a": NaN}'),
        ("a.csv", "a,b\n1\n"),
        ("a.csv", "a\n1,2\n"),
    ],
)
def test_a_file_that_holds_no_records_is_named_with_what_to_do(
    name: str, text: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(SetupError) as caught:
        read_samples(path, 10)
    assert caught.value.where == str(path)
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"):
        read_samples(tmp_path / "none.json", 10)


def test_a_batch_whose_lists_of_objects_are_all_empty_passes(tmp_path: Path) -> None:
    """Found by the test above: native code took an empty column for one without a type."""
    lines = [{"sku": "a", "price": 1.5}]
    contract = inferred(tmp_path, [order(n, lines=lines if n else []) for n in range(3)])
    assert_all_pass(contract, [order(n, lines=[]) for n in range(20)])
