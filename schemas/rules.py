"""A contract's constraints as expressions over columns; pydantic stays the judge of meaning.

Each rule holds pydantic's own verdict (a property test compares them). What has no expression, a
custom validator above all, makes the whole contract be judged row by row, and ``doctor`` says so.
"""

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import annotated_types as at
import orjson
import polars as pl
from pydantic import BaseModel, Strict, ValidationError

from schemas.avro import EXTRA
from schemas.columns import KEY, VALUE
from schemas.contract import Contract
from schemas.errors import RejectReason
from schemas.events import Violation
from schemas.types import (
    DECIMAL_DIGITS_MAX,
    Array,
    Begins,
    ByRow,
    Decimal,
    Enum,
    Field,
    FieldType,
    Map,
    Members,
    Record,
    Scalar,
)
from schemas.unknown import UnknownFields, unknown_fields
from schemas.violations import violations_of

_UUID = r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"
_HARMLESS = frozenset(  # settings of a model that say nothing about a value of the right type
    {
        *("title", "frozen", "populate_by_name", "validate_by_name", "validate_by_alias", "extra"),
        *("alias_generator", "use_enum_values", "arbitrary_types_allowed", "json_schema_extra"),
        *("protected_namespaces", "ser_json_timedelta", "ser_json_bytes", "from_attributes"),
        *("use_attribute_docstrings", "defer_build", "validate_assignment", "ignored_types"),
    }
)


class _ByRowError(Exception):
    """No expression says this."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a row must fulfil; ``by_row`` says why there is no expression for it, or is empty.

    ``unknown``: puts fields that the contract does not know back, where some model forbids them.
    """

    contract: Contract
    holds: pl.Expr  # true where every rule holds, never null
    by_row: str
    unknown: UnknownFields | None

    def failing(self, frame: pl.DataFrame) -> list[int]:
        """The rows to be examined by pydantic, ascending."""
        if self.by_row:
            return list(range(frame.height))
        fine = frame.select(self.holds).to_series()
        return [] if fine.all() else (~fine).arg_true().to_list()

    def examine(self, row: Mapping[str, Any]) -> tuple[Violation, ...]:
        """Pydantic's verdict on one row of columns; empty when the row is fine."""
        try:
            value = _as_input(self.contract.fields, row)
            if self.unknown is not None and row[EXTRA] is not None:
                value = self.unknown.restored(value, orjson.loads(row[EXTRA]))
            self.contract.model.model_validate(value)
        except ValidationError as error:
            return violations_of(error)
        except orjson.JSONDecodeError as error:
            return (Violation("$", RejectReason.WRONG_TYPE, f"text that should be JSON: {error}"),)
        except Exception as error:  # noqa: BLE001 - a validator of the contract may raise anything
            text = f"a validator of the contract raised {type(error).__name__}"
            return (Violation("$", RejectReason.INVALID, text),)
        return ()


def compile_rules(contract: Contract) -> Rules:
    """The rules of a contract."""
    always = pl.lit(value=True)
    unknown = unknown_fields(contract.fields) if _forbids_more(contract.model) else None
    try:
        _refuse_custom(contract.model)
        conditions = list(_conditions(contract.fields, pl.col))
        if unknown is not None:
            conditions.append(pl.col(EXTRA).is_null())  # else pydantic says where
    except _ByRowError as error:
        return Rules(contract, always, str(error), unknown)
    holds = pl.all_horizontal(c.fill_null(value=True) for c in conditions) if conditions else always
    return Rules(contract, holds, "", unknown)


def _refuse_custom(model: type[BaseModel]) -> None:
    own = model.__pydantic_decorators__
    for kind in ("validators", "field_validators", "root_validators", "model_validators"):
        for name in getattr(own, kind):
            raise _ByRowError(f"{model.__name__}.{name} is a custom validator")
    after = model.model_post_init
    if after is not BaseModel.model_post_init and after.__name__ != "init_private_attributes":
        raise _ByRowError(f"{model.__name__}.model_post_init may refuse values")
    for name in model.model_config.keys() - _HARMLESS:
        raise _ByRowError(f"{model.__name__} sets {name}")
    for info in model.model_fields.values():
        for nested in _models(info.annotation):
            _refuse_custom(nested)


def _forbids_more(model: type[BaseModel]) -> bool:
    """Whether the model refuses unknown fields, or one inside it does."""
    return model.model_config.get("extra") == "forbid" or any(
        _forbids_more(nested)
        for info in model.model_fields.values()
        for nested in _models(info.annotation)
    )


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _conditions(
    fields: tuple[Field, ...], column: Callable[[str], pl.Expr], *, nested: bool = False
) -> Iterator[pl.Expr]:
    for field in fields:
        here = column(field.name)
        if nested and field.type is Scalar.JSON:
            yield _is_json(here)
        if not field.nullable and field.required:
            yield here.is_not_null()
        yield from _inside(field.type, here)
        for limit in field.limits:
            if not isinstance(limit, Strict):
                yield _limited(here, field.type, limit)


def _inside(kind: FieldType, here: pl.Expr) -> Iterator[pl.Expr]:
    """The conditions on what a value is or holds, apart from its own constraints."""
    match kind:
        case Record(_, fields):
            for condition in _conditions(fields, here.struct.field, nested=True):
                yield here.is_null() | condition.fill_null(value=True)
        case Array(item, nullable, limits):
            yield from _every(here, pl.element(), (item, nullable, limits))
        case Map(value, nullable, limits):
            yield from _every(here, pl.element().struct.field(VALUE), (value, nullable, limits))
        case Enum(_, symbols):
            yield here.is_in(list(symbols))
        case Scalar.UUID:
            yield here.str.contains(_UUID)
        case Scalar() | Decimal():
            return


def _every(
    here: pl.Expr, item: pl.Expr, what: tuple[FieldType, bool, tuple[Any, ...]]
) -> Iterator[pl.Expr]:
    kind, nullable, limits = what
    conditions = [_limited(item, kind, limit) for limit in limits if not isinstance(limit, Strict)]
    conditions += _inside(kind, item)
    if kind is Scalar.JSON:
        conditions.append(_is_json(item))
    known = [condition.fill_null(value=True) for condition in conditions]
    if not nullable:
        known.append(item.is_not_null())
    if known:
        yield here.list.eval(pl.all_horizontal(known)).list.all()


def _is_json(text: pl.Expr) -> pl.Expr:
    """Only where somebody has to look into it: elsewhere the warehouse parses it anyway."""
    return text.str.json_path_match("$").is_not_null() | (text.str.strip_chars() == "null")


def _limited(here: pl.Expr, kind: FieldType, limit: object) -> pl.Expr:
    """One constraint of annotated-types or pydantic. Raises _ByRowError where there is none."""
    match limit:
        case at.Ge() | at.Gt() | at.Le() | at.Lt():
            return _bounded(here, kind, limit)
        case at.MinLen(length):
            return _length(here, kind) >= length
        case at.MaxLen(length):
            return _length(here, kind) <= length
        case Members(values):
            return here.is_in(list(values))
        case Begins(text):
            return here.str.starts_with(text)
        case ByRow(why):
            raise _ByRowError(why)
        case at.MultipleOf(step) if kind is Scalar.INTEGER and isinstance(step, int):
            return here % step == 0
        case _:
            return _general(here, kind, limit)


def _general(here: pl.Expr, kind: FieldType, limit: object) -> pl.Expr:
    """Pydantic's own bag of constraints: pattern, digits, finite numbers."""
    known = {k: v for k, v in getattr(limit, "__dict__", {}).items() if v is not None}
    conditions = [pl.lit(value=True)]
    for name, value in known.items():
        match name:
            case "pattern" if kind is Scalar.STRING and isinstance(value, str):
                conditions.append(here.str.contains(value))
            case "max_digits" | "decimal_places" if isinstance(kind, Decimal):
                pass  # the column's type holds it
            case "allow_inf_nan" if kind is Scalar.FLOAT:
                conditions.append(pl.lit(value=bool(value)) | here.is_finite())
            case "allow_inf_nan" | "strict":
                pass
            case _:
                raise _ByRowError(f"the constraint {name}")
    if not known:
        raise _ByRowError(f"the constraint {limit!r}")
    return pl.all_horizontal(conditions)


def _bounded(here: pl.Expr, kind: FieldType, limit: at.Ge | at.Gt | at.Le | at.Lt) -> pl.Expr:
    if kind is Scalar.FLOAT:  # Polars orders NaN above all, pydantic refuses it
        return here.is_not_nan() & _ordered(here, kind, limit)
    # a decimal's digits as an integer: exact, whatever the bound's places
    return _ordered(here.to_physical() if isinstance(kind, Decimal) else here, kind, limit)


def _ordered(here: pl.Expr, kind: FieldType, limit: at.Ge | at.Gt | at.Le | at.Lt) -> pl.Expr:
    match limit:
        case at.Ge(bound):
            return here >= _literal(bound, kind, math.ceil)
        case at.Gt(bound):
            return here > _literal(bound, kind, math.floor)
        case at.Le(bound):
            return here <= _literal(bound, kind, math.floor)
        case at.Lt(bound):
            return here < _literal(bound, kind, math.ceil)


def _literal(bound: object, kind: FieldType, rounded: Callable[[decimal.Decimal], int]) -> pl.Expr:
    if type(bound) is dt.datetime and kind is Scalar.TIMESTAMP and bound.tzinfo is not None:
        return pl.lit(bound.astimezone(dt.UTC).replace(tzinfo=None), dtype=pl.Datetime("us"))
    if type(bound) is dt.date and kind is Scalar.DATE:
        return pl.lit(bound)
    if type(bound) is dt.time and kind is Scalar.TIME and bound.tzinfo is None:
        return pl.lit(bound)
    if isinstance(bound, int | decimal.Decimal) and isinstance(kind, Decimal):
        digits = rounded(decimal.Decimal(bound).scaleb(kind.scale, decimal.Context(prec=100)))
        edge = 10**DECIMAL_DIGITS_MAX
        return pl.lit(min(max(digits, -edge), edge), dtype=pl.Int128)
    if type(bound) is int and kind is Scalar.INTEGER and -(2**63) <= bound < 2**63:
        return pl.lit(bound)
    if isinstance(bound, int | float) and kind is Scalar.FLOAT:
        return pl.lit(float(bound))
    raise _ByRowError(f"the bound {bound!r} on {kind}")


def _length(here: pl.Expr, kind: FieldType) -> pl.Expr:
    match kind:
        case Scalar.STRING:
            return here.str.len_chars()
        case Scalar.BYTES:
            return here.bin.size()
        case Array() | Map():
            return here.list.len()
        case _:
            raise _ByRowError(f"a length of {kind}")


def _as_input(fields: tuple[Field, ...], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of columns as pydantic takes it; a null where none may be counts as missing."""
    return {
        field.source: _value(field.type, row[field.name])
        for field in fields
        if row.get(field.name) is not None or field.nullable
    }


def _value(kind: FieldType, value: Any) -> Any:  # noqa: ANN401 - whatever the column holds
    if value is None:
        return None
    match kind:
        case Scalar.TIMESTAMP:
            return value.replace(tzinfo=dt.UTC)
        case Scalar.JSON:
            return orjson.loads(value)
        case Scalar.UUID:
            return _uuid(value)
        case Array(item, _, _):
            return [_value(item, v) for v in value]
        case Map(inner, _, _):
            return {pair[KEY]: _value(inner, pair[VALUE]) for pair in value}
        case Record(_, fields):
            return _as_input(fields, value)
        case Scalar() | Decimal() | Enum():
            return value


def _uuid(text: str) -> uuid.UUID | str:
    """As strict models take it; what is none is left to pydantic."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return text
