"""HTTP with httpx2: one answer, whole, bounded in time and size, from one origin."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Never

import httpx2

from producers.exchange import Bounds, Request, Response, followed, origin
from schemas.errors import SetupError, TransientError
from schemas.ports import Clock

REDIRECTS_MAX = 5
_REPEATED = frozenset({307, 308})  # RFC 9110, 15.4: method and body stay
_REDIRECTS = frozenset({301, 302, 303}) | _REPEATED
_GET = frozenset({"GET", "HEAD"})


class HttpClient:
    """Sends requests. Neither URLs with a query nor bodies get into errors."""

    def __init__(self, client: httpx2.AsyncClient, bounds: Bounds, clock: Clock) -> None:
        self._client = client
        self._bounds = bounds
        self._clock = clock

    async def send(self, request: Request) -> Response:
        """The answer, whatever its status; redirects are followed within the origin.

        Raises TransientError for time-outs, broken connections and cut bodies; SetupError for
        certificates, redirects to other hosts and answers that are too large.
        """
        try:
            async with asyncio.timeout(self._bounds.timeout_seconds):
                return await self._followed(request)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise TransientError(
                f"no whole answer within {self._bounds.timeout_seconds:g} s", where=request.place
            ) from error
        except httpx2.ConnectError as error:
            _raise_connect(error, request)
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
            # the cause's text may hold the URL or a header
            raise SetupError(
                f"the request cannot be sent ({type(error).__name__})",
                where=request.place,
                remedy="check base_url, path and headers",
            ) from None
        except httpx2.RequestError as error:
            raise TransientError(
                f"the connection broke ({type(error).__name__})", where=request.place
            ) from error

    async def _followed(self, request: Request) -> Response:
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._once(request)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or not target:
                return response
            if request.method not in _GET and response.status not in _REPEATED:
                return response
            path = _redirected(request, target)
            scheme, host, port = origin(request.url)
            place = f"[{host}]" if ":" in host else host
            # the location is whole: our parameters are in it, or the source does not want them
            request = replace(request, url=f"{scheme}://{place}:{port}{path}", params=())
        raise SetupError(
            f"more than {REDIRECTS_MAX} redirects", where=request.place, remedy="check the path"
        )

    async def _once(self, request: Request) -> Response:
        async with self._client.stream(
            request.method, request.full_url, headers=request.headers, content=request.body
        ) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > self._bounds.body_bytes_max:
                    raise SetupError(
                        f"the answer is larger than {self._bounds.body_bytes_max} bytes",
                        where=request.place,
                        remedy="ask for smaller pages, or raise poller.page_bytes_max",
                    )
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status_code, headers, bytes(body), self._clock.now())


def _redirected(request: Request, target: str) -> str:
    try:
        return followed(request.full_url, target)
    except SetupError as error:
        raise SetupError(
            error.what.replace("next link", "redirect"), where=request.place, remedy=error.remedy
        ) from None


def _raise_connect(error: httpx2.ConnectError, request: Request) -> Never:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise SetupError(
                f"the certificate is not trusted ({cause.verify_message})",
                where=request.place,
                remedy="check base_url, or give SSL_CERT_FILE the authority that signed it",
            ) from error
        cause = cause.__cause__ or cause.__context__
    raise TransientError("no connection", where=request.place) from error


@asynccontextmanager
async def open_http(bounds: Bounds, clock: Clock) -> AsyncIterator[HttpClient]:
    """A client for one source; closes its connections at the end."""
    limits = httpx2.Limits(
        max_connections=bounds.connections_max,
        max_keepalive_connections=bounds.connections_max,
    )
    async with httpx2.AsyncClient(
        timeout=bounds.timeout_seconds,
        limits=limits,
        follow_redirects=False,  # ours stay within the origin
        headers={"User-Agent": "sluice", "Accept-Encoding": "gzip, deflate"},
    ) as client:
        yield HttpClient(client, bounds, clock)
