"""Contracts of all field types and JSON records that fit them or not, drawn from a seed.

Hypothesis draws the seed; what follows from it is made by plain functions, a hundred times faster
than strategies that depend on each other. A failing seed is printed, and makes the same again.
"""

import datetime as dt
import enum
import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, create_model
from pydantic.fields import FieldInfo

from schemas import exact_json
from schemas.contract import Contract
from schemas.events import Incoming

RECEIVED = 1_795_000_000_123_456
Random = random.Random
Draw = Callable[[Random], Any]
DRAWS = st.integers(0, 2**48).map(Random)
CANONICAL, CONVERTIBLE, WRONG = "canonical", "convertible", "wrong"
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
    canonical: Draw
    convertible: Draw
    wrong: Draw
    default: Any = None

    def value(self, rng: Random, form: str) -> Any:
        """A value of that form."""
        draw: Draw = getattr(self, form)
        return draw(rng)


def one_of(*values: Any) -> Draw:
    """One of these; what can be called draws."""

    def draw(rng: Random) -> Any:
        value = rng.choice(values)
        return value(rng) if callable(value) else value

    return draw


_PLAIN = 'abc 019-_/ÄßéЖ中\u2028𝄞\0"\\{}[],:|@'


def text(rng: Random) -> str:
    """Mostly short, sometimes of other scripts, empty, long, or like JSON."""
    if rng.random() < 0.2:
        return rng.choice(["", "\0", "x" * 5_000, '{"a": 1}', "1", "null", "true", "a|b", "a\\@b"])
    return "".join(rng.choices(_PLAIN, k=rng.randrange(8)))


def integer(rng: Random) -> int:
    """Of 64 bits: small, large, and the edges."""
    edges = (0, -1, 63, 64, -64, -65, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
    return rng.choice((rng.randrange(300), rng.randrange(-(2**63), 2**63), rng.choice(edges)))


def number(rng: Random) -> float:
    """Finite."""
    edges = (0.0, -0.0, 0.1, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, -1.5, 1 / 3)
    return rng.choice((rng.uniform(-1e3, 1e3), rng.choice(edges), float(rng.randrange(99))))


def json_value(rng: Random, depth: int = 2) -> Any:
    """Any JSON."""
    kind = rng.randrange(7 if depth else 5)
    if kind == 5:
        return [json_value(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 6:
        return {text(rng): json_value(rng, depth - 1) for _ in range(rng.randrange(3))}
    if kind == 3 and rng.random() < 0.3:
        return decimal_number(rng, 38, rng.choice((0, 9, 30)))
    return (None, rng.random() < 0.5, integer(rng), number(rng), text(rng))[kind]


def stamp(rng: Random) -> dt.datetime:
    """Naive, of the years 1000 to 2999, every microsecond."""
    first = dt.datetime(1000, 1, 2)  # noqa: DTZ001 - its offset is drawn apart
    days = rng.choice((rng.randrange(730_000), 354_284 + rng.randrange(3)))  # the epoch as well
    micros = rng.choice((0, 123_000, 1, 999_999, rng.randrange(10**6)))
    return first + dt.timedelta(days, rng.randrange(86_400), micros)


def _offset(rng: Random) -> str:
    return rng.choice(["", "Z", "+00:00", "-00:00", "+05:30", "-13:59", "+14:00", "-23:59"])


def _uuid(rng: Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128))


def decimal_text(rng: Random, digits: int, places: int) -> str:
    """A decimal of at most that many digits, point included where there are places."""
    unscaled = rng.choice((rng.randrange(10**digits), 10**digits - 1, 0, 1, rng.randrange(10)))
    figures = str(unscaled).rjust(places + 1, "0")
    plain = f"{figures[:-places]}.{figures[-places:]}" if places else figures
    return f"-{plain}" if rng.random() < 0.4 else plain


def decimal_number(rng: Random, digits: int, places: int) -> float | Decimal:
    """The same as a JSON number that was read."""
    read: list[float | Decimal] = exact_json.loads(f"[{decimal_text(rng, digits, places)}]")
    return read[0]


def _decimal(digits: int, places: int) -> Kind:
    other = (
        "0",
        "-0",
        "0.0",
        "0.10",
        "00",
        "1e-1",
        0.5,
        0,
        " 0 ",
        "+0",
        "0e5",
        -0.0,
        "0.000",
        ".5",
    )
    return Kind(
        Annotated[Decimal, Field(max_digits=digits, decimal_places=places)],
        one_of(
            lambda rng: decimal_text(rng, digits, places),
            lambda rng: decimal_number(rng, digits, places),
        ),
        one_of(*other),
        one_of(
            "x",
            "1" * 40,
            Decimal("1" * 40),
            Decimal("0." + "1" * 39),
            "٣",
            "NaN",
            "Infinity",
            1e300,
            True,
            "",
            {},
            [],
        ),
        Decimal(0),
    )


NEVER = one_of({}, [], {"a": 1}, [[1]])
SCALARS: tuple[Kind, ...] = (
    Kind(bool, one_of(True, False), one_of("yes", 0, 1, "false", 1.0), one_of(NEVER, "x"), True),
    Kind(int, integer, one_of("12", 3.0, True, " 7 ", "1_000"), one_of(NEVER, 2**63, 1e30), 7),
    Kind(
        int,
        integer,
        one_of("-5"),
        one_of(2**64 - 1, Decimal(2**64), Decimal("1." + "1" * 20), 1.5, "x", -1e19, "9" * 30),
        7,
    ),
    Kind(
        float,
        one_of(number, integer),
        one_of("1.5", True, "NaN", "-inf", 2**64 - 1, Decimal("0.12345678901234567891")),
        one_of(NEVER, "x"),
        0.5,
    ),
    Kind(str, text, text, one_of(NEVER, 1, 1.5, Decimal(2**70)), "none"),
    Kind(bytes, text, text, one_of(NEVER, 1), b"none"),
    Kind(
        dt.date,
        lambda rng: stamp(rng).date().isoformat(),
        one_of(0, "2024-02-29T00:00:00", 86400, "1582-10-10", "0001-01-01", "9999-12-31"),
        one_of("2023-02-29", "2024-13-01", "x", "2024-1-1", "２０２４-01-01", NEVER),
        dt.date(1970, 1, 1),
    ),
    Kind(
        dt.time,
        lambda rng: stamp(rng).time().isoformat(),
        one_of("10:00", "10:00:00Z", "10:00:00+02:00", 5, "00:00:00.1234567"),
        one_of("24:00:00", "x", "10", NEVER),
        dt.time(1, 2, 3, 4),
    ),
    Kind(
        dt.datetime,
        lambda rng: stamp(rng).isoformat() + _offset(rng),
        one_of(
            0,
            1.5,
            Decimal("1795000000.1234567891"),
            "2024-01-01",
            "2024-01-01 10:00:00",
            "2024-01-01T10:00:00.1234567Z",
            "1e3",
        ),
        one_of("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2023-02-29T00:00:00Z"),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    ),
    Kind(
        uuid.UUID,
        lambda rng: str(_uuid(rng)),
        one_of(lambda rng: _uuid(rng).hex, lambda rng: f"{{{_uuid(rng)}}}".upper()),
        one_of("x", "00000000-0000-0000-0000-00000000000g", NEVER),
    ),
    Kind(JsonValue, json_value, json_value, json_value, {"a": [1]}),
    Kind(dict[str, Any], one_of({}, {"a": None}), lambda rng: {"b": json_value(rng)}, one_of([1])),
    Kind(int | str, one_of(integer, text), integer, one_of([], {})),
    *(_decimal(*form) for form in ((38, 9), (38, 0), (4, 4), (6, 2), (20, 5), (38, 38))),
    Kind(Literal["a", "b"], one_of("a", "b"), one_of("a"), one_of("c", 1, NEVER), "b"),
    Kind(Colour, one_of("red", "green"), one_of("red"), one_of("blue", 1), Colour.red),
    Kind(Engine, one_of("4 Cycle", "Turbo-jet"), one_of("4 Cycle"), one_of(4)),
)


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return Kind(
        kind.annotation | None,
        one_of(None, kind.canonical, kind.canonical),
        one_of(None, kind.convertible),
        kind.wrong,
    )


def _list(kind: Kind) -> Kind:
    def draw(*forms: str) -> Draw:
        return lambda rng: [kind.value(rng, rng.choice(forms)) for _ in range(rng.randrange(4))]

    return Kind(
        list[kind.annotation],  # type: ignore[name-defined] # built at run time
        draw(CANONICAL),
        draw(CANONICAL, CONVERTIBLE),
        one_of(lambda rng: [kind.wrong(rng)], "x", {}, 1, [None]),
    )


def _map(kind: Kind) -> Kind:
    def draw(*forms: str) -> Draw:
        return lambda rng: {
            text(rng): kind.value(rng, rng.choice(forms)) for _ in range(rng.randrange(4))
        }

    return Kind(
        dict[str, kind.annotation],  # type: ignore[name-defined] # built at run time
        draw(CANONICAL),
        draw(CANONICAL, CONVERTIBLE),
        one_of(lambda rng: {"k": kind.wrong(rng)}, "x", [], {"k": None}),
    )


@dataclass(frozen=True)
class Shape:
    """A model, and the kinds of its fields by their names in JSON."""

    model: type[BaseModel]
    fields: dict[str, Kind]

    def complete(self, rng: Random) -> dict[str, Any]:
        """Every field, in canonical form."""
        return {name: kind.canonical(rng) for name, kind in self.fields.items()}

    def record(self, rng: Random, *forms: str) -> dict[str, Any]:
        """Most fields, each in one of these forms."""
        present = [name for name in self.fields if rng.random() < 0.9]
        return {name: self.fields[name].value(rng, rng.choice(forms)) for name in present}


def _record(shape: Shape) -> Kind:
    return Kind(
        shape.model,
        one_of(shape.complete, lambda rng: shape.record(rng, CANONICAL)),
        lambda rng: shape.record(rng, CANONICAL, CONVERTIBLE),
        one_of(lambda rng: shape.record(rng, WRONG), "x", [], 1),
    )


def kind_of(rng: Random, depth: int) -> Kind:
    """A scalar, or a list, map or record of kinds, ``depth`` levels at most."""
    roll = rng.random()
    if not depth or roll < 0.6:
        kind = rng.choice(SCALARS)
    elif roll < 0.73:
        kind = _list(kind_of(rng, depth - 1))
    elif roll < 0.8:
        kind = _map(kind_of(rng, depth - 1))
    else:
        kind = _record(shape_of(rng, depth - 1, 3))
    return optional(kind) if rng.random() < 0.3 else kind


def shape_of(rng: Random, depth: int = 2, fields_max: int = 6) -> Shape:
    """A model of one to ``fields_max`` fields, with aliases and defaults."""
    fields: dict[str, Kind] = {}
    members: dict[str, tuple[Any, FieldInfo]] = {}
    for place in range(rng.randint(1, fields_max)):
        kind = kind_of(rng, depth)
        name = f"f{place}"
        source = f"f-{place} é" if rng.random() < 0.2 else name
        given: dict[str, Any] = {"alias": source} if source != name else {}
        if kind.default is not None and rng.random() < 0.25:
            given["default"] = kind.default
        members[name] = (kind.annotation, Field(**given))
        fields[source] = kind
    make = cast("Callable[..., type[BaseModel]]", create_model)
    return Shape(make(f"Model{next(_numbers)}", **members), fields)


def contract_of(rng: Random, shape: Shape) -> Contract:
    """A contract with some key, version and raw record."""
    flat = [f.name for f in Contract(stream="shop.orders", model=shape.model).fields]
    flat = [name for name in flat if can_be_key(shape.model, name)]
    key = tuple(rng.sample(flat, rng.randint(0, min(len(flat), 2))))
    rest = [name for name in flat if name not in key]
    version = (rng.choice(rest),) if key and rest and rng.random() < 0.5 else ()
    return Contract(
        stream="shop.orders",
        model=shape.model,
        key=key,
        version=version,
        keep_raw=rng.random() < 0.5,
    )


def can_be_key(model: type[BaseModel], name: str) -> bool:
    """Whether a contract accepts the field as a key."""
    try:
        Contract(stream="shop.orders", model=model, key=(name,))
    except ValueError:
        return False
    return True


def incoming(value: dict[str, Any], event_id: str | None = None) -> Incoming:
    """A record on its way to the encoder."""
    return Incoming(value, exact_json.dumps(value), event_id, "shop", RECEIVED)


def page_of(rng: Random, shape: Shape) -> list[Incoming]:
    """Mostly complete records, among them all others, with unknown fields and given ids."""
    page = []
    for _ in range(rng.randint(8, 24)):
        value = shape.complete(rng)
        if rng.random() < 0.2:
            forms = rng.choice([(CANONICAL,), (CANONICAL, CONVERTIBLE), (CANONICAL, WRONG)])
            value = shape.record(rng, *forms)
        if rng.random() < 0.2:
            value = {rng.choice(["u", "_w"]): json_value(rng)} | value
        page.append(incoming(value, text(rng) if rng.random() < 0.1 else None))
    return page


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
