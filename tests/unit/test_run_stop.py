"""A stop wakes what waits; signals raise it, and processes end by it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.clock import SystemClock
from services.monitor.health import Health, live
from services.processes.watched import Watched, beat
from services.run import Stop, stop_on_signals

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stop() -> Iterator[Stop]:
    flag = Stop()
    yield flag
    flag.close()


def test_a_stop_wakes_every_thread_that_waits(stop: Stop) -> None:
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(stop.wait(30))) for _ in range(4)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    stop.set("enough")
    stop.set("again")
    for thread in threads:
        thread.join()
    assert woken == [True] * 4
    assert time.monotonic() - started < 5
    assert (stop.reason, stop.is_set(), stop.wait(30)) == ("enough", True, True)


def test_a_wait_ends_by_itself(stop: Stop) -> None:
    started = time.monotonic()
    assert not stop.wait(0.05)
    assert 0.04 <= time.monotonic() - started < 5
    assert not stop.wait(0)
    assert not stop.wait(-1)


def test_an_event_loop_that_turns_beats_and_hears_of_the_stop(stop: Stop) -> None:
    health = Health(SystemClock())

    async def main() -> None:
        heard = asyncio.Event()
        beating = asyncio.create_task(beat(Watched(health, stop), "gateway", heard))
        await asyncio.sleep(0)
        assert "gateway" in health.state().beats
        assert live(health.state(), health.now()).ok
        assert not heard.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(heard.wait(), 10)
        beating.cancel()

    with stop_on_signals(stop):
        asyncio.run(main())
    assert stop.reason == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_raises_the_flag_and_the_handlers_are_put_back(
    stop: Stop, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with stop_on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(10)
        assert stop.reason == number.name
    assert signal.getsignal(number) is before


LOOP = """
    import sys
    from services import logs
    from services.adapters.clock import SystemClock
    from services.adapters.metrics import MemoryMetrics
    from services.monitor.health import Health
    from services.run import Stop, Supervision, run_loop, stop_on_signals
    from schemas.errors import SetupError
    logs.configure("test", console=False)
    clock = SystemClock()
    def step():
        print("turn", flush=True)
        {body}
    with stop_on_signals(Stop()) as stop:
        around = Supervision(Health(clock), MemoryMetrics(), clock, stop)
        sys.exit(run_loop("t", step, around))
"""


def _process(body: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(LOOP).replace("{body}", body)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_in_a_slow_retry_stops_at_once_with_zero(number: signal.Signals) -> None:
    process = _process("raise SetupError('no')")
    assert process.stdout is not None
    assert process.stdout.readline() == "turn\n"
    started = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, time.monotonic() - started < 10) == (0, True), err


def test_a_second_interrupt_ends_a_step_that_hangs() -> None:
    process = _process("import time; time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "turn\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0


def test_a_process_with_a_bug_ends_with_seventy_and_one_json_line() -> None:
    process = _process("raise KeyError('x')")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 70
    assert len(err.splitlines()) == 1
    assert '"exc_type": "KeyError"' in err
