"""A process that was asked to stop ends in time, whatever it waits for."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CODE = """
    import sys, time
    from services import logs
    from services.run import Stop, leave_in_time, stop_on_signals
    logs.configure("test", console=False)
    with stop_on_signals(Stop()) as stop, leave_in_time(stop, {seconds}):
        print("runs", flush=True)
        while not stop.wait(1):
            pass
        time.sleep({hangs})
    print("left", flush=True)
    sys.exit(0)
"""


@pytest.mark.parametrize(
    ("hangs", "code", "last_word"),
    [(0, 0, "left\n"), (60, 4, "")],
    ids=["in_time", "too_late"],
)
def test_what_hangs_after_the_stop_is_left_to_the_next_start(
    hangs: int, code: int, last_word: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CODE).format(seconds=1.5, hangs=hangs)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert (process.returncode, out) == (code, last_word), err
    assert ("stopping took too long" in err) == (code != 0)
