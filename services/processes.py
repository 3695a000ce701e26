"""The long-running processes: gateway, poller, loader. Each with health and metrics beside it."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog
import uvloop

from consumers.load import drain_once, load_once
from consumers.loader import LoadPorts, LoadState
from consumers.measure import not_taken_up
from schemas.errors import SluiceError
from services.bootstrap import Project
from services.collector import calm_collector
from services.exit_codes import ExitCode
from services.gateway.rotation import keep_secrets
from services.gateway.serve import listen, serve
from services.monitor.health import Health
from services.monitor.server import Admin, routes
from services.monitor.watch import Watch
from services.poller.progress import UNHEALTHY, Board, Progress, StreamState
from services.poller.run import run as poll
from services.run import (
    UNREADY_TRIES,
    Stop,
    Supervision,
    leave_in_time,
    run_loop,
    stop_on_signals,
)

BEAT_SECONDS = 1.0
LEAVE_MARGIN_SECONDS = 4.0  # to leave the group and close sessions, after what is waited for
POLLER_LEAVE_SECONDS = 20.0  # an answer and a transaction
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PARTITIONS, UNASSIGNED = "partitions", "waits for its partitions"
SPARE_SECONDS = 30.0  # without a partition: there are more loaders than partitions
FIRST = "waits for its first page"
QUIET = frozenset({"committed", "delivering"})


@dataclass(frozen=True, slots=True)
class Watched:
    """A process with its admin port open."""

    health: Health
    stop: Stop


@contextmanager
def watched(project: Project, role: str, leave_seconds: float) -> Iterator[Watched]:
    """Health, metrics and the stop flag of a process, until the exit. Raises SetupError.

    The process ends soon after it has been stopped for ``leave_seconds``, whatever still hangs.
    """
    port: int = getattr(project.settings.admin, f"{role}_port")
    health = Health(project.clock, (role,))
    metrics = project.metrics
    watch = Watch(health, metrics)
    table = routes(health, metrics.text, METRICS_TYPE)
    admin = Admin(project.settings.admin.host, port, health, table, watch.tick)
    structlog.get_logger(role).info("admin port open", port=admin.port)
    stop = Stop()
    push = None
    try:
        push = project.metrics_push(role, f"{socket.gethostname()}:{admin.port}")
        with stop_on_signals(stop), leave_in_time(stop, leave_seconds + LEAVE_MARGIN_SECONDS):
            yield Watched(health, stop)
    finally:
        if push is not None:
            push.close()
        admin.close()


def run_gateway(project: Project) -> ExitCode:
    """Serve webhooks until SIGTERM; then answer all that wait, and leave."""
    settings = project.settings.gateway
    longest = settings.body_seconds_max + 2 * settings.ack_seconds_max
    with watched(project, "gateway", longest) as here:
        _ = project.webhooks, project.encoders  # what is wrong with them is said before listening
        listener = listen(settings)
        host, port = listener.getsockname()[:2]
        structlog.get_logger("gateway").info("listening", host=host, port=port)
        uvloop.run(_gateway(project, here, listener))
    return ExitCode.OK


async def _gateway(project: Project, here: Watched, listener: object) -> None:
    stop = asyncio.Event()
    beating = asyncio.create_task(_beat(here, "gateway", stop))
    ports = project.gateway_ports()
    keeping = asyncio.create_task(keep_secrets(ports.sources, project.refreshed))
    here.health.ready("gateway", ok=True)
    try:
        await serve(ports, project.settings.gateway, listener, stop)  # type: ignore[arg-type] # a socket
    finally:
        keeping.cancel()
        beating.cancel()


async def _beat(
    here: Watched, name: str, stop: asyncio.Event, report: Callable[[], None] = lambda: None
) -> None:
    """Show that the event loop turns, ``report``, and pass the stop on to the loop."""
    while True:
        here.health.beat(name)
        report()
        if here.stop.is_set():
            here.health.stop(here.stop.reason)
            stop.set()
        await asyncio.sleep(BEAT_SECONDS / 10)


def run_poller(project: Project, *, once: bool = False) -> ExitCode:
    """Poll until SIGTERM, or every stream ``once``; pages under way are finished."""
    with watched(project, "poller", POLLER_LEAVE_SECONDS) as here:
        uvloop.run(_poller(project, here, once=once))
    return ExitCode.OK


async def _poller(project: Project, here: Watched, *, once: bool) -> None:
    stop = asyncio.Event()
    ports = project.poll_ports()
    beating = asyncio.create_task(
        _beat(here, "poller", stop, lambda: report_streams(ports.board, here.health))
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
        return " ".join(row.error.split())
    begun = row.pages or row.failures or row.last_success is not None
    return "" if begun else FIRST


def run_loader(project: Project) -> ExitCode:
    """Load until SIGTERM; then finish the batches under way, or leave them to the next."""
    with watched(project, "loader", project.settings.loader.drain_seconds) as here:
        ports = project.load_ports(noting(here.health))
        state, policy = project.load_state(), project.load_policy
        under = Supervision(here.health, project.metrics, project.clock, here.stop)
        calm_collector()
        began = project.clock.monotonic()
        here.health.ready(PARTITIONS, ok=False, why=UNASSIGNED)

        def turn() -> None:
            load_once(ports, state, policy)
            report_partitions(ports, state, here.health, project.clock.monotonic() - began)

        code = run_loop("loader", turn, under)
        if code is ExitCode.OK:
            here.health.stop(here.stop.reason)
            drain(project, ports, state)
        ports.lanes.close(1.0)
        ports.log.close()
    return code


def report_partitions(ports: LoadPorts, state: LoadState, health: Health, seconds: float) -> None:
    """Readiness by partitions: all that are held are taken up, ``seconds`` after the start.

    One that the group gives none for so long is a spare, and ready.
    """
    if state.ownership.held:
        why = not_taken_up(ports, state)
    else:
        why = UNASSIGNED if seconds < SPARE_SECONDS else ""
    told = health.state().checks.get(PARTITIONS)
    if told is None or (told.ok, told.why.get("what", "")) != (not why, why):
        health.ready(PARTITIONS, ok=not why, why=why)


def drain(project: Project, ports: LoadPorts, state: LoadState) -> None:
    """Load what is batched, for as long as a stop may take; the rest is read again."""
    deadline = project.clock.monotonic() + project.settings.loader.drain_seconds
    with suppress(SluiceError):
        while not state.idle and project.clock.monotonic() < deadline:
            drain_once(ports, state)


def noting(health: Health) -> "Noted":
    """What the loader notes, in the log and in its health."""
    return Noted(health)


@dataclass(frozen=True, slots=True)
class Noted:
    """Takes the loader's notes."""

    health: Health

    def __call__(self, event: str, fields: Mapping[str, object]) -> None:
        """Fits :data:`consumers.loader.Note`."""
        log = structlog.get_logger("loader")
        if event in QUIET:
            log.info(event, **fields)
        else:
            log.warning(event, **fields)
        name = str(fields.get("topic") or fields.get("partition", "")).partition("/")[0]
        if event == "committed":
            self.health.advance(name, fields)
        if name:
            fine = event in QUIET
            self.health.ready(name, ok=fine, why="" if fine else str(fields.get("error", event)))
