"""Settings that are refused: what is unknown, what was meant, and what a stream is called."""

from pathlib import Path
from typing import Any

import pytest

from producers.config_errors import STREAM_RULE
from producers.rest import parse_source
from producers.webhook import find_plugins, make_source, read_config
from schemas.errors import SetupError
from services.project import load_contract
from services.settings import load
from tests.support.http import HMAC_TABLE

PLUGINS = find_plugins()
REST = {"base_url": "https://x.test", "streams": [{"stream": "shop.orders", "path": "/"}]}


def of_settings(folder: Path, text: str) -> SetupError:
    (folder / "sluice.toml").write_text(text)
    with pytest.raises(SetupError) as caught:
        load(folder)
    return caught.value


def of_webhook(**table: Any) -> SetupError:
    with pytest.raises(SetupError) as caught:
        make_source("shop", read_config("shop", HMAC_TABLE | table, PLUGINS), ("s",), PLUGINS)
    return caught.value


def of_rest(**table: Any) -> SetupError:
    with pytest.raises(SetupError) as caught:
        parse_source("shop", REST | table)
    return caught.value


@pytest.mark.parametrize(
    ("text", "field", "remedy"),
    [
        ("[loader]\nage_secs_max = 3", "loader.age_secs_max", "did you mean age_seconds_max?"),
        ("[loder]\nlanes = 3", "loder", "did you mean loader?"),
        ("[snowflake]\nshema = 'x'", "snowflake.shema", "did you mean schema?"),
        ("rooot = 'x'", "rooot", "see docs/reference/settings.md for the fields and their forms"),
    ],
)
def test_an_unknown_setting_is_told_with_the_nearest_of_its_section(
    text: str, field: str, remedy: str, tmp_path: Path
) -> None:
    error = of_settings(tmp_path, text)
    assert (error.what, error.remedy) == ("unknown field", remedy)
    assert error.where.endswith(f"sluice.toml: {field}")


def test_an_unknown_field_of_a_webhook_source_is_told_with_the_nearest() -> None:
    error = of_webhook(evnt_id="{/id}")
    assert (error.what, error.remedy) == ("unknown field", "did you mean event_id?")
    error = of_webhook(verify={"scheme": "hmac", "header": "x", "digst": "sha1"})
    assert (error.what, error.remedy) == ("unknown field", "did you mean digest?")


def test_an_unknown_field_of_a_polled_source_is_told_with_the_nearest() -> None:
    error = of_rest(concurency=3)
    assert (error.what, error.remedy) == ("unknown field", "did you mean concurrency?")
    error = of_rest(auth={"kind": "api_key", "key": "env:A", "plce": "query"})
    assert (error.what, error.remedy) == ("unknown field", "did you mean place?")
    error = of_rest(streams=[*REST["streams"], {"stream": "shop.a", "path": "/", "evry": "1m"}])
    assert (error.what, error.remedy) == ("unknown field", "did you mean every?")
    assert error.where == "sluice.toml: sources.shop.streams.1.evry"


def test_an_unknown_field_of_a_pager_is_told_in_one_line() -> None:
    error = of_rest(streams=[REST["streams"][0] | {"pager": {"kind": "offset", "limt": 5}}])
    assert "\n" not in error.what
    assert error.where.startswith("sluice.toml: sources.shop.streams.0.pager.")


def test_a_stream_that_cannot_be_one_is_told_what_streams_are_called(tmp_path: Path) -> None:
    what = f"{STREAM_RULE}; found 'Shop Orders'"
    assert of_webhook(streams={"a": "Shop Orders"}).what == what
    assert of_webhook(stream="Shop Orders").what == what
    assert of_rest(streams=[{"stream": "Shop Orders", "path": "/"}]).what == what
    path = tmp_path / "orders.py"
    path.write_text(
        "from pydantic import BaseModel\nfrom schemas.contract import Contract\n"
        "class A(BaseModel):\n    a: int\n"
        "CONTRACT = Contract(stream='Shop Orders', model=A)\n"
    )
    with pytest.raises(SetupError) as caught:
        load_contract(path)
    assert caught.value.what == f"stream: {what}"


def test_a_poll_without_a_pause_is_refused() -> None:
    for name in ("every", "timeout"):
        stream = REST["streams"][0] | ({"every": "0s"} if name == "every" else {})
        error = of_rest(streams=[stream], **({"timeout": "0ms"} if name == "timeout" else {}))
        assert error.where.endswith(f".{name}")
        assert error.what == "no time at all"
        assert error.remedy == "write a duration above zero, such as 30s or 5m"


def test_a_misspelt_kind_is_told_with_the_nearest() -> None:
    def of_stream(**more: Any) -> SetupError:
        return of_rest(streams=[REST["streams"][0] | more])

    error = of_stream(pager={"kind": "ofset"})
    assert error.what == "kind is one of cursor, link, next_url, offset, page, window"
    assert (error.remedy, error.where) == (
        "did you mean offset?",
        "sluice.toml: sources.shop.streams.0.pager",
    )
    window = {"kind": "window", "pages": {"kind": "curser"}}
    assert of_stream(pager=window).remedy == "did you mean cursor?"
    assert of_stream(pager={"kind": "zzz"}).remedy.startswith("use one of cursor, link")
    error = of_rest(auth={"kind": "barer", "token": "env:A"})
    assert error.what.startswith("kind is one of api_key, basic, bearer, none, oauth2")
    assert (error.remedy, error.where) == (
        "did you mean bearer?",
        "sluice.toml: sources.shop.auth",
    )
    assert of_webhook(verify={"scheme": "hmca"}).remedy == "did you mean hmac?"
    assert of_webhook(kind="githb").remedy == "did you mean github?"


def test_a_single_pointer_is_told_to_be_a_list() -> None:
    for error in (
        of_rest(streams=[REST["streams"][0] | {"event_id_without": "/x"}]),
        of_webhook(event_id_without="/x"),
    ):
        assert error.where.endswith("event_id_without")
        assert error.what == "a list of JSON pointers, this is a text"
        assert error.remedy == 'write ["/x"]'
    assert of_webhook(event_id_without="sent at").remedy == 'write ["/sent_at"]'
