"""``sluice doctor``: whether a project can run, and what to mend where it cannot."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from services.bootstrap import open_project, read_project
from services.cli.answers import print_json, printable, screen, waiting
from services.cli.running import require_project
from services.exit_codes import ExitCode
from services.redaction import HIDDEN
from services.settings import FILE
from services.setup.doctor import FOLDER_CHECKS, Finding, Level, fine, guarded, run_checks
from services.setup.doctor_outside import OUTSIDE_CHECKS

_COLORS = {Level.FINE: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}


def show_findings(folder: Path, *, as_json: bool) -> ExitCode:
    """Answer ``sluice doctor``: each finding as it is made."""
    findings = []
    for finding in examined(folder):
        findings.append(finding)
        if not as_json:
            _show(finding)
    counts = Counter(finding.level for finding in findings)
    code = ExitCode.CHECK_FAILED if counts[Level.FAILED] else ExitCode.OK
    if as_json:
        body = [HIDDEN.value(asdict(finding)) for finding in findings]
        print_json({"ok": code is ExitCode.OK, "findings": body})
    else:
        screen().print(", ".join(f"{counts[level]} {level}" for level in Level))
    return code


def examined(folder: Path) -> Iterator[Finding]:
    """Every finding, as it is made. What cannot be read ends it; all else goes on."""
    settings = list(guarded("settings", lambda: _settings(folder)))
    yield from settings
    if any(finding.level is Level.FAILED for finding in settings):
        return
    project = read_project(folder)
    failed: set[str] = set()
    told: set[str] = set()
    for finding in run_checks(project, FOLDER_CHECKS):
        if finding.level is Level.FAILED:
            failed.add(finding.check)
        if finding.what not in told:  # a wrong source also ends the checks that need its streams
            yield finding
        told.add(finding.what)
    if failed & {"sources", "contracts"}:  # topics and tables follow from them
        what = "broker, registry and warehouse are looked at once sources and contracts are right"
        yield Finding("outside", Level.WARNING, what, "mend what failed above")
    else:
        yield from guarded("outside", lambda: _outside(folder))


def _settings(folder: Path) -> Iterator[Finding]:
    require_project(folder)
    read_project(folder)
    yield fine("settings", f"{folder / FILE} is understood")


def _outside(folder: Path) -> Iterator[Finding]:
    with ExitStack() as stack:
        with waiting("starting the embedded broker and warehouse, or finding them"):
            project = stack.enter_context(open_project(folder))
        yield from run_checks(project, OUTSIDE_CHECKS)


def _show(finding: Finding) -> None:
    console = screen()
    line = Text.assemble(
        (f"{finding.level:<8}", _COLORS[finding.level]),
        f"{finding.check:<10} {printable(HIDDEN.text(finding.what))}",
    )
    if finding.level is not Level.FINE and finding.remedy:
        line.append(f"\n{'':<19}{printable(HIDDEN.text(finding.remedy))}", "dim")
    console.print(line, soft_wrap=True)
