"""What the demo compares and shows."""

import copy
import datetime as dt
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from consumers.books.balance import Books, Finding, Totals
from schemas.errors import RejectReason, Stage, TransientError
from schemas.events import Partition
from services.adapters.clock import SystemClock
from services.demo import watching
from services.demo.expected import FLIGHTS, PLANES, WEATHER, Carrier, Expected, Letter, expect
from services.demo.facts import Delay, Facts, Fresh, Span
from services.demo.measured import Sample, Spread, quantile, spread
from services.demo.printing import show
from services.demo.progress import Teller
from services.demo.report import Report
from services.demo.sending import Answered
from services.demo.watching import Progress, Watched, watch
from services.demo.webhooks import posts_of
from tests.support.demo_data import dataset

DATA = dataset()
POSTS = posts_of(DATA)
NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - naive UTC, as the warehouse gives it
LIMITED = Sample("sluice_poll_requests_total", {"source": "flights", "status": "429"}, 3.0)


def report(expected: Expected, facts: Facts, books: Books | None = None) -> Report:
    totals = Totals(
        expected.accepted, expected.rows.total(), expected.duplicates.total(), expected.dead.total()
    )
    return Report(
        expected=expected,
        facts=facts,
        books=books or Books(totals, dict.fromkeys(expected.rows, totals)),
        samples=[LIMITED],
        answers=[Answered(post, 401 if post.forged else 200, 0.01) for post in POSTS],
        airlines=DATA.airlines,
        tables={FLIGHTS: "FLIGHTS_DEPARTURES", WEATHER: "NOAA_WEATHER", PLANES: "FAA_PLANES"},
        seconds={"in all": 61.5},
        cpu={"loader": 9.5},
        limited_expected=True,
    )


def found() -> tuple[Expected, Facts]:
    """What is expected, and facts that agree."""
    expected = expect(DATA, POSTS)
    later = NOON + dt.timedelta(seconds=10)
    facts = Facts(
        rows=Counter(expected.rows),
        ids=Counter(expected.rows),
        duplicates=Counter(expected.duplicates),
        dead=Counter(expected.dead),
        details=dict.fromkeys(expected.dead, "$.temp: Input should be less; found 140"),
        carriers=dict(expected.carriers),
        dates=copy.deepcopy(expected.dates),
        fresh={FLIGHTS: Fresh(NOON, "2013-07-04"), PLANES: Fresh(NOON)},
        spans={FLIGHTS: Span((NOON, later), (later, later), NOON)},
        delays={FLIGHTS: Delay(2, 1.5, 2.5, 3.0)},
        precipitation=expected.precipitation,
        last_hour=expected.last_hour,
    )
    return expected, facts


def test_what_was_expected_is_no_difference() -> None:
    assert report(*found()).differences == []


def _lose_a_row(facts: Facts) -> None:
    facts.rows[WEATHER] -= 1


def _double_an_id(facts: Facts) -> None:
    facts.ids[WEATHER] -= 1


def _load_a_duplicate(facts: Facts) -> None:
    facts.duplicates[PLANES] -= 1


def _invent_a_letter(facts: Facts) -> None:
    facts.dead[Letter(PLANES, Stage.DECODE, RejectReason.BAD_FRAME)] = 1


def _lose_a_letter(facts: Facts) -> None:
    facts.dead[Letter(FLIGHTS, Stage.JUDGE, RejectReason.PATTERN)] = 0


def _mistake_a_delay(facts: Facts) -> None:
    facts.carriers["UA"] = Carrier(2, 1, 389)


def _move_a_day(facts: Facts) -> None:
    facts.dates[FLIGHTS] = {"2013-07-05": 2}


def _round_rain(facts: Facts) -> None:
    facts.precipitation += Decimal("0.01")


def _forget_the_zone(facts: Facts) -> None:
    facts.last_hour = NOON


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_lose_a_row, "rows of noaa.weather"),
        (_double_an_id, "event ids of noaa.weather"),
        (_load_a_duplicate, "duplicates of faa.planes"),
        (_invent_a_letter, "dead letters of faa.planes decode bad_frame"),
        (_lose_a_letter, "dead letters of flights.departures judge pattern"),
        (_mistake_a_delay, "flights, cancelled, delay of UA"),
        (_move_a_day, "flights.departures, rows of 2013-07-05"),
        (_round_rain, "inches of rain"),
        (_forget_the_zone, "last hour of flights"),
    ],
)
def test_every_difference_is_named(spoil: Callable[[Facts], None], what: str) -> None:
    expected, facts = found()
    spoil(facts)
    assert any(line.startswith(f"{what}: expected") for line in report(expected, facts).differences)


def test_books_that_do_not_balance_or_count_otherwise_are_differences() -> None:
    expected, facts = found()
    short = Totals(accepted=expected.accepted - 1)
    finding = Finding(Partition(FLIGHTS, 0), 0, 3, "no ledger row covers this range")
    lines = report(expected, facts, Books(short, {FLIGHTS: short}, [finding])).differences
    assert [line.partition(":")[0] for line in lines] == ["accepted by the books", "the books"]


def test_doors_that_stay_open_are_differences() -> None:
    expected, facts = found()
    open_ = report(expected, facts)
    unlimited = Report(**{**_fields(open_), "samples": [], "answers": []})
    assert unlimited.differences == [
        "forged deliveries refused: 0 of 1",
        "the carriers' API never answered 429",
    ]


def _fields(of: Report) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Report.__dataclass_fields__}


def test_the_last_line_is_the_books_and_everything_is_shown() -> None:
    text = io.StringIO()
    shown = report(*found())
    show(shown, Console(file=text, width=110))
    lines = text.getvalue().rstrip("\n").split("\n")
    assert lines[-1] == str(shown.books)
    assert lines[-1].startswith("books balance: accepted ")
    for word in (
        "Delay by carrier",
        "United",
        "wrong_type",
        "LOADEDON",
        "2013-07-04",
        "429 3 times",
    ):
        assert word in text.getvalue()
    assert max(map(len, lines)) <= 110


def test_the_report_is_json() -> None:
    expected, facts = found()
    data = json.loads(json.dumps(report(expected, facts).data(), default=str))
    assert data["ok"]
    assert data["books"]["line"].startswith("books balance")
    assert data["tables"][FLIGHTS]["rows"] == data["tables"][FLIGHTS]["expected"] == 2
    assert data["tables"][FLIGHTS]["business_date"] == "2013-07-04"
    assert data["throughput"][0]["per_second"] == round(expected.accepted / 10)  # in 10 s


def test_a_quantile_lies_within_its_bucket() -> None:
    edges = [(1.0, 0.0), (2.0, 10.0), (float("inf"), 10.0)]
    assert quantile(edges, 0.5) == 1.5
    assert quantile([(1.0, 0.0), (float("inf"), 4.0)], 0.5) == 1.0


def test_a_spread_is_taken_over_all_series_with_the_labels() -> None:
    def bucket(stream: str, bound: str, count: float) -> Sample:
        return Sample("x_bucket", {"stream": stream, "le": bound}, count)

    samples = [
        bucket("a", "1", 5),
        bucket("a", "+Inf", 5),
        bucket("b", "1", 0),
        bucket("b", "+Inf", 0),
    ]
    assert spread(samples, "x") == Spread(5, 0.5, 0.95)
    assert spread(samples, "x", stream="b") is None
    assert spread(samples, "y") is None


class Ledger:
    """A warehouse whose ledger says what is next in a list; the last for ever."""

    def __init__(self, *states: Mapping[str, int]) -> None:
        self.states = list(states)

    def rows(self, _sql: str) -> list[dict[str, Any]]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return [{"topic": topic, "n": n} for topic, n in state.items()]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Ticking:
    """Every sleep is done at once."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> int:
        return round(self.at * 1e6)

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_waiting_ends_when_every_topic_is_there() -> None:
    seen: list[Progress] = []
    ledger = Ledger({"a": 1}, {"a": 2}, {"a": 2, "b": 1})
    watch(Watched(ledger, [], Ticking()), Counter(a=2, b=1), seen.append)
    assert [now.loaded for now in seen] == [{"a": 1}, {"a": 2}, {"a": 2, "b": 1}]


def test_waiting_ends_when_nothing_moves_any_more_and_names_what_is_missing() -> None:
    clock = Ticking()
    with pytest.raises(TransientError, match=r"a: 1 of 2"):
        watch(Watched(Ledger({"a": 1}), [], clock), Counter(a=2), lambda _now: None)
    assert clock.at >= watching.STILL_SECONDS_MAX


def test_without_a_terminal_progress_is_lines_now_and_then() -> None:
    text = io.StringIO()
    teller = Teller(Console(file=text), SystemClock(), began_at=0.0)
    clock = Ticking()
    teller.clock = clock
    with teller.bars({"polled": 10}) as bars:
        for count in range(11):
            bars.set("polled", count)
            clock.sleep(1)
    assert text.getvalue().splitlines() == [
        "   5.0 s  polled 5 of 10",
        "  10.0 s  polled 10 of 10",
    ]
