"""Schemas by any producer, as they are read here: the same bytes, in the logical types we know."""

from typing import Any

from schemas import avro
from schemas.types import DECIMAL_DIGITS_MAX

_BASES = {
    "date": {"int"},
    "time-millis": {"int"},
    "time-micros": {"long"},
    "timestamp-millis": {"long"},
    "timestamp-micros": {"long"},
    "local-timestamp-millis": {"long"},
    "local-timestamp-micros": {"long"},
    "decimal": {"bytes", "fixed"},
}
DIGITS_MAX = 10_000  # of a decimal: more than anybody's
DECIMAL_BYTES_MAX = 4_152  # that hold no more digits
DECIMAL = "sluice-decimal"
"""The logical type of decimals that fastavro leaves to us."""


def as_read(schema: avro.Schema) -> avro.Schema:
    """The schema without the logical types that mean nothing here.

    Avro 1.12, "Logical Types": unknown or invalid ones are ignored. An uuid is text all the same.
    Raises ValueError for what is no schema.
    """
    try:
        return _as_read(schema)  # type: ignore[no-any-return] # a record stays one
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no Avro schema: {type(error).__name__}: {error}") from error


def _as_read(node: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        return [_as_read(branch) for branch in node]
    if isinstance(node, str):
        return node
    kind = node["type"]
    if not isinstance(kind, str):
        return node | {"type": _as_read(kind)}
    if kind in {"record", "error"}:
        fields = [f | {"type": _as_read(f["type"])} for f in node["fields"]]
        return node | {"type": "record", "fields": fields}
    if kind in {"array", "map"}:
        part = "items" if kind == "array" else "values"
        return node | {part: _as_read(node[part])}
    if "logicalType" in node and not _means_something(kind, node):
        return {k: v for k, v in node.items() if k != "logicalType"}
    return node


def _means_something(kind: str, node: dict[str, Any]) -> bool:
    if kind not in _BASES.get(node["logicalType"], ()):
        return False
    if node["logicalType"] != "decimal":
        return True
    precision, scale = node.get("precision"), node.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int):
        return False
    return 0 <= scale <= precision and 0 < precision <= DIGITS_MAX


def for_records(node: Any) -> Any:  # noqa: ANN401 - JSON
    """The schema for fastavro, with decimals that :mod:`consumers.reading.records` reads."""
    if isinstance(node, list):
        return [for_records(branch) for branch in node]
    if isinstance(node, str):
        return node
    ours = {"logicalType": DECIMAL} if node.get("logicalType") == "decimal" else {}
    parts = {k: for_records(node[k]) for k in ("items", "values") if k in node}
    if "fields" in node:
        parts["fields"] = [f | {"type": for_records(f["type"])} for f in node["fields"]]
    if not isinstance(node["type"], str):
        parts["type"] = for_records(node["type"])
    return node | parts | ours


def holds_itself(node: Any, inside: frozenset[str] = frozenset()) -> bool:  # noqa: ANN401 - JSON
    """Whether a record of a schema that fastavro has parsed can hold another of its kind."""
    if isinstance(node, list):
        return any(holds_itself(branch, inside) for branch in node)
    if isinstance(node, str):
        return node in inside
    parts = [node[k] for k in ("items", "values") if k in node]
    if "fields" in node:
        inside |= {node["name"]}
        parts += [f["type"] for f in node["fields"]]
    return any(holds_itself(part, inside) for part in (node["type"], *parts))


def takes_bytes(node: Any, known: dict[str, bool]) -> bool:  # noqa: ANN401 - JSON
    """Whether every value of a parsed schema's type takes at least a byte.

    ``known``: the same of the types that have a name, by it. Raises ValueError for an array of
    items that take none: a message of a few bytes could say that it has billions of them.
    """
    if isinstance(node, list):
        for branch in node:
            takes_bytes(branch, known)
        return True  # the branch's number
    if isinstance(node, str):
        return known.get(node, node != "null")
    match node["type"]:
        case "record":
            known[node["name"]] = False  # inside itself it is nothing more
            for field in node["fields"]:  # all of them: one may be such an array
                known[node["name"]] |= takes_bytes(field["type"], known)
            return known[node["name"]]
        case "fixed":
            known[node["name"]] = node["size"] > 0
            return known[node["name"]]
        case "array":
            if not takes_bytes(node["items"], known):
                raise ValueError("an array of items that take no bytes")
            return True
        case "map":
            takes_bytes(node["values"], known)
            return True
        case kind:
            return takes_bytes(kind, known)


def without_null(node: Any) -> Any:  # noqa: ANN401 - JSON
    """The type inside ``["null", T]``, as an object; a union of several types stays a list."""
    if isinstance(node, list):
        branches = [branch for branch in node if branch != "null"]
        return without_null(branches[0]) if len(branches) == 1 else node
    if isinstance(node, str):
        return {"type": node}
    return node if isinstance(node["type"], str) else without_null(node["type"])


def fits_decimal_column(node: dict[str, Any]) -> bool:
    """Whether a decimal of this type fits 38 digits and 16 bytes."""
    return bool(node["precision"] <= DECIMAL_DIGITS_MAX and node.get("size", 0) <= 16)  # noqa: PLR2004 - 128 bits
