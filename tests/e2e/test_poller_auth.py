"""The poller and the secrets of its sources: sent, renewed, rotated, never shown."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from schemas.errors import SetupError, SluiceError
from services import logs
from services.adapters.refresh_tokens import FileRefreshTokens
from services.poller.run import plans_of
from tests.support.api import Api, Call, Reply, TokenEndpoint, page, serving
from tests.support.poller_shell import (
    ORDERS,
    PAGED,
    PATH,
    ids,
    poll_once,
    poll_while,
    row_of,
    rows,
    slowed,
    until,
)
from tests.support.polling import MemoryLog, ports_of, settings_of

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({"kind": "bearer", "token": "env:T"}, ("authorization", "Bearer geheim")),
        (
            {"kind": "basic", "user_name": "u", "password": "env:T"},
            ("authorization", "Basic dTpnZWhlaW0="),
        ),
        ({"kind": "api_key", "key": "env:T", "name": "X-Key"}, ("x-key", "geheim")),
        ({"kind": "api_key", "key": "env:T", "name": "key", "place": "query"}, ("key", "geheim")),
    ],
    ids=["bearer", "basic", "header", "query"],
)
def test_fixed_secrets_are_sent(
    api: Api, log: MemoryLog, auth: dict[str, str], sent: tuple[str, str]
) -> None:
    api.route(PATH, page(rows(1)))
    ports = ports_of(log, "shop.orders", secrets={"env:T": "geheim"})
    poll_once(ports, settings_of(api.url, ORDERS, auth=auth))
    (call,) = api.calls
    assert {**call.headers, **call.query}[sent[0]] == sent[1]


def test_a_secret_that_was_rotated_is_fetched_again_after_a_401(api: Api, log: MemoryLog) -> None:
    api.route(
        PATH,
        lambda call: page(rows(1)) if call.headers["x-api-key"] == "new" else page({}, 401),
    )
    given = iter(["old", "new"])
    ports = ports_of(log, "shop.orders")
    object.__setattr__(ports, "secret", lambda _: next(given))
    poll_once(ports, settings_of(api.url, ORDERS, auth={"kind": "api_key", "key": "env:K"}))
    assert ids(log) == [1]
    assert len(api.calls) == 2


OAUTH = {"client_id": "env:I", "client_secret": "env:S"}
SECRETS = {"env:I": "client-id-7", "env:S": "client-s3cret", "env:R": "refresh-0"}


def credentials(api: Api, **more: str) -> dict[str, str]:
    return {"kind": "oauth2_client_credentials", "token_url": f"{api.url}/token", **OAUTH, **more}


def guarded(api: Api, tokens: TokenEndpoint) -> None:
    api.route("/token", tokens)

    def answer(call: Call) -> Reply:
        if not tokens.admits(call):
            return page({}, 401)
        number = int(call.query.get("cursor", 1))
        return page({"data": rows(number), "next": number + 1 if number < 4 else None})

    api.route(PATH, answer)


def test_one_token_serves_all_streams_until_it_ends(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    guarded(api, tokens)
    more = {**PAGED, "stream": "shop.more"}
    ports = ports_of(log, "shop.orders", "shop.more", secrets=SECRETS)
    poll_once(ports, settings_of(api.url, PAGED, more, auth=credentials(api, scope="read")))
    assert tokens.issued == ["access-0"]
    (call,) = api.of("/token")
    assert call.form == {"grant_type": "client_credentials", "scope": "read"}
    assert ids(log) == ids(log, "shop.more") == [1, 2, 3, 4]


def test_a_token_is_renewed_before_it_ends(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint(life=0.8)
    guarded(api, tokens)
    api.route(PATH, slowed(api.routes[PATH], 0.3))
    poll_once(
        ports_of(log, "shop.orders", secrets=SECRETS),
        settings_of(api.url, PAGED, auth=credentials(api)),
    )
    assert len(tokens.issued) == 2
    assert ids(log) == [1, 2, 3, 4]


def test_a_revoked_token_is_renewed_once(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    guarded(api, tokens)
    answer = api.routes[PATH]

    def revoking(call: Call) -> Reply:
        if call.query.get("cursor") == "3" and len(tokens.issued) == 1:
            tokens.valid.clear()
        return answer(call)

    api.route(PATH, revoking)
    poll_once(
        ports_of(log, "shop.orders", secrets=SECRETS),
        settings_of(api.url, PAGED, auth=credentials(api, client_auth="body")),
    )
    assert len(tokens.issued) == 2
    assert ids(log) == [1, 2, 3, 4]
    assert len(api.of(PATH)) == 5
    assert api.of("/token")[0].form["client_secret"] == "client-s3cret"


def test_a_token_that_is_refused_twice_is_a_setup_error(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    api.route("/token", tokens)
    api.route(PATH, Reply(401))
    with pytest.raises(SetupError, match="answered 401"):
        poll_once(
            ports_of(log, "shop.orders", secrets=SECRETS),
            settings_of(api.url, PAGED, auth=credentials(api)),
        )
    assert len(api.of(PATH)) == len(tokens.issued) == 2


def test_a_stream_that_is_always_refused_leaves_the_others_their_token(
    api: Api, log: MemoryLog
) -> None:
    """Even while no new one can be had."""
    tokens = TokenEndpoint()
    api.route("/token", lambda call: page({}, 500) if tokens.issued else tokens(call))
    api.route(PATH, lambda call: page(rows(1), 200 if tokens.admits(call) else 401))
    api.route("/forbidden", page({}, 401))
    forbidden = {"stream": "shop.forbidden", "path": "forbidden", "every": "100ms"}
    ports = ports_of(log, "shop.orders", "shop.forbidden", secrets=SECRETS)

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.of("/token")) > 1)
        before = len(api.of(PATH))
        await until(lambda: len(api.of(PATH)) > before + 5)

    orders = {**ORDERS, "every": "50ms"}
    poll_while(ports, settings_of(api.url, orders, forbidden, auth=credentials(api)), during)
    assert row_of(ports).failures == 0
    assert row_of(ports, "shop.forbidden").records == 0


def test_a_rotating_refresh_token_is_followed(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint(life=0.2, rotate=True)
    guarded(api, tokens)
    auth = {**credentials(api), "kind": "oauth2_refresh_token", "refresh_token": "env:R"}
    api.route(PATH, slowed(api.routes[PATH], 0.15))
    poll_once(ports_of(log, "shop.orders", secrets=SECRETS), settings_of(api.url, PAGED, auth=auth))
    assert ids(log) == [1, 2, 3, 4]
    used = [call.form["refresh_token"] for call in api.of("/token")]
    assert len(used) >= 3
    assert used == [f"refresh-{n}" for n in range(len(used))]


def test_a_rotated_refresh_token_is_kept_over_a_restart_until_another_one_is_configured(
    api: Api, log: MemoryLog, tmp_path: Path
) -> None:
    guarded(api, TokenEndpoint(life=60, rotate=True))
    auth = {**credentials(api), "kind": "oauth2_refresh_token", "refresh_token": "env:R"}
    kept = FileRefreshTokens(tmp_path / "tokens")

    def started(configured: str) -> list[str | None]:
        ports = ports_of(log, "shop.orders", secrets=SECRETS | {"env:R": configured}, tokens=kept)
        poll_once(ports, settings_of(api.url, PAGED, auth=auth))
        return [call.form["refresh_token"] for call in api.of("/token")]

    assert started("refresh-0") == ["refresh-0"]
    assert started("refresh-0") == ["refresh-0", "refresh-1"]
    (path,) = (tmp_path / "tokens").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert started("refresh-2")[2:] == ["refresh-2"], "the configured one is new"
    path.write_text("damaged")
    assert started("refresh-3")[3:] == ["refresh-3"]


def test_a_refresh_token_that_cannot_be_kept_is_told_and_used(
    api: Api, log: MemoryLog, tmp_path: Path
) -> None:
    tokens = TokenEndpoint(life=0.2, rotate=True)
    guarded(api, tokens)
    auth = {**credentials(api), "kind": "oauth2_refresh_token", "refresh_token": "env:R"}
    api.route(PATH, slowed(api.routes[PATH], 0.15))
    (tmp_path / "tokens").write_text("a file where the folder should be")
    ports = ports_of(
        log, "shop.orders", secrets=SECRETS, tokens=FileRefreshTokens(tmp_path / "tokens")
    )
    with structlog.testing.capture_logs() as lines:
        poll_once(ports, settings_of(api.url, PAGED, auth=auth))
    assert ids(log) == [1, 2, 3, 4]
    said = str(lines)
    assert "kept in memory only" in said
    assert "refresh-1" not in said


def test_a_token_endpoint_that_refuses_is_a_setup_error(api: Api, log: MemoryLog) -> None:
    api.route("/token", page({"error": "invalid_client"}, 401))
    with pytest.raises(SetupError, match="invalid_client"):
        poll_once(
            ports_of(log, "shop.orders", secrets=SECRETS),
            settings_of(api.url, PAGED, auth=credentials(api)),
        )
    assert api.of(PATH) == []


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged in production, at its most talkative."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    sink = io.StringIO()
    logs.configure("poller", "debug", stream=sink, console=False)
    yield sink
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


SECRET = "s3cr3t-Kx7"


@pytest.mark.parametrize(
    "auth",
    [
        {"kind": "bearer", "token": "env:X"},
        {"kind": "basic", "user": "env:X", "password": "env:X"},
        {"kind": "api_key", "key": "env:X"},
        {"kind": "api_key", "key": "env:X", "name": "key", "place": "query"},
        {"kind": "oauth2_client_credentials", "client_id": "env:X", "client_secret": "env:X"},
        {
            "kind": "oauth2_refresh_token",
            "client_id": "env:X",
            "refresh_token": "env:X",
            "client_auth": "body",
        },
    ],
    ids=["bearer", "basic", "header", "query", "client", "refresh"],
)
@pytest.mark.parametrize(
    "bad",
    [
        page({"you_sent": SECRET}, 500),
        page({"you_sent": SECRET}, 400),
        Reply(200, f"<html>{SECRET}".encode()),
        Reply(200, b"[]", cut=1),
        page([], 302, Location=f"http://127.0.0.1:9/?key={SECRET}"),
    ],
    ids=["500", "400", "html", "cut", "redirect"],
)
def test_secrets_are_in_no_log_error_or_progress(
    api: Api, log: MemoryLog, logged: io.StringIO, auth: dict[str, str], bad: Reply
) -> None:
    token = f"access-{SECRET}"
    api.route("/token", page({"access_token": token, "expires_in": 60, "refresh_token": SECRET}))
    api.route(PATH, bad)
    if "oauth2" in auth["kind"]:
        auth = {**auth, "token_url": f"{api.url}/token"}
    ports = ports_of(log, "shop.orders", secrets={"env:X": SECRET})
    poller = {"attempts_max": 2, "backoff_seconds_max": 0.02}
    settings = settings_of(api.url, ORDERS, auth=auth, poller=poller)
    with pytest.raises(SluiceError) as caught:
        poll_once(ports, settings)
    assert "poll failed" in logged.getvalue()
    shown = [logged.getvalue(), str(ports.board.values()), repr(plans_of(settings, ports.encoders))]
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(f"{error!r} {error}")
        error = error.__cause__ or error.__context__
    assert SECRET not in "\n".join(shown)
    assert all(SECRET.encode() not in value for value in log.cursors().values())
