"""What every process has beside its work: health, metrics and a way to be stopped."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from services.bootstrap import Project
from services.monitor.health import Health
from services.monitor.server import Admin, routes
from services.monitor.watch import Watch
from services.run import Stop, leave_in_time, stop_on_signals

BEAT_SECONDS = 1.0
LEAVE_MARGIN_SECONDS = 4.0  # to leave the group and close sessions, after what is waited for
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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


async def beat(
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
