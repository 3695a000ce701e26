"""What the real connector sends to log in, for every auth; secrets that are rotated; no leaks."""

import base64
import hashlib
import io
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from schemas.errors import SetupError
from services import logs
from services.adapters.snowflake.connection import connector_major
from services.bootstrap import read_project
from tests.support.log_lines import as_before
from tests.support.logins import Guard, guarded
from tests.support.warehouse import shared_server

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded]

SETTINGS = """
log_level = "debug"

[kafka.options]
"bootstrap.servers" = "127.0.0.1:1"

[snowflake]
account = "myorg-account1"
user = "loader"
auth = "{auth}"
{field} = "file:secret"
warehouse = "w"
role = "r"
options = {{ host = "127.0.0.1", port = {port}, protocol = "http"{more} }}
"""
LOGGERS = ("snowflake", "snowflake.connector", "snowflake.connector._core")
Login = dict[str, Any]


@dataclass(frozen=True)
class Secret:
    """What the file holds, and whether a login presents it."""

    text: str
    is_in: Callable[[Login], bool]


@dataclass(frozen=True)
class Method:
    """A way to log in: the field that names its secret, and what the server gets to see."""

    auth: str
    field: str
    authenticator: set[str | None]  # None: the server's default
    secret: Callable[[], Secret]


def password() -> Secret:
    text = f"pass-{secrets.token_hex(20)}"
    return Secret(text, lambda login: login.get("PASSWORD") == text and "TOKEN" not in login)


def token() -> Secret:
    text = f"token-{secrets.token_hex(20)}"
    return Secret(text, lambda login: login.get("TOKEN") == text and not login.get("PASSWORD"))


def key() -> Secret:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.public_key()
    return Secret(pem.decode(), lambda login: _is_signed_by(public, login))


def _is_signed_by(public: rsa.RSAPublicKey, login: Login) -> bool:
    """Whether the token is a JWT in Snowflake's form, for our user, of this key."""
    head, claims, signature = login["TOKEN"].split(".")
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    said = json.loads(_decoded(claims))
    if said["iss"] != f"MYORG-ACCOUNT1.LOADER.SHA256:{fingerprint}":
        return False
    assert json.loads(_decoded(head))["alg"] == "RS256"
    assert said["sub"] == "MYORG-ACCOUNT1.LOADER"
    assert said["exp"] - said["iat"] <= 3600
    public.verify(
        _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    return True


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


METHODS = [
    Method("password", "password", {None, "SNOWFLAKE"}, password),
    Method("key_pair", "private_key", {"SNOWFLAKE_JWT"}, key),
    Method("oauth", "token", {"OAUTH"}, token),
    Method("pat", "token", {"PROGRAMMATIC_ACCESS_TOKEN"}, token),
]


@pytest.fixture(params=METHODS, ids=lambda one: one.auth)
def method(request: pytest.FixtureRequest) -> Method:
    found: Method = request.param
    return found


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that a process writes, with the connector more talkative than we ever let it be."""
    with as_before():
        stream = io.StringIO()
        logs.configure("loader", "debug", stream=stream, console=False)
        levels = {name: logging.getLogger(name).level for name in LOGGERS}
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield stream
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def write_project(folder: Path, method: Method, port: int) -> Path:
    more = ", use_proxy_env = false" if connector_major() >= 5 else ""
    text = SETTINGS.format(auth=method.auth, field=method.field, port=port, more=more)
    (folder / "sluice.toml").write_text(text)
    return folder / "secret"


def leaks(secret: Secret, login: Login, text: str) -> list[str]:
    """Parts of the secret, and of what proves it, that a text holds."""
    lines = [line for line in secret.text.splitlines() if line and not line.startswith("-----")]
    return [part for part in (*lines, str(login.get("TOKEN") or lines[0])) if part in text]


def test_a_login_presents_its_secret_and_nothing_else_and_logs_none_of_it(
    tmp_path: Path, method: Method, logged: io.StringIO
) -> None:
    guard, secret = Guard(), method.secret()
    with guarded(shared_server(), guard) as port:
        write_project(tmp_path, method, port).write_text(f"{secret.text}\n")
        warehouse = read_project(tmp_path).warehouse()
        assert warehouse.rows("SELECT 1 AS ONE") == [{"one": 1}]
        warehouse.close()
    (login,) = guard.presented
    assert secret.is_in(login)
    assert login.get("AUTHENTICATOR") in method.authenticator
    assert login["LOGIN_NAME"].lower() == "loader"
    assert login["ACCOUNT_NAME"].lower() == "myorg-account1"
    assert login["CLIENT_ENVIRONMENT"]["APPLICATION"] == "Sluice"
    assert login["SESSION_PARAMETERS"]["TIMEZONE"] == "UTC"
    assert "snowflake.connector" in logged.getvalue()  # it did listen
    assert leaks(secret, login, logged.getvalue()) == []


def test_a_rotated_secret_is_taken_up_by_the_next_connection(
    tmp_path: Path, method: Method, logged: io.StringIO
) -> None:
    first, second = method.secret(), method.secret()
    guard = Guard(first.is_in)
    with guarded(shared_server(), guard) as port:
        file = write_project(tmp_path, method, port)
        file.write_text(first.text)
        warehouse = read_project(tmp_path).warehouse()
        assert warehouse.rows("SELECT 1 AS ONE") == [{"one": 1}]
        guard.admits = second.is_in
        warehouse.close()
        with pytest.raises(SetupError, match="Incorrect username or password") as caught:
            warehouse.rows("SELECT 2 AS TWO")
        assert leaks(first, guard.presented[-1], str(caught.value)) == []
        file.write_text(second.text)
        assert warehouse.rows("SELECT 3 AS THREE") == [{"three": 3}]
        warehouse.close()
    assert [first.is_in(login) for login in guard.presented] == [True, True, False]
    assert second.is_in(guard.presented[2])
    for login in guard.presented:
        assert leaks(first, login, logged.getvalue()) == []
        assert leaks(second, login, logged.getvalue()) == []
