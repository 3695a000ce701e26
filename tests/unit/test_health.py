"""Health tells the truth: what was never reported is not fine."""

import json
from dataclasses import dataclass, field

import pytest
import structlog
from structlog.testing import capture_logs

from schemas.errors import SetupError
from services.adapters.metrics import MemoryMetrics, PrometheusMetrics
from services.monitor.health import BEAT_SECONDS_MAX, Health, Standing, live, progress, ready
from services.monitor.watch import Watch, stacks


@dataclass
class Hands:
    """A clock that moves when told."""

    seconds: float = 1_000.0
    naps: list[float] = field(default_factory=list)

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def health(clock: Hands) -> Health:
    return Health(clock, checks=("assigned",))


def test_a_loop_that_turns_is_live_and_one_that_does_not_is_named(
    health: Health, clock: Hands
) -> None:
    health.beat("load")
    health.beat("poll", seconds_max=5)
    clock.sleep(5)
    assert live(health.state(), health.now()).ok
    clock.sleep(0.5)
    report = live(health.state(), health.now())
    assert not report.ok
    assert report.body["reasons"] == ["poll has not turned for 6 s (limit 5)"]
    assert report.body["loops"]["poll"] == {"age_seconds": 5.5, "seconds_max": 5, "ok": False}
    health.beat("poll", seconds_max=5)
    assert live(health.state(), health.now()).ok


def test_a_loop_that_has_ended_is_not_stuck(health: Health, clock: Hands) -> None:
    health.beat("load")
    health.end("load")
    health.stop("SIGTERM")
    clock.sleep(BEAT_SECONDS_MAX * 2)
    assert live(health.state(), health.now()).ok


def test_a_process_whose_loop_never_began_is_live_for_a_while_only(
    health: Health, clock: Hands
) -> None:
    assert live(health.state(), health.now()).ok
    clock.sleep(BEAT_SECONDS_MAX + 1)
    assert live(health.state(), health.now()).body["reasons"] == ["no loop has begun in 61 s"]


def test_a_check_that_has_not_reported_does_not_hold(health: Health) -> None:
    health.ready("broker", ok=True)
    report = ready(health.state())
    assert not report.ok
    assert report.body["reasons"] == ["assigned: has not reported yet"]
    health.ready("assigned", ok=True)
    assert ready(health.state()).ok


def test_without_any_check_nothing_is_ready(clock: Hands) -> None:
    assert ready(Health(clock).state()).body["reasons"] == ["nothing has reported yet"]


def test_a_setup_error_is_told_with_what_where_and_remedy(health: Health) -> None:
    health.ready("assigned", ok=True)
    health.ready("load", ok=False, why=SetupError("no grant", where="RAW", remedy="GRANT it"))
    report = ready(health.state())
    assert report.body["reasons"] == ["load: RAW: no grant. What to do: GRANT it"]
    told = report.body["checks"]["load"]
    assert (told["what"], told["where"], told["remedy"]) == ("no grant", "RAW", "GRANT it")


def test_since_is_when_the_check_changed_not_when_it_reported_last(
    health: Health, clock: Hands
) -> None:
    health.ready("assigned", ok=True)
    clock.sleep(60)
    health.ready("assigned", ok=True)
    assert ready(health.state()).body["checks"]["assigned"]["since"] == "1970-01-01T00:16:40.000Z"
    health.ready("assigned", ok=False, why="revoked")
    assert ready(health.state()).body["checks"]["assigned"]["since"] == "1970-01-01T00:17:40.000Z"


def test_a_process_that_drains_is_not_ready(health: Health) -> None:
    health.ready("assigned", ok=True)
    health.stop("SIGTERM")
    assert ready(health.state()).body["reasons"] == ["stopping: SIGTERM"]


def test_progress_says_how_far_and_how_long_ago(health: Health, clock: Hands) -> None:
    health.advance("shop.orders/0", {"next_offset": 17})
    clock.sleep(90)
    health.advance("shop.orders/1", {"next_offset": 4})
    body = progress(health.state(), health.now()).body
    assert json.loads(json.dumps(body)) == {
        "advances": {
            "shop.orders/0": {
                "at": "1970-01-01T00:16:40.000Z",
                "age_seconds": 90.0,
                "detail": {"next_offset": 17},
            },
            "shop.orders/1": {
                "at": "1970-01-01T00:18:10.000Z",
                "age_seconds": 0.0,
                "detail": {"next_offset": 4},
            },
        }
    }


def held(at: int | None, why: str | SetupError = "", **detail: int) -> Standing:
    return Standing(why, at, detail)


def test_what_is_held_is_told_with_its_last_advance_and_what_is_not_is_not(
    health: Health, clock: Hands
) -> None:
    health.ready("assigned", ok=True)
    health.advance("books", {})
    health.hold({"o/0": held(clock.now(), next_offset=17), "o/1": held(None, "late", lag=3)})
    clock.sleep(90)
    health.hold({"o/0": held(1_000_000_000, next_offset=17), "o/1": held(None, "late", lag=4)})
    body = progress(health.state(), health.now()).body["advances"]
    assert json.loads(json.dumps(body)) == {
        "books": {"at": "1970-01-01T00:16:40.000Z", "age_seconds": 90.0, "detail": {}},
        "o/0": {
            "at": "1970-01-01T00:16:40.000Z",
            "age_seconds": 90.0,
            "detail": {"next_offset": 17},
        },
        "o/1": {"at": None, "age_seconds": None, "detail": {"lag": 4}},
    }
    told = ready(health.state()).body
    assert told["reasons"] == ["o/1: late"]
    assert told["checks"]["o/1"]["since"] == "1970-01-01T00:16:40.000Z"
    health.hold({"o/0": held(clock.now())})
    assert list(progress(health.state(), health.now()).body["advances"]) == ["books", "o/0"]
    assert list(ready(health.state()).body["checks"]) == ["assigned", "o/0"]
    assert ready(health.state()).ok
    health.hold({})
    assert list(ready(health.state()).body["checks"]) == ["assigned"]


def test_a_reason_that_several_partitions_share_is_told_once(health: Health) -> None:
    health.ready("assigned", ok=True)
    error = SetupError("no grant", where="RAW", remedy="GRANT it")
    health.hold({f"o/{n}": held(None, error) for n in range(5)} | {"o/9": held(None, "late")})
    assert ready(health.state()).body["reasons"] == [
        "o/0, o/1, o/2 and 2 more: RAW: no grant. What to do: GRANT it",
        "o/9: late",
    ]


def test_a_place_that_is_the_checks_own_name_is_not_told_twice(health: Health) -> None:
    health.ready("assigned", ok=True)
    health.hold({"o/1": held(None, SetupError("a hole", where="o/1", remedy="fill it"))})
    assert ready(health.state()).body["reasons"] == ["o/1: a hole. What to do: fill it"]


def test_a_state_does_not_change_after_it_was_taken(health: Health) -> None:
    detail = {"next_offset": 1}
    health.advance("p", detail)
    state = health.state()
    detail["next_offset"] = 2
    health.beat("load")
    health.stop("now")
    assert state.advances["p"].detail == {"next_offset": 1}
    assert (dict(state.beats), state.stopping) == ({}, "")


def test_each_stuck_loop_is_reported_once_with_where_the_threads_are(
    health: Health, clock: Hands
) -> None:
    structlog.reset_defaults()
    metrics = MemoryMetrics()
    watch = Watch(health, metrics)
    health.beat("load", seconds_max=5)
    health.beat("poll", seconds_max=50)
    with capture_logs() as lines:
        for _ in range(4):
            watch.tick()
            clock.sleep(3)
        health.beat("load", seconds_max=5)
        watch.tick()
        clock.sleep(6)
        watch.tick()
    assert [(line["event"], line["loop"]) for line in lines] == [("a loop is stuck", "load")] * 2
    assert metrics.total("process_stuck", loop="load") == 2
    here = [place for places in lines[0]["threads"].values() for place in places]
    assert any("test_each_stuck_loop" in place for place in here)


def test_stacks_end_with_where_the_thread_is() -> None:
    assert any(places[-1].endswith(" stacks") for places in stacks().values())


def test_gauges_follow_health_and_forget_what_is_gone(health: Health, clock: Hands) -> None:
    metrics = PrometheusMetrics()
    watch = Watch(health, metrics)
    health.beat("load", seconds_max=5)
    health.ready("assigned", ok=True)
    health.hold({"shop.orders/0": held(clock.now()), "shop.orders/1": held(None)})
    clock.sleep(2)
    watch.tick()
    assert metrics.value("sluice_process_live") == 1
    assert metrics.value("sluice_process_ready") == 1
    assert metrics.value("sluice_process_check", check="assigned") == 1
    assert metrics.value("sluice_process_beat_age_seconds", loop="load") == 2
    assert metrics.value("sluice_process_advance_age_seconds", check="shop.orders/0") == 2
    assert metrics.value("sluice_process_advance_age_seconds", check="shop.orders/1") is None
    clock.sleep(4)
    health.hold({})
    watch.tick()
    assert metrics.value("sluice_process_live") == 0
    assert metrics.value("sluice_process_advance_age_seconds", check="shop.orders/0") is None
    assert metrics.value("sluice_process_check", check="shop.orders/0") is None
    health.end("load")
    health.stop("SIGTERM")
    watch.tick()
    assert metrics.value("sluice_process_ready") == 0
    assert metrics.value("sluice_process_beat_age_seconds", loop="load") is None
    assert metrics.value("sluice_telemetry_refused_total", reason="unknown") is None
