"""A request and its answer as values, and where a link may lead."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from schemas import pointers
from schemas.errors import SetupError
from schemas.events import Headers
from schemas.pointers import Tokens

_PORTS = {"http": 80, "https": 443}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. What may hold a secret is left out of the repr."""

    method: str
    url: str = field(repr=False)  # absolute; may already have a query
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # added to the query
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """Method and URL without the query: fit for logs and errors."""
        return f"{self.method} {urlsplit(self.url)._replace(query='', fragment='').geturl()}"

    @property
    def full_url(self) -> str:
        """The URL with the query of ``url`` and ``params`` together; a later name wins."""
        parts = urlsplit(self.url)
        names = {name for name, _ in self.params}
        kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in names]
        if not self.params:
            return self.url  # a next link stays as the source wrote it
        return parts._replace(query=urlencode([*kept, *self.params])).geturl()


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, read to its end. The body and the headers are left out of the repr."""

    status: int
    headers: Headers = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    received_at: int = 0  # microseconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a source's HTTP client."""

    timeout_seconds: float  # for one answer, from connecting to its last byte
    body_bytes_max: int  # after decompression
    connections_max: int


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454). Raises SetupError where there is none."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        scheme, host, port = "", "", None
    if scheme not in _PORTS or not host:
        raise SetupError("not an absolute http or https URL", remedy="check the URL")
    return scheme, host, port or _PORTS[scheme]


def followed(base: str, link: str, secret_params: Iterable[str] = ()) -> str:
    """Path and query of a link found in the answer from ``base``.

    Only they are kept, so that what is asked next is the same origin by construction. Names in
    ``secret_params`` are taken out: some sources repeat the caller's key in their links, and a
    position is stored. Raises SetupError for a link to another origin.
    """
    if any(ord(char) <= ord(" ") or char == "\\" for char in link):
        raise SetupError("the next link has characters that no URL has", remedy=_REMEDY)
    try:
        target = urljoin(base, link)
        parts = urlsplit(target)
    except ValueError:
        raise SetupError("the next link is not a URL", remedy=_REMEDY) from None
    if origin(target) != origin(base) or parts.username is not None:
        raise SetupError(
            f"the next link leads to another host ({parts.scheme}://{parts.hostname})",
            remedy="set base_url to the host that serves the pages; credentials stay with it",
        )
    query, dropped = parts.query, set(secret_params)
    if dropped:
        pairs = parse_qsl(query, keep_blank_values=True)
        kept = [(name, value) for name, value in pairs if name not in dropped]
        query = query if len(kept) == len(pairs) else urlencode(kept)
    return f"{parts.path or '/'}?{query}" if query else parts.path or "/"


_REMEDY = "ask the source's owner, or use another pager"


def at(value: object, pointer: str, default: object = None) -> object:
    """What a JSON pointer (RFC 6901) finds in a value, or ``default``. A bare name is a key."""
    for token in pointer_tokens(pointer):
        value = _member(value, token)
        if value is _MISSING:
            return default
    return value


def pointer_tokens(pointer: str) -> Tokens:
    """The reference tokens of a JSON pointer; a bare name is one token."""
    if pointer and not pointer.startswith("/"):
        return (pointer,)
    return pointers.pointer_tokens(pointer)


def _member(value: object, token: str) -> object:
    if isinstance(value, dict):
        return value.get(token, _MISSING)
    if isinstance(value, list) and token.isdecimal() and int(token) < len(value):
        found: object = value[int(token)]
        return found
    return _MISSING
