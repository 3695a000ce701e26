"""Pydantic's findings in our words."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from schemas.errors import RejectReason
from schemas.events import Violation
from schemas.violations import (
    DETAIL_CHARS_MAX,
    FOUND_CHARS_MAX,
    PATH_CHARS_MAX,
    VIOLATIONS_MAX,
    violations_of,
)


def violations(model: type[BaseModel], value: Any) -> tuple[Violation, ...]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return violations_of(caught.value)


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("even")
    return value


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (int, "x", RejectReason.WRONG_TYPE),
        (int, None, RejectReason.MISSING),
        (str, 5, RejectReason.WRONG_TYPE),
        (dt.date, "2023-02-29", RejectReason.WRONG_TYPE),
        (Annotated[int, Field(ge=1)], 0, RejectReason.OUT_OF_RANGE),
        (Annotated[str, Field(max_length=1)], "ab", RejectReason.OUT_OF_RANGE),
        (Annotated[list[int], Field(min_length=1)], [], RejectReason.OUT_OF_RANGE),
        (Annotated[float, Field(allow_inf_nan=False)], float("nan"), RejectReason.OUT_OF_RANGE),
        (Annotated[str, Field(pattern="^a")], "b", RejectReason.PATTERN),
        (Literal["a"], "b", RejectReason.NOT_A_MEMBER),
        (Annotated[int, AfterValidator(odd)], 2, RejectReason.INVALID),
    ],
    ids=str,
)
def test_a_finding_has_a_code_and_says_what_was_found(
    annotation: Any, value: Any, reason: RejectReason
) -> None:
    (found,) = violations(create_model("Event", x=(annotation, ...)), {"x": value})
    assert found.path == "$.x"
    assert found.reason is reason
    assert reason is RejectReason.MISSING or f"found {value!r}" in found.told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("-1.00"), "-1.00"),
        (dt.date(2023, 2, 1), "2023-02-01"),
        (dt.datetime(2023, 2, 1, 12, tzinfo=dt.UTC), "2023-02-01T12:00:00+00:00"),
        ([Decimal("1.5")], "[1.5]"),
    ],
    ids=str,
)
def test_what_was_found_is_not_told_in_python(value: object, shown: str) -> None:
    (found,) = violations(create_model("Event", x=(bool, ...)), {"x": value})
    assert found.told.endswith(f"; found {shown}")


def test_what_is_missing_is_missing() -> None:
    (found,) = violations(create_model("Event", x=(int, ...)), {})
    assert found == Violation("$.x", RejectReason.MISSING, "required, but missing")


def test_an_unknown_field_is_invalid_where_it_is_forbidden() -> None:
    model = create_model("Event", __config__=ConfigDict(extra="forbid"), x=(int, ...))
    (found,) = violations(model, {"x": 1, "y": 2})
    assert (found.path, found.reason) == ("$.y", RejectReason.INVALID)


def test_paths_go_into_lists_and_objects() -> None:
    model = create_model("Event", x=(dict[str, list[int]], ...))
    (found,) = violations(model, {"x": {"a": [1, "b"]}})
    assert found.path == "$.x.a[1]"


def test_not_every_one_of_thousands_is_told() -> None:
    found = violations(create_model("Event", x=(list[int], ...)), {"x": ["a"] * 1_000})
    assert len(found) == VIOLATIONS_MAX


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deep(5_000), ["x" * 10**6], {"k" * 10**6: 1}], ids=range(3))
def test_what_was_found_is_told_shortly_however_deep_or_long(value: Any) -> None:
    (found,) = violations(create_model("Event", x=(int, ...)), {"x": value})
    assert len(found.told) < FOUND_CHARS_MAX + 60


def test_a_path_is_always_text_that_can_be_written() -> None:
    (found,) = violations(create_model("Event", x=(dict[str, int], ...)), {"x": {"\ud800": "a"}})
    assert found.path.encode()


def test_a_path_is_short_however_long_the_keys_are_and_two_of_them_stay_two() -> None:
    model = create_model("Event", x=(dict[str, int], ...))
    found = violations(model, {"x": {"k" * 10**6 + end: "a" for end in "ab"}})
    assert found[0].path != found[1].path
    assert max(len(v.path) for v in found) <= PATH_CHARS_MAX + 40
    assert found[0].path.startswith("$.x.kkk")


def test_a_validators_own_text_is_short() -> None:
    def refuse(value: str) -> str:
        raise ValueError(value)

    model = create_model("Event", x=(Annotated[str, AfterValidator(refuse)], ...))
    (found,) = violations(model, {"x": "y" * 10**6})
    assert len(found.detail) == DETAIL_CHARS_MAX
