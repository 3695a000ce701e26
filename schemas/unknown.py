"""What a contract does not know of a record, at any depth: the record without what it knows.

Of ``{"id": 1, "lines": [{"sku": "a", "discount": 2}, {"sku": "b"}]}`` it is
``{"lines": [{"discount": 2}, {}]}``: under the names that the sender uses, and what is left of a
list's items at their places in the list.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.types import Array, Field, FieldType, Map, Record

Json = Any


@dataclass(frozen=True, slots=True)
class UnknownFields:
    """Of records: fields that they have no name for, and what is unknown inside the others.

    Values have the shape that their types say, or are null.
    """

    names: frozenset[str]
    inside: tuple[tuple[str, str, "Unknown"], ...]  # the names in JSON, and of the field

    def of(self, value: dict[str, Json]) -> dict[str, Json] | None:
        """The part that is unknown; None where nothing is."""
        found = None
        if not value.keys() <= self.names:
            found = {k: v for k, v in value.items() if k not in self.names}
        for name, _, unknown in self.inside:
            part = value.get(name)
            left = unknown.of(part) if part else None
            if left is not None:
                found = {name: left} if found is None else found | {name: left}
        return found

    def anywhere(self, value: dict[str, Json], coerced: dict[str, Json]) -> bool:
        """Whether :meth:`of` finds something, by what pydantic made of the value: sooner told.

        Pydantic took as many keys of a record as it knows. Where defaults were filled in, at the
        outermost level, that hides unknown ones: look at the names there as well.
        """
        if len(value) > len(coerced):
            return True
        for name, field, unknown in self.inside:
            part = value.get(name)
            if part and unknown.anywhere(part, coerced[field]):
                return True
        return False

    def restored(self, value: Json, unknown: Json) -> Json:
        """A value of what is known, with what is not put back; ``unknown`` may be any JSON."""
        if not isinstance(value, dict) or not isinstance(unknown, dict):
            return value
        whole = value | {k: v for k, v in unknown.items() if k not in self.names}
        for name, _, inner in self.inside:
            if name in value and name in unknown:
                whole[name] = inner.restored(value[name], unknown[name])
        return whole


@dataclass(frozen=True, slots=True)
class _UnknownInItems:
    """Of lists: as many items as there are, empty where nothing is unknown."""

    item: "Unknown"

    def of(self, value: list[Json]) -> list[Json] | None:
        parts = [self.item.of(each) if each else None for each in value]
        if parts.count(None) == len(parts):
            return None
        empty: Json = [] if isinstance(self.item, _UnknownInItems) else {}
        return [empty if part is None else part for part in parts]

    def anywhere(self, value: list[Json], coerced: list[Json]) -> bool:
        for place, part in enumerate(value):
            if part and self.item.anywhere(part, coerced[place]):
                return True
        return False

    def restored(self, value: Json, unknown: Json) -> Json:
        if not isinstance(value, list) or not isinstance(unknown, list):
            return value
        both = zip(value, unknown, strict=False)
        return [self.item.restored(*pair) for pair in both] + value[len(unknown) :]


@dataclass(frozen=True, slots=True)
class _UnknownInEntries:
    """Of maps: the entries in which something is unknown."""

    entry: "Unknown"

    def of(self, value: dict[str, Json]) -> dict[str, Json] | None:
        parts = {k: left for k, v in value.items() if v and (left := self.entry.of(v)) is not None}
        return parts or None

    def anywhere(self, value: dict[str, Json], coerced: dict[str, Json]) -> bool:
        return any(part and self.entry.anywhere(part, coerced[k]) for k, part in value.items())

    def restored(self, value: Json, unknown: Json) -> Json:
        if not isinstance(value, dict) or not isinstance(unknown, dict):
            return value
        return {k: self.entry.restored(v, unknown.get(k)) for k, v in value.items()}


Unknown = UnknownFields | _UnknownInItems | _UnknownInEntries


def unknown_fields(fields: Iterable[Field]) -> UnknownFields:
    """Of a record of these fields."""
    fields = tuple(fields)
    inside = [(field.source, field.name, _inside(field.type)) for field in fields]
    return UnknownFields(
        frozenset(field.source for field in fields),
        tuple((name, own, unknown) for name, own, unknown in inside if unknown is not None),
    )


def _inside(kind: FieldType) -> Unknown | None:
    """None where everything is known: only models have names."""
    match kind:
        case Record(_, fields):
            return unknown_fields(fields)
        case Array(item, _, _):
            inner = _inside(item)
            return None if inner is None else _UnknownInItems(inner)
        case Map(value, _, _):
            inner = _inside(value)
            return None if inner is None else _UnknownInEntries(inner)
        case _:
            return None
