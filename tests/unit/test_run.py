"""Errors are classed once, and each class is acted on as the table says."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas.errors import ContractError, FencedError, SetupError, TransientError
from schemas.telemetry import ErrorKind
from services.adapters.clock import SystemClock
from services.adapters.metrics import MemoryMetrics
from services.exit_codes import ExitCode
from services.monitor.health import Health, live, ready
from services.run import (
    RETRY_AFTER_SECONDS_MAX,
    SETUP_SECONDS,
    SLICE_SECONDS,
    Backoff,
    Stop,
    Supervision,
    backoff_seconds,
    error_kind,
    run_command,
    run_loop,
    wait_seconds,
)

ROOT = Path(__file__).parents[2]


@dataclass
class World:
    """A clock, a stop and a loop's surroundings, all in memory. Waiting moves the clock."""

    seconds: float = 0.0
    stop_at: float = math.inf
    waits: list[float] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self.metrics = MemoryMetrics()
        self.health = Health(self)

    def now(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def is_set(self) -> bool:
        return self.stopped or self.seconds >= self.stop_at

    def wait(self, seconds: float) -> bool:
        assert seconds <= SLICE_SECONDS
        assert live(self.health.state(), self.seconds).ok
        self.waits.append(seconds)
        self.seconds = min(self.seconds + seconds, self.stop_at)
        return self.is_set()

    def run(self, outcomes: list[Exception | None], draw: float = 1.0) -> ExitCode:
        """One turn an outcome, then the stop."""
        left = iter(outcomes)

        def step() -> None:
            outcome = next(left, None)
            self.turns.append(self.seconds)
            if len(self.turns) == len(outcomes):
                self.stopped = True
            if outcome is not None:
                raise outcome

        self.turns: list[float] = []
        around = Supervision(self.health, self.metrics, self, self, draw=lambda: draw)
        return run_loop("load", step, around)


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def world() -> World:
    return World()


def test_a_loop_turns_until_the_stop_and_is_ready_after_its_first_turn(world: World) -> None:
    assert not ready(world.health.state()).ok
    assert world.run([None, None, None]) is ExitCode.OK
    assert world.metrics.total("loop_turns", loop="load") == 3
    assert (ready(world.health.state()).ok, world.waits) == (True, [])
    assert dict(world.health.state().beats) == {}, "a loop that has ended is not stuck"


def test_a_loop_that_is_stopped_before_it_began_does_nothing(world: World) -> None:
    world.stopped = True
    calls: list[int] = []
    around = Supervision(world.health, world.metrics, world, world)
    assert run_loop("load", lambda: calls.append(1), around) is ExitCode.OK
    assert calls == []


def test_transient_errors_back_off_further_each_time_and_start_over_after_success(
    world: World,
) -> None:
    later = TransientError("busy")
    with capture_logs() as lines:
        assert world.run([later, later, later, None, later, None], draw=0.5) is ExitCode.OK
    gaps = [b - a for a, b in zip(world.turns, world.turns[1:], strict=False)]
    assert gaps == pytest.approx([0.25, 0.5, 1.0, 0, 0.25])
    assert world.metrics.total("loop_errors", loop="load", kind="transient") == 4
    assert world.metrics.total("loop_wait_seconds", loop="load") == pytest.approx(2.0)
    assert [line["log_level"] for line in lines] == ["warning"] * 4
    assert lines[1]["failures"] == 2


def test_a_transient_error_is_a_blip_before_it_makes_a_process_unready(world: World) -> None:
    later = TransientError("busy", where="broker:9092", remedy="wait")
    world.run([None, later, later])
    assert ready(world.health.state()).ok
    world = World()
    world.run([None, later, later, later])
    told = ready(world.health.state()).body["checks"]["load"]
    assert (told["ok"], told["what"], told["where"]) == (False, "busy", "broker:9092")


def test_retry_after_is_honoured(world: World) -> None:
    world.run([TransientError("429", retry_after=17.0), None], draw=0.0)
    assert world.turns == pytest.approx([0, 17])


def test_a_loop_that_waits_for_long_is_not_taken_for_stuck(world: World) -> None:
    """Each wait asserts that the process is live, see World.wait."""
    world.run([TransientError("429", retry_after=500.0), None], draw=0.0)
    assert sum(world.waits) == pytest.approx(500)


def test_a_setup_error_alerts_is_unhealthy_and_is_tried_again_slowly(world: World) -> None:
    wrong = SetupError("role R may not COPY", where="sluice.toml: snowflake", remedy="GRANT it")
    with capture_logs() as lines:
        assert world.run([wrong, wrong], draw=0.5) is ExitCode.OK
    assert world.turns == pytest.approx([0, SETUP_SECONDS])
    assert {line["event"] for line in lines} == {"the setup has to change"}
    assert (lines[0]["log_level"], lines[0]["remedy"]) == ("error", "GRANT it")
    assert world.metrics.last("loop_setup_failing", loop="load") == 1
    told = ready(world.health.state()).body["checks"]["load"]
    assert (told["ok"], told["what"], told["remedy"]) == (False, "role R may not COPY", "GRANT it")


def test_a_setup_that_was_mended_is_healthy_again(world: World) -> None:
    world.run([SetupError("no"), None])
    assert world.metrics.last("loop_setup_failing", loop="load") == 0
    assert ready(world.health.state()).ok


def test_a_stop_ends_a_wait_and_no_step_follows(world: World) -> None:
    world.stop_at = 2.5
    around = Supervision(world.health, world.metrics, world, world, draw=lambda: 1.0)
    turns: list[float] = []

    def step() -> None:
        turns.append(world.seconds)
        raise SetupError("no")

    assert run_loop("load", step, around) is ExitCode.OK
    assert (turns, world.seconds) == ([0], 2.5)


@pytest.mark.parametrize("bug", [KeyError("x"), ValueError("x"), RuntimeError("x"), OSError("x")])
def test_anything_else_is_a_bug_and_ends_the_loop_at_once(bug: Exception, world: World) -> None:
    with capture_logs() as lines:
        assert world.run([None, bug, None]) is ExitCode.BUG
    assert len(world.turns) == 2
    assert (lines[0]["log_level"], lines[0]["exc_info"]) == ("critical", bug)
    assert not ready(world.health.state()).ok
    assert "load" in world.health.state().beats, "a process that hangs after a bug is not live"


def test_what_is_no_exception_of_ours_passes_through(world: World) -> None:
    def step() -> None:
        raise KeyboardInterrupt

    around = Supervision(world.health, world.metrics, world, world)
    with pytest.raises(KeyboardInterrupt):
        run_loop("load", step, around)


def test_the_cause_of_an_error_is_told(world: World) -> None:
    error = TransientError("busy")
    error.__cause__ = TimeoutError("3 s")
    with capture_logs() as lines:
        world.run([error])
    assert lines[0]["cause"] == "TimeoutError: 3 s"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SetupError("x"), ErrorKind.SETUP),
        (ContractError("x"), ErrorKind.SETUP),
        (TransientError("x"), ErrorKind.TRANSIENT),
        (FencedError("x"), ErrorKind.FENCED),
        (ValueError("x"), ErrorKind.BUG),
    ],
)
def test_errors_are_classed_by_what_one_does(error: Exception, kind: ErrorKind) -> None:
    assert error_kind(error) is kind


@given(
    failures=st.integers(-1, 10**6),
    draw=st.floats(0, 1, exclude_max=True),
    first=st.floats(0.001, 10),
    most=st.floats(0.001, 1e6),
)
def test_backoff_stays_between_zero_and_its_limits(
    failures: int, draw: float, first: float, most: float
) -> None:
    backoff = Backoff(first, most)
    seconds = backoff_seconds(backoff, failures, draw)
    assert 0 <= seconds <= most
    assert backoff_seconds(backoff, failures, 0) == 0
    assert backoff_seconds(backoff, failures + 1, draw) >= seconds
    if failures <= 1:
        assert seconds <= first


@given(
    wish=st.one_of(st.none(), st.floats(), st.just(1e30), st.just(-5.0)),
    draw=st.floats(0, 1, exclude_max=True),
    failures=st.integers(1, 100),
)
def test_a_wait_is_at_least_the_wish_and_never_absurd(
    wish: float | None, draw: float, failures: int
) -> None:
    seconds = wait_seconds(TransientError("x", retry_after=wish), Backoff(), failures, draw)
    assert 0 <= seconds <= RETRY_AFTER_SECONDS_MAX + Backoff().seconds_max
    if wish is not None and 0 <= wish <= RETRY_AFTER_SECONDS_MAX:
        assert seconds >= wish


def test_a_command_gives_its_own_code_or_that_of_its_error() -> None:
    def fails(error: BaseException) -> Callable[[], Any]:
        def action() -> None:
            raise error

        return action

    with capture_logs():
        assert run_command(lambda: None) is ExitCode.OK
        assert run_command(lambda: ExitCode.CHECK_FAILED) is ExitCode.CHECK_FAILED
        assert run_command(fails(SetupError("x"))) is ExitCode.SETUP
        assert run_command(fails(TransientError("x"))) is ExitCode.UNREACHABLE
        assert run_command(fails(FencedError("x"))) is ExitCode.UNREACHABLE
        assert run_command(fails(ValueError("x"))) is ExitCode.BUG
        assert run_command(fails(KeyboardInterrupt())) is ExitCode.INTERRUPTED


def test_exit_codes_are_those_that_are_documented() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "CHECK_FAILED": 1,
        "USAGE": 2,
        "SETUP": 3,
        "UNREACHABLE": 4,
        "BUG": 70,
        "INTERRUPTED": 130,
    }


def test_the_real_clock_fits() -> None:
    clock = SystemClock()
    metrics = MemoryMetrics()
    stop = Stop()
    around = Supervision(Health(clock), metrics, clock, stop)
    assert run_loop("load", lambda: stop.set("done"), around) is ExitCode.OK
    stop.close()
