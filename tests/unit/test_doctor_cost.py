"""What loading may cost, before it does."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from services.setup.doctor import Finding, Level
from services.setup.doctor_outside import (
    BILLED_SECONDS_MIN,
    LOAD_SECONDS,
    check_cost,
    credits_a_day,
)

AWAKE = BILLED_SECONDS_MIN + LOAD_SECONDS


@pytest.mark.parametrize(
    ("hourly", "suspend", "every", "price"),
    [
        (1, 60, 5, 24),  # never asleep
        (1, 60, AWAKE, 24),
        (1, 60, 2 * AWAKE, 12),
        (4, 60, 2 * AWAKE, 48),
        (1, 0, 86_400, 24),  # never suspended
        (1, 10, 10 * AWAKE, 2.4),  # a minute is billed at least
        (1, 600, 605 * 4, 6),
    ],
)
def test_credits_follow_size_suspension_and_batches(
    hourly: float, suspend: int, every: float, price: float
) -> None:
    assert credits_a_day(hourly, suspend, every) == pytest.approx(price)


class Account:
    """A session that answers what a virtual warehouse is."""

    def __init__(self, name: str | None, *shown: Mapping[str, Any]) -> None:
        self.name, self.shown = name, shown

    def rows(self, sql: str) -> Sequence[Mapping[str, Any]]:
        if "CURRENT_WAREHOUSE" in sql:
            return [{"w": self.name}]
        assert sql == "SHOW WAREHOUSES LIKE 'LOADING'"
        return self.shown


def found(account: Account, every: float = 60) -> list[Finding]:
    return list(check_cost(account, every))  # type: ignore[arg-type]


def test_a_small_warehouse_that_sleeps_is_fine_and_its_price_is_told() -> None:
    (finding,) = found(Account("LOADING", {"size": "X-Small", "auto_suspend": 60}), 10 * AWAKE)
    assert finding.level is Level.FINE
    assert finding.what == (
        "loading costs at most 2.4 credits a day: LOADING is X-Small, suspends after 60 s, "
        "and a batch closes every 650 s"
    )


@pytest.mark.parametrize("suspend", [None, 0])
def test_one_that_never_sleeps_is_a_warning_with_its_remedy(suspend: int | None) -> None:
    (finding,) = found(Account("LOADING", {"size": "X-Small", "auto_suspend": suspend}))
    assert (finding.level, finding.remedy) == (
        Level.WARNING,
        "ALTER WAREHOUSE LOADING SET AUTO_SUSPEND = 60",
    )


def test_a_large_one_that_is_kept_awake_is_a_warning() -> None:
    (finding,) = found(Account("LOADING", {"size": "Medium", "auto_suspend": 60}), 5)
    assert finding.level is Level.WARNING
    assert "96.0 credits a day" in finding.what
    assert "loader.age_seconds_max" in finding.remedy


def test_what_is_not_known_is_not_guessed() -> None:
    assert found(Account(None)) == []
    assert found(Account("LOADING")) == []
    (finding,) = found(Account("LOADING", {"size": "Adaptive", "auto_suspend": 60}))
    assert finding.level is Level.FINE
    assert "no estimate" in finding.what
