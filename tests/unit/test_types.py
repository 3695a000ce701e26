"""The type of a field, and everything derived from it: Avro, columns, DDL, projection."""

import collections.abc
import datetime as dt
import enum
import itertools
import json
import typing
import uuid
from collections.abc import Callable
from decimal import Decimal as Exact
from typing import Annotated, Any, Literal

import fastavro
import polars as pl
import pytest
from pydantic import AliasChoices, BaseModel, Field, JsonValue, create_model
from typing_extensions import TypeAliasType

from schemas import avro
from schemas.columns import dtype_of
from schemas.contract import Contract
from schemas.errors import ContractError
from schemas.table import copy_into, create_table
from schemas.types import (
    Array,
    Begins,
    ByRow,
    Decimal,
    Enum,
    FieldType,
    Map,
    Members,
    Record,
    Scalar,
    fields_of,
)


class Colour(enum.Enum):
    red = "red"
    green = "green"


class Engine(enum.StrEnum):
    four = "4 Cycle"


class Line(BaseModel):
    sku: str
    count: int | None = None


Money = Annotated[Exact, Field(max_digits=12, decimal_places=2)]
Named = TypeAliasType("Named", int | None)  # type: ignore[misc] # at run time
JSON_AVRO = {"type": "string", "sluice.type": "json"}


def logical(base: str, name: str) -> dict[str, Any]:
    return {"type": base, "logicalType": name}


def fixed_point(precision: int, scale: int) -> dict[str, Any]:
    return logical("bytes", "decimal") | {"precision": precision, "scale": scale}


MATRIX: list[tuple[Any, FieldType, Any, pl.DataType, str]] = [
    (bool, Scalar.BOOLEAN, "boolean", pl.Boolean(), "BOOLEAN"),
    (int, Scalar.INTEGER, "long", pl.Int64(), "NUMBER(38,0)"),
    (float, Scalar.FLOAT, "double", pl.Float64(), "FLOAT"),
    (str, Scalar.STRING, "string", pl.String(), "VARCHAR"),
    (bytes, Scalar.BYTES, "bytes", pl.Binary(), "BINARY"),
    (dt.date, Scalar.DATE, logical("int", "date"), pl.Date(), "DATE"),
    (dt.time, Scalar.TIME, logical("long", "time-micros"), pl.Time(), "TIME(6)"),
    (
        dt.datetime,
        Scalar.TIMESTAMP,
        logical("long", "timestamp-micros"),
        pl.Datetime("us"),
        "TIMESTAMP_NTZ(6)",
    ),
    (uuid.UUID, Scalar.UUID, logical("string", "uuid"), pl.String(), "VARCHAR"),
    (Exact, Decimal(38, 9), fixed_point(38, 9), pl.Decimal(38, 9), "NUMBER(38,9)"),
    (Money, Decimal(12, 2), fixed_point(12, 2), pl.Decimal(12, 2), "NUMBER(12,2)"),
    (
        Colour,
        Enum("Colour", ("red", "green")),
        {"type": "enum", "name": "Colour", "symbols": ["red", "green"]},
        pl.String(),
        "VARCHAR",
    ),
    (
        Literal["a", "b"],
        Enum("Event_x", ("a", "b")),
        {"type": "enum", "name": "Event_x", "symbols": ["a", "b"]},
        pl.String(),
        "VARCHAR",
    ),
    (Engine, Scalar.STRING, "string", pl.String(), "VARCHAR"),
    (Literal["4 Cycle"], Scalar.STRING, "string", pl.String(), "VARCHAR"),
    (JsonValue, Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (Any, Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (dict, Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (list, Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (dict[str, Any], Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (int | str, Scalar.JSON, JSON_AVRO, pl.String(), "VARIANT"),
    (
        list[int],
        Array(Scalar.INTEGER),
        {"type": "array", "items": ["null", "long"]},
        pl.List(pl.Int64()),
        "VARIANT",
    ),
    (
        list[int | None],
        Array(Scalar.INTEGER, nullable=True),
        {"type": "array", "items": ["null", "long"]},
        pl.List(pl.Int64()),
        "VARIANT",
    ),
    (
        dict[str, float],
        Map(Scalar.FLOAT),
        {"type": "map", "values": ["null", "double"]},
        pl.List(pl.Struct({"k": pl.String(), "v": pl.Float64()})),
        "VARIANT",
    ),
    (
        Line,
        Record("Line", fields_of(Line, "")),
        {
            "type": "record",
            "name": "Line",
            "fields": [
                {"name": "sku", "type": ["null", "string"], "default": None},
                {"name": "count", "type": ["null", "long"], "default": None},
            ],
        },
        pl.Struct({"sku": pl.String(), "count": pl.Int64()}),
        "VARIANT",
    ),
]


def contract_of(annotation: Any, **given: Any) -> Contract:
    model = create_model("Event", x=(annotation, Field(**given) if given else ...))
    return Contract(stream="shop.orders", model=model, keep_raw=False)


@pytest.mark.parametrize(
    ("annotation", "kind", "wire", "column", "ddl"), MATRIX, ids=[str(row[0]) for row in MATRIX]
)
def test_a_pydantic_type_has_one_type_everywhere(
    annotation: Any, kind: FieldType, wire: Any, column: pl.DataType, ddl: str
) -> None:
    contract = contract_of(annotation)
    (field,) = contract.fields
    assert _bare(field.type) == _bare(kind)
    schema = avro.wire_schema(contract)
    assert schema["fields"][0] == {"name": "x", "type": ["null", wire], "default": None}
    fastavro.parse_schema(json.loads(json.dumps(schema)))
    assert dtype_of(field.type) == column
    assert f"\n  X {ddl},\n" in create_table(contract)
    element = {
        "VARIANT": 'PARSE_JSON($1:"x"::VARCHAR)',
        "TIME(6)": '$1:"x"::VARCHAR::TIME(6)',
    }.get(ddl, f'$1:"x"::{ddl}')
    constants = {"_topic": "'t'", "_batch": "'b'", "_loaded_at": "NULL"}
    assert f"FROM (SELECT {element}, " in copy_into(contract, "@s/f.parquet", constants)


def _bare(kind: FieldType) -> object:
    """Without what only the rules look at."""
    match kind:
        case Array(item, nullable, _):
            return ("array", _bare(item), nullable)
        case Map(value, nullable, _):
            return ("map", _bare(value), nullable)
        case Record(name, fields):
            return (name, [(f.name, _bare(f.type), f.nullable, f.required) for f in fields])
        case _:
            return kind


@pytest.mark.parametrize(
    ("annotation", "kind", "nullable"),
    [
        (int | None, Scalar.INTEGER, True),
        (typing.Optional[int], Scalar.INTEGER, True),  # noqa: UP045 - as older models say it
        (Annotated[int | None, Field(ge=1)], Scalar.INTEGER, True),
        (Annotated[int, Field(ge=1)] | None, Scalar.INTEGER, True),
        (Named, Scalar.INTEGER, True),
        (int, Scalar.INTEGER, False),
        (JsonValue, Scalar.JSON, True),
        (Any, Scalar.JSON, True),
        (dict, Scalar.JSON, False),
        (dict[str, Any], Scalar.JSON, False),
        (int | str, Scalar.JSON, False),
        (int | str | None, Scalar.JSON, True),
    ],
    ids=str,
)
def test_null_is_allowed_where_pydantic_allows_it(
    annotation: Any, kind: FieldType, nullable: bool
) -> None:
    (field,) = contract_of(annotation).fields
    assert (field.type, field.nullable, field.required) == (kind, nullable, True)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (set[int], Array(Scalar.INTEGER)),
        (frozenset[int], Array(Scalar.INTEGER)),
        (tuple[int, ...], Array(Scalar.INTEGER)),
        (typing.Sequence[int], Array(Scalar.INTEGER)),
        (collections.abc.Sequence[int], Array(Scalar.INTEGER)),
        (list[list[str]], Array(Array(Scalar.STRING))),
        (dict[str, dict[str, int]], Map(Map(Scalar.INTEGER))),
        (dict[str, list[Any]], Map(Array(Scalar.JSON, nullable=True))),
        (dict[str, int | str], Scalar.JSON),
        (list[JsonValue], Array(Scalar.JSON, nullable=True)),
    ],
    ids=str,
)
def test_containers_hold_what_they_say(annotation: Any, kind: FieldType) -> None:
    assert contract_of(annotation).fields[0].type == kind


@pytest.mark.parametrize(
    ("annotation", "limit"),
    [
        (Literal["4 Cycle", "b"], Members(("4 Cycle", "b"))),
        (Engine, Members((Engine.four,))),
        (dict, Begins("{")),
        (dict[str, Any], Begins("{")),
        (list, Begins("[")),
        (int | str, ByRow("values of several types")),
        (dict[str, int | str], ByRow("values of several types")),
        (dict[str, dict], ByRow("values of several types")),
    ],
    ids=str,
)
def test_what_the_column_does_not_say_is_a_limit(annotation: Any, limit: object) -> None:
    assert list(contract_of(annotation).fields[0].limits) == [limit]
    (nested,) = contract_of(list[annotation]).fields
    assert isinstance(nested.type, Array)
    assert list(nested.type.limits) == [limit]


def test_the_name_in_json_is_the_alias() -> None:
    class Event(BaseModel):
        a: int = Field(alias="A a")
        b: int = Field(validation_alias="B")
        c: int = 5

    fields = fields_of(Event, "here")
    assert [(f.name, f.source, f.required) for f in fields] == [
        ("a", "A a", True),
        ("b", "B", True),
        ("c", "c", False),
    ]


class Tree(BaseModel):
    children: "list[Tree]" = []


class Empty(BaseModel):
    pass


class OneTwo(enum.Enum):
    one = 1


class Dated(BaseModel):
    day: dt.date = dt.date(2026, 1, 1)


TICKS = itertools.count()


def today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


REFUSED: list[tuple[Any, dict[str, Any], str, str]] = [
    (complex, {}, "no column type for <class 'complex'>", "docs/contracts.md"),
    (tuple[int, str], {}, "no column type", "JsonValue"),
    (typing.List, {}, "no column type", "JsonValue"),  # noqa: UP006 - as older models say it
    (typing.Dict, {}, "no column type", "JsonValue"),  # noqa: UP006 - as older models say it
    (dict[int, str], {}, "the keys of a map are strings", "dict[str, T]"),
    (OneTwo, {}, "only strings can be members", "ge and le"),
    (Literal[1, 2], {}, "only strings can be members", "ge and le"),
    (Tree, {}, "Tree contains itself", "JsonValue"),
    (Empty, {}, "Empty has no fields", "JsonValue"),
    (Annotated[Exact, Field(max_digits=39)], {}, "a decimal of 39 digits", "max_digits <= 38"),
    (Exact, {"max_digits": 3, "decimal_places": 5}, "3 digits with 5 places", "decimal_places"),
    (int, {"validation_alias": AliasChoices("a", "b")}, "only a plain string", "alias='name'"),
    (int, {"default_factory": lambda data: len(data)}, "depends on other fields", "plain default"),
    *(
        (kind, {"default_factory": factory}, "default_factory is asked once", "as the default")
        for kind, factory in [
            (int, itertools.count().__next__),
            (uuid.UUID, uuid.uuid4),
            (dt.datetime, lambda: dt.datetime.now(dt.UTC)),
            (dt.date, today),  # two calls are equal, on the same day
            (str, lambda: today().isoformat()),
            (list[dt.date], lambda: [today()]),
            (dict[str, Any], lambda: {"seen": ({"at": dt.datetime.now(dt.UTC)},)}),
            (Dated, Dated),
            (list[float], lambda: [next(TICKS)]),
        ]
    ),
]


@pytest.mark.parametrize(
    ("annotation", "given", "what", "remedy"), REFUSED, ids=range(len(REFUSED))
)
def test_what_has_no_column_is_refused_with_its_place_and_a_remedy(
    annotation: Any, given: dict[str, Any], what: str, remedy: str
) -> None:
    with pytest.raises(ContractError, match=what) as caught:
        contract_of(annotation, **given)
    assert caught.value.where.startswith("shop.orders.x")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("annotation", "factory"),
    [
        (list[int], list),
        (set[int], set),
        (str, str),
        (dict[str, Any], lambda: {"tags": ["new"]}),
        (Line, lambda: Line(sku="none")),
    ],
    ids=str,
)
def test_a_factory_of_what_is_always_the_same_is_a_default(
    annotation: Any, factory: Callable[[], Any]
) -> None:
    (field,) = contract_of(annotation, default_factory=factory).fields
    assert not field.required


@pytest.mark.parametrize("name", ["größe", "x y", "1st"])
def test_a_field_is_named_as_avro_and_sql_can_name_it(name: str) -> None:
    model = create_model("Event", **{name: (int, ...)})  # type: ignore[call-overload] # any name
    with pytest.raises(ContractError, match="letters, digits and _") as caught:
        Contract(stream="shop.orders", model=model)
    assert "alias=" in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "precision", "scale"),
    [
        ({}, 38, 9),
        ({"max_digits": 5}, 5, 0),
        ({"decimal_places": 3}, 38, 3),
        ({"max_digits": 38, "decimal_places": 38}, 38, 38),
    ],
    ids=str,
)
def test_a_decimal_has_the_digits_that_its_field_says(
    given: dict[str, Any], precision: int, scale: int
) -> None:
    assert contract_of(Exact, **given).fields[0].type == Decimal(precision, scale)
    inner = Annotated[Exact, Field(**given)] if given else Exact
    assert contract_of(list[inner]).fields[0].type == Array(
        Decimal(precision, scale), limits=contract_of(list[inner]).fields[0].type.limits
    )
