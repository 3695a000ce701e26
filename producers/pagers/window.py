"""Windows of time, one after the other, up to now."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from producers.cursors import Duration, Form, as_param, duration_micros, is_time
from producers.pagers import Page, Pager, Position, Span, Step, Turn, pager_of


class TimeWindows(BaseModel):
    """Asks for [start, end), and goes on once a window is complete.

    The cursor follows the windows, not the records; its ``start`` says where the first begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["window"] = Field(default="window", description="This pager.")
    size: Duration = Field(default="1d", description="Length of a window.")
    start_param: str = Field(default="start", description="Parameter with its beginning.")
    end_param: str = Field(default="end", description="Parameter with its end.")
    format: Form = Field(default="rfc3339", description="How the source writes instants.")
    pages: Any = Field(default=None, description="The pager within a window; default: one page.")

    @field_validator("pages", mode="before")
    @classmethod
    def _known_pager(cls, value: object) -> object:
        return value if value is None else pager_of(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not is_time(self.format) or duration_micros(self.size) <= 0:
            msg = "a window has a length and a format of instants"
            raise ValueError(msg)
        if self.pages is not None and self.pages.windowed:
            msg = "pages: no window within a window"
            raise ValueError(msg)
        return self

    @property
    def windowed(self) -> bool:
        """The cursor is the end of the last complete window."""
        return True

    @property
    def params(self) -> frozenset[str]:
        """The bounds', and those of the pager within."""
        inner = frozenset[str]() if self.pages is None else self._inner.params
        return inner | {self.start_param, self.end_param}

    def first(self, span: Span) -> Position | None:
        """The window at the cursor; None where it would be empty."""
        since = span.since
        if not isinstance(since, int) or since >= span.until:
            return None
        return self._window(since, span.until)

    def turn(self, position: Position) -> Turn:
        """The window's bounds, and what the pager within adds."""
        bounds = {
            self.start_param: as_param(position["from"], self.format),
            self.end_param: as_param(position["to"], self.format),
        }
        if self.pages is None:
            return Turn(bounds)
        inner = self._inner.turn(position["page"])
        return Turn({**bounds, **inner.params}, inner.url)

    def after(self, position: Position, page: Page) -> Step:
        """The window's next page, or the next window."""
        if self.pages is not None:
            inner = self._inner.after(position["page"], page).position
            if inner is not None:
                return Step({**position, "page": inner})
        if position["to"] >= position["until"]:
            return Step(None, position["to"])
        return Step(self._window(position["to"], position["until"]), position["to"])

    @property
    def _inner(self) -> Pager:
        pager: Pager = self.pages
        return pager

    def _window(self, start: int, until: int) -> Position:
        end = min(start + duration_micros(self.size), until)
        window: Position = {"from": start, "to": end, "until": until}
        if self.pages is not None:
            window["page"] = self._inner.first(Span(start, end)) or {}
        return window


PAGER = TimeWindows
