"""The next page's URL is in the body."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.exchange import at, followed
from producers.pagers import Page, Position, Span, Step, Turn, stuck


class NextUrls(BaseModel):
    """Follows a URL of the body, absolute or relative, on the same host."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["next_url"] = Field(default="next_url", description="This pager.")
    url: str = Field(default="/next", description="JSON pointer to the next page's URL.")

    @property
    def windowed(self) -> bool:
        """The records say how far the run has come."""
        return False

    @property
    def params(self) -> frozenset[str]:
        """None: the URL has them."""
        return frozenset()

    def first(self, span: Span) -> Position | None:
        """The stream's own request."""
        del span
        return {}

    def turn(self, position: Position) -> Turn:
        """The URL itself."""
        return Turn(url=position.get("url"))

    def after(self, position: Position, page: Page) -> Step:
        """The next URL; null, absent or empty ends the run."""
        del position
        link = at(page.value, self.url)
        if not isinstance(link, str) or not link:
            return Step(None)
        url = followed(page.url, link, page.secret_params)
        if url == followed(page.url, page.url, page.secret_params):
            raise stuck("the next URL leads to the page itself")
        return Step({"url": url})


PAGER = NextUrls
