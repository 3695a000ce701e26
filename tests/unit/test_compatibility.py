"""Schema compatibility: the seven modes, and every verdict beside Apache Avro's own checker."""

import json
from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse
from hypothesis import given, settings

from schemas.compatibility import Compatibility, conflicts, unreadable
from tests.support.contracts import DRAWS, Random

Node = dict[str, Any]
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")


def record(*fields: Node, name: str = "Order") -> Node:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: object, **more: object) -> Node:
    return {"name": name, "type": kind, **more}


def decimal(precision: int, scale: int) -> Node:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


FEW = record(field("id", "string"))
MORE = record(field("id", "string"), field("note", ["null", "string"], default=None))
STRICT = record(field("id", "string"), field("note", "string"))


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [
        (Compatibility.NONE, {"optional", "required", "dropped"}),
        (Compatibility.BACKWARD, {"optional", "dropped"}),
        (Compatibility.FORWARD, {"optional", "required"}),
        (Compatibility.FULL, {"optional"}),
    ],
)
def test_a_mode_allows_what_it_promises(mode: Compatibility, allowed: set[str]) -> None:
    changes = {"optional": (FEW, MORE), "required": (FEW, STRICT), "dropped": (STRICT, FEW)}
    found = {name for name, (old, new) in changes.items() if not conflicts(new, [old], mode)}
    assert found == allowed


@pytest.mark.parametrize("direction", ["backward", "forward", "full"])
def test_only_transitive_modes_look_behind_the_last_schema(direction: str) -> None:
    first, last = record(field("id", "int")), record(field("total", "int", default=0))
    new = record(field("id", "string", default=""), field("total", "int", default=0))
    assert conflicts(new, [first, last], Compatibility(direction)) == []
    found = conflicts(new, [first, last], Compatibility(f"{direction}_transitive"))
    assert found
    assert all(why.startswith("$.id: ") for why in found)


@pytest.mark.parametrize(
    ("reader", "writer", "why"),
    [
        (field("x", "int"), field("x", "string"), "$.x: string was written, int is read"),
        (
            field("x", {"type": "array", "items": "int"}),
            field("x", {"type": "array", "items": "long"}),
            "$.x[]: long was written, int is read",
        ),
        (
            field("x", {"type": "map", "values": ["null", "int"]}),
            field("x", {"type": "map", "values": "string"}),
            "$.x{}: string was written, null or int is read",
        ),
        (
            field("x", {"type": "enum", "name": "E", "symbols": ["a"]}),
            field("x", {"type": "enum", "name": "E", "symbols": ["a", "b"]}),
            "$.x: the symbols b were written and are not known any more",
        ),
        (
            field("x", {"type": "fixed", "name": "F", "size": 4}),
            field("x", {"type": "fixed", "name": "F", "size": 8}),
            "$.x: 8 bytes were written, 4 are read",
        ),
        (
            field("x", record(field("y", "int"), name="Inner")),
            field("x", record(name="Inner")),
            "$.x.y: it was not written and has no default",
        ),
        (
            field("x", decimal(10, 2)),
            field("x", decimal(10, 4)),
            "$.x: decimal(10,4) was written, decimal(10,2) is read",
        ),
        (
            field("x", ["null", decimal(10, 2)]),
            field("x", ["null", decimal(10, 4)]),
            "$.x: decimal(10,4) was written, decimal(10,2) is read",
        ),
        (
            field("x", ["null", {"type": "enum", "name": "E", "symbols": ["A"]}]),
            field("x", ["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}]),
            "$.x: the symbols B were written and are not known any more",
        ),
    ],
)
def test_a_conflict_names_its_path_and_both_sides(reader: Node, writer: Node, why: str) -> None:
    assert unreadable(record(reader), record(writer)) == [why]


def test_aliases_and_namespaces_are_no_conflict() -> None:
    writer = record(field("old", "int")) | {"namespace": "a"}
    reader = record(field("new", "long", aliases=["old"]), name="Bill") | {"aliases": ["Order"]}
    assert unreadable(reader, writer) == []


@settings(max_examples=400, deadline=None)
@given(DRAWS)
def test_every_verdict_is_that_of_apache_avro(rng: Random) -> None:
    reader = record(*(field(n, drawn(rng, f"R{n}", 2), **default(rng)) for n in names(rng)))
    writer = record(*(field(n, drawn(rng, f"R{n}", 2)) for n in names(rng)))
    peer = ReaderWriterCompatibilityChecker().get_compatibility(
        parse(json.dumps(reader)), parse(json.dumps(writer))
    )
    assert (not unreadable(reader, writer)) == (
        peer.compatibility is SchemaCompatibilityType.compatible
    )


def names(rng: Random) -> list[str]:
    return [name for name in "abc" if rng.random() < 0.7]


def default(rng: Random) -> Node:
    return {"default": None} if rng.random() < 0.5 else {}


def drawn(rng: Random, name: str, depth: int) -> Any:
    """A type; named types are called by their place, so that two schemas have them in common."""
    kinds = ["primitive", "enum", "fixed", *(["array", "map", "record", "union"] if depth else [])]
    match rng.choice(kinds):
        case "enum":
            return {
                "type": "enum",
                "name": f"{name}E",
                "symbols": ["a", "b", "c"][: rng.randint(1, 3)],
            }
        case "fixed":
            return {"type": "fixed", "name": f"{name}F", "size": rng.randint(1, 2)}
        case "array":
            return {"type": "array", "items": drawn(rng, f"{name}i", depth - 1)}
        case "map":
            return {"type": "map", "values": drawn(rng, f"{name}v", depth - 1)}
        case "record":
            inner = [field(n, drawn(rng, f"{name}{n}", depth - 1)) for n in names(rng)]
            return record(*inner, name=f"{name}R")
        case "union":
            return rng.sample(PRIMITIVES, rng.randint(1, 3))
        case _:
            return rng.choice(PRIMITIVES)
