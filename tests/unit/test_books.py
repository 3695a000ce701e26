"""The sides of the books by stream, hour and partition."""

from hypothesis import given
from hypothesis import strategies as st

from consumers.books import balance
from consumers.books.balance import HOUR, Entry, PartitionFacts, Share, Totals
from schemas.events import Partition

ORDERS = Partition("shop.orders", 3)
COUNT = st.integers(0, 50)


@st.composite
def partition_facts(draw: st.DrawFn) -> PartitionFacts:
    """Ledger rows over some hours, what the log still shows of them, and what is in flight."""
    entries, seen, first = [], [], draw(COUNT)
    for number in range(draw(st.integers(0, 8))):
        loaded, duplicates, dead = draw(st.tuples(COUNT, COUNT, COUNT))
        after = first + loaded + duplicates + dead + draw(st.integers(1, 5))
        entries.append(
            Entry(
                batch=f"b{number}",
                table="SHOP_ORDERS",
                first=first,
                after=after,
                events=loaded + duplicates + dead,
                loaded=loaded,
                duplicates=duplicates,
                dead=dead,
                committed_at=draw(st.integers(0, 4)) * HOUR + draw(st.integers(0, HOUR - 1)),
            )
        )
        seen.append(draw(st.integers(0, after - first)))
        first = after
    return PartitionFacts(
        partition=ORDERS,
        entries=entries,
        next_offset=first,
        log_start=draw(st.integers(0, first)),
        log_end=first,
        seen=seen,
        before=0,
        in_flight=draw(COUNT),
        rows={},
        dead=[entry.dead for entry in entries],
    )


def accepted(facts: PartitionFacts, place: int) -> int:
    """What the log counts of a range, or the ledger where the log has forgotten some of it."""
    entry, seen = facts.entries[place], facts.seen[place]
    if entry.first < facts.log_start:
        return max(seen, entry.events)
    return seen


@given(partition_facts())
def test_the_shares_of_a_partition_add_up_to_its_sides(facts: PartitionFacts) -> None:
    total = balance.summed(balance.shares_of(facts).values())
    assert total.accepted == facts.in_flight + sum(
        accepted(facts, place) for place in range(len(facts.entries))
    )
    assert total.loaded == sum(entry.loaded for entry in facts.entries)
    assert total.duplicate == sum(entry.duplicates for entry in facts.entries)
    assert total.dead == sum(entry.dead for entry in facts.entries)
    assert total.in_flight == facts.in_flight


@given(partition_facts())
def test_an_hour_holds_exactly_the_rows_that_were_committed_in_it(facts: PartitionFacts) -> None:
    shares = balance.shares_of(facts)
    hours = {entry.committed_at // HOUR for entry in facts.entries}
    flying = {Share(ORDERS.topic, ORDERS.number, None)} if facts.in_flight else set()
    assert shares.keys() == {Share(ORDERS.topic, ORDERS.number, h) for h in hours} | flying
    for hour in hours:
        share = shares[Share(ORDERS.topic, ORDERS.number, hour)]
        inside = [e for e in facts.entries if hour * HOUR <= e.committed_at < (hour + 1) * HOUR]
        assert (share.loaded, share.dead) == (
            sum(e.loaded for e in inside),
            sum(e.dead for e in inside),
        )
        assert share.in_flight == 0
    for share in flying:
        assert shares[share] == Totals(accepted=facts.in_flight, in_flight=facts.in_flight)


def test_the_source_is_the_first_part_of_a_stream() -> None:
    assert Share("shop.orders.v2", None, None).source == "shop"
