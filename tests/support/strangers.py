"""Avro schemas as other producers write them, and values of them, drawn from a seed."""

import datetime as dt
import io
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal as Exact
from typing import Any

import fastavro

from schemas import avro
from schemas.types import Array, Decimal, Enum, Field, FieldType, Map, Record, Scalar
from tests.support.contracts import Random, decimal_text, integer, number, stamp, text

Node = Any
Typed = tuple[Node, Callable[[Random], Any]]  # a type, and how to draw values of it
_names = itertools.count()


def _logical(base: str, logical: str, **more: Any) -> Node:
    return {"type": base, "logicalType": logical} | more


def _boolean(rng: Random) -> bool:
    return rng.random() < 0.5


def _int(rng: Random) -> int:
    return rng.choice((0, -1, 2**31 - 1, -(2**31), rng.randrange(999)))


def _float(rng: Random) -> float:
    return rng.choice((0.5, -1.25, 0.1, float("nan"), 3.4e38, 1e-45))


def _bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.randrange(4))


def _date(rng: Random) -> dt.date:
    return stamp(rng).date()


def _hex(rng: Random) -> str:
    return f"{rng.getrandbits(128):032x}"


def _millis(rng: Random) -> dt.datetime:
    at = stamp(rng)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _decimal(base: str, precision: int, scale: int) -> Typed:
    more = {"name": f"d{next(_names)}", "size": 17} if base == "fixed" else {}
    node = _logical(base, "decimal", precision=precision, scale=scale, **more)
    return node, lambda rng: Exact(decimal_text(rng, precision, scale))


def _enum() -> Typed:
    symbols = ["red", "green", "blue"]
    node = {"type": "enum", "name": f"e{next(_names)}", "symbols": symbols}
    return node, lambda rng: rng.choice(symbols)


def _fixed() -> Typed:
    return {"type": "fixed", "name": f"x{next(_names)}", "size": 3}, lambda rng: rng.randbytes(3)


def _aware(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=dt.UTC)


def scalar(rng: Random) -> Typed:
    """A type without parts."""
    plain: list[Typed] = [
        ("boolean", _boolean),
        ("int", _int),
        ("long", integer),
        ("float", _float),
        ("double", lambda r: r.choice((number(r), float("nan"), float("inf")))),
        ("string", text),
        (
            {"type": "string", "avro.java.string": "String"},
            lambda r: r.choice(['{"a":1}', "[", "5"]),
        ),
        ("bytes", _bytes),
        (_logical("int", "date"), _date),
        (_logical("int", "time-millis"), lambda r: _millis(r).time()),
        (_logical("long", "time-micros"), lambda r: stamp(r).time()),
        (_logical("long", "timestamp-millis"), lambda r: _aware(_millis(r))),
        (_logical("long", "timestamp-micros"), lambda r: _aware(stamp(r))),
        (_logical("long", "local-timestamp-millis"), _millis),
        (_logical("long", "local-timestamp-micros"), stamp),
        (_logical("long", "timestamp-nanos"), integer),
        (_logical("string", "uuid"), _hex),
        (_logical("long", "made-up"), integer),
        _decimal("bytes", 6, 2),
        _decimal("bytes", 38, 9),
        _decimal("bytes", 50, 2),
        _decimal("fixed", 20, 5),
        _enum(),
        _fixed(),
    ]
    return rng.choice(plain)


def typed(rng: Random, depth: int) -> Typed:
    """Any type, nullable or not, ``depth`` levels at most."""
    roll = rng.random()
    if not depth or roll < 0.65:
        node, draw = scalar(rng)
    elif roll < 0.75:
        node, draw = _array(*typed(rng, depth - 1))
    elif roll < 0.8:
        node, draw = _map(*typed(rng, depth - 1))
    elif roll < 0.85:
        return ["null", "long", "string"], lambda r: r.choice((None, 5, "x"))
    else:
        node, draw = record(rng, [f"f{i}" for i in range(rng.randint(1, 3))], depth - 1)
    order = rng.choice((None, ["null", node], [node, "null"]))
    if order is None:
        return node, draw
    return order, lambda r: None if r.random() < 0.3 else draw(r)


def _array(item: Node, draw: Callable[[Random], Any]) -> Typed:
    return {"type": "array", "items": item}, lambda r: [draw(r) for _ in range(r.randrange(3))]


def _map(value: Node, draw: Callable[[Random], Any]) -> Typed:
    node = {"type": "map", "values": value}
    return node, lambda r: {text(r): draw(r) for _ in range(r.randrange(3))}


def record(rng: Random, names: list[str], depth: int) -> Typed:
    """A record of these fields, of any types."""
    parts = {name: typed(rng, depth) for name in names}
    node = {
        "type": "record",
        "name": f"r{next(_names)}",
        "fields": [{"name": name, "type": parts[name][0]} for name in names],
    }
    return node, lambda r: {name: draw(r) for name, (_, draw) in parts.items()}


_FITTING: dict[Scalar, tuple[Typed, ...]] = {
    Scalar.BOOLEAN: (("boolean", _boolean),),
    Scalar.INTEGER: (("long", integer), ("int", _int)),
    Scalar.FLOAT: (("double", number), ("float", _float), ("long", integer), ("int", _int)),
    Scalar.STRING: (("string", text), (_logical("string", "uuid"), _hex)),
    Scalar.BYTES: (("bytes", _bytes),),
    Scalar.DATE: ((_logical("int", "date"), _date),),
    Scalar.TIME: (
        (_logical("int", "time-millis"), lambda rng: _millis(rng).time()),
        (_logical("long", "time-micros"), lambda rng: stamp(rng).time()),
    ),
    Scalar.TIMESTAMP: (
        (_logical("long", "timestamp-millis"), lambda rng: _aware(_millis(rng))),
        (_logical("long", "timestamp-micros"), lambda rng: _aware(stamp(rng))),
        (_logical("long", "local-timestamp-millis"), _millis),
        (_logical("long", "local-timestamp-micros"), stamp),
    ),
    Scalar.UUID: ((_logical("string", "uuid"), _hex), ("string", text)),
}


def fitting(rng: Random, kind: FieldType) -> Typed:
    """A type whose values fit the contract's, as another producer might have chosen it."""
    node, draw = _inner(rng, kind)
    order = rng.choice((None, ["null", node], [node, "null"]))
    if order is None or isinstance(node, list):
        return node, draw
    return order, lambda r: None if r.random() < 0.3 else draw(r)


def _inner(rng: Random, kind: FieldType) -> Typed:
    match kind:
        case Scalar.JSON:
            return typed(rng, 2)
        case Scalar():
            return rng.choice(_FITTING[kind])
        case Decimal(precision, scale):
            places = rng.randint(0, scale)
            whole = rng.randint(0, precision - scale)
            if whole + places == 0:
                return "int", _int
            return _decimal("bytes", whole + places, places)
        case Enum(_, symbols):
            node = {"type": "enum", "name": f"e{next(_names)}", "symbols": [*symbols, "other"]}
            return rng.choice(((node, lambda r: r.choice(node["symbols"])), ("string", text)))
        case Array(item, _, _):
            return _array(*fitting(rng, item))
        case Map(value, _, _):
            return _map(*fitting(rng, value))
        case Record(_, fields):
            return fitting_record(rng, fields, [])


def fitting_record(rng: Random, fields: Sequence[Field], more: Sequence[str]) -> Typed:
    """Most of these fields in some order, and more that have nothing to do with them."""
    parts = {f.name: fitting(rng, f.type) for f in fields if rng.random() < 0.9}
    parts |= {name: typed(rng, 2) for name in more}
    names = list(parts) or ["nothing"]
    parts = parts or {"nothing": ("long", integer)}
    rng.shuffle(names) if rng.random() < 0.5 else None
    node = {
        "type": "record",
        "name": f"r{next(_names)}",
        "fields": [{"name": name, "type": parts[name][0]} for name in names],
    }
    return node, lambda r: {name: draw(r) for name, (_, draw) in parts.items()}


def message(schema: avro.Schema, schema_id: int, value: dict[str, Any]) -> bytes:
    """One event, as any Avro library writes it."""
    out = io.BytesIO()
    out.write(avro.wire_header(schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()
