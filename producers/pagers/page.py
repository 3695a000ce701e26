"""Numbered pages: ``?page=1``, ``?page=2``, until one is empty."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.exchange import at
from producers.pagers import Page, Position, Span, Step, Turn, stuck


class NumberedPages(BaseModel):
    """Counts pages. What moves between pages during a run can be missed by the run; see offset."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["page"] = Field(default="page", description="This pager.")
    param: str = Field(default="page", description="Parameter with the page's number.")
    start: int = Field(default=1, ge=0, description="Number of the first page.")
    size: int | None = Field(default=None, ge=1, description="Records asked for in a page.")
    size_param: str = Field(default="per_page", description="Parameter with the size.")
    pages: str | None = Field(
        default=None,
        description="JSON pointer to the number of pages; default: until one is empty.",
    )
    short_page_ends: bool = Field(
        default=False,
        description="A page with fewer records than size is the last. Off by default, since a "
        "source may cap the size below what was asked.",
    )

    @property
    def windowed(self) -> bool:
        """The records say how far the run has come."""
        return False

    @property
    def params(self) -> frozenset[str]:
        """Number and size."""
        return frozenset({self.param, *([self.size_param] if self.size else [])})

    def first(self, span: Span) -> Position | None:
        """The first page."""
        del span
        return {"page": self.start}

    def turn(self, position: Position) -> Turn:
        """Number and size."""
        size = {self.size_param: self.size} if self.size else {}
        return Turn({self.param: position["page"], **size})

    def after(self, position: Position, page: Page) -> Step:
        """The next number; an equal body means that the source does not know the parameter."""
        if self._ends(position, page):
            return Step(None)
        if position.get("seen") == page.digest:
            raise stuck(f"{self.param}={position['page']} brought the page before it again")
        return Step({"page": position["page"] + 1, "seen": page.digest})

    def _ends(self, position: Position, page: Page) -> bool:
        if not page.records:
            return True
        if self.short_page_ends and self.size is not None and len(page.records) < self.size:
            return True
        last = at(page.value, self.pages) if self.pages is not None else None
        return isinstance(last, int) and position["page"] - self.start + 1 >= last


PAGER = NumberedPages
