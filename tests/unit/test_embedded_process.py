"""Supervised children, with real ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import structlog
from structlog.testing import capture_logs

from schemas.errors import SetupError
from services.embedded import process
from services.embedded.process import Process, ProcessSpec

SLEEP = "import time; time.sleep(60)"


def spec(folder: Path, code: str, **more: object) -> ProcessSpec:
    return ProcessSpec("child", [sys.executable, "-c", code], folder, **more)  # type: ignore[arg-type] # named at the call


def eventually(check: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_start_returns_once_the_probe_says_yes(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    code = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(flag)!r}).touch(); {SLEEP}"
    with Process(spec(tmp_path, code, ready=flag.exists)) as child:
        assert flag.exists()
        pid = child.pid
        assert pid is not None
        assert os.getpgid(pid) == pid != os.getpgid(0)
    assert child.pid is None
    assert not alive(pid)


def test_what_a_killed_child_leaves_behind_is_gone_at_its_next_start(tmp_path: Path) -> None:
    code = f"import tempfile; print(tempfile.mkstemp()[1], flush=True); {SLEEP}"
    child = Process(spec(tmp_path, code, ready=lambda: b"tmp" in child.log.read_bytes()))
    with child:
        (left,) = child.log.read_text().split()
        assert Path(left).parent == tmp_path / "child.tmp"
        child.kill()
        assert Path(left).exists()
        child.start()
        assert eventually(lambda: len(child.log.read_text().split()) == 2)
        assert not Path(left).exists()


def test_a_child_that_exits_before_it_is_ready_is_a_setup_error_with_its_last_words(
    tmp_path: Path,
) -> None:
    child = Process(spec(tmp_path, "print('no port'); raise SystemExit(3)", ready=lambda: False))
    with pytest.raises(SetupError, match=r"exited before it was ready(.|\n)*no port"):
        child.start()
    assert child.pid is None


def test_a_child_that_is_never_ready_is_stopped_at_the_deadline(tmp_path: Path) -> None:
    code = f"print('thinking', flush=True); {SLEEP}"
    child = Process(spec(tmp_path, code, ready=lambda: False, ready_seconds_max=3))
    with pytest.raises(SetupError, match=r"not ready within 3 s(.|\n)*thinking"):
        child.start()
    assert child.pid is None


def test_a_command_that_does_not_exist_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-command"):
        Process(ProcessSpec("child", ["no-such-command"], tmp_path, ready=lambda: False)).start()


def test_a_child_that_dies_is_started_again_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    with Process(spec(tmp_path, SLEEP)) as child:
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: child.restarts == 1 and child.pid not in {None, first})
    time.sleep(process.BACKOFF_SECONDS * 1.5)
    assert child.pid is None


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_a_death_and_a_restart_are_a_log_line_each_and_a_stop_is_none(
    code: str, ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BACKOFF_SECONDS", 0.1)
    structlog.reset_defaults()
    flag = tmp_path / "once"
    first = f"import pathlib; f = pathlib.Path({str(flag)!r}); seen = f.exists(); f.touch()\n"
    child = Process(spec(tmp_path, f"{first}if seen: {SLEEP}\n{code}"))
    with capture_logs() as lines:
        child.launch()
        assert eventually(lambda: len(lines) == 2)
        pid = child.pid
        child.stop()
    same = {"process": "child", "restart": 1, "log": str(child.log)}
    died = {"event": "a process died", "log_level": "warning", "ended": ended, "wait_seconds": 0.1}
    again = {"event": "a process was started again", "log_level": "info", "pid": pid}
    assert lines == [same | died, same | again]


ERROR = {
    "event": "the setup has to change",
    "level": "error",
    "what": "no broker",
    "where": "sluice.toml: kafka",
    "remedy": "start one",
}


@pytest.mark.parametrize(
    ("code", "end", "told"),
    [
        (3, "print('bye')", {"error": "no broker", "where": ERROR["where"], "remedy": "start one"}),
        (1, "print('bye')", {}),  # not the way of our own commands: that error may be older
    ],
)
def test_the_error_that_one_of_ours_ended_with_is_told(
    code: int, end: str, told: dict[str, str], tmp_path: Path
) -> None:
    structlog.reset_defaults()
    info = {"event": "begun", "level": "info"}
    lines_of = "\n".join(f"print({json.dumps(line)!r})" for line in (info, ERROR, info))
    child = Process(spec(tmp_path, f"{lines_of}\n{end}\nraise SystemExit({code})"))
    with capture_logs() as lines:
        child.launch()
        assert eventually(lambda: lines)
        child.stop()
    found = {name: lines[0][name] for name in ("error", "where", "remedy") if name in lines[0]}
    assert (lines[0]["ended"], found) == (f"exit code {code}", told)


def test_restarts_wait_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BACKOFF_SECONDS", 0.1)
    structlog.reset_defaults()
    code = "import time; print(time.monotonic(), flush=True)"
    child = Process(spec(tmp_path, code))
    with capture_logs() as lines:
        child.launch()
        assert eventually(lambda: child.restarts >= 4)
        child.stop()
    told = [line["wait_seconds"] for line in lines if line["event"] == "a process died"]
    assert told[:4] == [0.1, 0.2, 0.4, 0.8]
    starts = [float(line) for line in child.log.read_text().split()]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert all(waited >= promised for waited, promised in zip(waits, told, strict=False))


def test_the_last_words_are_those_of_the_child_that_died(tmp_path: Path) -> None:
    flag = tmp_path / "once"
    first = f"import pathlib; f = pathlib.Path({str(flag)!r}); seen = f.exists(); f.touch()\n"
    code = f"{first}print(*['idle chatter'] * 99 if seen else ['the reason'], sep='\\n', flush=True)\nif seen: {SLEEP}"
    child = Process(spec(tmp_path, code, ready=lambda: time.sleep(1.5)))
    with pytest.raises(SetupError, match=r"exited before it was ready[^$]*the reason"):
        child.start()


def test_a_killed_child_stays_dead_until_it_is_started_again(tmp_path: Path) -> None:
    child = Process(spec(tmp_path, SLEEP))
    child.start()
    first = child.pid
    child.kill()
    time.sleep(process.BACKOFF_SECONDS * 1.5)
    assert child.pid is None
    child.start()
    assert child.pid not in {None, first}
    child.stop()


def test_a_child_that_ignores_term_is_killed(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
    child = Process(spec(tmp_path, code, stop_seconds_max=0.3))
    child.start()
    assert eventually(lambda: "deaf" in child.tail())
    pid = child.pid
    assert pid is not None
    child.stop()
    assert not alive(pid)


def test_term_lets_the_child_finish(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: sys.exit(print('tidy', flush=True)))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    child = Process(spec(tmp_path, code))
    child.start()
    assert eventually(lambda: "up" in child.tail())
    child.stop()
    assert child.tail().splitlines() == ["up", "tidy"]


def test_the_child_dies_when_we_are_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from services.embedded.process import Process, ProcessSpec\n"
        f"spec = ProcessSpec('child', [sys.executable, '-c', {SLEEP!r}],"
        f" pathlib.Path({str(tmp_path)!r}))\n"
        "child = Process(spec); child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    assert eventually(lambda: not alive(pid))


def test_the_environment_is_ours_plus_what_is_given(tmp_path: Path) -> None:
    code = "import os; print(os.environ['PATH'], os.environ['EXTRA'], flush=True); " + SLEEP
    with Process(spec(tmp_path, code, environ={"EXTRA": "yes"})) as child:
        assert eventually(lambda: child.tail() == f"{os.environ['PATH']} yes")


def test_a_long_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES_MAX", 10)
    (tmp_path / "child.log").write_text("yesterday, at length")
    with Process(spec(tmp_path, SLEEP)) as child:
        assert child.tail() == ""
    assert (tmp_path / "child.log.1").read_text() == "yesterday, at length"
