"""Our own error texts come through whole, and nothing that may be a secret does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.redaction import MASK, SECRETS_MAX, Redactor

ROOT = Path(__file__).parents[2]
ERRORS = {"SetupError", "TransientError", "OversizedError", "FencedError", "ContractError"}


def written(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(written(value) or "X" for value in values)
        case _:
            return ""


def our_texts() -> Iterator[str]:
    """What the product's errors say, with X for what is filled in."""
    for folder in ("schemas", "producers", "consumers", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(id=name)) if name in ERRORS:
                        parts = [*node.args, *(each.value for each in node.keywords)]
                        yield from filter(None, map(written, parts))


def test_what_our_errors_say_is_never_masked() -> None:
    texts = set(our_texts())
    assert len(texts) > 100
    assert {text: shown for text in texts if (shown := Redactor().text(text)) != text} == {}


@pytest.mark.parametrize(
    "text",
    [
        "env:BILLING_TOKEN: environment variable BILLING_TOKEN is not set",
        "export BILLING_TOKEN=... before the start",
        "file:secrets/token: the secret's file cannot be read (No such file or directory)",
        "sources.shop.secrets.0: a secret is named as env:NAME, file:PATH or command:LINE, never",
        "sources.shop.secrets: scheme bearer needs a secret",
        "sources.shop.secrets: a secret is empty",
        "snowflake.token: Input should be a valid string",
        "snowflake.tokens: unknown field",
        "use one of basic, bearer, github, hmac, none, standard_webhooks, stripe",
        "api_key: missing value",
        "tags: 'basic', 'api_key', 'oauth2_client_credentials', 'oauth2_refresh_token'",
    ],
)
def test_our_sentences_and_lists_are_left_alone(text: str) -> None:
    assert Redactor().text(text) == text
    assert Redactor().value([text, "and another"]) == [text, "and another"]


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter",
        "password: hunter is the one",
        "password: ahunter",
        "password: a",
        "password: the",
        "password=hunter",
        "password=...hunter",
        "TOKEN: hunter",
        "TOKEN: environment-hunter",
        "hmac, HUNTER",
        "hmac, hunter2, none",
        "hmac: hunter",
        "x-shopify-hmac, hunter",
        "password, hunter",
        "api_key, hunter",
        "('api_key', 'hunter')",
        'secrets = ["hunter"]',
        "secret = hunter",
        "Authorization: Bearer hunter",
        "Bearer needs-hunter",
        "bearer hunter",
    ],
)
def test_what_may_be_a_secret_is_hidden(text: str) -> None:
    shown = Redactor().text(text)
    assert MASK in shown
    assert "hunter" not in shown.lower()


@pytest.mark.timeout(10)
def test_a_finaliser_that_logs_while_the_pattern_is_made_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector may run between any two steps, and a connection's finaliser logs."""
    redactor = Redactor()
    redactor.hide("s3cr3t-of-some-length")
    compile_, said = re.compile, []

    def collecting(pattern: str) -> re.Pattern[str]:
        monkeypatch.setattr(re, "compile", compile_)
        said.append(redactor.text("closed s3cr3t-of-some-length"))
        return compile_(pattern)

    monkeypatch.setattr(re, "compile", collecting)
    assert redactor.text("s3cr3t-of-some-length") == MASK
    assert said == [f"closed {MASK}"]


def test_the_latest_secrets_are_masked_and_no_more_are_kept() -> None:
    redactor = Redactor()
    redactor.hide("live-secret-text")
    for number in range(SECRETS_MAX + 50):
        redactor.hide(f"token-number-{number:04}")
        redactor.hide("live-secret-text")  # as a process does that still uses it
    assert redactor.text("live-secret-text") == MASK
    assert redactor.text(f"token-number-{SECRETS_MAX + 49:04}") == MASK
    assert redactor.text("token-number-0000") == "token-number-0000"


def test_a_known_secret_costs_no_new_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    redactor.hide("live-secret-text")
    redactor.text("anything")
    made: list[bool] = []
    monkeypatch.setattr(Redactor, "_compiled", lambda _: made.append(True) or ())
    redactor.hide("live-secret-text")
    assert redactor.text("a live-secret-text") == f"a {MASK}"
    assert made == []


def test_a_line_of_a_secret_does_not_take_the_beginning_of_the_whole() -> None:
    redactor = Redactor()
    redactor.hide("0000001:0000000\n:0000001")
    assert redactor.text("a :0000001:0000000\n:0000001 b") == f"a :{MASK} b"
