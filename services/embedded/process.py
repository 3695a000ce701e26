"""A supervised child process: started, probed, restarted with backoff, stopped."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from schemas.errors import SetupError
from services.exit_codes import ExitCode

GUARD = Path(__file__).with_name("guard.py")
LOG_BYTES_MAX = 10_000_000  # a longer log is moved to NAME.log.1 at the next start
TAIL_LINES = 25
PROBE_SECONDS = 0.1
BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 30.0
SETTLED_SECONDS = 60.0  # a child that ran this long starts again without a growing delay


_TOLD = frozenset({ExitCode.SETUP, ExitCode.UNREACHABLE, ExitCode.BUG})
"""How our own commands end whose last log line is their error."""


def always() -> bool:
    """The probe of a process that is ready as soon as it runs."""
    return True


def ending(code: int) -> str:
    """How a child ended, for people: its exit code, or the signal's name where that is negative."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def last_error(text: str) -> dict[str, str]:
    """What, where and remedy of the last error among our own log lines; else nothing."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and found.get("level") in {"error", "critical"}:
                said = str(found.get("what") or found.get("event"))
                rest = {name: str(found[name]) for name in ("where", "remedy") if found.get(name)}
                return {"error": said, **rest}
    return {}


def scratch(folder: Path, name: str) -> Path:
    """A child's folder for temporary files, emptied at each start: KILL leaves such files."""
    return folder.absolute() / f"{name}.tmp"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. ``ready`` must return within a second or two, and never raise."""

    name: str
    command: Sequence[str]
    folder: Path  # gets NAME.log with stdout and stderr, and NAME.tmp
    ready: Callable[[], bool] = always
    environ: Mapping[str, str] = field(default_factory=dict)  # on top of our own
    ready_seconds_max: float = 60.0
    stop_seconds_max: float = 10.0


class Process:
    """One child in a process group of its own, which dies with us however we end.

    A thread starts the child, waits for it and starts it again with a growing delay when it
    exits unasked. That thread is the parent which the kernel watches (see ``guard``).
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.restarts = 0  # unasked exits since the first start
        self._child: subprocess.Popen[bytes] | None = None
        self._failed: OSError | None = None
        self._last_words = ""  # of the last child that died unasked
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._launched = threading.Event()

    @property
    def log(self) -> Path:
        """Where stdout and stderr go."""
        return self.spec.folder / f"{self.spec.name}.log"

    @property
    def pid(self) -> int | None:
        """The running child's process id, or None."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last child ended; negative: the signal. None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Launch, and return once the child is ready. Raises SetupError with its last words."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the child without waiting for it. Does nothing while it is supervised."""
        if self._thread is not None:
            return
        self.spec.folder.mkdir(parents=True, exist_ok=True)
        self._stopping.clear()
        self._launched.clear()
        self._failed = None
        self._thread = threading.Thread(target=self._supervise, daemon=True, name=self.spec.name)
        self._thread.start()
        self._launched.wait()

    def wait_ready(self) -> None:
        """Return once the probe says yes. Stops the child and raises SetupError otherwise."""
        deadline = time.monotonic() + self.spec.ready_seconds_max
        exits = self.restarts
        why = f"was not ready within {self.spec.ready_seconds_max:g} s"
        while time.monotonic() < deadline:
            if self._failed is not None:
                why = f"could not be started ({self._failed.strerror})"
                break
            if self.restarts > exits:
                why = "exited before it was ready"
                break
            if self.pid is not None and self.spec.ready():
                return
            self._stopping.wait(PROBE_SECONDS)
        tail = self._last_words if self.restarts > exits else self.tail()
        self.stop()
        raise SetupError(
            f"{self.spec.name} {why}; its last words:\n{tail or '(none)'}",
            where=str(self.log),
            remedy="read the whole log, mend what it names, then start again",
        )

    def stop(self) -> None:
        """TERM to the group, KILL after ``stop_seconds_max``; returns when the child is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """KILL the group and leave it dead until the next start: for fault tests."""
        self._end(signal.SIGKILL)

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - lines * 400))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, sign: signal.Signals) -> None:
        thread = self._thread
        if thread is None:
            return
        self._stopping.set()
        self._signal(sign)
        thread.join(self.spec.stop_seconds_max)
        if thread.is_alive():
            self._signal(signal.SIGKILL)
            thread.join()
        self._thread = None

    def _signal(self, sign: signal.Signals) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, sign)

    def _supervise(self) -> None:
        delay = BACKOFF_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._child = child = self._spawn()
            except OSError as error:
                self._failed = error
                self._log().error("a process could not be started", error=error.strerror)
                return
            finally:
                self._launched.set()
            if self.restarts:
                self._log().info("a process was started again", pid=child.pid)
            if self._stopping.is_set():  # stop() came between the check and the start
                self._signal(signal.SIGKILL)
            code = child.wait()
            if self._stopping.is_set():
                break
            self._last_words = self.tail()  # before the next one writes below them
            self.restarts += 1
            if time.monotonic() - began > SETTLED_SECONDS:
                delay = BACKOFF_SECONDS
            self._tell_death(code, delay)
            self._stopping.wait(delay)
            delay = min(delay * 2, BACKOFF_SECONDS_MAX)

    def _tell_death(self, code: int, delay: float) -> None:
        said = last_error(self._last_words) if code in _TOLD else {}
        self._log().warning("a process died", ended=ending(code), wait_seconds=delay, **said)

    def _log(self) -> structlog.stdlib.BoundLogger:
        log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
        return log.bind(process=self.spec.name, restart=self.restarts, log=str(self.log))

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        temporary = scratch(self.spec.folder, self.spec.name)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, exist_ok=True)
        environ = {"TMPDIR": str(temporary), **self.spec.environ}
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid())]
        with self.log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 - the caller's own command, without a shell
                [*guard, *self.spec.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environ},  # noqa: TID251 - handed on, not read
            )
