"""Every compiled rule holds pydantic's own verdict, on any value that a column can hold."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Annotated, Any, Literal

import annotated_types as at
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from schemas import avro
from schemas.columns import KEY, VALUE, dtype_of
from schemas.contract import Contract
from schemas.errors import RejectReason
from schemas.rules import Rules, compile_rules
from schemas.types import Array, FieldType, Map, Record, Scalar
from tests.support.contracts import DRAWS, Colour, Engine, Random, integer, number, stamp, text

UTC = dt.UTC


def rules_of(annotation: Any, **config: Any) -> Rules:
    model = create_model("Event", __config__=ConfigDict(**config), x=(annotation, ...))
    return compile_rules(Contract(stream="shop.orders", model=model))


def rows(rules: Rules, values: list[Any], extra: list[str | None] | None = None) -> pl.DataFrame:
    """A frame as the decoder makes it: the field ``x`` and Sluice's own."""
    kind = rules.contract.fields[0].type
    columns = [pl.Series("x", [column_value(kind, v) for v in values], dtype=dtype_of(kind))]
    columns.append(pl.Series(avro.EXTRA, extra or [None] * len(values), dtype=pl.String))
    return pl.DataFrame(columns)


def column_value(kind: FieldType, value: Any) -> Any:
    """What a column holds of a value that pydantic takes."""
    if value is None:
        return None
    match kind:
        case Scalar.TIMESTAMP:
            return value.replace(tzinfo=None)
        case Scalar.JSON:
            return orjson.dumps(value).decode()
        case Array(item, _, _):
            return [column_value(item, v) for v in value]
        case Map(inner, _, _):
            return [{KEY: k, VALUE: column_value(inner, v)} for k, v in value.items()]
        case Record(_, fields):
            return {f.name: column_value(f.type, value.get(f.source)) for f in fields}
        case _:
            return value


def accepted(rules: Rules, value: Any) -> bool:
    """Pydantic's own verdict, asked directly; a null counts as missing where none may be."""
    field = rules.contract.fields[0]
    given = {} if value is None and not field.nullable else {"x": value}
    try:
        rules.contract.model.model_validate(given)
    except ValidationError:
        return False
    return True


def check(rules: Rules, values: list[Any]) -> None:
    """No more and no less fails than pydantic refuses."""
    frame = rows(rules, values)
    expected = [i for i, value in enumerate(values) if not accepted(rules, value)]
    assert rules.failing(frame) == expected, [values[i] for i in expected]
    for row in range(len(values)):
        assert bool(rules.examine(frame.row(row, named=True))) == (row in expected)


INTS = [0, 1, -1, 5, 6, 2**53 + 1, 2**63 - 1, -(2**63), None]
FLOATS = [0.0, -0.0, 1.5, 1.0, -1e300, 5e-324, float("nan"), float("inf"), float("-inf"), None]
WIDE = [Decimal(t) for t in ("0", "1", "-1", "1.000000001", "9" * 29, "-" + "9" * 29, "0.1")]
DECIMALS = [*WIDE, Decimal("99999999999999999999999999999.999999999"), None]
DATES = [dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(1970, 1, 1), dt.date(9999, 12, 31), None]
TIMES = [dt.time(), dt.time(12), dt.time(12, 0, 0, 1), dt.time(23, 59, 59, 999999), None]
STAMPS = [
    dt.datetime(1, 1, 1, tzinfo=UTC),
    dt.datetime(2024, 1, 1, tzinfo=UTC),
    dt.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    None,
]
TEXTS = ["", "a", "ab", "é", "𝄞", "abc", "a\n", "ABC", "x" * 300, None]
BLOBS = [b"", b"a", b"\xff\x00", b"abc", None]
LISTS: list[Any] = [[], [1], [1, 2], [1, 2, 3], [9], [None], [1, None], None]
MAPS: list[Any] = [{}, {"a": 1}, {"a": 1, "b": 9}, {"a": None}, None]


class Part(BaseModel):
    n: int = Field(ge=1)
    tags: list[Annotated[str, Field(min_length=2)]] = []
    colour: Colour | None = None
    free: dict[str, Any] | None = None


PARTS: list[Any] = [
    {"n": 1},
    {"n": 0},
    {"n": 1, "tags": ["ab"]},
    {"n": 1, "tags": ["a"]},
    {"n": 1, "tags": ["ab", "a"]},
    {"n": 1, "tags": []},
    {"n": 1, "colour": "red"},
    {"n": 1, "free": {"a": 1}},
    {"n": 1, "free": {}},
    None,
]

CASES: list[tuple[str, Any, list[Any]]] = [
    ("int ge", Annotated[int, Field(ge=1)], INTS),
    ("int gt", Annotated[int, Field(gt=2**53)], INTS),
    ("int le", Annotated[int, Field(le=2**63 - 2)], INTS),
    ("int lt", Annotated[int, Field(lt=-1)], INTS),
    ("int between", Annotated[int, Field(ge=0, le=5)], INTS),
    ("int multiple", Annotated[int, Field(multiple_of=5)], [0, 5, -5, -4, 1, None]),
    ("int", int, INTS),
    ("optional int", Annotated[int, Field(ge=1)] | None, INTS),
    ("float ge", Annotated[float, Field(ge=0)], FLOATS),
    ("float gt", Annotated[float, Field(gt=0.0)], FLOATS),
    ("float le", Annotated[float, Field(le=1.5)], FLOATS),
    ("float lt", Annotated[float, Field(lt=1)], FLOATS),
    ("float finite", Annotated[float, Field(allow_inf_nan=False)], FLOATS),
    ("float", float, FLOATS),
    ("decimal ge", Annotated[Decimal, Field(ge=0)], DECIMALS),
    ("decimal gt", Annotated[Decimal, Field(gt=Decimal("0.9999999999"))], DECIMALS),
    ("decimal le", Annotated[Decimal, Field(le=Decimal("1.0000000005"))], DECIMALS),
    ("decimal lt", Annotated[Decimal, Field(lt=1)], DECIMALS),
    ("decimal huge", Annotated[Decimal, Field(le=Decimal("1e60"))], DECIMALS),
    ("decimal low", Annotated[Decimal, Field(ge=Decimal("-1e60"))], DECIMALS),
    ("date ge", Annotated[dt.date, Field(ge=dt.date(1970, 1, 1))], DATES),
    ("date lt", Annotated[dt.date, Field(lt=dt.date(2024, 2, 29))], DATES),
    ("time gt", Annotated[dt.time, Field(gt=dt.time(12))], TIMES),
    ("time le", Annotated[dt.time, Field(le=dt.time(12))], TIMES),
    ("stamp gt", Annotated[dt.datetime, Field(gt=STAMPS[1])], STAMPS),
    ("stamp le", Annotated[dt.datetime, Field(le=STAMPS[1])], STAMPS),
    ("text min", Annotated[str, Field(min_length=2)], TEXTS),
    ("text max", Annotated[str, Field(max_length=1)], TEXTS),
    ("text pattern", Annotated[str, Field(pattern=r"^[a-zé]+$")], TEXTS),
    ("text inside", Annotated[str, Field(pattern=r"\d|b")], TEXTS),
    ("bytes min", Annotated[bytes, Field(min_length=1)], BLOBS),
    ("bytes max", Annotated[bytes, Field(max_length=2)], BLOBS),
    ("list min", Annotated[list[int], Field(min_length=1)], [*LISTS[:5], None]),
    ("list max", Annotated[list[int | None], Field(max_length=1)], LISTS),
    ("list items", list[Annotated[int, Field(le=5)]], LISTS),
    ("list null items", list[Annotated[int, Field(le=5)] | None], LISTS),
    ("list plain", list[int], LISTS),
    (
        "list of lists",
        list[list[Annotated[int, Field(le=5)]]],
        [[], [[1]], [[9]], [[1], [9]], None],
    ),
    ("map min", Annotated[dict[str, int], Field(min_length=1)], MAPS),
    ("map values", dict[str, Annotated[int, Field(le=5)]], MAPS),
    ("map null values", dict[str, int | None], MAPS),
    ("map of lists", dict[str, list[Annotated[int, Field(le=5)]]], [{}, {"a": [9]}, {"a": [1]}]),
    ("literal", Literal["a", "b"], ["a", "b", "c", "", None]),
    ("literal texts", Literal["4 Cycle", "b"], ["4 Cycle", "b", "c", "", None]),
    ("enum", Colour, ["red", "green", "blue", None]),
    ("enum texts", Engine | None, ["4 Cycle", "Turbo-jet", "jet", None]),
    ("list of enums", list[Colour], [["red"], ["blue"], [], ["red", "blue"]]),
    ("uuid", uuid.UUID, [str(uuid.UUID(int=5)), "x", "", None]),
    ("record", Part, PARTS),
    ("optional record", Part | None, PARTS),
    ("list of records", list[Part], [[part] for part in PARTS] + [PARTS[:2], [], None]),
    ("map of records", dict[str, Part], [{"k": part} for part in PARTS[:-1]]),
    ("free form", JsonValue, [{}, 1, "x", [None], None]),
    ("anything", Any, [{}, 1, None]),
    ("free object", dict[str, Any], [{}, {"a": 1}, [1], 1, "{", None]),
    ("bare object", dict, [{}, [1], None]),
    ("bare list", list, [[], {"a": 1}, None]),
    ("bool", bool, [True, False, None]),
]


@pytest.mark.parametrize(
    ("annotation", "values"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_rule_fails_exactly_what_pydantic_refuses(annotation: Any, values: list[Any]) -> None:
    rules = rules_of(annotation)
    assert not rules.by_row
    check(rules, values)


WIDE_CONTEXT = Context(prec=60)
BOUNDS: tuple[tuple[Any, Callable[[Random], Any]], ...] = (
    (int, integer),
    (float, number),
    (Decimal, lambda rng: Decimal(rng.randrange(-(10**38), 10**38)).scaleb(-9, WIDE_CONTEXT)),
    (dt.date, lambda rng: stamp(rng).date()),
    (dt.time, lambda rng: stamp(rng).time()),
    (dt.datetime, lambda rng: stamp(rng).replace(tzinfo=UTC)),
)


@settings(deadline=None)
@given(DRAWS)
def test_bounds_hold_for_any_values(rng: Random) -> None:
    annotation, draw = rng.choice(BOUNDS)
    bound = draw(rng)
    limit = rng.choice((at.Ge, at.Gt, at.Le, at.Lt))(bound)
    rules = rules_of(Annotated[annotation, limit])
    assert not rules.by_row
    check(rules, [bound, *(draw(rng) for _ in range(20)), None])


@settings(deadline=None)
@given(DRAWS)
def test_lengths_and_patterns_hold_for_any_text(rng: Random) -> None:
    shortest = rng.randrange(4)
    pattern = rng.choice(("^a", r"\d$", "^[^|]*$", "(?i)A", "é|中", r"^\w+$", r"^.{0,3}$"))
    limits = Field(min_length=shortest, max_length=shortest + 3, pattern=pattern)
    rules = rules_of(Annotated[str, limits])
    assert not rules.by_row
    check(rules, [text(rng) for _ in range(20)])


def test_a_model_that_forbids_more_refuses_unknown_fields() -> None:
    rules = rules_of(int, extra="forbid")
    assert not rules.by_row
    frame = rows(rules, [1, 1], [None, '{"y":1}'])
    assert rules.failing(frame) == [1]
    found = rules.examine(frame.row(1, named=True))
    assert [(v.path, v.reason) for v in found] == [("$.y", RejectReason.INVALID)]
    assert not rules.examine(frame.row(0, named=True))


def test_text_that_should_be_json_is_a_violation_and_never_raises() -> None:
    rules = rules_of(list[JsonValue])
    frame = rows(rules, [[1], [2]]).with_columns(pl.Series("x", [["1", None], ["{"]]))
    assert rules.failing(frame) == [1]
    (found,) = rules.examine(frame.row(1, named=True))
    assert found.reason is RejectReason.WRONG_TYPE
    assert "JSON" in found.detail
    inside = compile_rules(Contract(stream="a.b", model=create_model("M", p=(Part, ...))))
    part = {"n": 1, "tags": ["ab"], "colour": "red", "free": "{x"}
    broken = pl.DataFrame({"p": [part, part | {"free": "{}"}]})
    assert inside.failing(broken) == [0]


def test_several_violations_are_all_named_with_their_paths() -> None:
    class Event(BaseModel):
        a: int = Field(ge=1, alias="A")
        parts: list[Part]

    rules = compile_rules(Contract(stream="a.b", model=Event))
    part = {"n": 0, "tags": ["x"], "colour": None, "free": None}
    found = rules.examine({"a": 0, "parts": [part]})
    assert [(v.path, v.reason) for v in found] == [
        ("$.A", RejectReason.OUT_OF_RANGE),
        ("$.parts[0].n", RejectReason.OUT_OF_RANGE),
        ("$.parts[0].tags[0]", RejectReason.OUT_OF_RANGE),
    ]


def refuse_seven(value: int) -> int:
    if value == 7:
        raise ValueError("seven")
    return value


class WithFieldValidator(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def _refuse(cls, value: int) -> int:
        return refuse_seven(value)


class WithModelValidator(BaseModel):
    x: int

    @model_validator(mode="after")
    def _refuse(self) -> "WithModelValidator":
        refuse_seven(self.x)
        return self


class WithPostInit(BaseModel):
    x: int

    def model_post_init(self, _context: Any, /) -> None:
        refuse_seven(self.x)


class Nesting(BaseModel):
    x: list[WithFieldValidator]


CUSTOM: list[tuple[Any, Any, Any, str]] = [
    (WithFieldValidator, {"x": 7}, {"x": 8}, "WithFieldValidator._refuse"),
    (WithModelValidator, {"x": 7}, {"x": 8}, "WithModelValidator._refuse"),
    (WithPostInit, {"x": 7}, {"x": 8}, "model_post_init"),
    (Nesting, {"x": [{"x": 7}]}, {"x": [{"x": 8}]}, "WithFieldValidator._refuse"),
    (Annotated[int, AfterValidator(refuse_seven)], 7, 8, "AfterValidator"),
    (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)],
        " a ",
        "ab",
        "the constraint",
    ),
    (Annotated[float, Field(multiple_of=0.5)], 0.3, 1.5, "MultipleOf"),
    (Annotated[Decimal, Field(gt=0.5)], Decimal("0.5"), Decimal("0.6"), "the bound 0.5"),
    (Annotated[int, Field(le=2**70)], None, 1, "the bound"),
    (Annotated[dict[str, Any], Field(min_length=1)], {}, {"a": 1}, "a length"),
    (Annotated[set[int], Field(min_length=2)], [1, 1], [1, 2], "a set"),
    (int | bool | None | list[int], "x", [1], "several types"),
    (dict[str, int | str], {"a": []}, {"a": 1}, "several types"),
    (Annotated[bool, at.Ge(True)], False, True, "the bound"),
]


@pytest.mark.parametrize(("annotation", "bad", "good", "why"), CUSTOM, ids=range(len(CUSTOM)))
def test_what_has_no_expression_is_judged_row_by_row(
    annotation: Any, bad: Any, good: Any, why: str
) -> None:
    rules = rules_of(annotation)
    assert why in rules.by_row
    frame = rows(rules, [bad, good])
    assert rules.failing(frame) == [0, 1]
    assert rules.examine(frame.row(0, named=True))
    assert not rules.examine(frame.row(1, named=True))


@pytest.mark.parametrize(
    ("name", "value"), [("str_strip_whitespace", True), ("strict", True), ("str_max_length", 1)]
)
def test_a_setting_that_changes_verdicts_is_judged_row_by_row(name: str, value: Any) -> None:
    assert name in rules_of(str, **{name: value}).by_row


def test_harmless_settings_keep_the_expressions() -> None:
    class Event(BaseModel):
        model_config = ConfigDict(frozen=True, title="Event", populate_by_name=True)
        x: int
        _seen: bool = PrivateAttr(default=False)

    assert not compile_rules(Contract(stream="a.b", model=Event)).by_row


def test_strict_models_take_what_columns_hold() -> None:
    class Event(BaseModel):
        model_config = ConfigDict(strict=True)
        u: uuid.UUID
        t: dt.datetime
        n: Decimal

    rules = compile_rules(Contract(stream="a.b", model=Event))
    row = {"u": str(uuid.UUID(int=1)), "t": dt.datetime(2024, 1, 1), "n": Decimal(1)}  # noqa: DTZ001 - as columns
    assert rules.examine(row) == ()
    assert rules.examine(row | {"u": "x"})


def test_whatever_a_validator_raises_is_a_verdict_on_its_row_alone() -> None:
    class Event(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def whole(cls, value: int) -> int:
            return 12 // value

    rules = compile_rules(Contract(stream="shop.orders", model=Event))
    verdicts = [rules.examine(row) for row in rows(rules, [3, 0]).iter_rows(named=True)]
    assert verdicts[0] == ()
    (found,) = verdicts[1]
    assert (found.path, found.reason) == ("$", RejectReason.INVALID)
    assert found.told == "a validator of the contract raised ZeroDivisionError"
