"""Ids with copies that differ: which there are, where, in what, and what that costs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from consumers.repeats import duplicates
from consumers.repeats.comparison import Comparison, Copies
from consumers.repeats.conflicts import Example, Place, Sought, count_ids, looked
from consumers.repeats.duplicates import Duplicates, DuplicatesPorts, Wanted, duplicates_once
from schemas import avro
from schemas.contract import Contract
from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.log import MemoryLogReader
from tests.support.contracts import DRAWS, Random
from tests.support.shop import Shop, order
from tests.support.strangers import message
from tests.support.world import CONTRACT, SCHEMAS, START, STREAM, Order, World


def at(offset: int, partition: int = 0) -> Place:
    return Place(STREAM, partition, offset)


def test_repeats_are_duplicates_without_a_conflict_and_read_once() -> None:
    shop = Shop()
    for name in ("a", "b", "a", "a"):
        shop.put(name, order(name))
        shop.clock.sleep(5)
    shop.put("b", order("b"), source="other")
    assert shop.report() == Duplicates(
        stream=STREAM, events=5, ids=2, duplicates=3, without_id=0, dead=0, conflicts=0
    )
    assert shop.read == 5


def test_a_conflict_is_shown_with_its_places_and_fields() -> None:
    shop = Shop()
    for id_, value in [
        ("d1", order("a")),
        ("d2", order("b")),
        ("d1", order("a", 2.0)),
        ("d1", order("x")),
        ("d1", order("a")),
        ("d2", order("b")),
    ]:
        shop.put(id_, value)
    found = shop.report()
    assert (found.ids, found.duplicates, found.conflicts) == (2, 4, 1)
    assert found.examples == [
        Example("d1", copies=4, bodies=3, first=at(0), last=at(4), fields=("order_id", "amount"))
    ]


def test_messages_that_do_not_count_move_no_place() -> None:
    shop = Shop()
    shop.put_raw(b"\x01junk")
    shop.put("d1", order("a"))
    shop.put("d1", order("", 2.0))
    shop.put("d1", order("b"))
    (found,) = shop.report().examples
    assert (found.first, found.last, found.fields) == (at(1), at(3), ("order_id",))


def test_copies_far_apart_are_compared_with_the_first() -> None:
    shop = Shop()
    for amount, name in ((1.0, "a"), (2.0, "a"), (1.0, "a"), (1.0, "b"), (1.0, "a")):
        shop.put("d1", order(name, amount))
        for number in range(1_000):
            shop.put(f"{number}", order("a"))
    (found,) = shop.report().examples
    assert (found.copies, found.bodies, found.last) == (5, 3, at(4_004))
    assert found.fields == ("order_id", "amount")


def test_what_is_to_be_ignored_is_not_compared() -> None:
    shop = Shop()
    shop.put("d1", order("a", 1.0, extra=1))
    shop.put("d1", order("a", 2.0, extra=2))
    assert [one.fields for one in shop.report().examples] == [("amount", "_extra")]
    assert [one.fields for one in shop.report("amount").examples] == [("_extra",)]
    assert shop.report("amount", "_extra").conflicts == 0


def test_unknown_fields_are_compared_but_not_their_order() -> None:
    shop = Shop()
    shop.put("d1", order("a", note="x", by={"p": 1, "q": 2}))
    shop.put("d1", order("a", by={"q": 2, "p": 1}, note="x"))
    assert shop.report().conflicts == 0
    shop.put("d1", order("a", by={"q": 2, "p": 1}))
    assert [one.fields for one in shop.report().examples] == [("_extra",)]


def test_what_the_loader_rejects_is_counted_and_takes_no_part() -> None:
    shop = Shop()
    shop.put("d1", order("a", -1.0))
    shop.put("d1", order("a"))
    shop.put_raw(b"\x01junk")
    shop.put_raw(b"\x00\x00\x00\x00\x63x")
    shop.put_raw(b"\x00\x00\x00\x00\x01\xff")
    assert shop.report() == Duplicates(
        stream=STREAM, events=5, ids=1, duplicates=0, without_id=0, dead=4, conflicts=0
    )


def test_only_what_was_logged_since_is_read() -> None:
    shop = Shop()
    shop.put("d1", order("a"))
    shop.clock.sleep(60)
    shop.put("d1", order("a", 2.0))
    shop.put("d1", order("a", 2.0))
    assert shop.report().conflicts == 1
    found = shop.report(since=START + 60_000_000)
    assert (found.events, found.duplicates, found.conflicts) == (2, 1, 0)
    assert shop.report(since=START + 61_000_000).events == 0


def test_conflicts_are_counted_all_and_the_first_few_shown() -> None:
    shop = Shop()
    for amount in (1.0, 2.0):
        for number in range(15):
            shop.put(f"d{number}", order("a", amount))
    for _ in range(2_000):
        shop.put("later", order("a"))
    found = shop.report()
    assert (found.conflicts, found.duplicates) == (15, 15 + 1_999)
    assert [one.id for one in found.examples] == [f"d{n}" for n in range(duplicates.EXAMPLES_MAX)]
    assert [one.last.offset for one in found.examples] == list(range(15, 25))
    assert shop.read == 2_030 + 1_000, "the second reading ends with the last copy that it seeks"


def test_one_id_for_everything_is_one_conflict() -> None:
    """As where an id was configured that is the same for all."""
    shop = Shop()
    for number in range(2_500):
        shop.put("same", order(f"o{number}"))
    found = shop.report()
    assert found.examples == [
        Example("same", 2_500, 2_500, at(0), at(2_499), fields=("order_id",)),
    ]


def test_copies_that_leave_the_log_between_the_readings_are_not_shown() -> None:
    shop = Shop()
    deleted, kept = ("half", "gone", "d1"), ("half", "d1", "d1")
    for number, id_ in enumerate((*deleted, "gone", *kept)):
        shop.put(id_, order("a", number))

    def retention(_topic: str, _count: int) -> None:
        shop.broker.delete_records({Partition(STREAM, 0): 4})

    found = duplicates_once(shop.ports(retention), CONTRACT, Wanted())
    assert found.conflicts == 3
    assert found.examples == [Example("d1", 3, 3, first=at(5), last=at(6), fields=("amount",))]


def test_a_topic_that_does_not_exist_has_no_events() -> None:
    shop = Shop()
    ports = DuplicatesPorts(MemoryLogReader(MemoryBroker(shop.clock)), shop.schemas.get)
    found = duplicates_once(ports, CONTRACT, Wanted())
    assert (found.events, found.ids, found.conflicts) == (0, 0, 0)


def test_more_than_memory_is_meant_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    for _ in range(3):
        shop.put("d1", order("a"))
        shop.clock.sleep(60)
    monkeypatch.setattr(duplicates, "EVENTS_MAX", 2)
    with pytest.raises(SetupError, match="3 offsets are more than the 2"):
        shop.report()
    assert shop.report(since=START + 60_000_000).events == 2


def test_a_registry_that_is_away_is_no_verdict() -> None:
    def away(_: int) -> avro.Schema | None:
        raise TransientError("away")

    shop = Shop()
    shop.put("d1", order("a"))
    ports = DuplicatesPorts(MemoryLogReader(shop.broker), away)
    with pytest.raises(TransientError):
        duplicates_once(ports, CONTRACT, Wanted())


STRANGER: dict[str, Any] = {
    "type": "record",
    "name": "row",
    "fields": [{"name": "order_id", "type": "string"}, {"name": "amount", "type": "double"}],
}


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (CONTRACT.model_copy(update={"version": ("amount",)}), (3, 0, 0)),
        (CONTRACT, (2, 1, 1)),
        (Contract(stream=STREAM, model=Order), (0, 0, 0)),
    ],
    ids=["key and version", "key", "neither"],
)
def test_events_of_strangers_are_known_as_the_loader_knows_them(
    contract: Contract, expected: tuple[int, int, int]
) -> None:
    class Loose(Order):
        placed_at: str | None = None  # type: ignore[assignment] # strangers give none

    shop = Shop(contract.model_copy(update={"model": Loose, "business_date": None}))
    shop.schemas[8] = STRANGER
    for value in (order("a"), order("b"), order("a", 2.0)):
        shop.put_raw(message(STRANGER, 8, value))
    found = shop.report()
    assert (found.ids, found.duplicates, found.conflicts) == expected
    assert found.events == 3 == found.ids + found.duplicates + found.without_id


@settings(deadline=None, max_examples=30)
@given(DRAWS)
def test_the_counts_are_the_loaders_and_the_conflicts_those_that_there_are(rng: Random) -> None:
    world = World(partitions=rng.randint(1, 3))
    said: dict[str, set[float]] = {}
    copies = 0
    for _ in range(rng.randint(1, 60)):
        name, amount = f"o{rng.randrange(12)}", rng.choice((1.0, 1.0, 2.0, -1.0))
        if rng.random() < 0.1:
            world.produce(b"junk")
            continue
        world.produce({"order_id": name, "amount": amount})
        if amount >= 0:
            said.setdefault(name, set()).add(amount)
            copies += 1
        world.clock.sleep(rng.random())
    ports = DuplicatesPorts(MemoryLogReader(world.broker), SCHEMAS.get)
    found = duplicates_once(ports, CONTRACT, Wanted())
    world.loader().run(3)
    books = world.audit().by_stream[STREAM]
    assert (books.accepted, books.loaded, books.duplicate, books.dead) == (
        found.events,
        found.ids,
        found.duplicates,
        found.dead,
    )
    several = {name for name, amounts in said.items() if len(amounts) > 1}
    assert found.conflicts == len(several)
    shown = {one.id for one in found.examples}
    assert shown <= several
    assert len(shown) == min(len(several), duplicates.EXAMPLES_MAX)


def copies_of(*rows: tuple[int, int, int]) -> Copies:
    return Copies(*(np.array(column, dtype=np.uint64) for column in zip(*rows, strict=True)))


def test_ids_that_share_half_of_their_hash_are_two() -> None:
    ids, conflicts = count_ids(copies_of((1, 1, 5), (1, 2, 6), (7, 1, 8), (1, 2, 6)))
    assert (ids, len(conflicts)) == (3, 0)
    ids, conflicts = count_ids(copies_of((1, 1, 5), (1, 2, 6), (7, 1, 8), (1, 2, 7)))
    assert ids == 3
    assert (conflicts.h1.tolist(), conflicts.h2.tolist()) == ([1], [2])
    assert (conflicts.copies.tolist(), conflicts.bodies.tolist()) == ([2], [2])


def test_an_id_that_shares_half_of_the_hash_is_not_the_one_that_is_sought() -> None:
    shop = Shop()
    shop.put("d1", order("a"))
    (run,) = MemoryLogReader(shop.broker).read(Partition(STREAM, 0), 0, 1)
    comparison = Comparison(CONTRACT, shop.schemas.get)
    events = comparison.events(run)
    (h1,), (h2,) = events.copies.h1, events.copies.h2
    assert looked(Sought(h1, h2, 1, 1), events, comparison).complete
    for other in (Sought(h1, h2 ^ np.uint64(1), 1, 1), Sought(h1 ^ np.uint64(1), h2, 1, 1)):
        assert looked(other, events, comparison) == other


def test_conflicts_come_in_the_order_of_their_first_copies() -> None:
    for one, other in ((1, 2), (2, 1)):
        _, conflicts = count_ids(copies_of((one, 0, 5), (other, 0, 6), (other, 0, 5), (one, 0, 6)))
        assert conflicts.h1.tolist() == [one, other]


def test_the_largest_hash_is_found_again() -> None:
    largest = 2**64 - 1
    ids, conflicts = count_ids(copies_of((largest, 1, 5), (3, 1, 5), (3, 1, 5), (largest, 1, 6)))
    assert (ids, len(conflicts)) == (2, 1)
