"""The loader: moves events from the log into the warehouse."""

from collections.abc import Mapping

import structlog

from consumers.loading.load import drain_once, load_once
from consumers.loading.loader import LoadPorts, LoadState
from consumers.loading.measure import unready
from schemas.errors import SluiceError
from services.bootstrap import Project
from services.bootstrap.loader import load_policy, load_ports, load_state
from services.collector import calm_collector
from services.exit_codes import ExitCode
from services.monitor.health import Health, Standing
from services.processes.watched import watched
from services.run import Supervision, run_loop

PARTITIONS, UNASSIGNED = "partitions", "waits for its partitions"
SPARE_SECONDS = 30.0  # without a partition: there are more loaders than partitions
QUIET = frozenset({"committed", "delivering"})


def run_loader(project: Project) -> ExitCode:
    """Load until SIGTERM; then finish the batches under way, or leave them to the next."""
    with watched(project, "loader", project.settings.loader.drain_seconds) as here:
        state, policy = load_state(project), load_policy(project)
        under = Supervision(here.health, project.metrics, project.clock, here.stop)
        calm_collector()
        began = project.clock.monotonic()
        here.health.ready(PARTITIONS, ok=False, why=UNASSIGNED)
        ports = load_ports(project, noted)

        def turn() -> None:
            load_once(ports, state, policy)
            report_partitions(state, here.health, project.clock.monotonic() - began)

        try:
            code = run_loop("loader", turn, under)
            if code is ExitCode.OK:
                here.health.stop(here.stop.reason)
                drain(project, ports, state)
        finally:
            ports.lanes.close(1.0)
            ports.log.close()
    return code


def report_partitions(state: LoadState, health: Health, seconds: float) -> None:
    """What is held ``seconds`` after the start: each partition's readiness and last advance.

    A loader that the group gives none for so long is a spare, and ready.
    """
    held = state.ownership.held
    health.hold(
        {
            f"{partition.topic}/{partition.number}": Standing(
                unready(here), here.advanced_at, {"next_offset": here.committed, "lag": here.lag}
            )
            for partition, here in held.items()
        }
    )
    why = "" if held or seconds >= SPARE_SECONDS else UNASSIGNED
    told = health.state().checks.get(PARTITIONS)
    if told is None or (told.ok, told.why.get("what", "")) != (not why, why):
        health.ready(PARTITIONS, ok=not why, why=why)


def drain(project: Project, ports: LoadPorts, state: LoadState) -> None:
    """Load what is batched, for as long as a stop may take; the rest is read again."""
    deadline = project.clock.monotonic() + project.settings.loader.drain_seconds
    try:
        while not state.idle and project.clock.monotonic() < deadline:
            drain_once(ports, state)
    except SluiceError as error:
        noted("drain_ended", {"error": str(error), "then": "what is batched is read again"})


def noted(event: str, fields: Mapping[str, object]) -> None:
    """What the loader notes, in its log. Fits :data:`consumers.loading.loader.Note`.

    Health does not listen: a note tells what happened, not where its partition stands now.
    """
    log = structlog.get_logger("loader")
    if event in QUIET:
        log.info(event, **fields)
    else:
        log.warning(event, **fields)
