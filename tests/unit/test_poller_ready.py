"""What the poller's `/ready` says of its streams."""

import pytest

from services.adapters.clock import SystemClock
from services.monitor.health import Health, ready
from services.poller.progress import Board, Progress, StreamState
from services.processes.poller import FIRST, report_streams

NAME = "billing/billing.invoices"


def reasons(*rows: Progress, health: Health | None = None) -> list[str]:
    health = health or Health(SystemClock())
    report_streams(Board(list(rows)), health)
    told: list[str] = ready(health.state()).body["reasons"]
    return told


def row(state: StreamState, **more: object) -> Progress:
    return Progress("billing", "billing.invoices", state, **more)  # type: ignore[arg-type] # named at the call


def test_a_missing_secret_makes_its_stream_unready_in_one_line() -> None:
    error = "env:BILLING_TOKEN: is not set\n  What to do: set it"
    found = reasons(row(StreamState.SETUP, failures=1, error=error))
    assert found == [f"{NAME}: env:BILLING_TOKEN: is not set. What to do: set it"]


def test_a_stream_is_not_ready_before_its_first_page_or_turn() -> None:
    assert reasons(row(StreamState.RUNNING)) == [f"{NAME}: {FIRST}"]
    assert reasons(row(StreamState.RUNNING, pages=1)) == []
    assert reasons(row(StreamState.WAITING, last_success=1)) == []


@pytest.mark.parametrize(("failures", "fine"), [(1, True), (2, True), (3, False)])
def test_a_blip_is_no_reason_and_an_outage_is(failures: int, fine: bool) -> None:
    found = reasons(row(StreamState.FAILING, failures=failures, error="503"))
    assert found == ([] if fine else [f"{NAME}: 503"])


def test_the_verdict_holds_while_the_stream_is_tried_again_and_ends_with_success() -> None:
    health = Health(SystemClock())
    stream = row(StreamState.SETUP, failures=1, error="no")
    assert reasons(stream, health=health) == [f"{NAME}: no"]
    stream.state = StreamState.RUNNING
    assert reasons(stream, health=health) == [f"{NAME}: no"]
    stream.state, stream.failures, stream.error, stream.last_success = (
        StreamState.WAITING, 0, "", 1,
    )  # fmt: skip
    assert reasons(stream, health=health) == []


def test_the_same_verdict_is_reported_once() -> None:
    health = Health(SystemClock())
    stream = row(StreamState.SETUP, failures=1, error="no")
    reasons(stream, health=health)
    before = health.state()
    reasons(stream, health=health)
    assert health.state() is before
