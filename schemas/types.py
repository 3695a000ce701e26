"""The types a field can have, read from pydantic models; everything else is derived from them."""

import collections.abc
import datetime as dt
import decimal
import enum
import re
import types
import typing
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from schemas.errors import ContractError

DECIMAL_DIGITS_MAX = 38
DECIMAL_DEFAULT = (38, 9)
ENUM_SYMBOL_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class Scalar(enum.StrEnum):
    """Types without parameters."""

    BOOLEAN = "boolean"
    INTEGER = "integer"  # 64 bits, signed
    FLOAT = "float"  # 64 bits
    STRING = "string"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"  # microseconds of the day
    TIMESTAMP = "timestamp"  # microseconds, UTC
    UUID = "uuid"
    JSON = "json"  # any JSON value, as text


@dataclass(frozen=True, slots=True)
class Decimal:
    """A decimal of ``precision`` digits, ``scale`` of them behind the point."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class Enum:
    """One of a few strings."""

    name: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """A list; ``limits`` are the constraints on its items."""

    item: "FieldType"
    nullable: bool = False
    limits: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    """String keys, values of one type; ``limits`` are the constraints on the values."""

    value: "FieldType"
    nullable: bool = False
    limits: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields."""

    name: str
    fields: tuple["Field", ...]


FieldType = Scalar | Decimal | Enum | Array | Map | Record


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``source`` is its name in incoming JSON, ``name`` the one everywhere else."""

    name: str
    type: FieldType
    nullable: bool
    required: bool  # False: pydantic has a default
    source: str
    info: FieldInfo  # default, description
    limits: tuple[Any, ...] = ()  # the constraints, those inside `| None` too


@dataclass(frozen=True, slots=True)
class Members:
    """The constraint of an enumeration that travels as strings."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Begins:
    """The constraint of free form that is always an object, or always a list: its first letter."""

    text: str


@dataclass(frozen=True, slots=True)
class ByRow:
    """A constraint of which only pydantic knows whether it holds."""

    why: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a type stands: for messages, for the names of enumerations, against endless nesting."""

    where: str
    name: str
    models: tuple[type[BaseModel], ...]

    def item(self) -> "_Place":
        return replace(self, where=f"{self.where}[]")


_FREE = (Any, JsonValue)
_UNIONS = (typing.Union, types.UnionType)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SCALARS: tuple[tuple[Any, Scalar], ...] = (
    (bool, Scalar.BOOLEAN),
    (int, Scalar.INTEGER),
    (float, Scalar.FLOAT),
    (str, Scalar.STRING),
    (bytes, Scalar.BYTES),
    (dt.date, Scalar.DATE),
    (dt.time, Scalar.TIME),
    (dt.datetime, Scalar.TIMESTAMP),
    (uuid.UUID, Scalar.UUID),
    (Any, Scalar.JSON),
    (JsonValue, Scalar.JSON),
    (dict, Scalar.JSON),
    (list, Scalar.JSON),
)
_SETS = (set, frozenset)
_LISTS = (list, collections.abc.Sequence, *_SETS)


def fields_of(
    model: type[BaseModel], where: str, within: tuple[type[BaseModel], ...] = ()
) -> tuple[Field, ...]:
    """The fields of a pydantic model, in order. Raises ContractError naming the field."""
    if model in within:
        raise ContractError(
            f"{model.__name__} contains itself, which no column can hold",
            where=where,
            remedy="use pydantic.JsonValue where it begins again",
        )
    fields = tuple(
        _field(name, info, _Place(f"{where}.{name}", f"{model.__name__}_{name}", (*within, model)))
        for name, info in model.model_fields.items()
    )
    if not fields:
        raise ContractError(
            f"{model.__name__} has no fields",
            where=where,
            remedy="declare some, or use pydantic.JsonValue for free form",
        )
    return fields


def _field(name: str, info: FieldInfo, place: _Place) -> Field:
    if not _NAME.fullmatch(name):  # Avro 1.12, "Names"; what begins with _ is Sluice's own
        raise ContractError(
            "a field's name is letters, digits and _, a letter first",
            where=place.where,
            remedy="rename the field; alias= gives its name in JSON",
        )
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    if alias is not None and not isinstance(alias, str):
        raise ContractError(
            "only a plain string can be an alias",
            where=place.where,
            remedy="use Field(alias='name')",
        )
    if info.default_factory_takes_validated_data:
        raise ContractError(
            "a default that depends on other fields has no place in a schema",
            where=place.where,
            remedy="use a plain default, or None",
        )
    if info.default_factory is not None and not _constant(info):
        raise ContractError(
            "its default_factory is asked once for all events, and each process may get another "
            "value; the ids of events would differ too",
            where=place.where,
            remedy="give the value itself as the default, or let the sender say it",
        )
    annotation, nullable, metadata = _unwrapped(info.annotation, list(info.metadata))
    type_ = _type(annotation, metadata, place)
    return Field(
        name=name,
        type=type_,
        nullable=nullable or annotation in _FREE,  # null is JSON
        required=info.is_required(),
        source=alias or name,
        info=info,
        limits=(*_flat(metadata), *_implied(annotation, type_, metadata)),
    )


def _constant(info: FieldInfo) -> bool:
    """Whether a default factory gives every process the same, as far as one can see.

    Two calls that agree do not say so: today is the same in both. So plain values and moments
    pass only from builtins (``str``); lists, mappings and models of other things do.
    """
    first, second = (info.get_default(call_default_factory=True) for _ in range(2))
    factory = info.default_factory
    builtin = isinstance(factory, type) and factory.__module__ == "builtins"
    made_afresh = isinstance(first, BaseModel | dict | list | tuple | set | frozenset)
    return first == second and (builtin or (made_afresh and not _has_moment(first)))


def _has_moment(value: object) -> bool:
    """Whether a time, a day or a UUID is anywhere inside."""
    match value:
        case BaseModel():
            return any(_has_moment(part) for _, part in value)
        case dict():
            return any(map(_has_moment, value.values()))
        case list() | tuple() | set() | frozenset():
            return any(map(_has_moment, value))
        case _:
            return isinstance(value, dt.date | dt.time | uuid.UUID)


def _unwrapped(
    annotation: Any,  # noqa: ANN401 - any annotation
    metadata: list[Any],
) -> tuple[Any, bool, list[Any]]:
    """The annotation without ``Annotated`` and ``| None``, whether None was in it, constraints."""
    nullable = False
    while annotation not in _FREE:
        origin = typing.get_origin(annotation)
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif origin is typing.Annotated:
            annotation, *extra = typing.get_args(annotation)
            metadata += extra
        elif origin in _UNIONS:
            members = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            nullable = nullable or len(members) < len(typing.get_args(annotation))
            if len(members) > 1:
                break
            annotation = members[0]
        else:
            break
    return annotation, nullable, metadata


def _type(annotation: object, metadata: list[Any], place: _Place) -> FieldType:
    found = next((kind for known, kind in _SCALARS if annotation is known), None)
    if found is not None:
        return found
    if annotation is decimal.Decimal:
        return _decimal(metadata, place.where)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return _enum(place.name, [str(arg) for arg in args], args, place.where)
    if (origin in _LISTS and args) or (origin is tuple and args[1:] == (Ellipsis,)):
        return Array(*_nested(args[0], place.item()))
    if origin is dict and args:
        return _map(args, place)
    if origin in _UNIONS:
        return Scalar.JSON  # several types: kept as they came
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        return _enum(annotation.__name__, [str(v) for v in values], values, place.where)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Record(annotation.__name__, fields_of(annotation, place.where, place.models))
    raise ContractError(
        f"no column type for {annotation!r}",
        where=place.where,
        remedy="use a type of docs/contracts.md, or pydantic.JsonValue for free form",
    )


def _nested(annotation: object, place: _Place) -> tuple[FieldType, bool, tuple[Any, ...]]:
    """The type inside a list or map, whether it may be null, and its constraints."""
    inner, nullable, metadata = _unwrapped(annotation, [])
    kind = _type(inner, metadata, place)
    limits = (*_flat(metadata), *_implied(inner, kind, metadata))
    return kind, nullable or inner in _FREE, limits


def _implied(
    annotation: Any,  # noqa: ANN401 - any annotation
    kind: FieldType,
    metadata: Sequence[object],
) -> Iterator[Members | Begins | ByRow]:
    """What an annotation demands, where the column's type does not say it."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is Scalar.STRING and origin is typing.Literal:
        yield Members(args)
    elif kind is Scalar.STRING and annotation is not str:
        yield Members(tuple(member.value for member in annotation))
    elif origin in _SETS and metadata:
        yield ByRow("a constraint on a set, which counts equal items once")
    elif kind is Scalar.JSON and (origin in _UNIONS or (args and args[1] not in _FREE)):
        yield ByRow("values of several types")
    elif kind is Scalar.JSON and annotation not in _FREE:
        yield Begins("[" if annotation is list else "{")


def _flat(metadata: list[Any]) -> list[Any]:
    """The constraints, with those of a Field() inside Annotated[] taken out of it."""
    return [
        m
        for outer in metadata
        for m in (outer.metadata if isinstance(outer, FieldInfo) else [outer])
    ]


def _map(args: tuple[Any, ...], place: _Place) -> FieldType:
    if args[0] is not str:
        raise ContractError(
            "the keys of a map are strings", where=place.where, remedy="use dict[str, T]"
        )
    kind, nullable, limits = _nested(args[1], place.item())
    return Scalar.JSON if kind is Scalar.JSON else Map(kind, nullable, limits)


def _enum(name: str, symbols: list[str], values: Sequence[object], where: str) -> FieldType:
    if not all(isinstance(value, str) for value in values):
        raise ContractError(
            "only strings can be members of an enumeration",
            where=where,
            remedy="use an int field with ge and le, or string members",
        )
    writable = all(s and not s[0].isdigit() and set(s) <= ENUM_SYMBOL_CHARS for s in symbols)
    # Avro 1.12, "Enums": symbols are names; others travel as strings and the rule still holds
    return Enum(name, tuple(symbols)) if writable else Scalar.STRING


def _decimal(metadata: list[Any], where: str) -> Decimal:
    metadata = _flat(metadata)
    digits = next((m.max_digits for m in metadata if getattr(m, "max_digits", None)), None)
    places = next(
        (m.decimal_places for m in metadata if getattr(m, "decimal_places", None) is not None), None
    )
    precision, scale = DECIMAL_DEFAULT
    if digits is not None:
        precision, scale = digits, places if places is not None else 0
    elif places is not None:
        scale = places
    if not 0 < precision <= DECIMAL_DIGITS_MAX or scale > precision:
        raise ContractError(
            f"a decimal of {precision} digits with {scale} places fits no column",
            where=where,
            remedy=f"max_digits <= {DECIMAL_DIGITS_MAX} and decimal_places <= max_digits",
        )
    return Decimal(precision, scale)
