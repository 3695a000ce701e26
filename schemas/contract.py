"""What a user declares about a stream."""

import re
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from schemas import types
from schemas.sql import folded

DEDUPE_WINDOW_MAX = timedelta(days=7)
DEAD_SUFFIX = ".dead"
_PART = r"[a-z][a-z0-9_-]*"

StreamName = Annotated[str, Field(pattern=rf"^{_PART}(\.{_PART}){{1,4}}$", max_length=200)]


class Mode(StrEnum):
    """How events become rows."""

    APPEND = "append"  # one row an event


class Raw(BaseModel):
    """The model of a stream without a contract: the record as it came."""

    payload: JsonValue = Field(description="The record as it came.")


class Contract(BaseModel):
    """A stream's promise: from it come the Avro schema, columns, rules, table and dictionary.

    One file in ``contracts/`` declares one as ``CONTRACT``.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, ignored_types=(cached_property,)
    )

    stream: StreamName = Field(description="<source>.<stream>: the topic's name as well.")
    model: type[BaseModel] = Field(description="The pydantic model of one event.")
    key: tuple[str, ...] = Field(
        default=(), description="Fields that identify what the event is about; order holds per key."
    )
    version: tuple[str, ...] = Field(
        default=(), description="Fields that change whenever the keyed thing changes."
    )
    business_date: str | None = Field(
        default=None, description="The date or timestamp field that says when it happened."
    )
    mode: Mode = Field(default=Mode.APPEND, description="How events become rows.")
    dedupe_window: timedelta = Field(
        default=timedelta(days=1),
        description="How long an event id is remembered; 0 switches deduplication off.",
    )
    owner: str = Field(default="", description="Whom to ask about this stream.")
    sla: timedelta | None = Field(
        default=None,
        description="Longest time from event to row that is acceptable: a batch closes after half.",
    )
    keep_raw: bool = Field(
        default=True, description="Carry the JSON record as it came in `_raw` on the topic."
    )
    load_raw: bool = Field(default=False, description="Load `_raw` into the table as well.")
    table: str | None = Field(
        default=None, description="Table name; default: the stream's, with _ for every dot."
    )
    partitions: int | None = Field(default=None, ge=1, description="Partitions of the topic.")
    description: str = Field(default="", description="For the data dictionary.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twice("the columns", [field.name.upper() for field in self.fields])
        _refuse_twice("the names in JSON", [field.source for field in self.fields])
        types_by_name = {field.name: field.type for field in self.fields}
        for role in ("key", "version"):
            for name in getattr(self, role):
                if name not in types_by_name:
                    msg = f"{role}: the model has no field {name!r}; it has {sorted(types_by_name)}"
                    raise ValueError(msg)
                if not _identifies(types_by_name[name]):
                    msg = f"{role}: {name!r} is no plain value that could identify anything"
                    raise ValueError(msg)
        if self.business_date is not None:
            self._check_business_date()
        if not timedelta(0) <= self.dedupe_window <= DEDUPE_WINDOW_MAX:
            msg = f"dedupe_window: between 0 and {DEDUPE_WINDOW_MAX.days} days"
            raise ValueError(msg)
        if self.version and not self.key:
            msg = "version: needs a key"
            raise ValueError(msg)
        return self

    def _check_business_date(self) -> None:
        field = next((f for f in self.fields if f.name == self.business_date), None)
        if field is None or field.type not in {types.Scalar.DATE, types.Scalar.TIMESTAMP}:
            msg = f"business_date: {self.business_date!r} is not a date or datetime field"
            raise ValueError(msg)

    @cached_property
    def fields(self) -> tuple[types.Field, ...]:
        """The model's fields, in order, without Sluice's own."""
        return types.fields_of(self.model, self.stream)

    @property
    def topic(self) -> str:
        """The stream's topic."""
        return self.stream

    @property
    def dead_topic(self) -> str:
        """The topic of its dead letters."""
        return self.stream + DEAD_SUFFIX

    @property
    def table_name(self) -> str:
        """The table's name, as the warehouse's catalogue has it."""
        return folded(self.table or re.sub(r"[^a-z0-9]+", "_", self.stream))


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        msg = f"model: {what} of two fields are the same: {', '.join(sorted(twice))}"
        raise ValueError(msg)


def _identifies(kind: types.FieldType) -> bool:
    """Whether values of the type can be compared as texts."""
    free = {types.Scalar.JSON, types.Scalar.BYTES}
    return isinstance(kind, types.Decimal | types.Enum) or (
        isinstance(kind, types.Scalar) and kind not in free
    )


def raw_contract(stream: str) -> Contract:
    """The contract of a stream that has none: its payload lands in a VARIANT column."""
    return Contract(stream=stream, model=Raw, keep_raw=False, description="Without a contract.")
