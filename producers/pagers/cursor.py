"""A token in the answer is a parameter of the next request."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from producers.exchange import at
from producers.pagers import Page, Position, Span, Step, Turn, stuck


class Tokens(BaseModel):
    """Follows a token of the body, or a field of the page's last record."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["cursor"] = Field(default="cursor", description="This pager.")
    param: str = Field(default="cursor", description="Parameter with the token.")
    token: str | None = Field(default=None, description="JSON pointer to the token in the body.")
    last: str | None = Field(
        default=None, description="JSON pointer in the last record, where that is the token."
    )
    more: str | None = Field(
        default=None, description="JSON pointer to a boolean that says whether there is more."
    )
    size: int | None = Field(default=None, ge=1, description="Records asked for in a page.")
    size_param: str = Field(default="limit", description="Parameter with the size.")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token is None) == (self.last is None):
            msg = "one of token and last"
            raise ValueError(msg)
        return self

    @property
    def windowed(self) -> bool:
        """The records say how far the run has come."""
        return False

    @property
    def params(self) -> frozenset[str]:
        """Token and size."""
        return frozenset({self.param, *([self.size_param] if self.size else [])})

    def first(self, span: Span) -> Position | None:
        """Without a token."""
        del span
        return {}

    def turn(self, position: Position) -> Turn:
        """The token and the size."""
        params: dict[str, str | int] = {self.size_param: self.size} if self.size else {}
        if "token" in position:
            token = position["token"]
            params[self.param] = token if isinstance(token, int) else str(token)
        return Turn(params)

    def after(self, position: Position, page: Page) -> Step:
        """The next token; none, an empty one, or ``more`` = false ends the run."""
        if self.more is not None and not at(page.value, self.more):
            return Step(None)
        token = self._token(page)
        if token is None or token == "" or isinstance(token, bool | dict | list):
            return Step(None)
        if token == position.get("token"):
            raise stuck("it gave the same page token twice")
        return Step({"token": token})

    def _token(self, page: Page) -> object:
        if self.token is not None:
            return at(page.value, self.token)
        return at(page.records[-1], self.last or "") if page.records else None


PAGER = Tokens
