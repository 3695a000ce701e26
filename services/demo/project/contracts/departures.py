"""Departures from New York's airports, polled from the carriers' API."""

import datetime as dt
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.contract import Contract

Airport = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Minutes = Annotated[int, Field(ge=-180, le=2_880)]


class Departure(BaseModel):
    """One scheduled flight; a cancelled one has no times, no delays and often no aircraft."""

    flight_date: dt.date = Field(description="Scheduled date, in the airport's own time.")
    carrier: Annotated[str, Field(pattern=r"^[0-9A-Z]{2}$", description="IATA code.")]
    flight: int = Field(ge=1, le=9_999, description="Flight number.")
    origin: Literal["EWR", "JFK", "LGA"] = Field(description="Where it starts.")
    dest: Airport = Field(description="Where it goes.")
    tailnum: Annotated[str, Field(pattern=r"^N[0-9A-Z]{3,5}$")] | None = Field(
        description="Registration of the aircraft; those of the United States begin with N."
    )
    time_hour: dt.datetime = Field(description="Scheduled hour, sent with its offset, kept in UTC.")
    sched_dep_time: dt.time = Field(description="Scheduled departure, local time.")
    dep_time: dt.time | None = Field(description="Departure, local time; null: cancelled.")
    dep_delay: Minutes | None = Field(description="Minutes late; negative: early.")
    sched_arr_time: dt.time = Field(description="Scheduled arrival, local time there.")
    arr_time: dt.time | None = Field(description="Arrival, local time there.")
    arr_delay: Minutes | None = Field(description="Minutes late; negative: early.")
    air_time: Annotated[int, Field(gt=0)] | None = Field(description="Minutes in the air.")
    distance: int = Field(gt=0, description="Miles.")


CONTRACT = Contract(
    stream="flights.departures",
    model=Departure,
    key=("carrier", "flight", "origin", "time_hour"),
    business_date="flight_date",
    owner="operations@example.com",
    sla=timedelta(minutes=5),
    description="Every scheduled departure from EWR, JFK and LGA, cancelled ones included.",
)
