"""Run a command that dies with the process which started it.

``python -I -S guard.py PARENT_PID COMMAND...`` becomes the command itself (same pid). It is a
program and not a ``preexec_fn``, because Python code between fork and exec may deadlock in a
process with threads. On Linux the kernel sends KILL when the parent is gone (PR_SET_PDEATHSIG,
which exec keeps); elsewhere a forked watcher looks once a second.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(f"guard: process {parent} is gone")


def _watch(parent: int) -> None:
    command = os.getpid()
    if os.fork():
        return
    while True:
        time.sleep(1)  # noqa: TID251 - a program of its own, without our packages
        try:
            os.kill(command, 0)
            os.kill(parent, 0)
        except ProcessLookupError:
            os.killpg(command, signal.SIGKILL)


def main(parent: int, command: list[str]) -> None:
    """Arrange the death, then become ``command``."""
    if sys.platform == "linux":
        _die_with(parent)
    else:
        _watch(parent)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the caller's own command, without a shell
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
