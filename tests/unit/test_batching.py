"""An open batch: it grows, loses partitions, and closes when it is due."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from consumers.loading.batching import Batch, FlushPolicy, Span, latest_date
from consumers.reading.stream import Counts, Judged, Samples
from schemas import table
from schemas.events import Partition, Run
from schemas.telemetry import Hop
from tests.support.runs import run_of
from tests.support.streams import CONTRACT, P0, P1, keys, order, orders, stream

DAY1, DAY2 = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def judged(*runs: Run) -> Judged:
    return stream().judge(runs, keys())


def spans(*runs: Run, epoch: int = 1) -> dict[Partition, Span]:
    return {r.partition: Span(int(r.offsets[0]), r.next_offset, epoch, 10 * len(r)) for r in runs}


def grown(*polls: tuple[Run, ...]) -> Batch:
    batch = Batch(CONTRACT.topic, 0)
    reader, known = stream(), keys()
    for runs in polls:
        batch.grow(reader.judge(runs, known), spans(*runs), 0)
    return batch


FIRST = run_of(P0, [*orders(order(1, placed_at=DAY1), order(2, placed_at=DAY2)), None], 5)
OTHER = run_of(P1, orders(order(1, placed_at=DAY1)), 70)
SECOND = run_of(P0, orders(order(3, placed_at=DAY2), order(1)), 8)


def test_a_batch_sums_what_it_takes() -> None:
    batch = grown((FIRST, OTHER), (SECOND,))
    assert (batch.events, batch.bytes) == (6, 60)
    (first, one), (second, two) = batch.ranges()
    assert (first.partition, first.first, first.after) == (P0, 5, 10)
    assert (first.events, first.loaded, first.duplicates, first.dead) == (5, 3, 1, 1)
    assert (second.partition, second.first, second.after) == (P1, 70, 71)
    assert one.dates == {"2024-01-01": 1, "2024-01-02": 2}
    assert two.dates == {"2024-01-01": 1}
    assert one.first_received == one.last_received == 1_795_000_000_123_456


def test_the_times_of_a_range_are_its_first_and_last() -> None:
    batch = Batch(CONTRACT.topic, 0)
    found = judged(OTHER)
    for stamp, first in ((500, 0), (300, 1), (400, 2), (None, 3)):
        rows = found.rows if stamp is not None else found.rows.clear()
        received = np.array([stamp] if stamp is not None else [], dtype=np.int64)
        part = Judged(
            rows,
            found.business_dates.clear(),
            received,
            [],
            {P1: Counts(1, 1, 0, 0)},
            found.samples,
        )
        batch.grow(part, {P1: Span(first, first + 1, 1)}, 0)
    ((_, span),) = batch.ranges()
    assert (span.first_received, span.last_received) == (300, 500)
    assert len(batch.frames) == 3  # a poll without rows leaves none


def test_the_latest_epoch_counts() -> None:
    batch = Batch(CONTRACT.topic, 0)
    reader, known = stream(), keys()
    for epoch, run in ((1, FIRST), (2, SECOND)):
        batch.grow(reader.judge([run], known), spans(run, epoch=epoch), 0)
    ((found, _),) = batch.ranges()
    assert found.epoch == 2


def test_a_lost_partition_takes_its_rows_along() -> None:
    batch = grown((FIRST, OTHER), (SECOND,))
    kept = batch.without({P0})
    assert kept is not None
    assert list(kept.spans) == [P1]
    assert pl.concat(kept.frames)[table.PARTITION].to_list() == [1]
    assert batch.without({P0, P1}) is None
    assert batch.without(set()) is not None
    assert (batch.events, kept.events) == (6, 1)


@pytest.mark.parametrize(
    ("policy", "now", "due"),
    [
        ({"rows_max": 6}, 0, True),
        ({"rows_max": 7}, 0, False),
        ({"bytes_max": 60}, 0, True),
        ({"bytes_max": 61}, 0, False),
        ({"age_max": 0.5}, 500_000, True),
        ({"age_max": 0.5}, 499_999, False),
    ],
    ids=str,
)
def test_a_batch_closes_by_rows_bytes_or_age(policy: dict[str, Any], now: int, due: bool) -> None:
    limits: dict[str, Any] = {"rows_max": 100, "bytes_max": 10_000, "age_max": 60.0} | policy
    assert grown((FIRST, OTHER), (SECOND,)).due(FlushPolicy(**limits), now) is due


def test_the_watermark_is_the_latest_date_that_is_no_mistake() -> None:
    now = round(dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC).timestamp()) * 1_000_000
    first, second = dt.date(2024, 1, 1), dt.date(2024, 1, 2)
    found = judged(FIRST)
    assert latest_date(None, found, now) == second
    assert latest_date(first, found, now) == second
    assert latest_date(dt.date(2024, 1, 3), found, now) == dt.date(2024, 1, 3)
    week = 7 * 86_400_000_000
    assert latest_date(None, found, now - week) == first  # the second is eight days ahead
    assert latest_date(None, found, now - 2 * week) is None
    assert latest_date(None, found, now + week // 2) == second
    assert latest_date(first, found, now + week) == first  # a backfill's
    assert latest_date(first, judged(run_of(P0, [None], 0)), now) == first


def test_a_batch_whose_date_is_over_is_due_and_stays_so_without_a_partition() -> None:
    batch, patient = grown((FIRST, OTHER)), FlushPolicy(1000, 10**9, 60.0)
    assert not batch.due(patient, 1)
    batch.date_over = True
    kept = batch.without({P0})
    assert kept is not None
    assert batch.due(patient, 1)
    assert kept.due(patient, 1)


def test_latencies_are_told_hop_by_hop() -> None:
    batch = Batch(CONTRACT.topic, 0)
    batch.samples = [
        (
            9_000_000,
            Samples(
                np.array([1_000_000, -1]),
                np.array([2_000_000, 3_000_000]),
                np.array([4_000_000, 5_000_000]),
                2,
            ),
        )
    ]
    found = {hop: times.tolist() for hop, times in batch.latencies(10_000_000).items()}
    assert found == {
        Hop.SOURCE: [1.0],
        Hop.RECEIVE: [2.0, 2.0],
        Hop.LOG: [5.0, 4.0],
        Hop.LOAD: [1.0, 1.0],
        Hop.TOTAL: [9.0, 7.0],
    }
    assert all(times.size == 0 for times in Batch("t", 0).latencies(0).values())
