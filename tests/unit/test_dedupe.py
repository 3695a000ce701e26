"""Duplicates are a function of the log: the columns agree with a plain loop over a dict."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.reading.dedupe import (
    PartitionKeys,
    cut_segment,
    hash_fingerprint,
    judge_duplicates,
    key_hashes,
    latest_before,
    merge_newest,
    merge_segments,
    restore_since,
    segment_of,
    sort_keys,
)
from schemas.events import Partition
from schemas.keys import Hashes, KeyHashes, Keys, Mask, Segment
from services.adapters.memory_keys import MemoryStore, MemoryStores

Event = tuple[int | None, int, int]  # key, offset, timestamp
HOME = Partition("shop.orders", 0)


def expected(events: Sequence[Event], window: int) -> list[bool]:
    """The specification: one event after the other, by the last accepted one with its key."""
    accepted: dict[int, int] = {}
    verdicts = []
    for key, _, stamp in events:
        duplicate = key in accepted and stamp - accepted[key] <= window
        verdicts.append(duplicate)
        if key is not None and not duplicate:
            accepted[key] = stamp
    return verdicts


def hashes_of(events: Sequence[Event], h1_values: int = 1 << 62) -> KeyHashes:
    """Hashes without any collision in h2; h1 takes at most so many values."""
    numbers = np.array([key or 0 for key, _, _ in events], dtype=np.uint64)
    h1 = (numbers * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(h1_values)
    null = np.array([key is None for key, _, _ in events], dtype=np.bool_)
    return KeyHashes(h1 << np.uint64(2), numbers, null)


def keys_of(events: Sequence[Event], h1_values: int = 1 << 62) -> Keys:
    """The events' keys as they come, nulls included as key 0."""
    hashes = hashes_of(events, h1_values)
    _, offsets, stamps = zip(*events, strict=True)
    return Keys(hashes.h1, hashes.h2, np.array(offsets), np.array(stamps))


def segment(events: Sequence[Event], h1_values: int = 1 << 62) -> Segment:
    return segment_of(sort_keys(keys_of(events, h1_values))[0])


def ask(keys: PartitionKeys, events: Sequence[Event], h1_values: int = 1 << 62) -> list[bool]:
    _, offsets, stamps = zip(*events, strict=True)
    hashes = hashes_of(events, h1_values)
    mask: Mask = keys.duplicates(hashes, np.array(offsets), np.array(stamps))
    return [bool(value) for value in mask]


def partition_keys(window: int = 100, until: int = 0) -> PartitionKeys:
    return PartitionKeys(HOME, MemoryStore(), until, window)


logs = st.lists(
    st.tuples(st.none() | st.integers(0, 6), st.integers(1, 3), st.integers(-20, 60)),
    min_size=1,
    max_size=60,
)


def log_of(drawn: list[tuple[int | None, int, int]]) -> list[Event]:
    """Offsets ascend with gaps, timestamps move mostly forward."""
    events: list[Event] = []
    offset = stamp = 0
    for key, gap, step in drawn:
        offset, stamp = offset + gap, max(stamp + step, 0)
        events.append((key, offset, stamp))
    return events


@settings(deadline=None)  # a busy machine is no failure
@given(logs, st.integers(0, 200), st.sampled_from([1, 2, 1 << 62]), st.integers(1, 20))
def test_runs_of_any_size_agree_with_the_plain_loop(
    drawn: list[tuple[int | None, int, int]], window: int, h1_values: int, size: int
) -> None:
    events = log_of(drawn)
    keys = partition_keys(window)
    verdicts: list[bool] = []
    for at in range(0, len(events), size):
        run = events[at : at + size]
        verdicts += ask(keys, run, h1_values)
        if at % 3 == 0:
            keys.settle(run[0][1], now=10**6)  # cuts the run in two
    assert verdicts == expected(events, window)


@settings(deadline=None)  # a busy machine is no failure
@given(logs, st.data())
def test_what_is_read_again_is_judged_as_before(
    drawn: list[tuple[int | None, int, int]], data: st.DataObject
) -> None:
    events = log_of(drawn)
    verdicts = expected(events, 50)
    keys = partition_keys(50)
    assert ask(keys, events) == verdicts
    first = data.draw(st.integers(0, len(events) - 1))
    after = data.draw(st.integers(first + 1, len(events)))
    before = keys.pending
    assert ask(keys, events[first:after]) == verdicts[first:after]
    assert keys.pending == before
    assert ask(keys, events) == verdicts


def test_a_key_is_a_duplicate_up_to_the_window_and_accepted_after_it() -> None:
    keys = partition_keys(window=100)
    assert ask(keys, [(1, 0, 0)]) == [False]
    assert ask(keys, [(1, 1, 100)]) == [True]
    assert ask(keys, [(1, 2, 101)]) == [False]
    assert ask(keys, [(1, 3, 201), (1, 4, 202)]) == [True, False]  # measured from the new first


def test_events_without_a_key_are_never_duplicates_and_not_remembered() -> None:
    keys = partition_keys()
    assert ask(keys, [(None, 0, 0), (None, 1, 0)]) == [False, False]
    assert keys.pending == 0


def test_dissolved_keys_are_accepted_again() -> None:
    keys = partition_keys()
    ask(keys, [(1, 0, 0), (2, 1, 0)])
    keys.settle(1, now=0)
    keys.dissolve()
    assert keys.pending == 0
    assert ask(keys, [(2, 1, 0), (1, 2, 0), (2, 3, 0)]) == [False, True, True]


def test_settling_what_is_settled_changes_nothing() -> None:
    keys = partition_keys()
    ask(keys, [(1, 0, 0)])
    keys.settle(5, now=0)
    keys.settle(3, now=0)
    assert keys.applied == 5


def test_a_partition_whose_keys_are_not_restored_refuses_to_judge() -> None:
    stores = MemoryStores()
    keys = PartitionKeys(HOME, stores.open(HOME, 3, 100), 3, 100)
    with pytest.raises(RuntimeError, match=r"shop.orders/0: offset 3 .* up to 0 of 3"):
        ask(keys, [(1, 2, 0), (1, 3, 0)])
    assert ask(keys, [(1, 1, 0)]) == [False]
    keys.settle(3, now=0)
    assert ask(keys, [(1, 3, 0)]) == [True]
    keys.close()


def test_a_lower_offset_with_the_key_counts_even_if_a_higher_one_is_known() -> None:
    """As when an older range is read again after the key was renewed."""
    held = segment([(1, 10, 0), (1, 50, 500)])
    found = latest_before([held], keys_of([(1, 10, 0), (1, 30, 90), (1, 50, 500), (1, 60, 510)]))
    assert found.offset.tolist() == [-1, 10, 10, 50]
    assert found.stamp.tolist() == [0, 0, 0, 500]


def test_a_repeated_key_in_a_run_longer_than_the_window_is_judged_event_by_event() -> None:
    keys = sort_keys(keys_of([(1, 5, 0), (1, 6, 90), (1, 7, 120), (2, 8, 300), (2, 9, 300)]))[0]
    none = latest_before([], keys)
    by_offset = dict(
        zip(keys.offset.tolist(), judge_duplicates(keys, none, 100).tolist(), strict=True)
    )
    assert by_offset == {5: False, 6: True, 7: False, 8: False, 9: True}


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_sorting_is_by_both_hashes_and_offset(rows: list[tuple[int, int, int]]) -> None:
    h1, h2, offset = (np.array(column) for column in zip(*rows, strict=True))
    made = Keys(h1.astype(np.uint64), h2.astype(np.uint64), offset, offset)
    keys, order = sort_keys(made)
    assert list(zip(keys.h1, keys.h2, keys.offset, strict=True)) == sorted(rows)
    assert sorted(order.tolist()) == list(range(len(rows)))


def test_too_many_segments_become_few_and_keep_every_key() -> None:
    parts = [segment([(number, number, 0)]) for number in range(40)]
    held: list[Segment] = []
    for part in parts:
        held = merge_newest([*held, part], 4)
        assert len(held) <= 4
    assert sorted(held[0].keys.offset.tolist() + [o for s in held[1:] for o in s.keys.offset])[
        :3
    ] == [0, 1, 2]
    assert sum(len(one) for one in held) == 40
    assert len(merge_newest([segment([(i, i, 0) for i in range(9)]), *parts[:4]], 4)) == 2


def test_merging_one_segment_is_that_segment() -> None:
    one = segment([(1, 1, 1)])
    assert merge_segments([one]) is one


def test_a_cut_splits_at_the_offset() -> None:
    whole = segment([(1, 1, 0), (2, 2, 0), (3, 3, 0)])
    assert cut_segment(whole, 4) == ([whole], [])
    assert cut_segment(whole, 1) == ([], [whole])
    below, above = cut_segment(whole, 2)
    assert below[0].keys.offset.tolist() == [1]
    assert sorted(above[0].keys.offset.tolist()) == [2, 3]


def test_hashes_of_text_and_bytes_are_equal_and_nulls_are_marked() -> None:
    text = key_hashes(pl.Series(["a", None, ""]))
    raw = key_hashes(pl.Series([b"a", None, b""]))
    assert text.null.tolist() == [False, True, False]
    assert (text.h1[0], text.h2[2]) == (raw.h1[0], raw.h2[2])


def test_the_fingerprint_is_the_same_every_time_and_names_the_version() -> None:
    assert hash_fingerprint() == hash_fingerprint()
    assert pl.__version__ in hash_fingerprint()


def repeats(values: Hashes) -> int:
    """Values that are equal to another one before them."""
    ordered = np.sort(values)
    return int((ordered[1:] == ordered[:-1]).sum())


@pytest.mark.parametrize("form", ["{}", "evt_{:012d}", "{:07d}-a-long-constant-tail-of-a-key"])
def test_the_two_hashes_are_independent(form: str) -> None:
    """Pairs of short pieces of both hashes collide as often as chance has it.

    200,000 similar keys in 2^32 places: 4.7 collisions are expected; more than 25, or a single
    one of the whole hashes, would show that one seed says something about the other.
    """
    count = 200_000
    hashes = key_hashes(pl.Series([form.format(number) for number in range(count)]))
    low = np.uint64((1 << 16) - 1)
    for shift in (0, 24, 48):
        one = (hashes.h1 >> np.uint64(shift)) & low
        for other in (0, 24, 48):
            both = (one << np.uint64(16)) | ((hashes.h2 >> np.uint64(other)) & low)
            assert repeats(both) < 25
    assert repeats(hashes.h1 ^ hashes.h2) == 0


def test_a_key_that_no_segment_holds_is_not_found() -> None:
    held = segment([(key, key, 0) for key in range(1, 9)])
    strange = [latest_before([held], keys_of([(key, 99, 0)])) for key in range(100, 200)]
    assert {found.offset.tolist()[0] for found in strange} == {-1}


def test_the_order_of_segments_does_not_matter() -> None:
    older, newer = segment([(1, 10, 0)]), segment([(1, 20, 500)])
    for held in ([older, newer], [newer, older]):
        found = latest_before(held, keys_of([(1, 30, 501)]))
        assert (found.offset.tolist(), found.stamp.tolist()) == ([20], [500])


@settings(deadline=None)  # a busy machine is no failure
@given(logs, st.integers(0, 150), st.integers(0, 60))
def test_what_is_restored_from_two_windows_back_judges_like_the_whole_log(
    drawn: list[tuple[int | None, int, int]], window: int, at: int
) -> None:
    """For keys that do not come again in every window: here, at most three times in all."""
    seen: dict[int | None, int] = {}
    events = []
    for event in log_of([(key, gap, abs(step)) for key, gap, step in drawn]):
        seen[event[0]] = seen.get(event[0], 0) + 1
        if seen[event[0]] <= 3:
            events.append(event)
    at = min(at, len(events) - 1)
    since = restore_since(events[at][2], window)
    keys = partition_keys(window)
    past = [event for event in events[:at] if event[2] >= since]
    if past:
        ask(keys, past)
    assert ask(keys, events[at:]) == expected(events, window)[at:]
