"""The auditor: what is new is proved at the price of what is new, and what was found stays."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.books.audit import AuditPorts, audit_once, audit_since
from consumers.books.auditor import FINDINGS_TOLD_MAX, UNKNOWN, AuditorPolicy
from consumers.books.balance import Share, Totals
from consumers.books.proved import NOTHING
from schemas.dead_letters import DeadLetterWriter
from schemas.errors import RejectReason, Stage, TransientError
from schemas.events import Partition, Rejection, Violation
from services.adapters.memory.log import MemoryLogReader
from services.adapters.memory_warehouse import LedgerRow, MemoryWarehouse
from tests.support.auditing import STREAMS, Auditing, lose_rows
from tests.support.world import STREAM, Loader, World

MINUTE, HOUR = 60, 3_600
PARTITION = Partition(STREAM, 0)


def orders(*names: str, amount: float = 1) -> list[dict[str, object]]:
    return [{"order_id": name, "amount": amount} for name in names]


def numbered(first: int, count: int) -> list[dict[str, object]]:
    return orders(*(f"o{number}" for number in range(first, first + count)))


def load(world: World) -> None:
    loader = world.loader()
    loader.run(5)
    loader.log.close()


def refuse(world: World, name: str) -> None:
    """As the gateway does with an event that it cannot encode."""
    violation = Violation("$.amount", RejectReason.WRONG_TYPE, "a text")
    rejection = Rejection(STREAM, Stage.ENCODE, (violation,), b"{}", event_id=name, source="shop")
    world.broker.publish(DeadLetterWriter(2).records([rejection]))


@pytest.fixture
def loaded() -> World:
    """A thousand orders, loaded."""
    world = World(partitions=1)
    world.produce(*numbered(0, 1_000))
    load(world)
    return world


def test_a_minute_reads_what_was_new_in_it_and_an_hour_everything(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    assert auditing.reader.messages == 1_000
    loaded.produce(*numbered(1_000, 10))
    load(loaded)
    found = auditing.after(MINUTE)
    assert (found.balanced, found.totals.loaded) == (True, 1_010)
    assert auditing.reader.messages == 10
    ledger = [rows for sql, rows in auditing.warehouse.asked if "FROM SLUICE_LEDGER" in sql]
    table = [(sql, rows) for sql, rows in auditing.warehouse.asked if "SHOP_ORDERS" in sql]
    assert ledger == [1]
    assert [rows for _, rows in table] == [1]
    assert all("_BATCH IN (" in sql for sql, _ in table)
    assert auditing.metrics.total("books_messages_read") == 1_010
    auditing.after(HOUR)
    assert auditing.reader.messages == 1_010


def test_a_minute_without_anything_new_asks_for_the_offsets_alone(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    found = auditing.after(MINUTE)
    assert (found.balanced, found.totals.loaded) == (True, 1_000)
    assert auditing.reader.messages == 0
    assert {sql.partition("FROM ")[2] for sql, _ in auditing.warehouse.asked} == {"SLUICE_OFFSETS"}


def test_nothing_is_read_before_it_is_due(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    loaded.clock.sleep(MINUTE - 1)
    asked = len(auditing.warehouse.asked)
    assert auditing.turn() is None
    assert len(auditing.warehouse.asked) == asked


def test_a_row_that_is_lost_before_its_audit_is_found_and_confirmed_at_once(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    loaded.produce(*numbered(1_000, 10))
    load(loaded)
    lose_rows(loaded, 1_004)
    found = auditing.after(MINUTE)
    assert [(f.partition, f.first, f.after) for f in found.findings] == [(PARTITION, 1_000, 1_010)]
    assert auditing.reader.messages == 10
    confirmed = auditing.after(0)
    assert confirmed.findings == found.findings
    assert auditing.reader.messages == 1_010
    assert auditing.told("does not balance") == []
    assert auditing.turn() is None  # once is enough


def test_what_was_found_stays_found_until_an_audit_of_everything_clears_it(loaded: World) -> None:
    auditing = Auditing(loaded)
    assert auditing.turn() is not None
    assert auditing.unbalanced_seconds() == 0
    held = lose_rows(loaded, 7)
    assert auditing.after(MINUTE).balanced  # it was proved before: an hour finds it
    assert not auditing.after(HOUR).balanced
    (told,) = auditing.told("does not balance")
    assert (told["topic"], told["partition"], told["first"], told["after"]) == (STREAM, 0, 0, 1_000)
    loaded.account.tables["SHOP_ORDERS"] = [held]
    loaded.damaged = ""
    for minute in (1, 2, 3):
        assert not auditing.after(MINUTE).balanced
        assert auditing.told("does not balance") == []
        assert auditing.unbalanced_seconds() == minute * MINUTE
    assert auditing.after(HOUR).balanced
    assert auditing.unbalanced_seconds() == 0
    assert auditing.told("balances again") == [told]


def test_between_two_audits_the_seconds_go_on(loaded: World) -> None:
    auditing = Auditing(loaded, AuditorPolicy(HOUR, HOUR))
    lose_rows(loaded, 7)
    auditing.turn()
    loaded.clock.sleep(MINUTE)
    assert auditing.turn() is None
    assert auditing.unbalanced_seconds() == MINUTE


def test_an_audit_says_its_totals_and_when_it_was(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    (told,) = auditing.told("audited")
    assert (told["balanced"], told["everything"], told["messages"]) == (True, True, 1_000)
    assert (told["accepted"], told["loaded"], told["in_flight"]) == (1_000, 1_000, 0)
    assert auditing.metrics.last("books_audited_timestamp_seconds") == loaded.clock.now() / 1e6


def test_an_audit_that_fails_changes_nothing_and_is_made_up_for(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    proved = auditing.state.proved
    loaded.produce(*numbered(1_000, 10))
    loaded.broker.fail_next("read", TransientError("no broker"))
    loaded.clock.sleep(MINUTE)
    with pytest.raises(TransientError):
        auditing.turn()
    assert auditing.state.proved is proved
    found = auditing.turn()
    assert found is not None
    assert found.totals.in_flight == 10


def test_many_findings_are_told_with_a_limit(loaded: World) -> None:
    loaded.damaged = "ledger rows that nobody wrote"
    span = loaded.account.ledger[0].range
    for number in range(FINDINGS_TOLD_MAX):
        loaded.account.ledger.append(LedgerRow(f"b{number}", "SHOP_ORDERS", None, span))
    auditing = Auditing(loaded)
    found = auditing.turn()
    assert found is not None
    told = auditing.told("does not balance")
    assert len(told) == FINDINGS_TOLD_MAX + 1
    assert told[-1]["what"] == f"{len(found.findings) - FINDINGS_TOLD_MAX} more ranges"


def test_what_belongs_to_no_stream_of_the_project_counts_as_unknown(loaded: World) -> None:
    loaded.damaged = "a row of a strange topic"
    auditing = Auditing(loaded)
    held = loaded.account.table("SHOP_ORDERS")
    strange = held.head(1).with_columns(_topic=held["_topic"].head(1) + ".not")
    loaded.account.tables["SHOP_ORDERS"].append(strange)
    auditing.turn()
    loaded.clock.sleep(1)
    auditing.turn()
    assert auditing.unbalanced_seconds() == 0
    assert auditing.unbalanced_seconds(UNKNOWN) == 1


# Damage to what is new


def incremental(world: World, *, damage: Sequence[str] = ()) -> list[str]:
    """What an audit of the new says of ten orders that were loaded and damaged since the last."""
    world.damaged = ", ".join(filter(None, damage))
    auditing = Auditing(world)
    auditing.turn()
    world.produce(*numbered(1_000, 10))
    load(world)
    row = world.account.ledger[-1]
    assert row.range.partition == PARTITION
    for what in damage:
        match what:
            case "ledger row lost":
                world.account.ledger.pop()
            case "ledger row doubled":
                world.account.ledger.append(row)
            case "offsets run ahead":
                claim = world.account.offsets[PARTITION]
                world.account.offsets[PARTITION] = type(claim)(claim.epoch, claim.next_offset + 3)
            case "offsets go back":
                claim = world.account.offsets[PARTITION]
                world.account.offsets[PARTITION] = type(claim)(claim.epoch, 990)
            case "offsets lost":
                del world.account.offsets[PARTITION]
    return [f"[{f.first}, {f.after}) {f.what}" for f in auditing.after(MINUTE).findings]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("", []),
        ("ledger row lost", ["[1000, 1010) the ledger ends at 1000, SLUICE_OFFSETS says 1010"]),
        ("offsets run ahead", ["[1010, 1013) the ledger ends at 1010, SLUICE_OFFSETS says 1013"]),
        ("offsets go back", ["[990, 1010) the ledger ends at 1010, SLUICE_OFFSETS says 990"]),
        ("offsets lost", ["[1000, 1000) SLUICE_OFFSETS has no row for the partition"]),
    ],
)
def test_an_audit_of_what_is_new_names_the_range(
    loaded: World, damage: str, found: list[str]
) -> None:
    said = incremental(loaded, damage=[damage])
    assert [line for line in said if "it lost messages" not in line] == found


def test_offsets_that_went_back_do_not_make_a_range_count_twice(loaded: World) -> None:
    auditing = Auditing(loaded)
    auditing.turn()
    claim = loaded.account.offsets[PARTITION]
    loaded.account.offsets[PARTITION] = type(claim)(claim.epoch, 990)
    assert not auditing.after(MINUTE).balanced
    assert not auditing.after(0).balanced  # everything, again
    loaded.account.offsets[PARTITION] = claim
    assert auditing.after(MINUTE).totals.loaded == 1_000


def test_a_ledger_row_twice_is_found_among_what_is_new(loaded: World) -> None:
    said = incremental(loaded, damage=["ledger row doubled"])
    assert any("two ledger rows cover this range" in line for line in said)
    assert all(line.startswith("[1000, 1010)") for line in said)


# Whatever happens, it says what an audit of everything says

Act = st.sampled_from(["produce", "repeat", "reject", "refuse", "load", "hold", "audit"])


def act_on(world: World, loader: Loader, act: str, number: int) -> list[str]:
    """Do it; the names that the gateway refused."""
    refused = ["again", f"once{number}"] if act == "refuse" else []
    for name in refused:
        refuse(world, name)
    match act:
        case "produce":
            world.produce(*numbered(10 * number, 10))
        case "repeat":
            world.produce(*numbered(0, 3))
        case "reject":
            world.produce(*orders(f"bad{number}", "bad", amount=-1))
        case "load":
            loader.run(3)
        case "hold":  # read, but perhaps not committed
            loader.turn(3)
    return refused


@settings(max_examples=40, deadline=None)
@example(["refuse", "load", "audit", "refuse"])  # one that is loaded, once more in flight
@given(st.lists(Act, max_size=14))
def test_audits_of_what_is_new_add_up_to_an_audit_of_everything(acts: list[str]) -> None:
    world = World()
    loader, proved = world.loader(), NOTHING
    ports = AuditPorts(MemoryLogReader(world.broker), MemoryWarehouse(world.account))
    refused: list[str] = []
    for number, act in enumerate([*acts, "audit", "load", "audit"]):
        refused += act_on(world, loader, act, number)
        if act != "audit":
            continue
        found, proved = audit_since(ports, STREAMS, proved)
        whole = audit_once(ports, STREAMS)
        assert (found.findings, whole.findings) == ((), ())
        assert (found.totals, found.by_stream) == (whole.totals, whole.by_stream)
        assert whole.balanced
        once, times = len(set(refused)), len(refused)
        sides = Totals(accepted=times, duplicate=times - once, dead=once)
        assert whole.shares.get(Share(STREAM, None, None), Totals()) == sides
