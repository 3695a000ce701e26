"""The types a field can have, read from pydantic models; everything else is derived from them."""

import datetime as dt
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


_SCALARS: dict[Any, Scalar] = {
    bool: Scalar.BOOLEAN,
    int: Scalar.INTEGER,
    float: Scalar.FLOAT,
    str: Scalar.STRING,
    bytes: Scalar.BYTES,
    dt.date: Scalar.DATE,
    dt.time: Scalar.TIME,
    dt.datetime: Scalar.TIMESTAMP,
    uuid.UUID: Scalar.UUID,
    Any: Scalar.JSON,
    JsonValue: Scalar.JSON,
    dict: Scalar.JSON,
    list: Scalar.JSON,
}


def fields_of(model: type[BaseModel], where: str) -> tuple[Field, ...]:
    """The fields of a pydantic model, in order. Raises ContractError naming the field."""
    return tuple(_field(name, info, f"{where}.{name}") for name, info in model.model_fields.items())


def _field(name: str, info: FieldInfo, where: str) -> Field:
    if name.startswith("_"):
        raise ContractError(
            "names that begin with _ are Sluice's own", where=where, remedy="rename the field"
        )
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    if alias is not None and not isinstance(alias, str):
        raise ContractError(
            "only a plain string can be an alias", where=where, remedy="use Field(alias='name')"
        )
    annotation, nullable, metadata = _unwrapped(info.annotation, list(info.metadata))
    type_ = _type(annotation, metadata, where)
    return Field(
        name=name,
        type=type_,
        nullable=nullable or type_ is Scalar.JSON,  # null is JSON
        required=info.is_required(),
        source=alias or name,
        info=info,
        limits=(*_flat(metadata), *_members(annotation, type_)),
    )


def _unwrapped(
    annotation: Any,  # noqa: ANN401 - any annotation
    metadata: list[Any],
) -> tuple[Any, bool, list[Any]]:
    """The annotation without ``Annotated`` and ``| None``, whether None was in it, constraints."""
    nullable = False
    while True:
        origin = typing.get_origin(annotation)
        if _hashable(annotation) and annotation in _SCALARS:
            return annotation, nullable, metadata
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif origin is typing.Annotated:
            annotation, *extra = typing.get_args(annotation)
            metadata += extra
        elif origin in {typing.Union, types.UnionType}:
            members = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            nullable = nullable or len(members) < len(typing.get_args(annotation))
            if len(members) > 1:
                return Any, nullable, metadata  # several types: kept as JSON
            annotation = members[0]
        else:
            return annotation, nullable, metadata


def _type(annotation: object, metadata: list[Any], where: str) -> FieldType:
    found = _SCALARS.get(annotation) if _hashable(annotation) else None
    if found is not None:
        return found
    if annotation is decimal.Decimal:
        return _decimal(metadata, where)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return _enum("literal", [str(arg) for arg in args], args, where)
    if origin in {list, set, frozenset, typing.Sequence} or (
        origin is tuple and len(args) == 2 and args[1] is Ellipsis  # noqa: PLR2004 - tuple[T, ...]
    ):
        return Array(*_nested(args[0], where))
    if origin is dict:
        return _map(args, where)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        return _enum(annotation.__name__, [str(v) for v in values], values, where)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Record(annotation.__name__, fields_of(annotation, where))
    raise ContractError(
        f"no column type for {annotation!r}",
        where=where,
        remedy="use a type of docs/contracts.md, or pydantic.JsonValue for free form",
    )


def _hashable(annotation: object) -> bool:
    return getattr(annotation, "__hash__", None) is not None


def _nested(annotation: object, where: str) -> tuple[FieldType, bool, tuple[Any, ...]]:
    """The type inside a list or map, whether it may be null, and its constraints."""
    inner, nullable, metadata = _unwrapped(annotation, [])
    kind = _type(inner, metadata, f"{where}[]")
    limits = (*_flat(metadata), *_members(inner, kind))
    return kind, nullable or kind is Scalar.JSON, limits


def _members(annotation: object, kind: FieldType) -> Iterator[Members]:
    """What a Literal or Enum allows, where the column's type does not say it."""
    if kind is not Scalar.STRING:
        return
    if typing.get_origin(annotation) is typing.Literal:
        yield Members(typing.get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        yield Members(tuple(member.value for member in annotation))


def _flat(metadata: list[Any]) -> list[Any]:
    """The constraints, with those of a Field() inside Annotated[] taken out of it."""
    return [
        m
        for outer in metadata
        for m in (outer.metadata if isinstance(outer, FieldInfo) else [outer])
    ]


def _map(args: tuple[Any, ...], where: str) -> FieldType:
    if args[0] is not str:
        raise ContractError("the keys of a map are strings", where=where, remedy="use dict[str, T]")
    kind, nullable, limits = _nested(args[1], where)
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
