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
