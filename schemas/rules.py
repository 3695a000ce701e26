"""A contract's constraints as expressions over columns; pydantic stays the judge of meaning.

Each rule holds pydantic's own verdict (a property test compares them). What has no expression, a
custom validator above all, makes the whole contract be judged row by row, and ``doctor`` says so.
"""

import datetime as dt
import decimal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import annotated_types as at
import orjson
import polars as pl
from pydantic import BaseModel, Strict, ValidationError

from schemas.columns import KEY, VALUE
from schemas.contract import Contract
from schemas.events import Violation
from schemas.types import Array, Decimal, Enum, Field, FieldType, Map, Members, Record, Scalar
from schemas.violations import violations_of

_ORDERED = {Scalar.INTEGER, Scalar.FLOAT, Scalar.DATE, Scalar.TIMESTAMP, Scalar.TIME}


class _ByRowError(Exception):
    """No expression says this."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a row must fulfil; ``by_row`` says why there is no expression for it, or is empty."""

    contract: Contract
    holds: pl.Expr  # true where every rule holds, never null
    by_row: str

    def failing(self, frame: pl.DataFrame) -> list[int]:
        """The rows to be examined by pydantic, ascending."""
        if self.by_row:
            return list(range(frame.height))
        fine = frame.select(self.holds).to_series()
        return [] if fine.all() else (~fine).arg_true().to_list()

    def examine(self, row: Mapping[str, Any]) -> tuple[Violation, ...]:
        """Pydantic's verdict on one row of columns; empty when the row is fine."""
        try:
            self.contract.model.model_validate(_as_input(self.contract.fields, row))
        except ValidationError as error:
            return violations_of(error)
        return ()


def compile_rules(contract: Contract) -> Rules:
    """The rules of a contract."""
    always = pl.lit(value=True)
    try:
        _refuse_custom(contract.model)
        conditions = list(_conditions(contract.fields, pl.col))
    except _ByRowError as error:
        return Rules(contract, always, str(error))
    holds = pl.all_horizontal(c.fill_null(value=True) for c in conditions) if conditions else always
    return Rules(contract, holds, "")


def _refuse_custom(model: type[BaseModel]) -> None:
    own = model.__pydantic_decorators__
    for kind in ("validators", "field_validators", "root_validators", "model_validators"):
        for name in getattr(own, kind):
            raise _ByRowError(f"{model.__name__}.{name} is a custom validator")
    if model.model_config.get("extra") == "forbid":
        raise _ByRowError(f"{model.__name__} forbids extra fields")
    for info in model.model_fields.values():
        for nested in _models(info.annotation):
            _refuse_custom(nested)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _conditions(fields: tuple[Field, ...], column: Callable[[str], pl.Expr]) -> Iterator[pl.Expr]:
    for field in fields:
        here = column(field.name)
        if not field.nullable and field.required:
            yield here.is_not_null()
        yield from _inside(field.type, here)
        for limit in field.limits:
            if not isinstance(limit, Strict):
                yield _limited(here, field.type, limit)


def _inside(kind: FieldType, here: pl.Expr) -> Iterator[pl.Expr]:
    """The conditions on what a list, map or record holds."""
    match kind:
        case Record(_, fields):
            for condition in _conditions(fields, here.struct.field):
                yield here.is_null() | condition.fill_null(value=True)
        case Array(item, nullable, limits):
            yield _every(here, pl.element(), (item, nullable, limits))
        case Map(value, nullable, limits):
            yield _every(here, pl.element().struct.field(VALUE), (value, nullable, limits))
        case Scalar() | Decimal() | Enum():
            return


def _every(here: pl.Expr, item: pl.Expr, what: tuple[FieldType, bool, tuple[Any, ...]]) -> pl.Expr:
    kind, nullable, limits = what
    conditions = [_limited(item, kind, limit) for limit in limits if not isinstance(limit, Strict)]
    if isinstance(kind, Record):
        conditions += [item.is_null() | c for c in _conditions(kind.fields, item.struct.field)]
    elif isinstance(kind, Array | Map):
        raise _ByRowError("lists inside lists")
    fine = pl.all_horizontal(pl.lit(value=True), *(c.fill_null(value=True) for c in conditions)) & (
        pl.lit(nullable) | item.is_not_null()
    )
    return here.list.eval(fine).list.all()


def _limited(here: pl.Expr, kind: FieldType, limit: object) -> pl.Expr:
    """One constraint of annotated-types or pydantic. Raises _ByRowError where there is none."""
    match limit:
        case at.Ge(bound):
            return _comparable(here, kind) & (here >= _literal(bound, kind))
        case at.Gt(bound):
            return _comparable(here, kind) & (here > _literal(bound, kind))
        case at.Le(bound):
            return _comparable(here, kind) & (here <= _literal(bound, kind))
        case at.Lt(bound):
            return _comparable(here, kind) & (here < _literal(bound, kind))
        case at.MinLen(length):
            return _length(here, kind) >= length
        case at.MaxLen(length):
            return _length(here, kind) <= length
        case Members(values):
            return here.is_in(list(values))
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


def _comparable(here: pl.Expr, kind: FieldType) -> pl.Expr:
    if kind is Scalar.FLOAT:
        return here.is_not_nan()  # Polars orders NaN above all, pydantic refuses it
    if kind in _ORDERED or isinstance(kind, Decimal):
        return pl.lit(value=True)
    raise _ByRowError(f"a bound on {kind}")


def _literal(bound: object, kind: FieldType) -> pl.Expr:
    if isinstance(bound, dt.datetime):
        if bound.tzinfo is None:
            raise _ByRowError("a bound without a time zone")
        return pl.lit(bound.astimezone(dt.UTC).replace(tzinfo=None), dtype=pl.Datetime("us"))
    if isinstance(bound, dt.date | dt.time):
        return pl.lit(bound)
    if isinstance(kind, Decimal) and isinstance(bound, int | decimal.Decimal):
        return pl.lit(decimal.Decimal(bound))
    if isinstance(bound, int | float) and kind in {Scalar.INTEGER, Scalar.FLOAT}:
        return pl.lit(bound)
    raise _ByRowError(f"a bound of type {type(bound).__name__}")


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
        case Array(item, _, _):
            return [_value(item, v) for v in value]
        case Map(inner, _, _):
            return {pair[KEY]: _value(inner, pair[VALUE]) for pair in value}
        case Record(_, fields):
            return _as_input(fields, value)
        case Scalar() | Decimal() | Enum():
            return value
