"""Pydantic's findings as paths, codes and texts."""

import reprlib

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas import identity
from schemas.errors import RejectReason
from schemas.events import Violation

VIOLATIONS_MAX = 20  # of one event
FOUND_CHARS_MAX = 100
PATH_CHARS_MAX = 200  # keys of a map are in it, as long as somebody likes
DETAIL_CHARS_MAX = 500  # a validator's own text may repeat what it was given
_SHORT = reprlib.Repr()  # neither as long nor as deep as what somebody sent
_SHORT.maxstring = _SHORT.maxother = FOUND_CHARS_MAX
_SHORT.maxlevel = 3
# asked by reprlib by the type's name: as people write it, and not as Python does
vars(_SHORT).update(
    dict.fromkeys(("repr_Decimal", "repr_UUID"), lambda value, _level: str(value))
    | dict.fromkeys(
        ("repr_date", "repr_datetime", "repr_time"), lambda value, _level: value.isoformat()
    )
)

_CODES = {
    "enum": RejectReason.NOT_A_MEMBER,
    "literal_error": RejectReason.NOT_A_MEMBER,
    "string_pattern_mismatch": RejectReason.PATTERN,
    "value_error": RejectReason.INVALID,
    "assertion_error": RejectReason.INVALID,
    "extra_forbidden": RejectReason.INVALID,
} | dict.fromkeys(
    (
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "multiple_of",
        "finite_number",
        "string_too_short",
        "string_too_long",
        "bytes_too_short",
        "bytes_too_long",
        "too_short",
        "too_long",
        "decimal_max_digits",
        "decimal_max_places",
        "decimal_whole_digits",
        "int_parsing_size",
        "timestamp_out_of_range",
    ),
    RejectReason.OUT_OF_RANGE,
)


def violations_of(error: ValidationError) -> tuple[Violation, ...]:
    """At least one, and not every one of thousands."""
    return tuple(_violation(d) for d in error.errors(include_url=False)[:VIOLATIONS_MAX])


def _violation(detail: ErrorDetails) -> Violation:
    path = "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"])
    path = _cut(path.encode(errors="backslashreplace").decode())  # a key may hold lone surrogates
    if detail["type"] == "missing":
        return Violation(path, RejectReason.MISSING, "required, but missing")
    if detail["type"] not in _CODES and detail["input"] is None:
        return Violation(path, RejectReason.MISSING, "required, but null")
    found = _SHORT.repr(detail["input"])[:FOUND_CHARS_MAX]
    reason = _CODES.get(detail["type"], RejectReason.WRONG_TYPE)
    return Violation(path, reason, detail["msg"][:DETAIL_CHARS_MAX], found)


def _cut(path: str) -> str:
    """The path, or its beginning and its digest, so that two of them stay two."""
    if len(path) <= PATH_CHARS_MAX:
        return path
    return f"{path[:PATH_CHARS_MAX]}...{identity.digest(path)}"
