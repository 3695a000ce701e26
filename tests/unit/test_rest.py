"""What a REST source may declare, the requests that follow, and what answers say of waiting."""

import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.auth import (
    RefreshToken,
    Secrets,
    Token,
    authorised,
    read_token,
    secret_names,
    token_request,
)
from producers.exchange import Request, Response
from producers.limits import RateHeaders, exhausted_for, failure, http_date, retry_after
from producers.pagers import Turn
from producers.rest import RestSource, parse_source, request_at
from schemas.errors import SetupError, TransientError
from tests.support.polling import NOW, answered, plan_of

STREAM = {"stream": "shop.orders", "path": "orders"}
WINDOW = {"pager": {"kind": "window"}}
SECRET = "s3cr3t-text"
NAMES = RateHeaders()


def source_of(**settings: Any) -> RestSource:
    return parse_source(
        "shop", {"base_url": "https://api.example.com", "streams": [STREAM], **settings}
    )


def test_the_smallest_source_is_a_url_and_a_stream() -> None:
    source = source_of()
    assert source.streams[0].every_seconds == 60
    assert source.auth.kind == "none"
    assert source.allowance is None
    assert source.timeout_seconds is None


def test_every_field_of_every_model_is_described() -> None:
    schema = RestSource.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    missing = [
        (model["title"], name)
        for model in models
        for name, field in model.get("properties", {}).items()
        if "description" not in field
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("settings", "where", "what"),
    [
        ({"base_url": "ftp://x"}, "sources.shop.base_url", "http"),
        ({"base_url": "https://u:p@x"}, "sources.shop.base_url", "user name"),
        ({"base_url": "https://x/?key=1"}, "sources.shop.base_url", "query"),
        ({"base_url": "https://x:port"}, "sources.shop.base_url", "absolute http"),
        ({"rate": "fast"}, "sources.shop.rate", "10/s"),
        ({"rate": "0/s"}, "sources.shop.rate", "10/s"),
        ({"colour": 1}, "sources.shop.colour", "unknown field"),
        ({"headers": {"Authorization": SECRET}}, "sources.shop", "belong into auth"),
        ({"auth": {"kind": "bearer", "token": SECRET}}, "auth.bearer.token", "never written"),
        ({"streams": []}, "sources.shop.streams", "at least 1"),
        ({"streams": [STREAM, STREAM]}, "sources.shop", "same stream twice"),
        ({"streams": [STREAM | {"pager": {"kind": "x"}}]}, "streams.0.pager", "kind is one of"),
        ({"streams": [STREAM | {"pager": {"kind": "cursor"}}]}, "streams.0.pager", "one of token"),
        ({"streams": [STREAM | {"pager": {"kind": "window"}}]}, "streams.0", "need a cursor"),
        (
            {"streams": [STREAM | {"pager": {"kind": "offset", "limit": 5, "overlap": 5}}]},
            "streams.0.pager",
            "less than limit",
        ),
        (
            {"streams": [STREAM | {"pager": {"kind": "window", "format": "integer"}}]},
            "streams.0.pager",
            "format of instants",
        ),
        (
            {"streams": [STREAM | WINDOW | {"cursor": {"format": "integer", "start": 1}}]},
            "streams.0",
            "windows need a format of instants",
        ),
        ({"streams": [STREAM | {"cursor": {"field": "a", "format": "x"}}]}, "format", "strftime"),
        ({"streams": [STREAM | {"every": "1 minute"}]}, "streams.0.every", "10m"),
        ({"streams": [STREAM | {"records": "data"}]}, "streams.0.records", "RFC 6901"),
        ({"streams": [STREAM | {"body": {}}]}, "streams.0", "method POST"),
        ({"streams": [STREAM | {"sorted": True}]}, "streams.0", "needs a cursor"),
        ({"streams": [STREAM | {"cursor": {}}]}, "streams.0", "field is missing"),
        (
            {"streams": [STREAM | {"cursor": {"field": "a", "format": "text", "lookback": 1}}]},
            "streams.0.cursor",
            "text has none",
        ),
        (
            {
                "streams": [
                    STREAM | {"cursor": {"field": "a", "format": "integer", "lookback": "1m"}}
                ]
            },
            "streams.0.cursor",
            "number for integers",
        ),
        (
            {"streams": [STREAM | {"cursor": {"field": "a", "start": "yesterday"}}]},
            "streams.0.cursor",
            "not of the format",
        ),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_repeated(
    settings: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(SetupError) as caught:
        source_of(**settings)
    assert where in caught.value.where
    assert what in caught.value.what
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("rate", "allowance"), [("10/s", (10, 1)), ("600/m", (600, 60)), ("5000/h", (5000, 3600))]
)
def test_rates_are_a_count_and_a_unit(rate: str, allowance: tuple[float, float]) -> None:
    assert source_of(rate=rate).allowance == allowance


def test_a_request_has_the_streams_the_cursors_and_the_pagers_parameters() -> None:
    plan = plan_of(
        params={"status": "any", "deep": True, "tag": ["a", "b"]},
        cursor={"field": "updated_at", "param": "since"},
    )
    request = request_at(plan.source, plan.stream, Turn({"page": "2"}), NOW)
    assert request.full_url == (
        "https://api.example.com/v1/orders?status=any&deep=true&tag=a&tag=b"
        "&since=2023-11-14T22%3A13%3A20Z&page=2"
    )
    assert request.headers["Accept"] == "application/json"
    assert request.body is None


def test_a_followed_link_stays_as_the_source_wrote_it() -> None:
    plan = plan_of(params={"status": "any"}, cursor={"field": "u", "param": "since"})
    request = request_at(plan.source, plan.stream, Turn(url="/v1/orders?p=a%2Bb&q"), NOW)
    assert request.full_url == "https://api.example.com:443/v1/orders?p=a%2Bb&q"


def test_a_fixed_body_goes_along_with_parameters_in_the_query() -> None:
    plan = plan_of(method="POST", body={"a": 1})
    request = request_at(plan.source, plan.stream, Turn({"page": "1"}), None)
    assert (request.body, request.method) == (b'{"a":1}', "POST")
    assert request.full_url.endswith("/orders?page=1")


def test_a_key_in_the_query_is_known_as_a_secret_parameter() -> None:
    auth = {"kind": "api_key", "key": "env:K", "name": "k", "place": "query"}
    assert source_of(auth=auth).secret_params == {"k"}


def test_parameters_can_go_into_the_body() -> None:
    plan = plan_of(method="POST", body={"filter": {"a": 1}}, send="body")
    request = request_at(plan.source, plan.stream, Turn({"cursor": "x"}), None)
    assert request.body == b'{"filter":{"a":1},"cursor":"x"}'
    assert request.full_url == "https://api.example.com/v1/orders"


@pytest.mark.parametrize(
    ("auth", "secrets", "headers", "query"),
    [
        ({"kind": "none"}, {}, {}, ""),
        (
            {"kind": "bearer", "token": "env:T"},
            {"token": SECRET},
            {"Authorization": f"Bearer {SECRET}"},
            "",
        ),
        (
            {"kind": "basic", "user_name": "u", "password": "env:P"},
            {"password": "p"},
            {"Authorization": "Basic dTpw"},
            "",
        ),
        (
            {"kind": "basic", "user": "env:U"},
            {"user": "u"},
            {"Authorization": "Basic dTo="},
            "",
        ),
        ({"kind": "api_key", "key": "env:K"}, {"key": SECRET}, {"X-Api-Key": SECRET}, ""),
        (
            {"kind": "api_key", "key": "env:K", "name": "k", "place": "query"},
            {"key": "a&b"},
            {},
            "?k=a%26b",
        ),
    ],
)
def test_every_fixed_proof(
    auth: dict[str, str], secrets: Secrets, headers: dict[str, str], query: str
) -> None:
    found = source_of(auth=auth).auth
    assert set(secret_names(found)) == set(secrets)
    request = authorised(Request("GET", "https://x/y"), found, secrets, None)
    assert request.headers == headers
    assert request.full_url == f"https://x/y{query}"
    assert SECRET not in repr(request)


def test_a_secret_with_a_line_break_is_a_setup_error_that_does_not_repeat_it() -> None:
    auth = source_of(auth={"kind": "bearer", "token": "env:T"}).auth
    with pytest.raises(SetupError, match="no header can carry") as caught:
        authorised(Request("GET", "https://x"), auth, {"token": SECRET + "\r\nX: 1"}, None)
    assert SECRET not in str(caught.value)


OAUTH = {
    "kind": "oauth2_refresh_token",
    "token_url": "https://x/token",
    "client_id": "env:I",
    "client_secret": "env:S",
    "refresh_token": "env:R",
    "scope": "read",
}
SECRETS = {"client_id": "i d", "client_secret": "s:&", "refresh_token": "r"}


def test_a_token_request_encodes_client_and_secret_as_rfc_6749_says() -> None:
    auth = source_of(auth=OAUTH).auth
    assert isinstance(auth, RefreshToken)
    request = token_request(auth, SECRETS)
    assert request.headers["Authorization"] == "Basic aStkOnMlM0ElMjY="  # i+d:s%3A%26
    assert request.body == b"grant_type=refresh_token&refresh_token=r&scope=read"
    in_body = token_request(auth.model_copy(update={"client_auth": "body"}), SECRETS, "newer")
    assert "Authorization" not in in_body.headers
    assert b"refresh_token=newer" in (in_body.body or b"")
    assert b"client_secret=s%3A%26" in (in_body.body or b"")


@pytest.mark.parametrize(
    ("response", "error", "what"),
    [
        (answered({"error": "invalid_grant"}, 400), SetupError, r"400 \(invalid_grant\)"),
        (answered({"error": f"{SECRET}!"}, 401), SetupError, "answered 401\n"),
        (answered(b"<html>", 502), TransientError, "502"),
        (answered({}, 429), TransientError, "429"),
        (answered({"token": SECRET}), TransientError, "no access_token"),
        (answered(b"[]"), TransientError, "no access_token"),
    ],
)
def test_a_refused_token_is_classed_and_nothing_of_it_is_repeated(
    response: Response, error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what) as caught:
        read_token(response)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("life", "seconds"),
    [(60, 60), ("61", 61), (None, 3600), ("soon", 3600), (-5, 0), (1e300, 365 * 86_400)],
)
def test_the_life_of_a_token(life: Any, seconds: int) -> None:
    token = read_token(answered({"access_token": SECRET, "expires_in": life}))
    assert token.expires_at == NOW + seconds * 1_000_000
    assert SECRET not in repr(token)
    assert SECRET not in repr(Token(SECRET, 1, SECRET))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("1.5", 1.5),
        (email.utils.formatdate(NOW / 1e6 + 30, usegmt=True), 30),
        (email.utils.formatdate(NOW / 1e6 - 30, usegmt=True), 0),
        ("999999999", 86_400),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "names", "seconds"),
    [
        ({}, NAMES, None),
        ({"ratelimit": '"default";r=0;t=30'}, NAMES, 30),
        ({"ratelimit": '"a;r=5";r=3;t=9, "b,c" ; t=7 ; r=0'}, NAMES, 7),
        ({"ratelimit": '"default";r=1;t=30'}, NAMES, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, NAMES, 12),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, NAMES, 12),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW // 10**6 + 9)}, NAMES, 9),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW // 1000 + 9000)}, NAMES, 9),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "12"}, NAMES, None),
        ({"x-ratelimit-remaining": "0"}, NAMES, None),
        ({"x-ratelimit-remaining": "none", "x-ratelimit-reset": "12"}, NAMES, None),
        (
            {"left": "0", "again": "1700000005"},
            RateHeaders(remaining="Left", reset="Again", reset_form="epoch"),
            5,
        ),
        (
            {"left": "0", "again": "1700000005"},
            RateHeaders(remaining="left", reset="again", reset_form="delta"),
            86_400,
        ),
    ],
)
def test_what_headers_say_of_the_allowance(
    headers: dict[str, str], names: RateHeaders, seconds: float | None
) -> None:
    assert exhausted_for(headers, names, NOW) == seconds


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "ratelimit",
                "x-ratelimit-reset",
                "retry-after",
                "date",
                "x-ratelimit-remaining",
                "ratelimit-reset",
            ]
        ),
        st.text(),
    )
)
def test_no_header_raises(headers: dict[str, str]) -> None:
    exhausted_for(headers, NAMES, NOW)
    retry_after(headers, NOW)
    http_date(headers.get("date", ""))


@pytest.mark.parametrize(
    ("status", "headers", "error", "wish"),
    [
        (200, {}, None, None),
        (204, {}, None, None),
        (429, {"retry_after": "7"}, TransientError, 7),
        (429, {}, TransientError, None),
        (503, {"retry_after": "7"}, TransientError, 7),
        (500, {}, TransientError, None),
        (408, {}, TransientError, None),
        (403, {}, SetupError, None),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "9"}, TransientError, 9),
        (401, {}, SetupError, None),
        (404, {}, SetupError, None),
        (302, {}, SetupError, None),
    ],
)
def test_answers_are_classed_by_what_one_does(
    status: int, headers: dict[str, Any], error: type[Exception] | None, wish: float | None
) -> None:
    found = failure(answered({"secret": SECRET}, status, **headers), NAMES, "shop")
    assert error is None if found is None else type(found) is error
    assert wish == (found.retry_after if isinstance(found, TransientError) else None)
    assert SECRET not in str(found)
