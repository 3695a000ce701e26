"""A data set of a few records, with the real one's slips."""

import polars as pl

from services.demo.dataset import Dataset


def flights() -> pl.DataFrame:
    """Three departures: one on time, one cancelled, one with a slip in its registration."""
    common = {
        "year": 2013, "month": 7, "day": 4, "sched_dep_time": 1730, "sched_arr_time": 30,
        "carrier": "UA", "origin": "EWR", "dest": "SFO", "distance": 2565,
        "hour": 17, "minute": 30, "time_hour": "2013-07-04T21:00:00Z",
    }  # fmt: skip
    flown = {"dep_time": 2400, "dep_delay": 390, "arr_time": 5, "arr_delay": -25, "air_time": 340}
    return pl.DataFrame(
        [
            {**common, **flown, "flight": 1, "tailnum": "N14228"},
            {**common, "flight": 2, "tailnum": None},
            {**common, **flown, "flight": 3, "tailnum": "D942DN", "carrier": "DL"},
        ]
    )


def dataset(weather: int = 300, planes: int = 120) -> Dataset:
    """As many observations and aircraft; the second observation has the famous 1,048 mph."""
    return Dataset(
        flights=flights(),
        weather=pl.DataFrame(
            [
                {
                    "origin": "JFK", "time_hour": f"2013-01-{1 + n // 24:02}T{n % 24:02}:00:00Z",
                    "temp": 39.02, "dewp": 26.06, "humid": 59.37, "wind_dir": 270,
                    "wind_speed": 1048.36058 if n == 1 else 10.35702, "wind_gust": None,
                    "precip": 0.01, "pressure": 1012.0, "visib": 10.0,
                }
                for n in range(weather)
            ]
        ),
        planes=pl.DataFrame(
            [
                {
                    "tailnum": f"N{1000 + n}", "year": 2004, "type": "Fixed wing multi engine",
                    "manufacturer": "EMBRAER", "model": "EMB-145XR", "engines": 2, "seats": 55,
                    "speed": None, "engine": "Turbo-fan",
                }
                for n in range(planes)
            ]
        ),
        airlines={"UA": "United Air Lines Inc."},
    )  # fmt: skip
