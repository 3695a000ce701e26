"""The fuzzer's judge finds what it is for: each rule is shown to be broken once."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fuzz.cases import Case, Cases, Wanted, mark_of
from tests.support.fuzz.judge import Forbidden, Ledger, LogReader, problems
from tests.support.fuzz.wire import Answer, Heard

MARK = mark_of(1)
FORBIDDEN = Forbidden([MARK, "a-secret-of-ours"])
CASE = Case("3/1", "", (), (Wanted(statuses=frozenset({200, 401})),), hidden=("a1b2c3d4e5f6a7b8",))
RECEIPT = {"accepted": 1, "ids": ["a"]}
PROBLEM = {
    "type": "urn:sluice:refusal:bad_signature",
    "title": "The signature does not fit",
    "status": 401,
    "detail": "it does not fit",
}
PROBLEM_TYPE = {"content-type": "application/problem+json", "www-authenticate": "Signature"}


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = {"content-type": "application/json"} if headers is None else headers
    return Answer(status, found, raw, f"HTTP/1.1 {status}\r\n{found}\r\n\r\n".encode() + raw)


GOOD = answer(200, RECEIPT)
REFUSED = answer(401, PROBLEM, PROBLEM_TYPE)


def found(heard: Heard, case: Case = CASE) -> list[str]:
    return problems(case, heard, Ledger(), FORBIDDEN)


def test_what_is_right_is_no_problem_and_stands_in_the_ledger() -> None:
    ledger = Ledger()
    for one in (GOOD, REFUSED):
        assert problems(CASE, Heard([one]), ledger, FORBIDDEN) == []
    assert (dict(ledger.statuses), len(ledger.ids)) == ({200: 1, 401: 1}, 1)
    assert ledger.reasons == {"bad_signature": 1}


@pytest.mark.parametrize(
    ("heard", "text"),
    [
        (Heard(silent=True), "nothing more"),
        (Heard(closed=True), "1 answers missing"),
        (Heard([GOOD], closed=True, rest=b"HTTP/1.1 2"), "half an answer"),
        (Heard([answer(500, PROBLEM, PROBLEM_TYPE)]), "answered 500"),
        (Heard([answer(302, b"")]), "answered 302"),
        (Heard([answer(404, {**PROBLEM, "status": 404}, PROBLEM_TYPE)]), "instead of [200, 401]"),
        (Heard([answer(200, b"fine")]), "no receipt"),
        (Heard([answer(200, {"accepted": 2, "ids": ["a"]})]), "sums are wrong"),
        (Heard([answer(401, PROBLEM)]), "answered 401 as application/json"),
        (Heard([answer(401, b"no", PROBLEM_TYPE)]), "with no JSON"),
        (Heard([answer(401, {**PROBLEM, "status": 400}, PROBLEM_TYPE)]), "no problem document"),
        (Heard([answer(401, {**PROBLEM, "type": "about:blank"}, PROBLEM_TYPE)]), "nobody knows"),
        (
            Heard([answer(401, PROBLEM, {"content-type": "application/problem+json"})]),
            "without www-authenticate",
        ),
        (Heard([answer(200, RECEIPT | {"x": MARK.lower()})]), "tells"),
        (
            Heard([answer(200, RECEIPT | {"x": b64encode(b"me:a-secret-of-ours").decode()})]),
            "tells",
        ),
        (Heard([answer(200, RECEIPT, {"x-said": "a1b2c3d4e5f6a7b8"})]), "tells"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_a_problem(heard: Heard, text: str) -> None:
    assert any(text in problem for problem in found(heard)), found(heard)


def test_a_forged_delivery_that_is_taken_is_a_problem() -> None:
    forged = replace(CASE, wanted=(Wanted(forged=True),))
    assert found(Heard([GOOD]), forged) == ["a forged delivery was answered 200"]


def test_a_dead_letter_that_has_to_be_is_missed() -> None:
    dead = replace(CASE, wanted=(Wanted(dead="too_deep"),))
    assert "no dead letter for too_deep" in found(Heard([GOOD]), dead)[0]


LINE = {"event": "x", "level": "info", "time": "2026-01-01T00:00:00Z", "role": "gateway"}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Traceback (most recent call last):", "no JSON"),
        ("{}", "no event, level, time and role"),
        (json.dumps(LINE | {"exception": [{"exc_type": "KeyError"}]}), "a traceback"),
        (json.dumps(LINE | {"path": f"/v1/in/open?email={MARK}"}), "tells"),
        (json.dumps(LINE | {"said": "v1,a1b2c3d4e5f6a7b8"}), "tells the signature or token"),
        (json.dumps(LINE | {"a-secret-of-ours": 1}), "tells"),
    ],
    ids=str,
)
def test_a_wrong_line_of_a_log_is_a_problem(tmp_path: Path, line: str, text: str) -> None:
    ledger = Ledger()
    problems(CASE, Heard([GOOD]), ledger, FORBIDDEN)
    path = tmp_path / "gateway.log"
    path.write_text(f"{json.dumps(LINE)}\n{line}\n")
    log = LogReader(path, FORBIDDEN, ledger)
    told = log.problems()
    assert any(text in problem for problem in told), told
    assert log.lines == 2
    path.write_text(path.read_text() + "half a li")
    assert log.problems() == []


def test_a_case_is_the_same_whenever_it_is_asked_for() -> None:
    for number in range(50):
        one, other = (Cases(7).case(f"2/{number}") for _ in range(2))
        assert one.kind == other.kind
        assert len(one.sent) == len(other.sent)
    for kind in ("bomb", "upgrade", "piped"):
        assert kind in Cases(7).case(f"{kind}/1").kind.split("/")
    assert Cases(8).case("2/0").sent != Cases(7).case("2/0").sent
