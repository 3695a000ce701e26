"""How long a loader's partitions wait after a failure."""

from itertools import pairwise

import pytest

from consumers.loading.loader import (
    JITTER,
    RETRY_SECONDS,
    RETRY_SECONDS_MAX,
    STOPPED_SECONDS,
    _early,
    backoff,
)
from schemas.errors import FencedError, SetupError, TransientError
from schemas.events import Partition

AWAY = TransientError("away")


def test_waits_double_up_to_a_limit_and_jitter_only_shortens_them() -> None:
    whole = [backoff(AWAY, failures, 0) for failures in range(20)]
    assert whole[:3] == [RETRY_SECONDS, 2 * RETRY_SECONDS, 4 * RETRY_SECONDS]
    assert all(a <= b for a, b in pairwise(whole))
    assert whole[-1] == RETRY_SECONDS_MAX
    assert [backoff(AWAY, failures, 1) for failures in range(20)] == [
        pytest.approx(seconds * (1 - JITTER)) for seconds in whole
    ]


def test_two_loaders_do_not_come_back_at_once() -> None:
    waits = {backoff(AWAY, 3, _early([Partition("shop.orders", n)])) for n in range(12)}
    assert len(waits) == 12
    assert max(waits) - min(waits) > 0.5 * JITTER * backoff(AWAY, 3, 0)


def test_partitions_of_one_loader_wait_together() -> None:
    here = [Partition("shop.orders", n) for n in (4, 1, 7)]
    assert _early(here) == _early(here[::-1]) == _early(here[1:2])


def test_what_the_other_side_asks_for_and_what_somebody_must_mend_have_no_jitter() -> None:
    for early in (0.0, 0.5):
        assert backoff(TransientError("busy", retry_after=7), 3, early) == 7
        assert backoff(SetupError("x", where="y", remedy="z"), 0, early) == STOPPED_SECONDS
        assert backoff(FencedError("x", where="y", remedy="z"), 0, early) == 0
