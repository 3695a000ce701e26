"""How a request proves who asks. Secrets come in as values and never show."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal
from urllib.parse import quote_plus, urlencode

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers.exchange import Request, Response
from schemas.errors import SetupError, TransientError

_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
LIFE_SECONDS_DEFAULT = 3600.0  # RFC 6749, 5.1: expires_in is only recommended
_STATUS_OK, _STATUS_TOO_MANY, _STATUS_FAULT = 200, 429, 500
_MICROS = 1_000_000


def _named(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind not in {"env", "file", "command"} or not rest:
        # the text itself may be a secret by mistake, hence is not repeated
        msg = "a secret is named as env:NAME, file:PATH or command:LINE, never written here"
        raise ValueError(msg)
    return text


Secret = Annotated[str, AfterValidator(_named)]
"""The name of a secret, as in ``services.secrets``."""


class NoAuth(BaseModel):
    """Anybody may ask."""

    model_config = _FROZEN
    kind: Literal["none"] = Field(default="none", description="No authentication.")


class Bearer(BaseModel):
    """A fixed token (RFC 6750)."""

    model_config = _FROZEN
    kind: Literal["bearer"] = Field(default="bearer", description="A fixed bearer token.")
    token: Secret = Field(description="The token.")
    scheme: str = Field(default="Bearer", description="Word before the token.")


class Basic(BaseModel):
    """User and password (RFC 7617)."""

    model_config = _FROZEN
    kind: Literal["basic"] = Field(default="basic", description="Basic authentication.")
    user: Secret | None = Field(default=None, description="The user's name, where it is secret.")
    user_name: str = Field(default="", description="The user's name, where it is not.")
    password: Secret | None = Field(default=None, description="The password; default: empty.")


class ApiKey(BaseModel):
    """A key in a header or in the query."""

    model_config = _FROZEN
    kind: Literal["api_key"] = Field(default="api_key", description="A fixed key.")
    key: Secret = Field(description="The key.")
    name: str = Field(default="X-Api-Key", description="Header or parameter that takes it.")
    place: Literal["header", "query"] = Field(default="header", description="Where it goes.")


class ClientCredentials(BaseModel):
    """OAuth 2 for a client of its own (RFC 6749, 4.4)."""

    model_config = _FROZEN
    kind: Literal["oauth2_client_credentials"] = Field(
        default="oauth2_client_credentials", description="Tokens for the client itself."
    )
    token_url: str = Field(pattern=r"^https?://", description="The token endpoint.")
    client_id: Secret = Field(description="The client's id.")
    client_secret: Secret = Field(description="The client's secret.")
    client_auth: Literal["basic", "body"] = Field(
        default="basic", description="How the client proves itself to the token endpoint."
    )
    scope: str | None = Field(default=None, description="Scopes asked for.")
    extra: dict[str, str] = Field(
        default_factory=dict, description="Further form fields, such as audience. No secrets."
    )


class RefreshToken(BaseModel):
    """OAuth 2 for a user who has agreed once (RFC 6749, 6)."""

    model_config = _FROZEN
    kind: Literal["oauth2_refresh_token"] = Field(
        default="oauth2_refresh_token", description="Tokens for a user who has agreed once."
    )
    token_url: str = Field(pattern=r"^https?://", description="The token endpoint.")
    client_id: Secret = Field(description="The client's id.")
    client_secret: Secret | None = Field(
        default=None, description="The client's secret; a public client has none."
    )
    client_auth: Literal["basic", "body"] = Field(
        default="basic", description="How the client proves itself to the token endpoint."
    )
    refresh_token: Secret = Field(description="The refresh token.")
    scope: str | None = Field(default=None, description="Scopes asked for.")
    extra: dict[str, str] = Field(
        default_factory=dict, description="Further form fields. No secrets."
    )


OAuth2 = ClientCredentials | RefreshToken
Auth = Annotated[
    NoAuth | Bearer | Basic | ApiKey | ClientCredentials | RefreshToken,
    Field(discriminator="kind"),
]
Secrets = Mapping[str, str]
"""Secret texts by the name of the field that refers to them."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. ``refresh``: the one that the endpoint gave for the next time."""

    text: str = field(repr=False)
    expires_at: int  # microseconds since the epoch, UTC
    refresh: str | None = field(default=None, repr=False)


def secret_names(auth: Auth) -> dict[str, str]:
    """Field -> name of the secret, of those that are set."""
    found = {
        name: getattr(auth, name)
        for name in ("token", "user", "password", "key", "client_id", "client_secret")
        if getattr(auth, name, None) is not None
    }
    if isinstance(auth, RefreshToken):
        found["refresh_token"] = auth.refresh_token
    return found


def secret_params(auth: Auth) -> frozenset[str]:
    """Names of query parameters that hold a secret."""
    if isinstance(auth, ApiKey) and auth.place == "query":
        return frozenset({auth.name})
    return frozenset({"access_token"})


def authorised(request: Request, auth: Auth, secrets: Secrets, token: Token | None) -> Request:
    """The request with its proof; ``token`` is needed by the OAuth 2 kinds only."""
    match auth:
        case Bearer():
            return _with_header(request, "Authorization", f"{auth.scheme} {secrets['token']}")
        case Basic():
            user = secrets.get("user", auth.user_name)
            return _with_header(request, "Authorization", _basic(user, secrets.get("password", "")))
        case ApiKey():
            if auth.place == "header":
                return _with_header(request, auth.name, secrets["key"])
            return replace(request, params=(*request.params, (auth.name, secrets["key"])))
        case ClientCredentials() | RefreshToken():
            text = token.text if token is not None else ""
            return _with_header(request, "Authorization", f"Bearer {text}")
        case _:
            return request


def _with_header(request: Request, name: str, value: str) -> Request:
    if any(char in value for char in "\r\n\0") or not value.isascii():
        raise SetupError(
            f"the secret for {name} has characters that no header can carry",
            remedy="check for a line break or a stray character where the secret is kept",
        )
    return replace(request, headers={**request.headers, name: value})


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def token_request(auth: OAuth2, secrets: Secrets, refresh: str | None = None) -> Request:
    """The call of the token endpoint; ``refresh`` replaces the configured refresh token."""
    form = dict(auth.extra)
    if isinstance(auth, RefreshToken):
        form |= {"grant_type": "refresh_token"}
        form |= {"refresh_token": refresh or secrets["refresh_token"]}
    else:
        form |= {"grant_type": "client_credentials"}
    if auth.scope is not None:
        form["scope"] = auth.scope
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    secret = secrets.get("client_secret")
    if secret is not None and auth.client_auth == "basic":
        # RFC 6749, 2.3.1: both are form-encoded first
        headers["Authorization"] = _basic(quote_plus(secrets["client_id"]), quote_plus(secret))
    else:
        form |= {"client_id": secrets["client_id"]}
        form |= {"client_secret": secret} if secret is not None else {}
    return Request("POST", auth.token_url, headers=headers, body=urlencode(form).encode())


def read_token(response: Response) -> Token:
    """The token of the endpoint's answer. Raises SetupError when it refuses, TransientError else.

    Nothing of the answer is repeated but the error code (RFC 6749, 5.2).
    """
    value = _object(response.body)
    if response.status != _STATUS_OK:
        code = str(value.get("error", ""))
        known = f" ({code})" if code.replace("_", "").isalpha() and code.isascii() else ""
        what = f"the token endpoint answered {response.status}{known}"
        if response.status >= _STATUS_FAULT or response.status == _STATUS_TOO_MANY:
            raise TransientError(what, where="token_url")
        raise SetupError(
            what, where="token_url", remedy="check client_id, client_secret and what was granted"
        )
    text, life, refresh = (value.get(k) for k in ("access_token", "expires_in", "refresh_token"))
    if not isinstance(text, str) or not text:
        raise TransientError("the token endpoint's answer holds no access_token", where="token_url")
    seconds = _seconds(life)
    expires = response.received_at + int(seconds * _MICROS)
    return Token(text, expires, refresh if isinstance(refresh, str) and refresh else None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(life: object) -> float:
    try:
        seconds = float(life) if isinstance(life, int | float | str) else LIFE_SECONDS_DEFAULT
    except ValueError:
        return LIFE_SECONDS_DEFAULT
    return max(0.0, min(seconds, 86_400.0 * 365))
