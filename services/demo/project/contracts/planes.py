"""Aircraft from the civil register, pushed as signed webhooks."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.contract import Contract

Engine = Literal["4 Cycle", "Reciprocating", "Turbo-fan", "Turbo-jet", "Turbo-prop", "Turbo-shaft"]
Airframe = Literal["Fixed wing multi engine", "Fixed wing single engine", "Rotorcraft"]


class Plane(BaseModel):
    """One aircraft."""

    tailnum: str = Field(pattern=r"^N[0-9A-Z]{3,5}$", description="Registration.")
    year: Annotated[int, Field(ge=1903, le=2100)] | None = Field(description="When it was built.")
    type: Airframe = Field(description="Kind of airframe.")
    manufacturer: str = Field(min_length=1, description="Who built it.")
    model: str = Field(min_length=1, description="What they call it.")
    engines: int = Field(ge=1, le=8, description="Number of engines.")
    seats: int = Field(ge=1, le=900, description="Number of seats.")
    speed: Annotated[int, Field(gt=0)] | None = Field(description="Cruising speed in mph.")
    engine: Engine = Field(description="Kind of engine.")


CONTRACT = Contract(
    stream="faa.planes",
    model=Plane,
    # no key: the ids of its events are those that the sender gives its deliveries
    owner="operations@example.com",
    sla=timedelta(minutes=5),
    description="The aircraft that flew from New York in 2013.",
)
