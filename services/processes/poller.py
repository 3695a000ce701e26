"""The poller: asks sources that do not call."""

import asyncio

import uvloop

from schemas.errors import REMEDY
from services.bootstrap import Project
from services.bootstrap.poller import poll_ports
from services.collector import calm_collector
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.poller.progress import UNHEALTHY, Board, Progress, StreamState
from services.poller.run import run as poll
from services.processes.watched import Watched, beat, watched
from services.redaction import in_one_line
from services.run import UNREADY_TRIES

POLLER_LEAVE_SECONDS = 20.0  # an answer and a transaction
FIRST = "waits for its first page"


def run_poller(project: Project, *, once: bool = False) -> ExitCode:
    """Poll until SIGTERM, or every stream ``once``; pages under way are finished."""
    with watched(project, "poller", POLLER_LEAVE_SECONDS) as here:
        uvloop.run(_poller(project, here, once=once))
    return ExitCode.OK


async def _poller(project: Project, here: Watched, *, once: bool) -> None:
    stop = asyncio.Event()
    ports = poll_ports(project)
    beating = asyncio.create_task(
        beat(here, "poller", stop, lambda: report_streams(ports.board, here.health))
    )
    calm_collector()
    for source, rest in project.rest_sources.items():
        for stream in rest.streams:
            here.health.ready(f"{source}/{stream.stream}", ok=False, why=FIRST)
    here.health.ready("poller", ok=True)
    try:
        await poll(ports, project.settings, stop, once=once)
    finally:
        beating.cancel()


def report_streams(board: Board, health: Health) -> None:
    """Readiness by stream: not before its first turn or page, nor while somebody has to act.

    While a turn runs after one that failed, the verdict of that one holds.
    """
    checks = health.state().checks
    for row in board.rows:
        if row.failures and row.state is StreamState.RUNNING:
            continue
        name, why = f"{row.source}/{row.stream}", _why_unready(row)
        told = checks.get(name)
        if told is None or (told.ok, told.why.get("what", "")) != (not why, why):
            health.ready(name, ok=not why, why=why)


def _why_unready(row: Progress) -> str:
    if row.state in UNHEALTHY or row.failures >= UNREADY_TRIES:
        what, _, remedy = row.error.partition(REMEDY)
        return in_one_line(what, remedy=remedy)
    begun = row.pages or row.failures or row.last_success is not None
    return "" if begun else FIRST
