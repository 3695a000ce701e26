"""Too many rejects stop a partition, before anything is dead-lettered."""

import pytest

from consumers.breaker import MEMORY, Breaker, BreakerOpenError
from schemas.events import Partition

P0, P1 = (Partition("shop.orders", number) for number in range(2))


def test_rejects_up_to_the_limit_pass() -> None:
    breaker = Breaker(ratio_max=0.5, events_min=10)
    breaker.check({P0: (10, 5)})
    with pytest.raises(BreakerOpenError):
        breaker.check({P0: (2, 2)})


def test_few_events_never_trip_it() -> None:
    breaker = Breaker(ratio_max=0.5, events_min=10)
    breaker.check({P0: (9, 9)})
    with pytest.raises(BreakerOpenError, match="100% of the last 10 events"):
        breaker.check({P0: (1, 1)})


def test_it_names_the_partitions_that_went_too_far_and_what_to_do() -> None:
    breaker = Breaker(ratio_max=0.1, events_min=10)
    with pytest.raises(BreakerOpenError) as caught:
        breaker.check({P0: (1_000, 200), P1: (1_000, 1)})
    assert dict(caught.value.tripped) == {P0: "20% of the last 1,000 events break the contract"}
    assert caught.value.where == "shop.orders/0"
    assert "sluice dead" in caught.value.remedy


def test_a_run_that_trips_it_counts_for_nobody() -> None:
    breaker = Breaker(ratio_max=0.5, events_min=10)
    with pytest.raises(BreakerOpenError):
        breaker.check({P0: (10, 10), P1: (9, 9)})
    breaker.check({P0: (9, 9), P1: (9, 9)})


def test_the_past_fades() -> None:
    """A million good events must not hide a bad deploy."""
    breaker = Breaker(ratio_max=0.5, events_min=100)
    for _ in range(1_000):
        breaker.check({P0: (1_000, 0)})
    with pytest.raises(BreakerOpenError):
        any(breaker.check({P0: (1_000, 1_000)}) for _ in range(MEMORY))


def test_a_partition_that_comes_back_starts_anew() -> None:
    breaker = Breaker(ratio_max=0.5, events_min=10)
    breaker.check({P0: (9, 9)})
    breaker.forget(P0)
    breaker.forget(P1)
    breaker.check({P0: (9, 9)})
