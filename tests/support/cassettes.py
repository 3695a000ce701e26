"""Conversations with a source, as its documentation shows them: what is asked, what is answered.

A cassette is a JSON file: the source's table of ``sluice.toml``, secrets, the instant at which it
begins, runs of ``[request, answer]`` pairs, and what has to come of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from producers.exchange import Bounds, Request, Response

FOLDER = Path(__file__).parents[1] / "cassettes"


@dataclass
class Cassette:
    """A conversation; :meth:`send` plays the source's part, and insists on ours."""

    name: str
    content: dict[str, Any]
    at: list[list[Any]] = field(default_factory=list)  # what is still to be said in this run

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(path.stem, json.loads(path.read_text()))

    @property
    def begins(self) -> int:
        """Microseconds since the epoch, UTC."""
        return int(self.content["now"]) * 1_000_000

    @asynccontextmanager
    async def open(self, bounds: Bounds) -> AsyncIterator[Self]:
        del bounds
        yield self

    async def send(self, request: Request) -> Response:
        assert self.at, f"{self.name}: nobody expected {request.method} {request.full_url}"
        (method, url, *wanted), (status, body, *more) = self.at.pop(0)
        assert (request.method, request.full_url) == (method, url), self.name
        for header, text in (wanted[0] if wanted else {}).items():
            assert request.headers[header] == text, f"{self.name}: {url}"
        if len(wanted) > 1:
            assert (request.body or b"").decode() == wanted[1], f"{self.name}: {url}"
        await asyncio.sleep(0.1)
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {name.lower(): text for name, text in (more[0] if more else {}).items()}
        now = self.begins + round(asyncio.get_running_loop().time() * 1_000_000)
        return Response(status, headers, raw, now)


def cassettes() -> list[Cassette]:
    """All there are, by name."""
    return [Cassette.read(path) for path in sorted(FOLDER.glob("*.json"))]
