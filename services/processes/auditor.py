"""The auditor: a long-running process like the others, with health and metrics beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from consumers.books.audit import AuditPorts
from consumers.books.auditor import AuditorPolicy, AuditorPorts, AuditorState, audit_next
from services.bootstrap import Project
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.processes.watched import Watched, watched
from services.run import SLICE_SECONDS, Supervision, run_loop

NAME = "auditor"
AUDIT_BEAT_SECONDS_MAX = 900.0  # one query over the largest table, or one read of the log
LEAVE_SECONDS = 5.0  # it writes nothing, so that nothing is finished


class _StoppedError(Exception):
    """The process was asked to end in the middle of an audit."""


def run_auditor(project: Project, every_seconds: float, for_seconds: float | None) -> ExitCode:
    """Audit every so often until SIGTERM; or for so long, and then say whether books balance.

    After ``for_seconds`` it ends with CHECK_FAILED where the last audit found something.
    """
    with watched(project, NAME, LEAVE_SECONDS) as here:
        policy = AuditorPolicy(every_seconds, project.settings.audit.full_every_seconds)
        state = AuditorState(project.streams)
        reader, warehouse = project.reader(), project.warehouse()
        audit = AuditPorts(reader, warehouse, lambda _topic, _count: _go_on(here))
        ports = AuditorPorts(audit, project.clock, project.metrics, Noted(here.health))
        ends = None if for_seconds is None else project.clock.monotonic() + for_seconds
        under = Supervision(here.health, project.metrics, project.clock, here.stop)
        try:
            code = run_loop(NAME, lambda: _turn(ports, state, policy, here, ends), under)
        finally:
            warehouse.close()
            reader.close()
        here.health.stop(here.stop.reason)
    over = ends is not None and project.clock.monotonic() >= ends
    return ExitCode.CHECK_FAILED if code is ExitCode.OK and over and state.unbalanced else code


def _turn(
    ports: AuditorPorts,
    state: AuditorState,
    policy: AuditorPolicy,
    here: Watched,
    ends: float | None,
) -> None:
    """Audit if it is time to, and wait a little."""
    here.health.beat(NAME, AUDIT_BEAT_SECONDS_MAX)
    try:
        audit_next(ports, state, policy)
    except _StoppedError:
        return
    if ends is not None and ports.clock.monotonic() >= ends:
        here.stop.set("its time is over")
    here.stop.wait(SLICE_SECONDS)


def _go_on(here: Watched) -> None:
    """Between two reads of the log."""
    here.health.beat(NAME, AUDIT_BEAT_SECONDS_MAX)
    if here.stop.is_set():
        raise _StoppedError


@dataclass(frozen=True, slots=True)
class Noted:
    """What the auditor notes, in the log and in its health."""

    health: Health

    def __call__(self, event: str, fields: Mapping[str, object]) -> None:
        """Fits :data:`consumers.loading.loader.Note`."""
        log = structlog.get_logger(NAME)
        if event == "does not balance":
            log.error(event, **fields)
            return
        log.info(event, **fields)
        if event == "audited":
            self.health.advance("books", fields)
