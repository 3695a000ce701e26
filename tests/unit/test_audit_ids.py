"""What events' ids prove, beside an oracle that goes event by event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.books.audit_ids import Settled, compare
from schemas.events import Partition
from schemas.keys import Integers, Keys

P0 = Partition("shop.orders", 0)
WINDOW = 10
FATES = ("loaded", "dead", "unloadable", "dropped")


def offsets(fates: list[str], *wanted: str) -> list[int]:
    return [offset for offset, fate in enumerate(fates) if fate in wanted]


def settled(fates: list[str]) -> Settled:
    loaded = offsets(fates, "loaded")
    islands: list[list[int]] = []
    for offset in loaded:
        if islands and islands[-1][1] == offset - 1:
            islands[-1][1] = offset
        else:
            islands.append([offset, offset])
    return Settled(
        P0,
        0,
        len(fates),
        np.array(islands, dtype=np.int64).reshape(-1, 2),
        np.array(offsets(fates, "dead", "unloadable"), dtype=np.int64),
        np.array(offsets(fates, "unloadable"), dtype=np.int64),
    )


def keys(names: list[int], stamps: list[int]) -> Keys:
    count = len(names)
    return Keys(
        np.array(names, dtype=np.uint64),
        np.array([name * 7 for name in names], dtype=np.uint64),
        np.arange(count, dtype=np.int64),
        np.array(stamps, dtype=np.int64),
    )


def oracle(
    names: list[int], fates: list[str], stamps: list[int], window: int
) -> tuple[list[int], list[int]]:
    dropped, doubled = [], []
    last: dict[int, int] = {}
    for offset, (name, fate, stamp) in enumerate(zip(names, fates, stamps, strict=True)):
        if fate == "dropped" and name not in last:
            dropped.append(offset)
        if fate == "loaded" and window and name in last:
            apart = stamp - last[name]
            if -window <= apart <= window:  # so late is still exact, with a window this short
                doubled.append(offset)
        if fate in {"loaded", "unloadable"}:
            last[name] = stamp
    return dropped, doubled


EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(FATES), st.integers(0, 40)), max_size=40
)


@given(EVENTS, st.sampled_from([0, WINDOW]))
def test_compared_as_an_oracle_does(events: list[tuple[int, str, int]], window: int) -> None:
    names, fates, stamps = (
        ([*column] for column in zip(*events, strict=True)) if events else ([], [], [])
    )
    found = compare(keys(names, stamps), settled(fates), window)
    assert [part.tolist() for part in found] == [*map(list, oracle(names, fates, stamps, window))]


@pytest.mark.parametrize(
    ("loaded", "inside"),
    [
        ([], [False] * 5),
        ([[0, 1], [3, 3]], [True, True, False, True, False]),
        ([[2, 9]], [False, False, True, True, True]),
    ],
)
def test_ranges_say_what_is_loaded(loaded: list[list[int]], inside: list[bool]) -> None:
    none: Integers = np.empty(0, dtype=np.int64)
    ranges = np.array(loaded, dtype=np.int64).reshape(-1, 2)
    assert Settled(P0, 0, 5, ranges, none, none).is_loaded(np.arange(5)).tolist() == inside
