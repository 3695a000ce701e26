"""Hourly weather at New York's airports, pushed as signed webhooks."""

import datetime as dt
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.contract import Contract

Fahrenheit = Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=-80, le=140)]
MilesPerHour = Annotated[float, Field(ge=0, le=250)]  # of real wind, the world record is 253


class Weather(BaseModel):
    """One observation; instruments fail, so most of them may be missing."""

    origin: Literal["EWR", "JFK", "LGA"] = Field(description="The airport.")
    time_hour: dt.datetime = Field(description="Hour of the observation, UTC.")
    temp: Fahrenheit | None = Field(description="Temperature.")
    dewp: Fahrenheit | None = Field(description="Dew point.")
    humid: Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=0, le=100)] | None = Field(
        description="Relative humidity in percent."
    )
    wind_dir: Annotated[int, Field(ge=0, le=360)] | None = Field(description="Degrees.")
    wind_speed: MilesPerHour | None = Field(description="Mean speed.")
    wind_gust: MilesPerHour | None = Field(description="Strongest gust.")
    precip: Annotated[Decimal, Field(max_digits=4, decimal_places=2, ge=0)] = Field(
        description="Precipitation in inches."
    )
    pressure: Annotated[Decimal, Field(max_digits=5, decimal_places=1, ge=850, le=1_100)] | None = (
        Field(description="Sea level pressure in millibars.")
    )
    visib: Annotated[Decimal, Field(max_digits=4, decimal_places=2, ge=0)] = Field(
        description="Visibility in miles."
    )


CONTRACT = Contract(
    stream="noaa.weather",
    model=Weather,
    key=("origin", "time_hour"),
    business_date="time_hour",
    owner="operations@example.com",
    sla=timedelta(minutes=5),
    description="One row an hour and airport.",
)
