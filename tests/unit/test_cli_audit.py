"""What `sluice audit` shows of the books."""

import pytest

from consumers.books.balance import Books, Finding, Share, Totals, summed
from schemas.errors import SetupError
from schemas.events import Partition
from services.cli.audit import By, as_data, require_fitting, show

HOUR = 495_432  # 2026-07-09T00:00:00Z
SHARES = {
    Share("shop.orders", None, None): Totals(accepted=3, duplicate=1, dead=2),
    Share("shop.orders", 0, None): Totals(accepted=4, in_flight=4),
    Share("shop.orders", 10, HOUR + 1): Totals(accepted=5, loaded=5),
    Share("shop.orders", 9, HOUR + 1): Totals(accepted=6, loaded=6),
    Share("shop.orders", 9, HOUR): Totals(accepted=1_234, loaded=1_234),
    Share("crm.leads", 0, HOUR + 2): Totals(accepted=1, loaded=1),
}
STREAMS = {
    name: summed(t for share, t in SHARES.items() if share.stream == name)
    for name in ("shop.orders", "crm.leads")
}
BOOKS = Books(summed(STREAMS.values()), STREAMS, shares=SHARES)


def test_by_hour_lists_the_sides_in_order_with_source_hour_and_partition() -> None:
    data = as_data(BOOKS, By.HOUR)
    listed = data["by_hour"]
    assert isinstance(listed, list)
    assert [(e["source"], e["stream"], e["hour"], e["partition"]) for e in listed] == [
        ("crm", "crm.leads", "2026-07-09T02:00:00Z", 0),
        ("shop", "shop.orders", "2026-07-09T00:00:00Z", 9),
        ("shop", "shop.orders", "2026-07-09T01:00:00Z", 9),
        ("shop", "shop.orders", "2026-07-09T01:00:00Z", 10),
        ("shop", "shop.orders", None, 0),
        ("shop", "shop.orders", None, None),
    ]
    for side in ("accepted", "loaded", "duplicate", "dead", "in_flight"):
        assert sum(entry[side] for entry in listed) == data[side]
    assert listed[1]["loaded"] == 1_234


def test_without_by_there_are_no_hours() -> None:
    assert "by_hour" not in as_data(BOOKS)


def test_the_table_names_what_is_in_flight_and_what_was_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(BOOKS, By.HOUR)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert ["shop", "shop.orders", "2026-07-09 01:00", "10", "5", "5", "0", "0", "0"] in cells
    assert ["shop", "shop.orders", "in flight", "0", "4", "0", "0", "0", "4"] in cells
    assert ["shop", "shop.orders", "refused before the log", "-", "3", "0", "1", "2", "0"] in cells
    assert any("1,234" in row for row in cells)
    assert lines[-1].startswith("books balance: accepted 1253 = ")


def test_without_by_the_table_has_streams_only(capsys: pytest.CaptureFixture[str]) -> None:
    show(BOOKS)
    shown = capsys.readouterr().out
    assert "crm.leads" in shown
    assert "2026-07-09" not in shown


@pytest.mark.parametrize(
    ("loaded", "finding"), [(2, None), (3, Finding(Partition("shop.orders", 0), 0, 3, "a row"))]
)
def test_books_that_do_not_balance_are_no_sum(loaded: int, finding: Finding | None) -> None:
    totals = Totals(accepted=5, loaded=loaded, duplicate=1, dead=1)
    books = Books(totals, {}, [finding] if finding else [])
    assert not books.balanced
    assert str(books) == (
        f"books do not balance: accepted 5, loaded {loaded}, duplicate 1, dead 1, in flight 0"
    )


@pytest.mark.parametrize(
    ("every", "for_", "shown", "where"),
    [
        (None, "5m", False, "--for"),
        ("1m", None, True, "--every"),
        ("soon", None, False, "--every"),
        ("0s", None, False, "--every"),
        ("1m", "long", False, "--for"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_one_to_change(
    every: str | None, for_: str | None, shown: bool, where: str
) -> None:
    with pytest.raises(SetupError) as caught:
        require_fitting(every, for_, shown=shown)
    assert caught.value.where == where
    assert caught.value.remedy


@pytest.mark.parametrize(("every", "for_"), [(None, None), ("1m", None), ("30s", "2h")])
def test_options_that_fit_are_taken(every: str | None, for_: str | None) -> None:
    require_fitting(every, for_, shown=every is None)
