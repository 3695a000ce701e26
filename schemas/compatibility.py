"""Whether readers and writers of two Avro schemas understand each other.

Avro 1.12, "Schema Resolution"; the seven modes are those of Confluent's Schema Registry ("Schema
Evolution and Compatibility"). Beyond the specification, decimals must agree in scale too: readers
that know the scale by their own schema would be off by a power of ten.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any

from schemas import avro
from schemas.avro import Schema


class Compatibility(StrEnum):
    """What a new schema of a subject has to do with the earlier ones."""

    NONE = "none"
    BACKWARD = "backward"  # it reads what the last one wrote
    BACKWARD_TRANSITIVE = "backward_transitive"  # and what any earlier one wrote
    FORWARD = "forward"  # the last one reads what it writes
    FORWARD_TRANSITIVE = "forward_transitive"
    FULL = "full"  # both
    FULL_TRANSITIVE = "full_transitive"


_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""From a writer's type to those that may read it."""


def conflicts(new: Schema, earlier: Sequence[Schema], mode: Compatibility) -> list[str]:
    """Why the mode does not allow ``new`` after ``earlier`` (oldest first); empty if it does."""
    if mode is Compatibility.NONE:
        return []
    compared = earlier if mode.endswith("_transitive") else earlier[-1:]
    direction = mode.removesuffix("_transitive")
    found: list[str] = []
    for old in compared:
        if direction in {"backward", "full"}:
            found += unreadable(reader=new, writer=old)
        if direction in {"forward", "full"}:
            found += [f"{why}, for readers of the earlier schema" for why in unreadable(old, new)]
    return list(dict.fromkeys(found))


def unreadable(reader: Schema, writer: Schema) -> list[str]:
    """Where the reader's schema cannot read what the writer's wrote, as paths with reasons."""
    return list(_differences(avro.expanded(reader), avro.expanded(writer), "$"))


def _differences(reader: Any, writer: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(writer, list):
        for branch in writer:
            yield from _differences(reader, branch, path)
        return
    if isinstance(reader, list):
        if any(_matches(branch, writer) for branch in reader):
            return
        alike = [branch for branch in reader if _kind(branch) == _kind(writer)]
        if len(alike) == 1:  # the one that was meant: what exactly is not alike
            yield from _differences(alike[0], writer, path)
            return
        named = " or ".join(map(_kind, reader))
        yield f"{path}: {_kind(writer)} was written, {named} is read"
        return
    ours, theirs = _kind(reader), _kind(writer)
    if ours != theirs:
        if ours not in _PROMOTED.get(theirs, ()):
            yield f"{path}: {theirs} was written, {ours} is read"
    elif ours in _COMPARED:
        yield from _COMPARED[ours](reader, writer, path)
    if _decimal(reader) != _decimal(writer):
        yield f"{path}: {_told(writer)} was written, {_told(reader)} is read"


def _matches(reader: Any, writer: Any) -> bool:  # noqa: ANN401 - JSON
    return next(_differences(reader, writer, ""), None) is None


def _kind(node: Any) -> str:  # noqa: ANN401 - JSON
    return node if isinstance(node, str) else str(node["type"])


def _decimal(node: Any) -> tuple[int, int] | None:  # noqa: ANN401 - JSON
    """Precision and scale."""
    if isinstance(node, dict) and node.get("logicalType") == "decimal":
        return int(node["precision"]), int(node.get("scale", 0))
    return None


def _told(node: Any) -> str:  # noqa: ANN401 - JSON
    found = _decimal(node)
    return f"decimal({found[0]},{found[1]})" if found else _kind(node)


def _record(reader: Any, writer: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    yield from _name(reader, writer, path)
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        names = (field["name"], *field.get("aliases", ()))
        known = next((name for name in names if name in written), None)
        if known is not None:
            yield from _differences(field["type"], written[known], f"{path}.{field['name']}")
        elif "default" not in field:
            yield f"{path}.{field['name']}: it was not written and has no default"


def _enum(reader: Any, writer: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    yield from _name(reader, writer, path)
    unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if unknown and "default" not in reader:
        yield f"{path}: the symbols {', '.join(unknown)} were written and are not known any more"


def _fixed(reader: Any, writer: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    yield from _name(reader, writer, path)
    if reader["size"] != writer["size"]:
        yield f"{path}: {writer['size']} bytes were written, {reader['size']} are read"


def _name(reader: Any, writer: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Names agree without their namespace, or by an alias."""
    names = {name.rpartition(".")[2] for name in (reader["name"], *reader.get("aliases", ()))}
    name = writer["name"].rpartition(".")[2]
    if name not in names:
        yield f"{path}: {writer['type']} {name} was written, {reader['name']} is read"


_COMPARED: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "record": _record,
    "enum": _enum,
    "fixed": _fixed,
    "array": lambda reader, writer, path: _differences(
        reader["items"], writer["items"], f"{path}[]"
    ),
    "map": lambda reader, writer, path: _differences(
        reader["values"], writer["values"], f"{path}{{}}"
    ),
}
