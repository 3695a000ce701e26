"""Failures that an answer tells in its body, whatever its status."""

from typing import Any

import pytest

from producers.answer_errors import AnswerErrors, Cause, refused, told
from producers.limits import RateHeaders
from producers.rest import parse_source
from schemas.errors import SetupError, TransientError
from tests.support.graphql_shop import STREAM
from tests.support.polling import answered

NAMES = RateHeaders()
SECRET = "s3cr3t text"
DATA = {"data": {"orders": {"nodes": []}}}


def coded(*codes: Any, **more: Any) -> dict[str, Any]:
    errors = [{"message": SECRET, "extensions": {"code": code}} for code in codes]
    return {"errors": errors, **more}


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (DATA, None),
        ({**DATA, "errors": []}, None),
        ({**DATA, "errors": None}, None),
        (coded("THROTTLED"), Cause.RATE_LIMITED),
        (coded("throttled", **DATA), Cause.RATE_LIMITED),
        (coded("INTERNAL_SERVER_ERROR"), Cause.TRANSIENT),
        (coded("UNAUTHENTICATED"), Cause.UNAUTHENTICATED),
        (coded("FORBIDDEN", **DATA), Cause.SETUP),
        (coded("THROTTLED", "FORBIDDEN"), Cause.SETUP),
        (coded("INTERNAL_SERVER_ERROR", "THROTTLED"), Cause.RATE_LIMITED),
        ({"errors": [{"path": ["orders"]}], "data": None}, Cause.TRANSIENT),  # it ran
        ({"errors": [{"message": SECRET}], "data": None}, Cause.SETUP),  # it did not run
        ({"errors": [{"path": ["a"]}, {"message": SECRET}]}, Cause.SETUP),
        (coded("NEVER_HEARD_OF"), Cause.SETUP),
        (coded(7, None, {"a": 1}), Cause.SETUP),
        ({"errors": "what"}, Cause.SETUP),
        ({"errors": {"message": SECRET}}, Cause.SETUP),
        ([1, 2], None),
        (b"<html>", None),
    ],
)
def test_errors_are_classed_by_their_code_and_by_whether_a_field_failed(
    value: Any, cause: Cause | None
) -> None:
    said = told(answered(value), AnswerErrors())
    assert (None if said is None else said.cause) is cause
    assert said is None or SECRET not in said.what


def test_codes_of_the_settings_come_before_the_usual_ones() -> None:
    errors = AnswerErrors(transient=("FORBIDDEN",), rate_limited=("WAIT",))
    assert errors.cause_of("FORBIDDEN") is Cause.TRANSIENT
    assert errors.cause_of("wait") is Cause.RATE_LIMITED
    assert errors.cause_of("THROTTLED") is Cause.RATE_LIMITED


def test_other_interfaces_say_it_elsewhere() -> None:
    github = AnswerErrors(code="/type")
    said = told(answered({"errors": [{"type": "RATE_LIMITED", "message": SECRET}]}), github)
    assert said is not None
    assert (said.cause, said.what) == (Cause.RATE_LIMITED, "an error (RATE_LIMITED)")
    slack = AnswerErrors(at="/error", rate_limited=("ratelimited",), setup=("invalid_auth",))
    assert told(answered({"ok": True, "messages": []}), slack) is None
    said = told(answered({"ok": False, "error": "ratelimited"}), slack)
    assert said is not None
    assert said.cause is Cause.RATE_LIMITED


@pytest.mark.parametrize(
    ("value", "status", "error", "what"),
    [
        (DATA, 200, None, ""),
        (coded("THROTTLED"), 200, TransientError, "200 with an error (THROTTLED)"),
        (coded("RATELIMITED"), 400, TransientError, "400 with an error (RATELIMITED)"),
        (coded("X"), 400, SetupError, "400 with an error (X)"),
        (coded("FORBIDDEN"), 200, SetupError, "200 with an error (FORBIDDEN)"),
        (coded("FORBIDDEN"), 503, TransientError, "the source answered 503"),
        (coded("UNAUTHENTICATED", "TIMEOUT"), 200, SetupError, "with an error (UNAUTHENTICATED)"),
        (coded(SECRET), 200, SetupError, "200 with an error"),
        (b"", 401, SetupError, "the source answered 401"),
    ],
)
def test_the_error_says_the_code_and_no_value(
    value: Any, status: int, error: type[Exception] | None, what: str
) -> None:
    found = refused(answered(value, status, retry_after="7"), AnswerErrors(), NAMES, "shop")
    assert error is None if found is None else type(found) is error
    assert what in str(found)
    assert SECRET not in str(found)
    assert not isinstance(found, TransientError) or found.retry_after == 7


def test_where_in_the_query_it_is_wrong_is_told() -> None:
    value = {"errors": [{"message": SECRET, "locations": [{"line": 3, "column": 5}]}, {}]}
    found = refused(answered(value), AnswerErrors(), NAMES, "shop")
    assert "with an error (at line 3, column 5 of the query) and 1 more" in str(found)


def test_only_graphql_bodies_are_looked_into_by_themselves() -> None:
    def errors_of(**stream: Any) -> AnswerErrors | None:
        table = {"base_url": "https://api.example.com", "streams": [STREAM | stream]}
        return parse_source("shop", table).streams[0].answer_errors

    assert errors_of() == AnswerErrors()
    assert errors_of(errors={"at": "/faults"}) == AnswerErrors(at="/faults")
    plain = {"query": "text", "v": ["${first}", "${after}", "${since}"]}
    assert errors_of(body=plain) is None
    assert refused(answered(coded("FORBIDDEN")), None, NAMES, "shop") is None
