"""Webhook tables of a project: presets, texts with places, and errors that name the field."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.places import stream_name, template, text_at
from producers.webhook import WebhookConfig, find_plugins, make_source, read_config, streams_of
from schemas.errors import SetupError
from schemas.pointers import pointer_tokens
from tests.support.http import HMAC_TABLE, delivery, preset, source

PLUGINS = find_plugins()


def refused(name: str = "shop", **table: Any) -> SetupError:
    merged = {k: v for k, v in (HMAC_TABLE | table).items() if v is not None}
    with pytest.raises(SetupError) as caught:
        make_source(name, read_config(name, merged, PLUGINS), ("s",), PLUGINS)
    return caught.value


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"kind": "nonsense"}, "sources.shop.kind"),
        ({"surprise": 1}, "sources.shop.surprise"),
        ({"secrets": ["hunter2"]}, "sources.shop.secrets.0"),
        ({"verify": None}, "sources.shop.verify"),
        ({"verify": {"scheme": "nonsense"}}, "sources.shop.verify.scheme"),
        ({"verify": {"header": "x"}}, "sources.shop.verify.scheme"),
        ({"verify": {"scheme": "hmac"}}, "sources.shop.verify.header"),
        ({"verify": {"scheme": "hmac", "header": "x", "y": 1}}, "sources.shop.verify.y"),
        ({"verify": {"scheme": "none"}}, "sources.shop.verify.anyone_may_send"),
        ({"verify": {"scheme": "basic"}}, "sources.shop.secrets"),
        ({"stream": None}, "sources.shop.stream"),
        ({"stream": "shop.{x"}, "sources.shop.stream"),
        ({"stream": "shop.{x y}"}, "sources.shop.stream"),
        ({"stream": "Not A Stream"}, "sources.shop.stream"),
        ({"streams": {"a": "Not A Stream"}}, "sources.shop.streams.a"),
        ({"streams": {"shop.orders": "shop.all"}}, "sources.shop.streams"),
        ({"stream": "shop.{/k}", "streams": {"orders": "shop.all"}}, "sources.shop.streams"),
        ({"stream": "shop.{/k}", "streams": {"shop.": "shop.all"}}, "sources.shop.streams"),
        ({"event_id": "{}"}, "sources.shop.event_id"),
        ({"event_id": "{/id"}, "sources.shop.event_id"),
        ({"event_id": "constant"}, "sources.shop.event_id"),
        ({"records": "items"}, "sources.shop.records"),
        ({"rate_per_second": 0}, "sources.shop.rate_per_second"),
    ],
)
def test_an_error_names_the_field(table: dict[str, Any], where: str) -> None:
    error = refused(**table)
    assert error.where == where
    assert error.remedy
    assert "hunter2" not in str(error)


def test_a_source_needs_a_name_that_a_topic_can_have() -> None:
    assert refused("Shop").where == "sources.Shop"


def test_a_scheme_that_needs_a_secret_does_not_start_without() -> None:
    config = read_config("shop", HMAC_TABLE, PLUGINS)
    for secrets in ((), ("",), ("ok", "")):
        with pytest.raises(SetupError, match="secret"):
            make_source("shop", config, secrets, PLUGINS)


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(source())


def test_every_field_is_described() -> None:
    assert all(field.description for field in WebhookConfig.model_fields.values())


def test_github_is_a_preset() -> None:
    github = preset("github")
    headers = {"x-github-event": "pull_request", "x-github-delivery": "d-1"}
    assert github.stream(headers, {}) == "github.pull_request"
    assert github.event_id is not None
    assert github.event_id(headers, {}) == "d-1"
    assert not github.id_per_record
    assert github.fallback == "github.unknown"


def test_a_preset_under_another_name_and_with_other_fields() -> None:
    config = read_config(
        "code",
        {
            "kind": "github",
            "secrets": ["env:S"],
            "streams": {"code.PUSH": "code.pushes"},
            "event_id": "{/id}",
            "rate_per_second": 5,
        },
        PLUGINS,
    )
    made = make_source("code", config, ("s",), PLUGINS)
    assert made.stream({"x-github-event": "push"}, {}) == "code.pushes"
    assert made.stream({"x-github-event": "Issues/x"}, {}) == "code.issues_x"
    assert made.stream({}, {}) is None
    assert made.event_id is not None
    assert made.event_id({}, {"id": 7}) == "7"
    assert made.id_per_record
    assert made.rate_per_second == 5


def test_stripe_is_a_preset() -> None:
    stripe = preset("stripe")
    value = {"id": "evt_1", "type": "invoice.paid"}
    assert stripe.stream({}, value) == "stripe.invoice.paid"
    assert stripe.event_id is not None
    assert stripe.event_id({}, value) == "evt_1"


def test_a_fixed_stream_takes_its_own_dead_letters() -> None:
    assert source(stream="{source}.orders").fallback == "shop.orders"


@pytest.mark.parametrize(
    ("table", "streams"),
    [
        ({"stream": "{source}.orders"}, {"shop.orders"}),
        ({"stream": "shop.{/k}"}, {"shop.unknown"}),
        ({"stream": "{/k}.{x-of}", "streams": {"A.b": "shop.b"}}, {"shop.b", "shop.unknown"}),
        ({"kind": "github", "stream": None, "verify": None}, {"shop.unknown"}),
    ],
)
def test_the_streams_that_a_source_names_without_a_delivery(
    table: dict[str, Any], streams: set[str]
) -> None:
    merged = {k: v for k, v in (HMAC_TABLE | table).items() if v is not None}
    config = read_config("shop", merged, PLUGINS)
    assert streams_of("shop", config, PLUGINS) == streams
    assert make_source("shop", config, ("s",), PLUGINS).fallback in streams


def test_github_answers_ping() -> None:
    hook = preset("github").handshake
    assert hook is not None
    answer = hook.answer(delivery(b"{}", {"x-github-event": "ping"}), ())
    assert answer is not None
    assert answer.body == b"pong"
    assert hook.answer(delivery(b"{}", {"x-github-event": "push"}), ()) is None


def test_a_project_adds_a_source_by_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "acme.py").write_text(
        "from producers.webhook import WebhookPreset\n"
        "SOURCE = WebhookPreset(name='acme', description='Acme', verify={'scheme': 'bearer'},\n"
        "    stream=lambda headers, value: 'acme.' + value['kind'],\n"
        "    event_id=lambda headers, value: headers.get('x-id'), id_per='delivery')\n"
    )
    plugins = find_plugins(tmp_path)
    assert plugins.kinds >= {"webhook", "github", "stripe", "acme"}
    config = read_config("acme", {"kind": "acme", "secrets": ["file:token"]}, plugins)
    made = make_source("acme", config, ("t",), plugins)
    assert made.stream({}, {"kind": "Boxes"}) == "acme.boxes"
    assert made.event_id is not None
    assert made.event_id({"x-id": "1"}, {}) == "1"
    assert not made.id_per_record
    prefixed = make_source("b", config.model_copy(update={"secrets": ("env:B",)}), ("t",), plugins)
    assert prefixed.fallback == "b.unknown"
    (folder / "acme.py").write_text("SOURCE = 1\n")
    with pytest.raises(SetupError, match=r"acme\.py"):
        find_plugins(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.{x-kind}", "a.h"),
        ("{source}.{/a/b}", "shop.v"),
        ("{/list/1}-{/n}", "two-7"),
        ("{/a~1b}{/c~0d}", "slashtilde"),
        ("{X-Kind}", "h"),
        ("{/missing}", None),
        ("{x-missing}", None),
        ("{/empty}", None),
        ("{/flag}", None),
        ("{/a}", None),
        ("{/list/9}", None),
        ("{/list/-}", None),
        ("{/n/deeper}", None),
        ("{/big}", "12345678901234567890123"),
        ("{/share}", None),
    ],
)
def test_places_are_filled_from_headers_and_record(text: str, expected: str | None) -> None:
    value = {
        "a": {"b": "v"},
        "list": ["one", "two"],
        "n": 7,
        "a/b": "slash",
        "c~d": "tilde",
        "empty": "",
        "flag": True,
        "big": Decimal(12345678901234567890123),
        "share": Decimal("0.12345678901234567890"),
    }
    assert template(text, "shop").read({"x-kind": "h"}, value) == expected


@given(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_pointers_never_raise_on_a_value(pointer: str, value: object) -> None:
    found = text_at(value, pointer_tokens("/" + pointer))
    assert found is None or found


@given(st.text())
def test_stream_names_have_only_the_characters_of_topics(text: str) -> None:
    assert set(stream_name(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
