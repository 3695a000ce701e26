"""The loader: moves events from the log into the warehouse."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from consumers.load import drain_once, load_once
from consumers.loader import LoadPorts, LoadState
from consumers.measure import not_taken_up
from schemas.errors import SluiceError
from services.bootstrap import Project
from services.bootstrap.loader import load_policy, load_ports, load_state
from services.collector import calm_collector
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.processes.watched import watched
from services.run import Supervision, run_loop

PARTITIONS, UNASSIGNED = "partitions", "waits for its partitions"
SPARE_SECONDS = 30.0  # without a partition: there are more loaders than partitions
QUIET = frozenset({"committed", "delivering"})


def run_loader(project: Project) -> ExitCode:
    """Load until SIGTERM; then finish the batches under way, or leave them to the next."""
    with watched(project, "loader", project.settings.loader.drain_seconds) as here:
        ports = load_ports(project, noting(here.health))
        state, policy = load_state(project), load_policy(project)
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
