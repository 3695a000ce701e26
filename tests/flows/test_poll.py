"""A run's whole journal of effects, and killed before each of them."""

from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest

from producers.cursors import State, dump_state, load_state, write
from producers.exchange import Request, Response
from producers.poll import PAGE_KEPT_BYTES_MAX, Fetch, Plan, Publish
from schemas.errors import RejectReason, SetupError, Stage, TransientError
from schemas.events import Incoming, Rejection, Violation
from schemas.identity import event_id_of_body
from tests.support.polling import NOW, Crashed, World, answered, plan_of

SECOND = 1_000_000
BASE = "https://api.example.com"
CURSOR: dict[str, Any] = {
    "field": "at",
    "param": "since",
    "format": "epoch_seconds",
    "lookback": "10s",
}


def query_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.full_url).query))


def order(number: int) -> dict[str, Any]:
    return {"id": number, "at": NOW // SECOND - 1000 + number}


def listing(kind: str, count: int, size: int) -> Callable[[Request], Response]:
    """A source with ``count`` orders, in pages of ``size``, in the manner of a pager."""
    rows = [order(n) for n in range(count)]

    def answer(request: Request) -> Response:
        query = query_of(request)
        since = int(query.get("since", 0))
        matching = [row for row in rows if row["at"] >= since]
        if kind == "window":
            inside = range(int(query["start"]), int(query["end"]))
            matching, size_ = [row for row in rows if row["at"] in inside], count
        else:
            size_ = size
        first = {
            "page": (int(query.get("page", 1)) - 1) * size,
            "offset": int(query.get("offset", 0)),
            "cursor": int(query.get("cursor", 0)),
            "window": 0,
        }.get(kind, int(query.get("p", 0)))
        found = matching[first : first + size_]
        after = first + size_ if first + size_ < len(matching) else None
        keep = f"since={since}&" if since else ""
        link = f"/v1/orders?{keep}p={after}" if after is not None else None
        body = {"data": found, "next": link, "token": after}
        headers = {"link": f'<{BASE}{link}>; rel="next"'} if link else {}
        return Response(200, headers, orjson.dumps(body), NOW)

    return answer


PAGERS: dict[str, dict[str, Any]] = {
    "page": {"kind": "page"},
    "offset": {"kind": "offset"},
    "cursor": {"kind": "cursor", "token": "/token"},
    "link": {"kind": "link"},
    "next_url": {"kind": "next_url"},
    "window": {"kind": "window", "size": "3s", "format": "epoch_seconds"},
}


def paged(kind: str, **more: Any) -> Plan:
    cursor = CURSOR
    if kind == "window":
        cursor = {"format": "epoch_seconds", "start": NOW // SECOND - 1000, "lookback": "10s"}
    return plan_of(records="/data", pager=PAGERS[kind], cursor=cursor, event_id="/id", **more)


def incoming(number: int) -> Incoming:
    value = order(number)
    return Incoming(value, orjson.dumps(value), str(number), "shop", NOW)


def test_the_whole_journal_of_a_run() -> None:
    """Request, page with position; the cursor only with the last page."""
    world = World(listing("cursor", 3, 2))
    end = world.run(paged("cursor"))
    first, second = (NOW // SECOND - 1000 + n for n in (1, 2))
    requests = [e.request.full_url for e in world.journal if isinstance(e, Fetch)]
    assert requests == [f"{BASE}/v1/orders", f"{BASE}/v1/orders?cursor=2"]
    assert [type(effect) for effect in world.journal] == [Fetch, Publish, Fetch, Publish]
    page, last = world.pages
    assert page.incoming == (incoming(0), incoming(1))
    assert page.rejections == ()
    assert page.state.cursor is None
    assert page.state.run is not None
    assert page.state.run.position == {"token": 2}
    assert page.state.run.seen == first * SECOND
    assert last == Publish((incoming(2),), (), State(second * SECOND, kind="time"))
    assert end == last.state


def test_the_next_run_asks_from_the_cursor_less_the_look_back() -> None:
    world = World(listing("cursor", 3, 2))
    world.run(paged("cursor"))
    world.journal.clear()
    world.run(paged("cursor"))
    assert isinstance(world.journal[0], Fetch)
    assert query_of(world.journal[0].request)["since"] == str(NOW // SECOND - 1000 + 2 - 10)


def test_a_sorted_stream_moves_its_cursor_with_every_page() -> None:
    world = World(listing("cursor", 3, 2))
    world.run(paged("cursor", sorted=True))
    first = NOW // SECOND - 1000 + 1
    assert [page.state.cursor for page in world.pages] == [first * SECOND, (first + 1) * SECOND]


def test_a_stream_without_cursor_and_pager_is_one_page_every_time() -> None:
    world = World(lambda _: answered([{"id": 1}]))
    assert world.run(plan_of()) == State()
    assert len(world.journal) == 2


def test_an_empty_page_is_published_for_its_state() -> None:
    world = World(lambda _: Response(204, {}, b"", NOW))
    world.run(plan_of(cursor=CURSOR))
    assert world.pages == [Publish((), (), State(None, kind="time"))]


def test_records_that_are_no_objects_are_dead_letters_with_their_bytes() -> None:
    world = World(lambda _: answered(b'[{"id": 1},  "x\\u0041" , null]'))
    world.run(plan_of())
    (page,) = world.pages
    assert [i.raw for i in page.incoming] == [b'{"id": 1}']
    assert page.rejections == tuple(
        Rejection(
            stream="shop.orders",
            stage=Stage.ENCODE,
            violations=(
                Violation(
                    "$", RejectReason.NOT_AN_OBJECT, f"a record is an object, this is {what}"
                ),
            ),
            value=raw,
            event_id=event_id_of_body("shop", raw),
            source="shop",
            seen_at=NOW,
        )
        for raw, what in ((b'"x\\u0041"', "str"), (b"null", "NoneType"))
    )


def test_a_record_that_nests_too_deeply_is_a_dead_letter() -> None:
    deep = b'{"a":' * 129 + b"1" + b"}" * 129
    world = World(lambda _: answered(b"[" + deep + b"," + deep[5:-1] + b"]"))
    world.run(plan_of())
    assert [i.raw for i in world.pages[0].incoming] == [deep[5:-1]]
    assert [(r.reason, r.value) for r in world.pages[0].rejections] == [
        (RejectReason.TOO_DEEP, deep)
    ]


def test_an_unreadable_page_is_one_dead_letter_however_often_it_comes() -> None:
    world = World(
        lambda _: answered(b"<html>busy</html>"), stored=dump_state(State(5, kind="time"))
    )
    for _ in range(3):
        with pytest.raises(TransientError, match="not JSON"):
            world.run(plan_of(cursor=CURSOR))
    (page,) = world.pages
    assert page.incoming == ()
    assert page.rejections[0].value == b"<html>busy</html>"
    assert page.rejections[0].reason is RejectReason.NOT_JSON
    assert page.state.cursor == 5
    world.answer = lambda _: answered([order(1)])
    world.run(plan_of(cursor=CURSOR))
    assert world.delivered == [order(1)]


def test_a_page_without_the_array_needs_somebody_to_look() -> None:
    world = World(lambda _: answered({"error": "s3cr3t"}))
    with pytest.raises(SetupError, match="no array at '/data' but nothing") as caught:
        world.run(plan_of(records="/data"))
    assert "s3cr3t" not in str(caught.value)
    assert world.pages[0].rejections[0].reason is RejectReason.WRONG_TYPE


def test_the_bytes_of_a_huge_unreadable_page_are_cut() -> None:
    world = World(lambda _: answered(b"<" * (PAGE_KEPT_BYTES_MAX + 1)))
    with pytest.raises(TransientError):
        world.run(plan_of())
    (rejection,) = world.pages[0].rejections
    assert len(rejection.value or b"") == PAGE_KEPT_BYTES_MAX
    assert f"of {PAGE_KEPT_BYTES_MAX + 1} bytes" in rejection.violations[0].detail


def test_more_pages_than_allowed_stop_the_run_where_it_is() -> None:
    world = World(listing("cursor", 9, 1))
    with pytest.raises(SetupError, match="more than 4 pages"):
        world.run(paged("cursor", pages_max=4))
    assert len(world.delivered) == 4
    world.run(paged("cursor", pages_max=20))
    assert [row["id"] for row in world.delivered] == list(range(9))


@pytest.mark.parametrize("kind", ["link", "next_url"])
def test_a_next_link_to_another_host_ends_the_run_before_its_page_is_published(kind: str) -> None:
    def answer(_: Request) -> Response:
        link = "https://evil.example/steal"
        return answered({"data": [order(1)], "next": link}, link=f'<{link}>; rel="next"')

    world = World(answer)
    with pytest.raises(SetupError, match="another host") as caught:
        world.run(paged(kind))
    assert caught.value.where == "shop/shop.orders"
    assert [type(effect) for effect in world.journal] == [Fetch]


def test_a_field_that_no_record_has_is_a_setup_error_after_the_records_are_safe() -> None:
    world = World(lambda _: answered([{"id": 1}, {"id": 2}]))
    with pytest.raises(SetupError, match="none of 2 records has 'at'"):
        world.run(plan_of(cursor=CURSOR))
    assert len(world.delivered) == 2


def test_an_instant_in_the_future_does_not_carry_the_cursor_away() -> None:
    world = World(lambda _: answered([order(1), {"id": 2, "at": 9_999_999_999}]))
    assert world.run(plan_of(cursor=CURSOR)).cursor == NOW


def test_the_cursor_keeps_behind_the_sources_clock_where_that_is_slow() -> None:
    date = formatdate(NOW / SECOND - 30, usegmt=True)
    world = World(lambda _: answered([{"id": 1, "at": NOW // SECOND}], date=date))
    assert world.run(plan_of(cursor=CURSOR)).cursor == NOW - 30 * SECOND


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_position_that_the_source_has_forgotten_begins_the_run_anew(status: int) -> None:
    source = listing("cursor", 5, 2)
    world = World(source)
    with pytest.raises(Crashed):
        world.run(paged("cursor"), crash_before=2)

    def forgetful(request: Request) -> Response:
        if query_of(request).get("cursor") == "2" and len(world.journal) == 3:
            return answered({"error": "cursor expired"}, status)
        return source(request)

    world.answer = forgetful
    world.run(paged("cursor"))
    assert {row["id"] for row in world.delivered} == set(range(5))


def test_a_refusal_in_the_middle_of_a_run_is_an_error() -> None:
    source = listing("cursor", 5, 2)
    world = World(lambda r: answered({}, 400) if "cursor" in query_of(r) else source(r))
    with pytest.raises(SetupError, match="answered 400"):
        world.run(paged("cursor"))


def test_a_position_of_other_settings_is_not_used() -> None:
    world = World(listing("cursor", 5, 2))
    with pytest.raises(Crashed):
        world.run(paged("cursor"), crash_before=2)
    world.answer = listing("page", 5, 2)
    world.run(paged("page"))
    assert {row["id"] for row in world.delivered} == set(range(5))


def test_a_cursor_of_another_kind_stops_the_stream() -> None:
    stored = dump_state(State(5, kind="integer"))
    with pytest.raises(SetupError, match="is of kind integer"):
        World(listing("cursor", 1, 1), stored=stored).run(paged("cursor"))


@pytest.mark.parametrize("sorted_", [False, True], ids=["any_order", "sorted"])
@pytest.mark.parametrize("kind", list(PAGERS))
def test_killed_before_every_effect_nothing_is_missing(kind: str, *, sorted_: bool) -> None:
    """Restarted from the stored cursor: all records, and the same end as without the crash."""
    plan = paged(kind, sorted=sorted_ and kind != "window")
    whole = World(listing(kind, 7, 2), now=NOW - 990 * SECOND)
    end = whole.run(plan)
    assert [row["id"] for row in whole.delivered] == list(range(7))
    assert len(whole.journal) >= 6
    for crash in range(len(whole.journal)):
        world = World(listing(kind, 7, 2), now=NOW - 990 * SECOND)
        with pytest.raises(Crashed):
            world.run(plan, crash_before=crash)
        assert world.run(plan) == end
        assert list(dict.fromkeys(row["id"] for row in world.delivered)) == list(range(7))
        # what was published is not asked for again: at most the page under way
        assert len(world.pages) == len(whole.pages)
        assert len(world.journal) <= len(whole.journal) + 1


def test_a_run_through_windows_reads_what_arrives_late() -> None:
    """The look-back opens the last windows again."""
    world = World(listing("window", 3, 9), now=NOW - 990 * SECOND)
    state = world.run(paged("window"))
    assert state.cursor == NOW - 990 * SECOND
    world.journal.clear()
    world.now = NOW - 985 * SECOND
    world.run(paged("window"))
    asked = [query_of(e.request) for e in world.journal if isinstance(e, Fetch)]
    start = NOW // SECOND - 1000
    assert [q["start"] for q in asked] == [str(start + n) for n in (0, 3, 6, 9, 12)]
    assert asked[-1]["end"] == str(start + 15)
    assert write(load_state(world.stored).cursor or 0, "epoch_seconds") == str(start + 15)
