"""What the warehouse must hold in the end: from the data set and the list of what was sent.

Nothing here looks at contracts, topics or tables. What the data set itself has wrong is found by
looking at it.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from schemas.errors import RejectReason, Stage
from services.demo.dataset import UTC_FORM, Dataset
from services.demo.webhooks import Post

FLIGHTS, WEATHER, PLANES = "flights.departures", "noaa.weather", "faa.planes"
WIND_MAX = 250.0  # of the anemometer that once saw 1,048 mph


class Carrier(NamedTuple):
    """A carrier's year: flights, those that did not leave, minutes late of the others together."""

    flights: int
    cancelled: int
    delay: int


class Letter(NamedTuple):
    """Where and why events became dead letters."""

    stream: str
    stage: Stage
    reason: RejectReason


@dataclass(slots=True)
class Expected:
    """What has to be found."""

    rows: Counter[str] = field(default_factory=Counter)  # by stream
    duplicates: Counter[str] = field(default_factory=Counter)  # by stream
    dead: Counter[Letter] = field(default_factory=Counter)
    refused: int = 0  # deliveries at the door
    on_topic: Counter[str] = field(default_factory=Counter)  # messages, by topic
    carriers: dict[str, Carrier] = field(default_factory=dict)
    dates: dict[str, dict[str, int]] = field(default_factory=dict)  # rows by stream and date
    precipitation: Decimal = Decimal(0)  # of all weather rows, in inches
    last_hour: dt.datetime = dt.datetime.min  # of the flights, UTC  # noqa: DTZ901 - naive UTC

    @property
    def accepted(self) -> int:
        """Every event that the door let in, whatever became of it."""
        return self.rows.total() + self.duplicates.total() + self.dead.total()


def expect(data: Dataset, posts: Iterable[Post]) -> Expected:
    """What flights, weather and planes have to become."""
    expected = Expected()
    _expect_flights(data.flights, expected)
    for post in posts:
        if post.forged:
            expected.refused += post.times
        else:
            _expect_post(post, expected)
    return expected


def _expect_flights(flights: pl.DataFrame, expected: Expected) -> None:
    """Every flight once, but for aircraft whose registration is a slip of the keyboard."""
    fine = flights.filter(pl.col("tailnum").str.starts_with("N").fill_null(value=True))
    expected.rows[FLIGHTS] = fine.height
    expected.on_topic[FLIGHTS] = flights.height
    wrong = flights.height - fine.height
    if wrong:
        _expect_dead(Letter(FLIGHTS, Stage.JUDGE, RejectReason.PATTERN), wrong, expected)
    by_carrier = fine.group_by("carrier").agg(
        pl.len().alias("flights"),
        pl.col("dep_time").is_null().sum().alias("cancelled"),
        pl.col("dep_delay").sum().alias("delay"),
    )
    expected.carriers = {name: Carrier(*rest) for name, *rest in by_carrier.iter_rows()}
    date = pl.date("year", "month", "day").dt.to_string("%Y-%m-%d").alias("date")
    expected.dates[FLIGHTS] = dict(fine.group_by(date).agg(pl.len()).iter_rows())
    hours = fine["time_hour"].str.to_datetime(UTC_FORM)
    expected.last_hour = dt.datetime.fromisoformat(str(hours.max()))


def _expect_post(post: Post, expected: Expected) -> None:
    """A record is loaded once, however often it came; a broken one never.

    What cannot be encoded has no place in the log and is known by its id, so that its repeat is
    a duplicate; what breaks a rule was in the log twice and is two dead letters.
    """
    for sent in post.records:
        if sent.fault is not None and sent.fault.stage is Stage.ENCODE:
            letter = Letter(post.stream, Stage.ENCODE, sent.fault.reason)
            _expect_dead(letter, 1, expected)
            expected.on_topic[f"{post.stream}.dead"] += post.times - 1
            expected.duplicates[post.stream] += post.times - 1
            continue
        expected.on_topic[post.stream] += post.times
        if sent.fault is not None:
            letter = Letter(post.stream, Stage.JUDGE, sent.fault.reason)
            _expect_dead(letter, post.times, expected)
        elif post.stream == WEATHER and (sent.event["wind_speed"] or 0.0) > WIND_MAX:
            letter = Letter(WEATHER, Stage.JUDGE, RejectReason.OUT_OF_RANGE)
            _expect_dead(letter, post.times, expected)
        else:
            expected.rows[post.stream] += 1
            expected.duplicates[post.stream] += post.times - 1
            if post.stream == WEATHER:
                _expect_weather(sent.event, expected)


def _expect_dead(letter: Letter, count: int, expected: Expected) -> None:
    expected.dead[letter] += count
    expected.on_topic[f"{letter.stream}.dead"] += count


def _expect_weather(event: dict[str, object], expected: Expected) -> None:
    dates = expected.dates.setdefault(WEATHER, {})
    date = str(event["time_hour"])[:10]
    dates[date] = dates.get(date, 0) + 1
    expected.precipitation += Decimal(str(event["precip"]))
