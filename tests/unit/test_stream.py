"""Messages in; rows, duplicates and rejections out, and the counts add up."""

import datetime as dt
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import BaseModel

from consumers.loading.breaker import Breaker, BreakerOpenError, Verdicts
from consumers.reading.stream import Counts, Judged, LoadStream
from schemas import avro
from schemas.contract import Contract
from schemas.dead_letters import dead_contract
from schemas.errors import RejectReason, Stage, TransientError
from schemas.events import Partition, Run
from tests.support.contracts import DRAWS, Random, incoming
from tests.support.runs import SCHEMA_ID, StoredMessage, messages, run_of
from tests.support.strangers import message
from tests.support.streams import CONTRACT, P0, P1, P2, Order, keys, order, orders, stream


def loaded(judged: Judged) -> list[tuple[str, int, int]]:
    columns = ["order_id", "_partition", "_offset"]
    return judged.rows.select(columns).rows()


def test_every_event_is_loaded_duplicate_or_dead() -> None:
    values = orders(order(1), order(2), order(1), order("", amount=-1.0), order(3))
    run = run_of(P0, [*values[:4], b"\x01junk", None, values[4]], first=100)
    judged = stream().judge([run], keys())
    assert judged.counts == {P0: Counts(events=7, loaded=3, duplicates=1, dead=3)}
    assert loaded(judged) == [("o1", 0, 100), ("o2", 0, 101), ("o3", 0, 106)]
    assert [(r.offset, r.stage, r.reason) for r in judged.rejections] == [
        (104, Stage.DECODE, RejectReason.BAD_FRAME),
        (105, Stage.DECODE, RejectReason.NULL_VALUE),
        (103, Stage.JUDGE, RejectReason.OUT_OF_RANGE),
    ]
    assert judged.received_at.tolist() == [1_795_000_000_123_456] * 3


def test_a_rejection_carries_all_that_a_repair_needs() -> None:
    (value,) = orders(order(1, amount=-1.0))
    stored = StoredMessage(b"k1", [("ce_id", b"o1"), ("empty", None), ("text", "é")])
    judged = stream().judge([run_of(P1, [value], 41, stored)], keys())
    (found,) = judged.rejections
    assert found.value == value
    assert found.key == b"k1"
    assert found.headers == (("ce_id", b"o1"), ("empty", None), ("text", "é".encode()))
    assert (found.stream, found.partition, found.offset) == ("shop.orders", 1, 41)
    assert (found.schema_id, found.event_id, found.source) == (SCHEMA_ID, "o1", "shop")
    assert found.seen_at == 41_000
    assert [v.path for v in found.violations] == ["$.amount"]


def test_keys_and_headers_come_in_other_forms_too() -> None:
    stored = StoredMessage("text", {"a": b"1"})
    judged = stream().judge([run_of(P0, [b"\x00\x00\x00\x00\x09x"], 0, stored)], keys())
    (found,) = judged.rejections
    assert (found.key, found.headers, found.schema_id) == (b"text", (("a", b"1"),), 9)
    assert found.event_id is None
    nothing = StoredMessage(None, None)
    (found,) = stream().judge([run_of(P0, [None], 0, nothing)], keys()).rejections
    assert (found.key, found.headers, found.schema_id, found.value) == (None, (), None, None)


def test_several_partitions_in_one_poll_are_counted_apart() -> None:
    one = orders(order(1), order(2), order(1))
    two = orders(order(1), order(9, amount=-1.0))
    three = orders(order(5))
    runs = [run_of(P1, one, 10), run_of(P0, [*two, None], 20), run_of(P2, three, 30)]
    judged = stream().judge(runs, keys())
    assert judged.counts == {
        P1: Counts(3, 2, 1, 0),
        P0: Counts(3, 1, 0, 2),
        P2: Counts(1, 1, 0, 0),
    }
    assert loaded(judged) == [("o1", 1, 10), ("o2", 1, 11), ("o1", 0, 20), ("o5", 2, 30)]
    assert {(r.partition, r.offset) for r in judged.rejections} == {(0, 21), (0, 22)}


@settings(deadline=None)
@given(DRAWS)
def test_the_counts_of_any_mixture_add_up(rng: Random) -> None:
    known = keys()
    reader = stream()
    first = dict.fromkeys(known, 0)
    seen: dict[Partition, set[str]] = {p: set() for p in known}
    for _ in range(rng.randint(1, 3)):
        runs = []
        for partition in rng.sample(list(known), rng.randint(1, 3)):
            run = run_of(partition, mixture(rng, rng.randint(1, 12)), first[partition])
            first[partition] = run.next_offset + rng.randint(0, 3)
            runs.append(run)
        judged = reader.judge(runs, known)
        for run in runs:
            counts = judged.counts[run.partition]
            assert counts.events == len(run) == counts.loaded + counts.duplicates + counts.dead
            mine = [r for r in judged.rejections if r.partition == run.partition.number]
            assert len(mine) == counts.dead
            rows = [row for row in loaded(judged) if row[1] == run.partition.number]
            assert len(rows) == counts.loaded
            names = [name for name, _, _ in rows]
            assert not seen[run.partition] & set(names)
            assert len(set(names)) == len(names)
            seen[run.partition] |= set(names)
            offsets = {offset for _, _, offset in rows} | {r.offset for r in mine}
            assert offsets <= set(run.offsets.tolist())
        assert judged.business_dates["rows"].sum() == judged.rows.height


def mixture(rng: Random, count: int) -> list[bytes | None]:
    good = orders(*(order(rng.randrange(20)) for _ in range(count)))
    bad = orders(*(order(rng.randrange(20), amount=-1.0) for _ in range(count)))
    return [
        rng.choice((one, one, one, other, None, one[:-1], b""))
        for one, other in zip(good, bad, strict=True)
    ]


def test_business_dates_are_counted_by_partition_in_utc() -> None:
    late = "2024-01-01T23:30:00-01:00"
    values = orders(order(1, placed_at=late), order(2, placed_at=late), order(3))
    judged = stream().judge([run_of(P0, values[:2]), run_of(P1, values[2:])], keys())
    assert sorted(judged.business_dates.rows(), key=str) == [
        (0, dt.date(2024, 1, 2), 2),
        (1, None, 1),
    ]
    assert judged.samples.events == 3
    assert min(judged.samples.happened.tolist()) == -1


def test_the_check_sees_the_counts_before_any_key_is_remembered() -> None:
    told: list[Mapping[Partition, Verdicts]] = []
    known = keys()
    broken = orders(order(3, amount=-1.0))
    runs = [
        run_of(P0, [*orders(order(1)), None]),
        run_of(P1, [None, *orders(order(2)), *broken, *orders(order(4))]),
        run_of(P2, orders(order(5))),
    ]
    stream().judge(runs, known, told.append)
    (verdicts,) = told
    plain = {p: (events, places.tolist()) for p, (events, places) in verdicts.items()}
    assert plain == {P0: (2, [1]), P1: (4, [0, 2]), P2: (1, [])}


def test_a_tripped_breaker_leaves_no_trace() -> None:
    known = keys()
    breaker = Breaker(ratio_max=0.4, events_min=2, in_a_row_max=9)
    run = run_of(P0, [*orders(order(1)), None])
    with pytest.raises(BreakerOpenError):
        stream().judge([run], known, breaker.check)
    mine = known[P0]
    assert mine is not None
    assert mine.pending == 0
    assert stream().judge([run], known).counts[P0] == Counts(2, 1, 0, 1)


def test_reading_again_gives_the_same_verdicts() -> None:
    known = keys()
    run = run_of(P0, orders(order(1), order(2), order(1)))
    first = stream().judge([run], known)
    again = stream().judge([run], known)
    assert first.counts == again.counts
    assert first.rows.equals(again.rows)


def test_restored_keys_make_later_events_duplicates() -> None:
    known = keys()
    mine = known[P0]
    assert mine is not None
    reader = stream()
    reader.restore(run_of(P0, orders(order(1))), mine)
    judged = reader.judge([run_of(P0, orders(order(1), order(2)), first=5)], known)
    assert judged.counts[P0] == Counts(2, 1, 1, 0)


def test_without_a_window_or_keys_nothing_is_a_duplicate() -> None:
    off = CONTRACT.model_copy(update={"dedupe_window": timedelta(0)})
    run = run_of(P0, orders(order(1), order(1)))
    assert stream(off).judge([run], keys(off)).counts[P0] == Counts(2, 2, 0, 0)
    assert stream().judge([run], {P0: None}).counts[P0] == Counts(2, 2, 0, 0)


def test_dead_letter_streams_are_known_as_such() -> None:
    assert stream(dead_contract("shop.orders")).is_dead
    assert not stream().is_dead


def test_a_registry_that_is_away_stops_the_poll() -> None:
    def away(_: int) -> avro.Schema | None:
        raise TransientError("away")

    known = keys()
    with pytest.raises(TransientError):
        LoadStream(CONTRACT, away).judge([run_of(P0, orders(order(1)))], known)


STRANGER: dict[str, Any] = {
    "type": "record",
    "name": "row",
    "fields": [{"name": "order_id", "type": "string"}, {"name": "amount", "type": "double"}],
}


def strangers(contract: Contract, values: Sequence[dict[str, Any]]) -> Judged:
    fields = list(values[0])
    types = {int: "long", str: "string", float: "double"}
    kinds = [{"name": f, "type": types[type(values[0][f])]} for f in fields]
    schema = STRANGER | {"fields": kinds}
    run = run_of(P0, [message(schema, 8, value) for value in values])
    return stream(contract, s8=schema).judge([run], keys(contract))


def test_events_of_strangers_are_known_by_key_and_received_when_logged() -> None:
    judged = strangers(CONTRACT, [order(1), order(2), order(1)])
    assert judged.counts[P0] == Counts(3, 2, 1, 0)
    assert judged.received_at.tolist() == [0, 1_000]
    assert judged.rows["_id"].null_count() == 2


class Pair(BaseModel):
    a: str
    b: str | None = None


def test_keys_of_strangers_are_not_mixed_up() -> None:
    contract = Contract(stream="shop.orders", model=Pair, key=("a",), version=("b",))
    pairs = [("x", "y|z"), ("x|y", "z"), ("x", "y|z"), ("1:x", "z"), ("1", "x:z")]
    judged = strangers(contract, [{"a": a, "b": b} for a, b in pairs])
    assert judged.counts[P0] == Counts(5, 4, 1, 0)


def test_events_of_strangers_without_a_key_are_all_loaded() -> None:
    keyless = Contract(stream="shop.orders", model=Order)
    assert strangers(keyless, [order(1), order(1)]).counts[P0] == Counts(2, 2, 0, 0)
    pair = Contract(stream="shop.orders", model=Pair, key=("a",), version=("b",))
    assert strangers(pair, [{"a": "x"}, {"a": "x"}]).counts[P0] == Counts(2, 2, 0, 0)


def test_the_id_of_a_strangers_own_is_no_event_id() -> None:
    """A document store's ``_id`` is the document's: two versions of it are two events."""
    judged = strangers(
        Contract(stream="shop.orders", model=Order), [order(1, _id="d1"), order(2, _id="d1")]
    )
    assert judged.counts[P0] == Counts(2, 2, 0, 0)
    assert judged.rows["_extra"].to_list() == ['{"_id":"d1"}'] * 2


def test_runs_with_gaps_keep_their_offsets() -> None:
    values = orders(order(1), order(2))
    run = Run(P0, np.array([3, 900]), np.array([5, 6]), values, [StoredMessage()] * 2)
    judged = stream().judge([run], keys())
    assert loaded(judged) == [("o1", 0, 3), ("o2", 0, 900)]


def test_given_ids_make_duplicates_whatever_the_key() -> None:
    records = [incoming(order(n))._replace(event_id=name) for n, name in enumerate("aba")]
    judged = stream().judge([run_of(P0, messages(CONTRACT, records))], keys())
    assert judged.counts[P0] == Counts(3, 2, 1, 0)
