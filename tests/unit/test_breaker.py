"""Too many rejects stop a partition, before anything is dead-lettered."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.loading.breaker import MEMORY, Breaker, BreakerOpenError, Verdicts
from schemas.events import Partition

P0, P1 = (Partition("shop.orders", number) for number in range(2))
ENDLESS = 10**9


def run(events: int, rejected: int) -> Verdicts:
    """The first ones are bad."""
    return Verdicts(events, np.arange(rejected))


def of(text: str) -> Verdicts:
    """A run in letters: ``b`` is bad."""
    return Verdicts(len(text), np.array([n for n, c in enumerate(text) if c == "b"], np.int64))


def by_share(ratio_max: float, events_min: int) -> Breaker:
    return Breaker(ratio_max, events_min, ENDLESS)


def in_a_row(most: int) -> Breaker:
    return Breaker(0.99, ENDLESS, most)


def test_events_that_passed_count_towards_the_share_and_let_a_stopped_partition_go() -> None:
    breaker = Breaker(0.5, 4, 100).twin("do not fit the table", 100)
    breaker.passed({P0: 10})
    breaker.check({P0: Verdicts(10, np.arange(10))})  # half of all
    with pytest.raises(BreakerOpenError, match="do not fit the table"):
        breaker.check({P0: Verdicts(2, np.arange(2))})
    breaker.forget(P0)
    with pytest.raises(BreakerOpenError):  # however short, as it was stopped
        breaker.check({P0: Verdicts(1, np.arange(1))})
    breaker.passed({P0: 1})
    breaker.forget(P0)
    breaker.check({P0: Verdicts(1, np.arange(1))})


def test_rejects_up_to_the_limit_pass() -> None:
    breaker = by_share(0.5, 10)
    breaker.check({P0: run(10, 5)})
    with pytest.raises(BreakerOpenError):
        breaker.check({P0: run(2, 2)})


def test_few_events_never_trip_it() -> None:
    breaker = by_share(0.5, 10)
    breaker.check({P0: run(9, 9)})
    with pytest.raises(BreakerOpenError, match="100% of the last 10 events"):
        breaker.check({P0: run(1, 1)})


def test_it_names_the_partitions_that_went_too_far_and_what_to_do() -> None:
    breaker = by_share(0.1, 10)
    with pytest.raises(BreakerOpenError) as caught:
        breaker.check({P0: run(1_000, 200), P1: run(1_000, 1)})
    assert dict(caught.value.tripped) == {P0: "20% of the last 1,000 events break the contract"}
    assert caught.value.where == "shop.orders/0"
    assert "sluice dead" in caught.value.remedy


def test_a_run_that_trips_it_counts_for_nobody() -> None:
    breaker = by_share(0.5, 10)
    with pytest.raises(BreakerOpenError):
        breaker.check({P0: run(10, 10), P1: run(9, 9)})
    breaker.check({P1: run(9, 9)})


def test_the_past_fades() -> None:
    """A million good events must not hide a bad deploy."""
    breaker = by_share(0.5, 100)
    for _ in range(1_000):
        breaker.check({P0: run(1_000, 0)})
    with pytest.raises(BreakerOpenError):
        any(breaker.check({P0: run(1_000, 1_000)}) for _ in range(MEMORY))


def test_a_partition_that_comes_back_starts_anew() -> None:
    breaker = by_share(0.5, 10)
    breaker.check({P0: run(9, 9)})
    breaker.forget(P0)
    breaker.forget(P1)
    breaker.check({P0: run(9, 9)})


def test_one_that_was_stopped_is_let_through_by_a_good_run_only() -> None:
    """Otherwise every look again would divert some."""
    breaker = by_share(0.5, 10)
    with pytest.raises(BreakerOpenError):
        breaker.check({P0: run(10, 10)})
    for _ in range(3):
        breaker.forget(P0)
        with pytest.raises(BreakerOpenError, match="100% of the last 1 events"):
            breaker.check({P0: run(1, 1)})
    breaker.forget(P0)
    breaker.check({P0: run(2, 1)})
    breaker.check({P0: run(5, 5)})


def test_rejects_in_a_row_trip_it_however_good_the_past_was() -> None:
    breaker = in_a_row(3)
    breaker.check({P0: run(1_000_000, 0)})
    breaker.check({P0: of("ggbbb"), P1: of("bbb")})
    with pytest.raises(BreakerOpenError, match="4 events in a row") as caught:
        breaker.check({P0: of("b"), P1: of("gb")})
    assert list(caught.value.tripped) == [P0]
    breaker.check({P1: of("gbbbgbbb")})


@given(st.lists(st.text("gb", min_size=1, max_size=12), min_size=1, max_size=8), st.integers(1, 6))
def test_a_row_is_counted_over_runs_as_over_one(runs: list[str], most: int) -> None:
    longest = max((len(list(g)) for c, g in groupby("".join(runs)) if c == "b"), default=0)
    breaker = in_a_row(most)
    tripped = False
    for text in runs:
        try:
            breaker.check({P0: of(text)})
        except BreakerOpenError:
            tripped = True
            break
    assert tripped == (longest > most)


def test_a_share_of_one_switches_it_off() -> None:
    breaker = Breaker(1.0, 1, 1)
    breaker.check({P0: run(1_000_000, 1_000_000)})
