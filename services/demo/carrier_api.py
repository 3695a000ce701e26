"""The carriers' API: departures page by page, for who knows the token and is not too greedy.

``python -m services.demo.carrier_api``; its settings come from ``CARRIER_*`` variables.
"""

import base64
import binascii
import datetime as dt
import hmac
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import polars as pl
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import override

from services.demo.dataset import UTC_FORM, departures, load_flights, part_of

HOST = "127.0.0.1"
PATH = "/v1/departures"
PAGE_ROWS = 1_000  # for who does not say how many
PAGE_ROWS_MAX = 10_000
PAUSE_SECONDS = 1.0
PERIOD_SECONDS = 60.0
READ_SECONDS_MAX = 30.0


class CarrierSettings(BaseSettings):
    """How the API is started."""

    model_config = SettingsConfigDict(env_prefix="CARRIER_", frozen=True)

    port: int = Field(default=8099, ge=0, le=65535, description="Port; 0 takes a free one.")
    token: SecretStr = Field(min_length=16, description="What callers have to know.")
    share: float = Field(default=1.0, gt=0, le=1, description="Part of the flights.")
    burst: int = Field(default=25, ge=1, description="Requests a minute.")


class Allowance:
    """``burst`` requests a minute; who asks for more waits out a pause, and then starts anew."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = burst
        self._renewed_at = float("-inf")
        self._closed_until = float("-inf")
        self._lock = threading.Lock()

    def wait_seconds(self, now: float) -> float:
        """How long this caller has to wait, or 0: then a request is used up. ``now``: monotonic."""
        with self._lock:
            if now < self._closed_until:
                return self._closed_until - now
            if now - self._renewed_at >= PERIOD_SECONDS:
                self._left, self._renewed_at = self._burst, now
            if self._left == 0:
                self._closed_until = now + PAUSE_SECONDS
                self._left, self._renewed_at = self._burst, self._closed_until
                return PAUSE_SECONDS
            self._left -= 1
            return 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON body, further headers."""

    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def told(status: HTTPStatus, what: str, **headers: str) -> Answer:
    """An answer without departures."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": what}).encode(), named)


class CarrierApi:
    """Answers requests. ``flights`` as :func:`load_flights` gives them."""

    def __init__(self, flights: pl.DataFrame, token: str, allowance: Allowance) -> None:
        self._departures = departures(flights)
        self._hours = flights["time_hour"].str.to_datetime(UTC_FORM)
        self._proof = f"Bearer {token}".encode()
        self._allowance = allowance

    def answer(self, target: str, authorization: str, now: float) -> Answer:
        """The page that ``target`` (path and query) asks for, or why there is none."""
        parts = urlsplit(target)
        if parts.path != PATH:
            return told(HTTPStatus.NOT_FOUND, f"there is {PATH}")
        if not hmac.compare_digest(authorization.encode(), self._proof):
            challenge = {"WWW_Authenticate": "Bearer"}
            return told(HTTPStatus.UNAUTHORIZED, "who are you?", **challenge)
        wait = self._allowance.wait_seconds(now)
        if wait > 0:
            after = {"Retry_After": str(max(1, round(wait)))}
            return told(HTTPStatus.TOO_MANY_REQUESTS, "slow down", **after)
        try:
            return self._page(dict(parse_qsl(parts.query)))
        except (ValueError, binascii.Error) as error:
            return told(HTTPStatus.BAD_REQUEST, f"limit, cursor or since is wrong: {error}")

    def _page(self, query: Mapping[str, str]) -> Answer:
        rows = min(int(query.get("limit", PAGE_ROWS)), PAGE_ROWS_MAX)
        if rows < 1:
            raise ValueError("limit is below 1")
        first = self._first(query)
        page = self._departures.slice(first, rows)
        after = first + page.height
        following = cursor_of(after) if after < self._departures.height else None
        head = json.dumps({"next_cursor": following})[:-1]
        body = f'{head}, "departures": {page.write_json()}}}'
        return Answer(HTTPStatus.OK, body.encode())

    def _first(self, query: Mapping[str, str]) -> int:
        if "cursor" in query:
            return row_of(query["cursor"])
        if "since" not in query:
            return 0
        since = dt.datetime.fromisoformat(query["since"])
        naive = since.astimezone(dt.UTC).replace(tzinfo=None)
        return int(self._hours.search_sorted(naive, side="left"))


def cursor_of(row: int) -> str:
    """A token that means nothing to callers."""
    return base64.urlsafe_b64encode(f"row:{row}".encode()).decode()


def row_of(cursor: str) -> int:
    """The row that a token stands for. Raises ValueError for a stranger's."""
    text = base64.urlsafe_b64decode(cursor).decode("ascii")
    if not text.startswith("row:") or not text[4:].isdigit():
        raise ValueError("not a cursor of ours")
    return int(text[4:])


class _Exchange(BaseHTTPRequestHandler):
    """One connection. Paths and statuses go to standard error, which is the log."""

    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = READ_SECONDS_MAX
    disable_nagle_algorithm = True

    def __init__(self, api: CarrierApi, *arguments: object) -> None:
        self._api = api
        super().__init__(*arguments)  # type: ignore[arg-type] # socketserver's own three

    def do_GET(self) -> None:
        """Answer."""
        proof = self.headers.get("Authorization", "")
        answer = self._api.answer(self.path, proof, time.monotonic())
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    @override
    def version_string(self) -> str:
        return "carriers"


class CarrierServer(ThreadingHTTPServer):
    """The API on loopback; listens once it is made."""

    daemon_threads = True

    def __init__(self, api: CarrierApi, port: int) -> None:
        super().__init__((HOST, port), partial(_Exchange, api))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


def main() -> None:
    """Serve until the end of the process."""
    settings = CarrierSettings()
    flights = part_of(load_flights(), settings.share)
    token = settings.token.get_secret_value()
    api = CarrierApi(flights, token, Allowance(settings.burst))
    CarrierServer(api, settings.port).serve_forever()


if __name__ == "__main__":
    main()
