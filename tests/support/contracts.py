"""Hypothesis strategies: contracts of all field types, and JSON records that fit them or not."""

import datetime as dt
import enum
import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

import orjson
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel, Field, JsonValue, create_model
from pydantic.fields import FieldInfo

from schemas.contract import Contract
from schemas.events import Incoming

RECEIVED = 1_795_000_000_123_456
Values = SearchStrategy[Any]
_numbers = itertools.count()


class Engine(enum.Enum):
    """Symbols that Avro does not take as names: travels as text."""

    four = "4 Cycle"
    jet = "Turbo-jet"


class Colour(enum.Enum):
    """An Avro enumeration."""

    red = "red"
    green = "green"


@dataclass(frozen=True)
class Kind:
    """A field's annotation, with JSON values in canonical form, convertible, and wrong."""

    annotation: Any
    canonical: Values
    convertible: Values
    wrong: Values
    default: Any = None


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "é", "\0", "𝄞 clef", "x" * 5_000, '{"a": 1}', "1", "null", "\u2028"]
)
NEVER = st.sampled_from([{}, [], {"a": 1}, [[1]]])
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300)
STAMPS = st.datetimes(dt.datetime(1000, 1, 2), dt.datetime(2999, 12, 30))  # noqa: DTZ001 - UTC by contract
OFFSETS = st.sampled_from(["", "Z", "+00:00", "-00:00", "+05:30", "-13:59", "+14:00", "-23:59"])
JSON = st.recursive(
    st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def _decimal(digits: int, places: int) -> Kind:
    unscaled = st.integers(-(10**digits) + 1, 10**digits - 1)
    exact = unscaled.map(lambda n: f"{Decimal(n).scaleb(-places):f}" if digits <= 28 else str(n))  # noqa: PLR2004 - the default context
    large = unscaled.map(lambda n: _point(n, places))
    return Kind(
        Annotated[Decimal, Field(max_digits=digits, decimal_places=places)],
        exact if digits <= 28 and places < digits else large,  # noqa: PLR2004 - the default context
        st.sampled_from(["0", "-0", "0.0", "0.10", "00", "1e-1", 0.5, 0, " 0 ", "+0", "0e5", -0.0]),
        st.sampled_from(["x", "1" * 40, "٣", "NaN", "Infinity", 1e300, True, ""]) | NEVER,
        Decimal(0),
    )


def _point(unscaled: int, places: int) -> str:
    """The text of ``unscaled`` with the point ``places`` from its end."""
    digits = str(abs(unscaled)).rjust(places + 1, "0")
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{text}" if unscaled < 0 else text


SCALARS: tuple[Kind, ...] = (
    Kind(bool, st.booleans(), st.sampled_from(["yes", 0, 1, "false", 1.0]), NEVER | TEXTS, True),
    Kind(int, INTS, st.sampled_from(["12", 3.0, True, " 7 ", "1_000"]), NEVER, 7),
    Kind(int, INTS, st.just("-5"), st.sampled_from([2**63, 2**64 - 1, 1e30, 1.5, "x", -1e19]), 7),
    Kind(
        float,
        st.floats(allow_nan=False, allow_infinity=False) | INTS,
        st.sampled_from(["1.5", True, "NaN", "-inf", 2**64 - 1]),
        NEVER | st.just("x"),
        0.5,
    ),
    Kind(str, TEXTS, TEXTS, NEVER | INTS, "none"),
    Kind(bytes, TEXTS, TEXTS, NEVER | INTS, b"none"),
    Kind(
        dt.date,
        st.dates().map(dt.date.isoformat) | st.just("1970-01-01"),
        st.sampled_from([0, "2024-02-29T00:00:00", 86400, "1582-10-10", "0001-01-01"]),
        st.sampled_from(["2023-02-29", "2024-13-01", "x", "2024-1-1", "２０２４-01-01"]) | NEVER,
        dt.date(1970, 1, 1),
    ),
    Kind(
        dt.time,
        st.times().map(dt.time.isoformat),
        st.sampled_from(["10:00", "10:00:00Z", "10:00:00+02:00", 5, "00:00:00.1234567"]),
        st.sampled_from(["24:00:00", "x", "10"]) | NEVER,
        dt.time(1, 2, 3, 4),
    ),
    Kind(
        dt.datetime,
        st.builds(lambda at, offset: at.isoformat() + offset, STAMPS, OFFSETS),
        st.sampled_from([0, 1.5, "2024-01-01", "2024-01-01 10:00:00", 1700000000000, "1e3"])
        | st.just("2024-01-01T10:00:00.1234567Z"),
        st.sampled_from(
            ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2023-02-29T00:00:00Z", "x"]
        )
        | NEVER,
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    ),
    Kind(
        uuid.UUID,
        st.uuids().map(str),
        st.uuids().map(lambda u: u.hex) | st.uuids().map(lambda u: f"{{{u}}}".upper()),
        st.sampled_from(["x", "00000000-0000-0000-0000-00000000000g"]) | NEVER,
    ),
    Kind(JsonValue, JSON, JSON, JSON, {"a": [1]}),
    Kind(dict[str, Any], st.dictionaries(TEXTS, JSON, max_size=2), st.just({}), st.just([1])),
    Kind(int | str, INTS | TEXTS, INTS, st.just([])),
    _decimal(38, 9),
    _decimal(38, 0),
    _decimal(4, 4),
    _decimal(6, 2),
    _decimal(20, 5),
    Kind(Literal["a", "b"], st.sampled_from("ab"), st.just("a"), st.sampled_from(["c", 1]), "b"),
    Kind(Colour, st.sampled_from(["red", "green"]), st.just("red"), st.just("blue"), Colour.red),
    Kind(Engine, st.sampled_from(["4 Cycle", "Turbo-jet"]), st.just("4 Cycle"), st.just(4)),
)


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return Kind(
        kind.annotation | None,
        st.none() | kind.canonical,
        st.none() | kind.convertible,
        kind.wrong,
    )


def _list(kind: Kind) -> Kind:
    return Kind(
        list[kind.annotation],  # type: ignore[name-defined] # built at run time
        st.lists(kind.canonical, max_size=3),
        st.lists(kind.canonical | kind.convertible, max_size=3),
        st.lists(kind.wrong, min_size=1, max_size=2) | st.sampled_from(["x", {}, 1]),
    )


def _map(kind: Kind) -> Kind:
    return Kind(
        dict[str, kind.annotation],  # type: ignore[name-defined] # built at run time
        st.dictionaries(TEXTS, kind.canonical, max_size=3),
        st.dictionaries(TEXTS, kind.canonical | kind.convertible, max_size=3),
        st.dictionaries(TEXTS, kind.wrong, min_size=1, max_size=2) | st.sampled_from(["x", []]),
    )


@dataclass(frozen=True)
class Shape:
    """A model, and the strategies of its fields by their names in JSON."""

    model: type[BaseModel]
    fields: dict[str, Kind]

    def record(self, *names: str) -> Values:
        """Records whose members come from these strategies of each kind."""
        return st.fixed_dictionaries(
            {},
            optional={
                name: st.one_of(*(getattr(kind, n) for n in names))
                for name, kind in self.fields.items()
            },
        )

    @property
    def canonical(self) -> Values:
        """Complete records, nothing to convert."""
        return st.fixed_dictionaries({n: k.canonical for n, k in self.fields.items()})


def _record(shape: Shape) -> Kind:
    return Kind(
        shape.model,
        shape.canonical | shape.record("canonical"),
        shape.record("canonical", "convertible"),
        shape.record("wrong") | st.sampled_from(["x", [], 1]),
    )


def _kinds(depth: int) -> SearchStrategy[Kind]:
    scalars = st.sampled_from(SCALARS)
    kinds = scalars | scalars | scalars
    if depth:
        inner = st.deferred(lambda: _kinds(depth - 1))
        kinds |= inner.map(_list) | inner.map(_map) | shapes(depth - 1, 3).map(_record)
    return kinds | kinds.map(optional) if depth else kinds.map(optional) | kinds


@st.composite
def shapes(draw: st.DrawFn, depth: int = 2, fields_max: int = 6) -> Shape:
    """Models of one to ``fields_max`` fields, with aliases and defaults."""
    fields: dict[str, Kind] = {}
    members: dict[str, tuple[Any, FieldInfo]] = {}
    for number in range(draw(st.integers(1, fields_max))):
        kind = draw(_kinds(depth))
        name = f"f{number}"
        source = f"f-{number} é" if draw(st.integers(0, 4)) == 0 else name
        given: dict[str, Any] = {"alias": source} if source != name else {}
        if kind.default is not None and draw(st.integers(0, 3)) == 0:
            given["default"] = kind.default
        members[name] = (kind.annotation, Field(**given))
        fields[source] = kind
    make = cast("Callable[..., type[BaseModel]]", create_model)
    return Shape(make(f"Model{next(_numbers)}", **members), fields)


@st.composite
def contracts(draw: st.DrawFn, depth: int = 2) -> tuple[Contract, Shape]:
    """Contracts with every combination of key, version and raw record."""
    shape = draw(shapes(depth))
    drawn = Contract(stream="shop.orders", model=shape.model)
    flat = [f.name for f in drawn.fields if can_be_key(drawn, f.name)]
    key = tuple(draw(st.lists(st.sampled_from(flat), max_size=2, unique=True))) if flat else ()
    rest = [name for name in flat if name not in key]
    version = (draw(st.sampled_from(rest)),) if key and rest and draw(st.booleans()) else ()
    keep_raw = draw(st.booleans())
    contract = Contract(
        stream="shop.orders", model=shape.model, key=key, version=version, keep_raw=keep_raw
    )
    return contract, shape


def can_be_key(contract: Contract, name: str) -> bool:
    """Whether the contract accepts the field as a key."""
    with suppress(ValueError):
        Contract(stream=contract.stream, model=contract.model, key=(name,))
        return True
    return False


def incoming(shape: Shape, *names: str) -> SearchStrategy[Incoming]:
    """Records on their way to the encoder, unknown fields included."""
    unknown = st.dictionaries(st.sampled_from(["u", "v", "_w"]), JSON, max_size=1)
    values = st.builds(lambda known, more: more | known, shape.record(*names), unknown)
    return st.builds(_incoming, values, st.none() | st.none() | st.text(max_size=5))


def complete(shape: Shape) -> SearchStrategy[Incoming]:
    """Records that need no conversion and lack nothing."""
    return st.builds(_incoming, shape.canonical, st.none())


def _incoming(value: dict[str, Any], event_id: str | None) -> Incoming:
    return Incoming(value, orjson.dumps(value), event_id, "shop", RECEIVED)


def pages(shape: Shape, count_max: int = 24) -> SearchStrategy[list[Incoming]]:
    """Pages: mostly complete records, between them all others."""
    good = st.lists(complete(shape), min_size=8, max_size=count_max)
    other = st.lists(incoming(shape, "canonical", "convertible", "wrong"), max_size=6)
    return st.builds(lambda a, b: a + b, good, other).flatmap(st.permutations)


def leaves(value: object) -> Iterator[object]:
    """Everything inside a decoded value that has no parts."""
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield value
