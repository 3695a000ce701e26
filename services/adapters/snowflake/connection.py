"""From settings to the arguments of ``snowflake.connector.connect``, for connector 4 and 5."""

from collections.abc import Callable, Mapping
from typing import Any

import snowflake.connector

from schemas.errors import SetupError
from services.settings import Snowflake

CONNECT_SECONDS_MAX = 15
LOGOUT_SECONDS_MAX = 5
ATTEMPTS_MAX = 4  # a hiccup is waited out; anything longer is the loop's business
BACKOFF_MILLISECONDS_MAX = 2000
APPLICATION = "Sluice"

Secrets = Callable[[str], str]
"""From a secret's name, such as ``env:NAME``, to its text."""


def connection_arguments(settings: Snowflake, secrets: Secrets) -> dict[str, Any]:
    """Everything that ``connect`` needs, secrets included: never log the answer.

    Raises SetupError for secrets that cannot be fetched or a key that cannot be read.
    """
    return {
        "account": settings.account,
        "user": settings.user,
        "role": settings.role,
        "warehouse": settings.warehouse,
        "database": settings.database,
        "schema": settings.schema_,
        **session_arguments(settings),
        **_credentials(settings, secrets),
        **settings.options,
    }


def embedded_arguments(settings: Snowflake, connection: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the embedded stand-in, whose own part of it is ``connection``."""
    without_proxy = {"use_proxy_env": False} if connector_major() >= 5 else {}  # noqa: PLR2004 - see _timeouts
    return {
        **without_proxy,  # it is on this machine
        **connection,
        "database": settings.database,
        "schema": settings.schema_,
        **session_arguments(settings),
    }


def session_arguments(settings: Snowflake) -> dict[str, Any]:
    """Time-outs, and the session's parameters; the same on every warehouse."""
    seconds, lock_seconds = settings.network_timeout_seconds, settings.lock_timeout_seconds
    statement_seconds = seconds + lock_seconds  # waiting for a lock is part of a statement
    parameters = {
        "QUERY_TAG": settings.query_tag,
        "TIMEZONE": "UTC",
        "LOCK_TIMEOUT": lock_seconds,
        "STATEMENT_TIMEOUT_IN_SECONDS": statement_seconds,
        "ABORT_DETACHED_QUERY": True,  # nobody waits for a statement whose client is gone
        "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
        "CLIENT_TELEMETRY_ENABLED": False,
    }
    return {
        "application": APPLICATION,
        "login_timeout": seconds,
        "session_parameters": parameters,
        **_timeouts(seconds, statement_seconds),
    }


def _timeouts(seconds: int, statement_seconds: int) -> dict[str, Any]:
    if connector_major() < 5:  # noqa: PLR2004 - the rewrite renamed its time-outs
        # Snowflake answers within 45 s that a statement still runs: no answer takes longer
        return {"network_timeout": seconds, "socket_timeout": seconds}
    return {
        "query_timeout": statement_seconds,
        "request_timeout": seconds,
        "connect_timeout": min(seconds, CONNECT_SECONDS_MAX),
        "retry_timeout": statement_seconds,
        "retry_max_attempts": ATTEMPTS_MAX,
        "retry_backoff_cap_ms": BACKOFF_MILLISECONDS_MAX,
        "server_session_keep_alive": False,  # close() logs out, which rolls back
        "enable_server_session_keep_alive_auto_detection": False,
        "logout_total_timeout_seconds": LOGOUT_SECONDS_MAX,
        "logout_max_attempts": 1,
    }


def connector_major() -> int:
    """4 or 5."""
    return int(str(snowflake.connector.__version__).partition(".")[0])


def _credentials(settings: Snowflake, secrets: Secrets) -> Mapping[str, Any]:
    def fetched(name: str | None) -> str:
        return secrets(name) if name else ""

    match settings.auth:
        case "key_pair":
            passphrase = fetched(settings.private_key_passphrase) or None
            key = private_key_der(fetched(settings.private_key), passphrase)
            return {"authenticator": "SNOWFLAKE_JWT", "private_key": key}
        case "oauth":
            return {"authenticator": "OAUTH", "token": fetched(settings.token)}
        case "pat":
            return {
                "authenticator": "PROGRAMMATIC_ACCESS_TOKEN",
                "token": fetched(settings.token),
            }
        case "password":
            return {"authenticator": "SNOWFLAKE", "password": fetched(settings.password)}


def private_key_der(pem: str, passphrase: str | None) -> bytes:
    """PKCS#8 DER of a PEM key, which both connectors take. Raises SetupError without the key."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - a dependency of the connector, needed for key pairs only

    try:
        key = serialization.load_pem_private_key(
            pem.encode(), passphrase.encode() if passphrase else None
        )
    except (ValueError, TypeError) as error:  # TypeError: a passphrase too many or missing
        raise SetupError(
            f"the private key cannot be read ({type(error).__name__})",
            where="snowflake.private_key",
            remedy="it must be PEM (BEGIN PRIVATE KEY or BEGIN ENCRYPTED PRIVATE KEY), and "
            "snowflake.private_key_passphrase must fit",
        ) from None
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
