"""``sluice up``: every process of a project, supervised, with a status board."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.errors import SetupError
from services import logs
from services.admin_ports import asked, roles
from services.bootstrap import Project, read_project
from services.cli.applying import apply_project
from services.cli.running import require_project
from services.embedded.process import Process, ProcessSpec
from services.exit_codes import ExitCode
from services.run import Stop, StopFlag, stop_on_signals
from services.setup.addresses import addresses

__all__ = ["Member", "asked", "board", "keep_up", "roles", "running"]

BOARD_SECONDS = 1.0
DRAIN_SECONDS_MAX = 25.0
READY_SECONDS = 0.5  # between two questions
READY_TRIES = 20  # in a row in vain, then it is said who is not ready; asking goes on


@dataclass(frozen=True, slots=True)
class Member:
    """One of the project's processes."""

    role: str
    process: Process
    admin: str  # its base URL


@contextmanager
def running(
    project: Project, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[Member]]:
    """The project's processes, started together, stopped in the order of the stream.

    ``environ`` comes on top of our own environment.
    """
    members = [_member(project, role, port, environ) for role, port in roles(project).items()]
    try:
        for member in members:
            member.process.launch()
        for member in members:
            member.process.wait_ready()
        yield members
    finally:
        for role in ("gateway", "poller", "loader"):
            for member in members:
                if member.role == role:
                    member.process.stop()


def _member(project: Project, role: str, port: int, environ: Mapping[str, str]) -> Member:
    if port == 0:
        raise SetupError(
            "the status board needs to know the port",
            where=f"sluice.toml: admin.{role}_port",
            remedy="set a port, or start the process by itself",
        )
    url = f"http://{project.settings.admin.host}:{port}"
    spec = ProcessSpec(
        name=role,
        command=[
            sys.executable, "-m", "services.cli", role, "--project", str(project.settings.root)
        ],
        folder=project.settings.state / "logs",
        environ=environ,
        ready=lambda: asked(f"{url}/live") is not None,
        stop_seconds_max=DRAIN_SECONDS_MAX,
    )  # fmt: skip
    return Member(role, Process(spec), url)


def board(members: list[Member]) -> Table:
    """What every process says of itself."""
    table = Table(title="Sluice", title_justify="left")
    for column in ("process", "pid", "restarts", "ready", "says", "log"):
        table.add_column(column, overflow="fold")
    for member in members:
        body = asked(f"{member.admin}/ready")
        ready = "no answer" if body is None else "yes" if body.get("ok") else "no"
        why = _reasons(body) if body is not None else ""
        process = member.process
        pid = str(process.pid or "-")
        table.add_row(member.role, pid, str(process.restarts), ready, why, str(process.log))
    return table


def _reasons(body: Mapping[str, Any]) -> str:
    return "; ".join(body.get("reasons", ()))


def unready(members: list[Member]) -> dict[Member, str]:
    """Who is not ready, and why."""
    found = {}
    for member in members:
        body = asked(f"{member.admin}/ready")
        if body is None:
            found[member] = "no answer"
        elif not body.get("ok"):
            found[member] = _reasons(body)
    return found


def tell_readiness(members: list[Member], stop: StopFlag) -> None:
    """Log that everything is up, once it is; until the stop, who is not ready for long and why.

    One line then, and one when it is ready again; none for a blip.
    """
    log = structlog.get_logger("up")
    tries = dict.fromkeys((member.role for member in members), 0)  # in vain, in a row
    up = False
    while not stop.is_set():
        late = unready(members)
        for member in members:
            role, where = member.role, str(member.process.log)
            before, tries[role] = tries[role], tries[role] + 1 if member in late else 0
            if tries[role] == READY_TRIES:
                log.warning("a process is not ready", process=role, reason=late[member], log=where)
            elif up and before >= READY_TRIES and member not in late:
                log.info("a process is ready again", process=role)
        if not late and not up:
            up = True
            log.info("everything is up", processes=[member.role for member in members])
        stop.wait(READY_SECONDS)


def require_startable(folder: Path) -> None:
    """Raises SetupError without a project, a secret of its webhooks, or an address of its own."""
    require_project(folder)
    project = read_project(folder)
    _ = project.webhooks  # their secrets are missing here and now, not in a child's log
    taken = [address for address in addresses(project) if address.problem]
    if taken:
        raise SetupError(
            "; ".join(map(str, taken)),
            where=f"sluice.toml: {', '.join(address.setting for address in taken)}",
            remedy=next((a for a in taken if a.ours), taken[0]).remedy,
        )


def keep_up(project: Project) -> ExitCode:
    """Run everything until Ctrl-C or SIGTERM, then drain."""
    changes, log = apply_project(project), structlog.get_logger("up")
    for what in changes.done:
        log.info("applied", change=what)
    for what in changes.differences:
        log.warning("differs from its contract", what=what)
    for what in changes.warnings:
        log.warning("a contract asks for more", what=what)
    console = Console(stderr=True)
    stop = Stop()
    with stop_on_signals(stop), running(project) as members:
        if console.is_terminal:
            with Live(board(members), console=console) as live:
                logs.configure("up")  # onto the standard error of now: lines go above the board
                while not stop.wait(BOARD_SECONDS):
                    live.update(board(members))
        else:
            tell_readiness(members, stop)
        console.print("draining")
    return ExitCode.OK
