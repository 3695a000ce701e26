"""``Link: <...>; rel="next"`` (RFC 8288)."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.exchange import followed
from producers.pagers import Page, Position, Span, Step, Turn, stuck

# RFC 8288, 3: "<" URI-Reference ">" *( OWS ";" OWS token [ BWS "=" BWS ( token / quoted ) ] )
_PARAM = r";\s*([^\s;=,\"]+)(?:\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s;,\"]*))?\s*"
_LINK = re.compile(rf"<([^>]*)>\s*((?:{_PARAM}|;\s*)*)")
_PARAMS = re.compile(_PARAM)


class Links(BaseModel):
    """Follows the link header's ``next``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["link"] = Field(default="link", description="This pager.")
    rel: str = Field(default="next", description="Relation of the link to follow.")

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
        """The link itself."""
        return Turn(url=position.get("url"))

    def after(self, position: Position, page: Page) -> Step:
        """The next link, on the same host; none ends the run."""
        del position
        link = link_to(self.rel, page.headers.get("link", ""))
        if link is None:
            return Step(None)
        url = followed(page.url, link, page.secret_params)
        if url == followed(page.url, page.url, page.secret_params):
            raise stuck("the next link leads to the page itself")
        return Step({"url": url})


def link_to(rel: str, header: str) -> str | None:
    """The target of the first link with this relation, or None."""
    for link in _LINK.finditer(header):
        params: dict[str, str] = {}
        for name, value in _PARAMS.findall(link[2]):
            plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            params.setdefault(name.lower(), plain)  # 3.3: only the first rel counts
        if "anchor" in params:
            continue  # 3.2: about another resource
        if rel.lower() in params.get("rel", "").lower().split():
            return link[1]
    return None


PAGER = Links
