"""Secrets and tokens of one source: fetched when needed, renewed when refused."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from producers.auth import (
    Auth,
    ClientCredentials,
    RefreshToken,
    Token,
    authorised,
    read_token,
    secret_names,
    token_request,
)
from producers.exchange import Request, Response
from schemas.errors import TransientError
from schemas.ports import Clock
from services.poller.ports import RefreshTokens

SECRET_SECONDS = 300.0  # a secret that was changed is picked up after this, or after a 401
MARGIN_SECONDS_MAX = 60.0  # a token is renewed this long before its end, or a quarter of its life
_MICROS = 1_000_000

Send = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Proved:
    """A request with its proof, and which proof that was."""

    request: Request
    generation: int


@dataclass(slots=True)
class Credentials:
    """How one source knows us; shared by its streams."""

    auth: Auth
    source: str
    secret: Callable[[str], str]
    send: Send  # for the token endpoint
    kept: RefreshTokens
    clock: Clock
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _secrets: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _read_at: float | None = field(default=None, init=False)
    _token: Token | None = field(default=None, init=False)
    _renew_at: int = field(default=0, init=False)
    _refresh: str | None = field(default=None, init=False, repr=False)
    _generation: int = field(default=0, init=False)

    async def prove(self, request: Request) -> Proved:
        """The request with its proof. Raises SetupError and TransientError.

        While the proof at hand holds, nobody waits for the one that another stream asks for.
        """
        if self._secrets_are_old() or self._token_is_old():
            async with self._lock:
                if self._secrets_are_old():
                    await self._read_secrets()
                if self._token_is_old():
                    await self._read_token()
        proved = authorised(request, self.auth, self._secrets, self._token)
        return Proved(proved, self._generation)

    async def renew(self, refused: Proved) -> bool:
        """After a 401: fetch secrets and token anew; whether another try may help.

        Streams that were refused with the same proof renew it once. The old one stays until then:
        it may be this stream alone that is refused.
        """
        async with self._lock:
            if refused.generation != self._generation:
                return True
            before = dict(self._secrets)
            await self._read_secrets()
            if isinstance(self.auth, ClientCredentials | RefreshToken):
                if self._secrets != before:
                    self._refresh = None
                await self._read_token()
                return True
            if self._secrets == before:
                return False
            self._generation += 1
            return True

    def hidden(self, text: str) -> str:
        """The text without any secret that it might repeat."""
        known = [*self._secrets.values(), self._refresh, self._token and self._token.text]
        for secret in sorted((s for s in known if s), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _secrets_are_old(self) -> bool:
        now = self.clock.monotonic()
        return self._read_at is None or now - self._read_at >= SECRET_SECONDS

    def _token_is_old(self) -> bool:
        if not isinstance(self.auth, ClientCredentials | RefreshToken):
            return False
        return self._token is None or self.clock.now() >= self._renew_at

    async def _read_secrets(self) -> None:
        now = self.clock.monotonic()
        names = secret_names(self.auth)
        self._secrets = {
            place: await asyncio.to_thread(self.secret, name) for place, name in names.items()
        }
        self._read_at = now

    async def _read_token(self) -> None:
        auth = self.auth
        if not isinstance(auth, ClientCredentials | RefreshToken):
            return
        if isinstance(auth, RefreshToken) and self._refresh is None:
            self._refresh = await asyncio.to_thread(self.kept.read, self.source, self._configured)
        token = read_token(await self.send(token_request(auth, self._secrets, self._refresh)))
        now = self.clock.now()
        life = max(0, token.expires_at - now)
        self._renew_at = token.expires_at - int(min(MARGIN_SECONDS_MAX * _MICROS, life / 4))
        self._token = token
        self._generation += 1
        if isinstance(auth, RefreshToken) and token.refresh is not None:
            await self._keep(token.refresh)

    @property
    def _configured(self) -> str:
        return self._secrets["refresh_token"]

    async def _keep(self, token: str) -> None:
        """Use this refresh token from now on, after restarts too."""
        if token == (self._refresh or self._configured):
            return
        self._refresh = token
        try:
            await asyncio.to_thread(self.kept.write, self.source, self._configured, token)
        except TransientError as error:
            structlog.get_logger().warning(
                "the source replaced its refresh token; the new one is kept in memory only",
                source=self.source,
                error=str(error),
            )
