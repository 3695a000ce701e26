"""Many records at once: JSON values become typed columns, without touching any of them twice.

A value is taken here only in its field's canonical JSON form; whatever pydantic would have to
convert is left to :mod:`schemas.coerce`, so that both paths give the same bytes.
"""

import decimal
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from producers.stamps import even_stamps
from schemas import exact_json
from schemas.columns import dtype_of
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

Values = Sequence[Any]

_NONE = type(None)
_CANONICAL: dict[Scalar, frozenset[type]] = {
    Scalar.BOOLEAN: frozenset({bool, _NONE}),
    Scalar.INTEGER: frozenset({int, _NONE}),
    Scalar.FLOAT: frozenset({float, int, _NONE}),
}
_TEXT: frozenset[type] = frozenset({str, _NONE})
_LIST: frozenset[type] = frozenset({list, _NONE})
_DICT: frozenset[type] = frozenset({dict, _NONE})
_NUMBER_OR_TEXT: frozenset[type] = frozenset({str, int, float, decimal.Decimal, _NONE})
# [0-9] and not \d, which takes the digits of all scripts
_DATE = r"^[12][0-9]{3}-(0[0-9]|1[0-2])-([0-2][0-9]|3[01])$"
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?$"
_STAMP = f"{_DATE[:-1]}T{_TIME[1:-1]}(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])?$"
_UUID = r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"


class UnfitError(Exception):
    """These rows hold something other than the canonical form."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__(f"{len(rows)} rows")
        self.rows = rows


def json_texts(values: Values) -> list[str | None]:
    """Every value as JSON; null stays null. Raises UnfitError for what JSON cannot say."""
    try:
        return [None if v is None else exact_json.dumps(v).decode() for v in values]
    except TypeError:
        raise UnfitError([i for i, v in enumerate(values) if not _dumps(v)]) from None


def _dumps(value: object) -> bool:
    try:
        exact_json.dumps(value)
    except TypeError:
        return False
    return True


def _require(values: Values, allowed: frozenset[type]) -> None:
    """Every value is of an allowed type. Raises UnfitError."""
    if not allowed.issuperset(map(type, values)):
        raise UnfitError([i for i, v in enumerate(values) if type(v) not in allowed])


def _exact(kind: Scalar, values: Values) -> pl.Series:
    _require(values, _CANONICAL[kind])
    try:
        return pl.Series(values, dtype=dtype_of(kind), strict=True)
    except (TypeError, OverflowError):  # an integer beyond 64 bits
        limit = 2**63
        raise UnfitError(
            [i for i, v in enumerate(values) if v is not None and not -limit <= v < limit]
        ) from None


def _texts(values: Values) -> pl.Series:
    _require(values, _TEXT)
    try:
        return pl.Series(values, dtype=pl.String, strict=True)
    except UnicodeEncodeError:
        raise UnfitError([i for i, v in enumerate(values) if v and not _encodes(v)]) from None


def _encodes(text: str) -> bool:
    """Whether it is free of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matching(texts: pl.Series, pattern: str) -> pl.Series:
    """The texts, all of the pattern's form. Raises UnfitError."""
    _require_all(texts.str.contains(pattern))
    return texts


def _require_all(fits: pl.Series) -> None:
    """Nulls count as true. Raises UnfitError with the rows that are false."""
    if not fits.all():
        raise UnfitError((~fits).fill_null(value=False).arg_true().to_list())


_VALUE = pl.col("value")


def _parsed(texts: pl.Series, pattern: str, **parts: pl.Expr) -> pl.DataFrame:
    """Expressions of ``_VALUE`` over texts of the pattern's form, in one query.

    Raises UnfitError, also for what the part ``parsed`` refuses (31 June).
    """
    fits = _VALUE.is_null() | (_VALUE.str.contains(pattern) & parts["parsed"].is_not_null())
    found = texts.to_frame(_VALUE.meta.output_name()).select(fits=fits, **parts)
    _require_all(found["fits"])
    return found


def _dates(values: Values) -> pl.Series:
    dates = _VALUE.str.to_date("%Y-%m-%d", strict=False)
    return _parsed(_texts(values), _DATE, parsed=dates)["parsed"]


def _times(values: Values) -> pl.Series:
    times = _VALUE.str.to_time("%H:%M:%S%.f", strict=False)
    return _parsed(_texts(values), _TIME, parsed=times)["parsed"]


def _stamp(local: pl.Expr) -> pl.Expr:
    return local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)


def _stamps(values: Values) -> pl.Series:
    """ISO 8601 with or without an offset, as naive UTC."""
    even = even_stamps(values)
    if even is not None:
        return even
    texts = _texts(values)
    if all(v is None or v[-1:] == "Z" for v in values):
        return _parsed(texts, _STAMP, parsed=_stamp(_VALUE.str.strip_suffix("Z")))["parsed"]
    local = _VALUE.str.strip_chars_end("Z").str.replace(r"[+-]\d\d:\d\d$", "")
    found = _parsed(
        texts,
        _STAMP,
        parsed=_stamp(local),
        offset=_VALUE.str.extract(r"T.*([+-]\d\d:\d\d)$"),
    )
    stamps, offsets = found["parsed"], found["offset"]
    if offsets.null_count() == len(offsets):
        return stamps
    sign = offsets.str.starts_with("-").replace_strict({True: 1, False: -1}, default=None)
    minutes = offsets.str.slice(1, 2).cast(pl.Int64) * 60 + offsets.str.slice(4, 2).cast(pl.Int64)
    return (
        stamps + pl.select(pl.duration(minutes=pl.lit((minutes * sign).fill_null(0)))).to_series()
    )


def _uuids(values: Values) -> pl.Series:
    return _matching(_texts(values), _UUID)


_TEXTS: dict[Scalar, Callable[[Values], pl.Series]] = {
    Scalar.STRING: _texts,
    Scalar.BYTES: lambda values: _texts(values).cast(pl.Binary),
    Scalar.DATE: _dates,
    Scalar.TIME: _times,
    Scalar.TIMESTAMP: _stamps,
    Scalar.UUID: _uuids,
}


def _decimals(kind: Decimal, values: Values) -> pl.Series:
    """From texts and numbers alike: a float counts as its shortest text, as in pydantic."""
    _require(values, _NUMBER_OR_TEXT)
    texts = pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)
    whole = kind.precision - kind.scale
    places = rf"(\.[0-9]{{1,{kind.scale}}})?" if kind.scale else ""
    pattern = rf"^-?[0-9]{{1,{whole}}}{places}$"
    if not whole:  # pydantic counts the 0 of a zero as a digit before the point
        pattern = rf"^-?0\.[0-9]{{0,{kind.scale - 1}}}[1-9]$"
    return _matching(texts, pattern).cast(dtype_of(kind))


def _members(kind: Enum, values: Values) -> pl.Series:
    texts = _texts(values)
    known = {None, *kind.symbols}
    if not known.issuperset(values):
        raise UnfitError([i for i, v in enumerate(values) if v not in known])
    return texts


class Columns:
    """Makes the columns of one page.

    ``strangers``: whether a record inside has had a field that its type does not know.
    """

    def __init__(self) -> None:
        self.strangers = False

    def column(self, kind: FieldType, values: Values) -> pl.Series:
        """The values as a typed column. Raises UnfitError naming the rows that need pydantic."""
        match kind:
            case Scalar.JSON:
                return pl.Series(json_texts(values), dtype=pl.String)
            case Scalar() if kind in _CANONICAL:
                return _exact(kind, values)
            case Scalar():
                return _TEXTS[kind](values)
            case Decimal():
                return _decimals(kind, values)
            case Enum():
                return _members(kind, values)
            case Array(item, _, _):
                return self._lists(item, values)
            case Record():
                return self._records(kind, values)
            case Map():
                raise UnfitError(range(len(values)))  # its bytes cannot be written natively

    def _lists(self, item: FieldType, values: Values) -> pl.Series:
        _require(values, _LIST)
        flat = [x for v in values if v is not None for x in v]
        owners = [i for i, v in enumerate(values) if v is not None for _ in v]
        try:
            inner = self.column(item, flat)
        except UnfitError as error:
            raise UnfitError(sorted({owners[row] for row in error.rows})) from None
        # built from its parts: Polars is slow with lists of lists, and would convert what is inside
        lists = pl.DataFrame({"i": pl.Series(owners, dtype=pl.UInt32), "x": inner}).group_by(
            "i", maintain_order=True
        )
        grouped = lists.agg(pl.col("x"))
        rows = pl.DataFrame({"i": pl.Series(range(len(values)), dtype=pl.UInt32)})
        joined = rows.join(grouped, on="i", how="left", maintain_order="left")["x"]
        empty = pl.Series([v is not None for v in values])
        return pl.select(
            pl.when(pl.lit(empty) & joined.is_null())
            .then(pl.lit(pl.Series([[]], dtype=joined.dtype)))
            .otherwise(joined)
        ).to_series()

    def _records(self, kind: Record, values: Values) -> pl.Series:
        _require(values, _DICT)
        whole: Values = [{} if v is None else v for v in values]
        known = {f.source for f in kind.fields}
        self.strangers = self.strangers or not known.issuperset(set().union(*whole))
        parts = [
            self.column(f.type, [v.get(f.source) for v in whole]).alias(f.name) for f in kind.fields
        ]
        packed = pl.select(pl.struct(parts)).to_series()
        present = pl.Series([v is not None for v in values], dtype=pl.Boolean)
        return packed if present.all() else pl.select(pl.when(present).then(packed)).to_series()
