"""One record, coerced to its contract's types by pydantic (types only, no rules)."""

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, NotRequired

import pydantic
import pydantic_core
from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from schemas import exact_json, types
from schemas.contract import Contract, Raw
from schemas.types import DECIMAL_DIGITS_MAX, Array, Decimal, Enum, FieldType, Map, Record, Scalar
from schemas.unknown import unknown_fields

INT64 = (-(2**63), 2**63 - 1)
UTC = dt.UTC


class Coercer:
    """Turns JSON records of one stream into values that its wire schema takes."""

    def __init__(self, contract: Contract) -> None:
        self._whole = contract.model is Raw
        self._unknown = unknown_fields(contract.fields)
        self._defaults = {
            f.source: pydantic_core.to_jsonable_python(
                f.info.get_default(call_default_factory=True)
            )
            for f in contract.fields
            if not f.required
        }
        self._defaults = {k: v for k, v in self._defaults.items() if v is not None}
        shape: TypeAdapter[dict[str, Any]] = TypeAdapter(_shape(contract.fields, "Shape", _bare))
        self._validated = shape.validator.validate_python

    def coerce(self, value: dict[str, Any]) -> dict[str, Any]:
        """The fields by their names, in Python types. Raises pydantic.ValidationError."""
        if self._whole:
            return {"payload": json_text(value)}
        found: dict[str, Any] = self._validated(self.filled(value))
        return found

    def filled(self, value: dict[str, Any]) -> dict[str, Any]:
        """The record with the contract's defaults where it has nothing (top level only)."""
        return self._defaults | value if self._defaults else value

    def fills(self, sources: Iterable[str]) -> bool:
        """Whether one of these has a default."""
        return not self._defaults.keys().isdisjoint(sources)

    def knows(self, names: AbstractSet[str]) -> bool:
        """Whether all of these are fields of the contract."""
        return self._whole or names <= self._unknown.names

    def unknown(self, value: dict[str, Any]) -> dict[str, Any] | None:
        """What the contract does not know of a value that it can coerce; None where it knows all.

        Inside models too: see :mod:`schemas.unknown`.
        """
        return None if self._whole else self._unknown.of(value)

    def unknown_beside(
        self, coerced: dict[str, Any], value: dict[str, Any]
    ) -> dict[str, Any] | None:
        """:meth:`unknown`, sooner, of a value that has been coerced."""
        if self.knows(value.keys()) and not self._unknown.anywhere(value, coerced):
            return None
        return self.unknown(value)


def _shape(fields: tuple[types.Field, ...], name: str, bare_of: Callable[[FieldType], Any]) -> Any:  # noqa: ANN401 - a class made here
    """A TypedDict of the fields' bare types, all optional."""
    members: dict[str, Any] = {}
    for field in fields:
        bare: Any = bare_of(field.type) | None
        if field.source != field.name:
            bare = Annotated[bare, Field(validation_alias=field.source)]
        members[field.name] = NotRequired[bare]
    return TypedDict(name, members)  # type: ignore[operator] # the functional form at run time


def _to_utc(value: dt.datetime) -> dt.datetime:
    """Naive timestamps are UTC."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(
            "timestamp_out_of_range", "Beyond the years 1 to 9999 in UTC"
        ) from None


def _of_day(value: dt.time) -> dt.time:
    """In UTC or without an offset; with another one it may be of the day before or after."""
    if value.utcoffset():
        raise PydanticCustomError(
            "time_with_offset", "A time of day without its date cannot be moved to UTC"
        )
    return value.replace(tzinfo=None)


def json_text(value: object) -> str:
    """Raises ValueError for what JSON cannot say."""
    try:
        return exact_json.dumps(value).decode()
    except TypeError as error:  # nested too deep, an integer of more than 64 bits, half a character
        raise PydanticCustomError("json", "{what}", {"what": str(error)}) from None


_BARE: dict[Scalar, Any] = {
    Scalar.BOOLEAN: bool,
    Scalar.INTEGER: Annotated[int, Field(ge=INT64[0], le=INT64[1])],
    Scalar.FLOAT: float,
    Scalar.STRING: str,
    Scalar.BYTES: bytes,
    Scalar.DATE: dt.date,
    Scalar.TIME: Annotated[dt.time, pydantic.AfterValidator(_of_day)],
    Scalar.TIMESTAMP: Annotated[dt.datetime, pydantic.AfterValidator(_to_utc)],
    Scalar.UUID: Annotated[uuid.UUID, pydantic.AfterValidator(str)],
    Scalar.JSON: Annotated[str, BeforeValidator(json_text)],
}


def _scaled(scale: int) -> Callable[[decimal.Decimal], decimal.Decimal]:
    """Exactly so many places, as Avro wants them; no digit is lost, pydantic has counted them."""
    unit = decimal.Decimal(1).scaleb(-scale)
    context = decimal.Context(prec=DECIMAL_DIGITS_MAX)
    return lambda value: value.quantize(unit, context=context)


def _bare(kind: FieldType) -> Any:  # noqa: ANN401 - an annotation
    match kind:
        case Scalar():
            return _BARE[kind]
        case Decimal(precision, scale):
            limits = Field(max_digits=precision, decimal_places=scale, allow_inf_nan=False)
            return Annotated[decimal.Decimal, limits, pydantic.AfterValidator(_scaled(scale))]
        case Enum(_, symbols):
            return Literal[symbols]
        case Array(item, _, _):
            return list[_inner(item) | None]  # type: ignore[misc] # built at run time
        case Map(value, _, _):
            return dict[str, _inner(value) | None]  # type: ignore[misc] # built at run time
        case Record():
            return _shape(kind.fields, kind.name, _inner)


def _inner(kind: FieldType) -> Any:  # noqa: ANN401 - an annotation
    """Of what becomes JSON in its column, which knows no infinity and no NaN."""
    if kind is Scalar.FLOAT:
        return Annotated[float, Field(allow_inf_nan=False)]
    return _bare(kind)
