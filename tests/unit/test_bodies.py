"""Bodies as templates: what stands in for what, and what is left out."""

from typing import Any

import orjson
import pytest

from producers.bodies import filled, placeholders
from producers.pagers import Turn
from producers.rest import RestSource, parse_source, request_at
from schemas.errors import SetupError
from tests.support.graphql_shop import BY_TOKEN, STREAM
from tests.support.polling import plan_of


@pytest.mark.parametrize(
    ("template", "values", "body"),
    [
        ({"n": "${n}"}, {"n": 5}, {"n": 5}),
        ({"n": "${n}"}, {"n": ["a", "b"]}, {"n": ["a", "b"]}),
        ({"q": "at:>${n} ${b}"}, {"n": 5, "b": True}, {"q": "at:>5 true"}),
        ({"a": {"b": ["${n}", 1, "${m}"]}}, {"n": 2}, {"a": {"b": [2, 1]}}),
        ({"a": "${n}", "b": "x ${n}", "c": {"d": "${n}"}}, {}, {"c": {}}),
        ({"a": "$${n} $n {n} ${n}"}, {"n": 1}, {"a": "${n} $n {n} 1"}),
        ({"a": "$${n}"}, {"n": 1}, {"a": "${n}"}),
        ({"a": None, "b": 1.5, "c": False}, {}, {"a": None, "b": 1.5, "c": False}),
        ({"a": "${n}"}, {"n": "${m}", "m": 1}, {"a": "${m}"}),  # values are no templates
    ],
)
def test_a_template_becomes_a_body(
    template: dict[str, Any], values: dict[str, Any], body: dict[str, Any]
) -> None:
    assert filled(template, values) == body


def test_a_graphql_document_has_no_placeholders() -> None:
    assert placeholders({"query": BY_TOKEN}) == frozenset()
    assert placeholders(STREAM["body"]) == {"first", "after", "since"}


def test_what_the_body_names_goes_there_and_nowhere_else() -> None:
    plan = plan_of(
        method="POST",
        params={"deep": True},
        body={"filter": {"since": "${since}"}, "deep": "${deep}"},
        pager={"kind": "page", "size": 9},
        cursor={"field": "at", "param": "since", "format": "epoch_seconds"},
    )
    request = request_at(plan.source, plan.stream, Turn({"page": 2, "per_page": 9}), 7_000_000)
    assert orjson.loads(request.body or b"") == {"filter": {"since": 7}, "deep": True}
    assert request.full_url == "https://api.example.com/v1/orders?page=2&per_page=9"


def test_a_followed_link_keeps_the_cursor_in_the_body() -> None:
    plan = plan_of(
        method="POST",
        body={"since": "${since}"},
        pager={"kind": "link"},
        cursor={"field": "at", "param": "since", "format": "integer"},
    )
    request = request_at(plan.source, plan.stream, Turn(url="/v1/orders?p=2"), 7)
    assert (request.full_url, request.body) == (
        "https://api.example.com:443/v1/orders?p=2",
        b'{"since":7}',
    )


def of(**stream: Any) -> RestSource:
    table = {"base_url": "https://api.example.com", "streams": [STREAM | stream]}
    return parse_source("shop", table)


def test_a_windows_bounds_have_their_places_too() -> None:
    pager = {"kind": "window", "format": "epoch_seconds", "pages": STREAM["pager"]}
    cursor = {"format": "epoch_seconds", "start": 0}
    variables = {name: f"${{{name}}}" for name in ("start", "end", "first", "after")}
    body = {"query": BY_TOKEN, "variables": variables}
    assert of(pager=pager, cursor=cursor, body=body).streams[0].pages is not None


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        (
            {"first": "${first}", "after": "${aftr}", "since": "${since}"},
            "${aftr} is no parameter of pager, cursor or params (after, first, since); did you mean ${after}?",
        ),
        (
            {"first": "${first}", "since": "${since}"},
            "a GraphQL server does not see the parameter 'after': write ${after} into body.variables",
        ),
        (
            {"first": "${first}", "after": "${after}"},
            "a GraphQL server does not see the parameter 'since': write ${since} into body.variables",
        ),
    ],
)
def test_a_placeholder_without_a_parameter_and_the_reverse_are_refused(
    variables: dict[str, str], what: str
) -> None:
    with pytest.raises(SetupError) as caught:
        of(body={"query": BY_TOKEN, "variables": variables})
    assert caught.value.what == f"body: {what}"
    assert caught.value.where == "sluice.toml: sources.shop.streams.0"


def test_a_placeholder_where_there_are_no_parameters_says_so() -> None:
    with pytest.raises(SetupError, match=r"\$\{x\} is no parameter .*\(there are none\)"):
        of(body={"a": "${x}"}, pager=None, cursor=None)
