"""A contract as an Avro schema; the Confluent wire format; the Avro container around a block.

Avro 1.12 specification; wire format: one zero byte, the schema id in 4 bytes big-endian, then
the record in Avro's binary encoding (Confluent, "Wire format").

Every field of the wire schema is nullable, so that an incomplete record can travel to the judge
as it is and evolution stays compatible (docs/adr/0006-nullable-wire-schema.md).
"""

import io
import json
import struct
from typing import Any

from schemas.contract import Contract
from schemas.errors import ContractError
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

MAGIC = 0
HEADER = struct.Struct(">bI")
JSON_PROPERTY = "sluice.type"  # marks strings that hold JSON
Schema = dict[str, Any]

ID, SOURCE, RECEIVED_AT, EXTRA, RAW = "_id", "_source", "_received_at", "_extra", "_raw"
"""Sluice's own fields: event id, source, when we received it (UTC), unknown fields, raw record."""

_SCALARS: dict[Scalar, Any] = {
    Scalar.BOOLEAN: "boolean",
    Scalar.INTEGER: "long",
    Scalar.FLOAT: "double",
    Scalar.STRING: "string",
    Scalar.BYTES: "bytes",
    Scalar.DATE: {"type": "int", "logicalType": "date"},
    Scalar.TIME: {"type": "long", "logicalType": "time-micros"},
    Scalar.TIMESTAMP: {"type": "long", "logicalType": "timestamp-micros"},
    Scalar.UUID: {"type": "string", "logicalType": "uuid"},
    Scalar.JSON: {"type": "string", JSON_PROPERTY: "json"},
}
_SYSTEM: dict[str, Scalar] = {
    ID: Scalar.STRING,
    SOURCE: Scalar.STRING,
    RECEIVED_AT: Scalar.TIMESTAMP,
    EXTRA: Scalar.JSON,
    RAW: Scalar.STRING,
}
SYSTEM_NAMES = frozenset(_SYSTEM)
ABOUT: dict[str, str] = {
    ID: "Event id; equal for repeats of one event.",
    SOURCE: "The source that it came from.",
    RECEIVED_AT: "When Sluice received it, UTC.",
    EXTRA: "Fields that the contract does not know.",
    RAW: "The record as it came.",
}
"""What Sluice's own fields are."""


def system_type(name: str) -> Schema:
    """The Avro type of one of Sluice's own fields, spelled out."""
    found = _SCALARS[_SYSTEM[name]]
    return found if isinstance(found, dict) else {"type": found}


def system_fields(contract: Contract) -> dict[str, Scalar]:
    """Sluice's own fields of a stream, in order."""
    return {n: t for n, t in _SYSTEM.items() if n != RAW or contract.keep_raw}


def wire_schema(contract: Contract) -> Schema:
    """The Avro schema of a stream's events, as JSON. Raises ContractError on clashing names."""
    source, _, name = contract.stream.partition(".")
    known: dict[str, Record | Enum] = {_name(name): Record(name, ())}  # the event itself
    fields = [
        {"name": f.name, "type": _nullable(f.type, known, contract.stream), "default": None}
        | ({"doc": f.info.description} if f.info.description else {})
        for f in contract.fields
    ]
    fields += [
        {"name": n, "type": ["null", _SCALARS[t]], "default": None}
        for n, t in system_fields(contract).items()
    ]
    schema = {"type": "record", "name": _name(name), "namespace": _name(source), "fields": fields}
    return schema | ({"doc": contract.description} if contract.description else {})


def _name(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in text)


def _nullable(kind: FieldType, known: dict[str, Record | Enum], where: str) -> list[Any]:
    return ["null", _avro(kind, known, where)]


def _avro(kind: FieldType, known: dict[str, Record | Enum], where: str) -> Any:  # noqa: ANN401 - JSON
    match kind:
        case Scalar():
            return _SCALARS[kind]
        case Decimal(precision, scale):
            return {
                "type": "bytes",
                "logicalType": "decimal",
                "precision": precision,
                "scale": scale,
            }
        case Array(item, _, _):
            return {"type": "array", "items": _nullable(item, known, where)}
        case Map(value, _, _):
            return {"type": "map", "values": _nullable(value, known, where)}
        case Enum() | Record():
            return _named(kind, known, where)


def _named(kind: Enum | Record, known: dict[str, Record | Enum], where: str) -> Any:  # noqa: ANN401
    name = _name(kind.name)
    if name in known:
        if known[name] == kind:
            return name  # defined above
        raise ContractError(
            f"two different types are called {name}", where=where, remedy="rename one of them"
        )
    known[name] = kind
    if isinstance(kind, Enum):
        return {"type": "enum", "name": name, "symbols": list(kind.symbols)}
    fields = [
        {"name": f.name, "type": _nullable(f.type, known, where), "default": None}
        for f in kind.fields
    ]
    return {"type": "record", "name": name, "fields": fields}


def wire_header(schema_id: int) -> bytes:
    """The five bytes before a record."""
    return HEADER.pack(MAGIC, schema_id)


def varint(number: int) -> bytes:
    """Avro's zig-zag encoding of a non-negative long."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(stream: io.BytesIO) -> int:
    """The inverse of :func:`varint`."""
    shift = value = 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - no continuation bit
            return value >> 1
        shift += 7


SYNC = b"0123456789abcdef"


def container_head(schema: Schema) -> bytes:
    """The header of an object container file without compression, sync marker included."""
    out = bytearray(b"Obj\x01" + varint(2))
    for key, value in ((b"avro.schema", json.dumps(schema).encode()), (b"avro.codec", b"null")):
        out += varint(len(key)) + key + varint(len(value)) + value
    return bytes(out + varint(0) + SYNC)


def container_block(head: bytes, count: int, body: bytes) -> bytes:
    """A container of one block."""
    return b"".join((head, varint(count), varint(len(body)), body, SYNC))


def block_body(container: bytes) -> tuple[int, bytes]:
    """The count and the bytes of a one-block container's block."""
    stream = io.BytesIO(container)
    stream.seek(4)
    while entries := read_varint(stream):
        for _ in range(entries * 2):
            stream.seek(read_varint(stream), io.SEEK_CUR)
    stream.seek(len(SYNC), io.SEEK_CUR)
    if stream.tell() == len(container):
        return 0, b""
    count = read_varint(stream)
    size = read_varint(stream)
    return count, stream.read(size)


def expanded(schema: Schema) -> Schema:
    """The schema with every reference to a named type replaced by its definition."""
    return _expand(schema, {}, schema.get("namespace", ""))  # type: ignore[no-any-return] # a record stays one


def _expand(
    node: Any,  # noqa: ANN401 - JSON
    known: dict[str, Any],
    space: str,
) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        return [_expand(branch, known, space) for branch in node]
    if isinstance(node, str):
        return known.get(node, known.get(f"{space}.{node}", node))
    kind = node["type"]
    if not isinstance(kind, str):
        return _expand(kind, known, space)
    if kind in {"record", "enum", "fixed", "error"}:
        return _expand_named(node, known, node.get("namespace", space))
    if kind == "array":
        return node | {"items": _expand(node["items"], known, space)}
    if kind == "map":
        return node | {"values": _expand(node["values"], known, space)}
    return known.get(kind, known.get(f"{space}.{kind}", node))


def _expand_named(node: Any, known: dict[str, Any], space: str) -> Any:  # noqa: ANN401 - JSON
    full = node["name"] if "." in node["name"] else f"{space}.{node['name']}".lstrip(".")
    if node["type"] in {"record", "error"}:
        # a record inside itself stays a name: columns cannot hold it
        node = node | {
            "fields": [f | {"type": _expand(f["type"], known, space)} for f in node["fields"]]
        }
    known[full] = node
    return node


def field_types(contract: Contract) -> dict[str, FieldType]:
    """All fields on the wire, the contract's and Sluice's own, in order."""
    own: dict[str, FieldType] = {f.name: f.type for f in contract.fields}
    return own | dict(system_fields(contract))
