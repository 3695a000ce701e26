"""Every pager on its own: positions, parameters, ends, and sources that lead nowhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import producers.pagers
from producers.cursors import Run, State, dump_state, load_state
from producers.pagers import Page, Pager, Position, Span, pager_of, pagers
from producers.pagers.link import link_to
from producers.pages import read_body
from schemas.errors import SetupError

URL = "https://api.example.com/v1/orders?x=1"
DAY = 86_400_000_000
SPAN = Span(None, 10 * DAY)


def pager(**settings: Any) -> Pager:
    found = pager_of(settings)
    assert not isinstance(found, dict)
    return found  # type: ignore[return-value] # plug-ins are looked up by name


def seen(value: Any = None, records: int = 2, link: str = "", url: str = URL, **more: Any) -> Page:
    found = more.get("found", tuple({"id": n} for n in range(records)))
    digest = more.get("digest", json.dumps(value))
    secret = frozenset(more.get("secret", ()))
    return Page(url, value, found, {"link": link} if link else {}, digest, secret)


def begun(of: Pager, span: Span = SPAN) -> Position:
    first = of.first(span)
    assert first is not None
    return first


def test_every_file_declares_a_pager_of_its_own_name() -> None:
    files = {path.stem for path in Path(producers.pagers.__path__[0]).glob("[a-z]*.py")}
    assert set(pagers()) == files == {"page", "offset", "cursor", "link", "next_url", "window"}


def test_a_file_without_a_pager_of_its_name_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stray.py").write_text("PAGER = None\n")
    monkeypatch.setattr(producers.pagers, "__path__", [str(tmp_path)])
    with pytest.raises(SetupError, match="declares no PAGER"):
        pagers.__wrapped__()


def test_a_pager_can_be_given_as_it_is() -> None:
    of = pager(kind="page")
    assert pager_of(of) is of


def test_an_unknown_kind_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="cursor, link, next_url, offset, page, window"):
        pager_of({"kind": "pages"})


@pytest.mark.parametrize("kind", ["page", "offset", "link", "next_url", "window"])
def test_unknown_settings_of_a_pager_are_errors(kind: str) -> None:
    with pytest.raises(ValidationError):
        pager_of({"kind": kind, "parm": "x"})


def test_pages_are_counted_until_one_is_empty() -> None:
    of = pager(kind="page", size=2)
    first = begun(of)
    assert of.turn(first).params == {"page": 1, "per_page": 2}
    second = of.after(first, seen("a")).position
    assert second is not None
    assert of.turn(second).params == {"page": 2, "per_page": 2}
    assert of.after(second, seen("b", records=0)).position is None


def test_a_short_page_is_not_the_last_unless_the_settings_say_so() -> None:
    short = seen("a", records=1)
    assert pager(kind="page", size=2).after({"page": 1}, short).position is not None
    trusting = pager(kind="page", size=2, short_page_ends=True)
    assert trusting.after({"page": 1}, short).position is None


def test_pages_end_with_the_number_that_the_source_gives() -> None:
    of = pager(kind="page", start=0, pages="/meta/pages")
    assert of.after({"page": 0}, seen({"meta": {"pages": 2}})).position is not None
    assert of.after({"page": 1}, seen({"meta": {"pages": 2}})).position is None


@pytest.mark.parametrize("kind", ["page", "offset"])
def test_a_source_that_ignores_the_parameter_is_noticed(kind: str) -> None:
    of = pager(kind=kind)
    second = of.after(begun(of), seen("same")).position
    assert second is not None
    with pytest.raises(SetupError, match="repeats itself"):
        of.after(second, seen("same"))


def test_offsets_move_by_what_came_and_not_by_what_was_asked() -> None:
    of = pager(kind="offset", limit=100)
    assert of.turn(begun(of)).params == {"offset": 0, "limit": 100}
    after = of.after({"offset": 0}, seen(records=30)).position
    assert after is not None
    assert after["offset"] == 30
    assert of.after({"offset": 30}, seen(records=0)).position is None


def test_offsets_end_with_the_total() -> None:
    of = pager(kind="offset", total="/total")
    assert of.after({"offset": 0}, seen({"total": 3}, records=2)).position is not None
    assert of.after({"offset": 2}, seen({"total": 3}, records=1)).position is None


@given(count=st.integers(0, 40), limit=st.integers(2, 9), data=st.data())
def test_offsets_with_an_overlap_end_and_read_everything(
    count: int, limit: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    of = pager(kind="offset", limit=limit, overlap=overlap)
    position, read, asked = of.first(SPAN), set[int](), 0
    while position is not None:
        asked += 1
        assert asked <= count + 2
        offset = position["offset"]
        records = tuple(range(offset, min(offset + limit, count)))
        read |= set(records)
        position = of.after(position, seen(found=records, digest=str(offset))).position
    assert read == set(range(count))


def test_a_token_is_followed_until_there_is_none() -> None:
    of = pager(kind="cursor", token="/meta/next", size=5)
    assert of.turn(begun(of)).params == {"limit": 5}
    second = of.after({}, seen({"meta": {"next": "abc"}})).position
    assert second is not None
    assert of.turn(second).params == {"limit": 5, "cursor": "abc"}
    ends: list[Any] = [{"meta": {"next": None}}, {"meta": {"next": ""}}, {"meta": {}}, {}, []]
    for end in ends:
        assert of.after(second, seen(end)).position is None


def test_the_last_records_field_can_be_the_token() -> None:
    of = pager(kind="cursor", param="starting_after", last="/id", more="/has_more")
    assert of.after({}, seen({"has_more": True}, records=3)).position == {"token": 2}
    assert of.after({}, seen({"has_more": False}, records=3)).position is None
    assert of.after({}, seen({"has_more": True}, records=0)).position is None


def test_a_token_of_many_digits_is_asked_for_as_it_came() -> None:
    of = pager(kind="cursor", token="/next")
    body = read_body(b'{"next": 12345678901234567890123, "data": []}', "/data").value
    position = of.after({}, Page(URL, body, (), {}, "", frozenset())).position
    assert position is not None
    stored = load_state(dump_state(State(None, Run(position, Span(None, 0), "plan"))))
    assert stored.run is not None
    assert of.turn(stored.run.position).params == {"cursor": "12345678901234567890123"}


def test_the_same_token_twice_is_an_error() -> None:
    of = pager(kind="cursor", token="/next")
    with pytest.raises(SetupError, match="same page token twice"):
        of.after({"token": "a"}, seen({"next": "a"}))


@pytest.mark.parametrize("settings", [{}, {"token": "/a", "last": "/b"}])
def test_a_cursor_pager_has_exactly_one_token(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="one of token and last"):
        pager(kind="cursor", **settings)


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/2>; rel="next"', "https://a/2"),
        ("<https://a/2>; rel=next", "https://a/2"),
        ('<https://a/1>; rel="prev", <https://a/3>; rel="next"', "https://a/3"),
        ('<https://a/2?x=1,2;3>; title="a, b; rel=x"; REL="Next last"', "https://a/2?x=1,2;3"),
        (r'<https://a/2>; title="say \"rel=prev\", ok"; rel="next"', "https://a/2"),
        ('<https://a/2>; rel="prev"; rel="next"', None),  # 3.3: only the first rel counts
        ('<https://a/2>; rel="next"; anchor="#x"', None),  # 3.2: about something else
        ('<https://a/2>; rel="nextish"', None),
        ('<>; rel="next"', ""),
        ("", None),
        ('garbage <; rel="next"', None),
        ('<https://a/2> ; rel = "next"', "https://a/2"),
    ],
)
def test_link_headers_are_read_as_rfc_8288_says(header: str, target: str | None) -> None:
    assert link_to("next", header) == target


@given(st.text(alphabet='<>;,="\\ relnxt/', max_size=80))
def test_no_link_header_raises(header: str) -> None:
    link_to("next", header)


@pytest.mark.parametrize("kind", ["link", "next_url"])
@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://api.example.com/v1/orders?page=2", "/v1/orders?page=2"),
        ("https://API.example.com:443/v1/orders?page=2", "/v1/orders?page=2"),
        ("/v1/orders?page=2", "/v1/orders?page=2"),
        ("?page=2", "/v1/orders?page=2"),
        ("https://api.example.com", "/"),
    ],
)
def test_links_on_the_same_host_are_kept_as_path_and_query(kind: str, link: str, kept: str) -> None:
    of = pager(kind=kind)
    step = of.after(begun(of), seen({"next": link}, link=f'<{link}>; rel="next"'))
    assert step.position == {"url": kept}
    assert of.turn(step.position).url == kept


@pytest.mark.parametrize("kind", ["link", "next_url"])
@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1/orders?page=2",
        "//evil.example/x",
        "http://api.example.com/v1/orders?page=2",  # not encrypted any more
        "https://api.example.com:8443/x",
        "https://api.example.com@evil.example/x",
        "https://user:pw@api.example.com/x",
        "https:\\\\evil.example\\x",
        "/\\evil.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://[::1/x",
        "https://api.example.com/x y",
    ],
)
def test_links_to_another_host_are_refused(kind: str, link: str) -> None:
    of = pager(kind=kind)
    with pytest.raises(SetupError, match=r"next link|not an absolute"):
        of.after({}, seen({"next": link}, link=f'<{link}>; rel="next"'))


@pytest.mark.parametrize("kind", ["link", "next_url"])
def test_a_link_to_the_page_itself_is_an_error(kind: str) -> None:
    of = pager(kind=kind)
    with pytest.raises(SetupError, match="leads to the page itself"):
        of.after({}, seen({"next": URL}, link=f'<{URL}>; rel="next"'))


@pytest.mark.parametrize("kind", ["link", "next_url"])
def test_a_key_that_the_source_repeats_in_its_links_is_not_stored(kind: str) -> None:
    link = "/v1/orders?key=geheim&page=2"
    page = seen({"next": link}, link=f'<{link}>; rel="next"', secret={"key"})
    assert pager(kind=kind).after({}, page).position == {"url": "/v1/orders?page=2"}


@pytest.mark.parametrize("end", [{}, {"next": None}, {"next": ""}, {"next": 3}, []])
def test_no_next_url_is_the_end(end: Any) -> None:
    assert pager(kind="next_url").after({}, seen(end)).position is None


def test_windows_follow_each_other_up_to_now() -> None:
    of = pager(kind="window", size="2d", start_param="from", end_param="to", format="date")
    position = of.first(Span(0, 5 * DAY))
    bounds, reached = [], []
    while position is not None:
        bounds.append(tuple(of.turn(position).params.values()))
        position, until = of.after(position, seen())
        reached.append(until)
    assert bounds == [
        ("1970-01-01", "1970-01-03"),
        ("1970-01-03", "1970-01-05"),
        ("1970-01-05", "1970-01-06"),
    ]
    assert reached == [2 * DAY, 4 * DAY, 5 * DAY]


def test_a_window_can_have_pages_and_is_complete_after_the_last() -> None:
    of = pager(kind="window", size="5d", format="epoch_seconds", pages={"kind": "page"})
    first = begun(of, Span(0, 10 * DAY))
    assert of.turn(first).params == {"start": 0, "end": 432000, "page": 1}
    step = of.after(first, seen("a"))
    assert (step.position or {})["page"]["page"] == 2
    assert step.reached is None
    step = of.after(step.position or {}, seen("b", records=0))
    assert (step.position or {})["from"] == 5 * DAY
    assert (step.position or {})["page"] == {"page": 1}
    assert step.reached == 5 * DAY


def test_an_empty_window_is_not_asked_for() -> None:
    assert pager(kind="window").first(Span(5, 5)) is None


def test_a_window_within_a_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="no window within a window"):
        pager(kind="window", pages={"kind": "window"})
