"""Offset and limit: ``?offset=0&limit=100``, ``?offset=100&limit=100``, until one is empty."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from producers.exchange import at
from producers.pagers import Page, Position, Span, Step, Turn, stuck


class Offsets(BaseModel):
    """Counts records.

    A record that leaves an earlier page during a run shifts all later ones, and one of them slips
    between two pages: ``overlap`` reads that many again, so that as many shifts lose nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["offset"] = Field(default="offset", description="This pager.")
    param: str = Field(default="offset", description="Parameter with the offset.")
    limit: int = Field(default=100, ge=1, description="Records asked for in a page.")
    limit_param: str = Field(default="limit", description="Parameter with the limit.")
    overlap: int = Field(default=0, ge=0, description="Records of a page that are read again.")
    total: str | None = Field(
        default=None,
        description="JSON pointer to the number of records; default: until a page is empty.",
    )

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.overlap >= self.limit:
            msg = "overlap: less than limit"
            raise ValueError(msg)
        return self

    @property
    def windowed(self) -> bool:
        """The records say how far the run has come."""
        return False

    @property
    def params(self) -> frozenset[str]:
        """Offset and limit."""
        return frozenset({self.param, self.limit_param})

    def first(self, span: Span) -> Position | None:
        """The beginning."""
        del span
        return {"offset": 0}

    def turn(self, position: Position) -> Turn:
        """Offset and limit."""
        return Turn({self.param: position["offset"], self.limit_param: self.limit})

    def after(self, position: Position, page: Page) -> Step:
        """As far on as there were records: a source may give fewer than it was asked for."""
        count, offset = len(page.records), position["offset"]
        total = at(page.value, self.total) if self.total is not None else None
        # with an overlap the end brings only what was read before, so it ends a step later
        if count <= (self.overlap if offset else 0):
            return Step(None)
        if isinstance(total, int) and offset + count >= total:
            return Step(None)
        if position.get("seen") == page.digest:
            raise stuck(f"{self.param}={offset} brought the page before it again")
        return Step({"offset": offset + max(1, count - self.overlap), "seen": page.digest})


PAGER = Offsets
