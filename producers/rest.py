"""A REST source as declared in ``[sources.NAME]``, and the requests that follow from it."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from producers.answer_errors import AnswerErrors
from producers.auth import Auth, NoAuth, secret_params
from producers.bodies import filled, placeholders
from producers.config_errors import setup_error, two_identities
from producers.content import FieldPointers
from producers.cursors import Cursor, CursorValue, Interval, as_param, duration_micros
from producers.exchange import Request, origin
from producers.limits import RateHeaders
from producers.pagers import Pager, Turn, pager_of
from schemas.contract import StreamName
from schemas.errors import SetupError

_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_RATE = re.compile(r"(\d+)/(s|m|h|d)")
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key"}

Scalar = str | int | float | bool
Params = dict[str, Scalar | list[Scalar]]


def _rate(text: str) -> str:
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) < 1:
        msg = "a rate is a count and a unit (s, m, h, d), such as 10/s or 600/m"
        raise ValueError(msg)
    return text


def _pointer(text: str) -> str:
    if text and not text.startswith("/"):
        msg = 'a JSON pointer begins with "/" (RFC 6901), or is "" for the whole'
        raise ValueError(msg)
    return text


def _base_url(text: str) -> str:
    try:
        origin(text)
    except SetupError as error:
        raise ValueError(error.what) from None
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.username is not None:
        msg = "no query, fragment or user name here: see params and auth"
        raise ValueError(msg)
    return text.rstrip("/")


Pointer = Annotated[str, AfterValidator(_pointer)]


class RestStream(BaseModel):
    """One stream of a REST source."""

    model_config = _FROZEN

    stream: StreamName = Field(description="The contract's name, such as shop.orders.")
    path: str = Field(default="", description="Path below base_url.")
    method: Literal["GET", "POST"] = Field(default="GET", description="How it is asked.")
    params: Params = Field(default_factory=dict, description="Parameters of every request.")
    body: dict[str, Any] | None = Field(
        default=None,
        description="JSON body, for POST. `${name}` in a text of it stands for the parameter "
        "of that name, the pager's and the cursor's too, which then goes nowhere else; a member "
        "whose parameter has no value yet is left out; `$${` is a plain `${`.",
    )
    send: Literal["query", "body"] = Field(
        default="query", description="Where parameters go, the pager's and the cursor's too."
    )
    errors: AnswerErrors | None = Field(
        default=None,
        description="What in an answer says that the request failed, whatever its status; "
        "default: for a body with a GraphQL `query` its `/errors`, else nothing.",
    )
    records: Pointer = Field(
        default="", description='JSON pointer to the array of records; "" is the body itself.'
    )
    null_is_empty: bool = Field(
        default=False, description="null in place of the array means that there are none."
    )
    pager: Any = Field(
        default=None,
        validate_default=True,
        description="How records are cut into pages: kind (page, offset, cursor, link, next_url, "
        "window) and its settings; default: one page.",
    )
    cursor: Cursor | None = Field(
        default=None, description="What makes it incremental; default: everything every time."
    )
    sorted: bool = Field(
        default=False,
        description="Records come in the cursor's order, so that it may advance with every page.",
    )
    every: Interval = Field(default="60s", description="Time from the start of a run to the next.")
    event_id: Pointer | None = Field(
        default=None,
        description="JSON pointer in the record to what is unique to the event; default: from "
        "the contract's key and version, or from the record's bytes.",
    )
    event_id_without: FieldPointers | None = Field(
        default=None,
        description="Instead of `event_id`: the id is a hash of the record without what these "
        "JSON pointers find, such as `/fetched_at`; `[]` leaves nothing out.",
    )
    pages_max: int = Field(default=10_000, ge=1, description="Most pages of one run.")

    @field_validator("pager", mode="before")
    @classmethod
    def _known_pager(cls, value: object) -> object:
        return value if value is None else pager_of(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method == "GET" and (self.body is not None or self.send == "body"):
            msg = "body: needs method POST"
            raise ValueError(msg)
        self._check_places()
        windowed = self.pager is not None and self.pager.windowed
        if windowed and (self.cursor is None or not isinstance(self.cursor.start_value, int)):
            msg = "pager: windows need a cursor with a start that is an instant"
            raise ValueError(msg)
        if windowed and self.cursor is not None and self.cursor.format in {"integer", "text"}:
            msg = "cursor: windows need a format of instants"
            raise ValueError(msg)
        if not windowed and self.cursor is not None and self.cursor.field is None:
            msg = "cursor: field is missing"
            raise ValueError(msg)
        if self.sorted and (self.cursor is None or windowed):
            msg = "sorted: needs a cursor in the records"
            raise ValueError(msg)
        return self

    def _check_places(self) -> None:
        own = set() if self.pages is None else self.pages.params
        moving = {*own, *([self.cursor.param] if self.cursor and self.cursor.param else [])}
        places, known = placeholders(self.body), {*moving, *self.params}
        for name in sorted(places - known):
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean ${{{near[0]}}}?" if near else ""
            names = ", ".join(sorted(known)) or "there are none"
            msg = f"body: ${{{name}}} is no parameter of pager, cursor or params ({names}){meant}"
            raise ValueError(msg)
        homeless = sorted(moving - places)
        if homeless and self.is_graphql:
            msg = (
                f"body: a GraphQL server does not see the parameter {homeless[0]!r}: "
                f"write ${{{homeless[0]}}} into body.variables"
            )
            raise ValueError(msg)

    @property
    def is_graphql(self) -> bool:
        """Whether the body is a GraphQL request: it has a document, which has braces."""
        query = (self.body or {}).get("query")
        return isinstance(query, str) and "{" in query

    @property
    def answer_errors(self) -> AnswerErrors | None:
        """What in an answer says that the request failed; None: its status only."""
        return AnswerErrors() if self.errors is None and self.is_graphql else self.errors

    @property
    def pages(self) -> Pager | None:
        """The pager; None: one page."""
        pager: Pager | None = self.pager
        return pager

    @property
    def every_seconds(self) -> float:
        """Time from the start of a run to the next."""
        return duration_micros(self.every) / 1_000_000


class RestSource(BaseModel):
    """A source with a REST interface: ``kind = "rest"``."""

    model_config = _FROZEN

    kind: Literal["rest"] = Field(default="rest", description="This plug-in.")
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="Scheme, host and common path. Requests, redirects and next links never "
        "leave this host."
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of every request. No secrets: see auth."
    )
    auth: Auth = Field(default=NoAuth(), description="How the source knows us.")
    rate: Annotated[str, AfterValidator(_rate)] | None = Field(
        default=None, description='Most requests, such as "10/s" or "600/m"; default: no limit.'
    )
    concurrency: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Requests in flight at once; streams without an answer last time share half.",
    )
    timeout: Interval | None = Field(
        default=None, description="Longest wait for one answer; default: poller.timeout_seconds."
    )
    rate_headers: RateHeaders = Field(
        default=RateHeaders(), description="Where the source says how much allowance is left."
    )
    streams: tuple[RestStream, ...] = Field(min_length=1, description="What is read.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [stream.stream for stream in self.streams]
        if len(set(names)) < len(names):
            msg = "streams: the same stream twice"
            raise ValueError(msg)
        if _SECRET_HEADERS & {name.lower() for name in self.headers}:
            msg = "headers: credentials belong into auth, as the name of a secret"
            raise ValueError(msg)
        return self

    @property
    def allowance(self) -> tuple[float, float] | None:
        """Requests and the seconds that they are spread over."""
        match = _RATE.fullmatch(self.rate or "")
        return None if match is None else (float(match[1]), _SECONDS[match[2]])

    @property
    def timeout_seconds(self) -> float | None:
        """Longest wait for one answer; None: the poller's."""
        return None if self.timeout is None else duration_micros(self.timeout) / 1_000_000

    @property
    def secret_params(self) -> frozenset[str]:
        """Query parameters that hold a secret."""
        return secret_params(self.auth)


def parse_source(name: str, table: Mapping[str, Any]) -> RestSource:
    """The source that a table of ``sluice.toml`` declares. Raises SetupError naming the field."""
    where = f"sluice.toml: sources.{name}"
    try:
        source = RestSource.model_validate(dict(table))
    except ValidationError as error:
        remedy = "see docs/reference/sources.md for the fields and their forms"
        raise setup_error(error, RestSource, where, remedy) from None
    for place, stream in enumerate(source.streams):
        if stream.event_id is not None and stream.event_id_without is not None:
            raise two_identities(f"{where}.streams.{place}")
    return source


def request_at(
    source: RestSource, stream: RestStream, turn: Turn, since: CursorValue | None
) -> Request:
    """The request for a page, without its proof of identity."""
    headers = {"Accept": "application/json", **source.headers}
    known: dict[str, Any] = {**stream.params, **_cursor_param(stream, since), **turn.params}
    if turn.url is not None:
        scheme, host, port = origin(source.base_url)
        place = f"[{host}]" if ":" in host else host
        url, fields = f"{scheme}://{place}:{port}{turn.url}", dict[str, Any](turn.params)
    else:
        url, fields = source.base_url + _slashed(stream.path), known
    in_body = placeholders(stream.body)
    fields = {name: value for name, value in fields.items() if name not in in_body}
    body = filled(stream.body or {}, known)
    if stream.send == "body":
        raw = orjson.dumps({**body, **fields})
        return Request(stream.method, url, (), {**headers, **_JSON}, raw)
    params = tuple((k, text) for k, value in fields.items() for text in _texts(value))
    if stream.body is None:
        return Request(stream.method, url, params, headers)
    return Request(stream.method, url, params, {**headers, **_JSON}, orjson.dumps(body))


_JSON = {"Content-Type": "application/json"}


def _slashed(path: str) -> str:
    return path if not path or path.startswith("/") else f"/{path}"


def _cursor_param(stream: RestStream, since: CursorValue | None) -> dict[str, str | int]:
    if stream.cursor is None or stream.cursor.param is None or since is None:
        return {}
    return {stream.cursor.param: as_param(since, stream.cursor.format)}


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
