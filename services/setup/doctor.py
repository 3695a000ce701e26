"""Pre-flight checks: what this machine and the project's folder can tell without a network."""

import ipaddress
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from schemas.avro import wire_schema
from schemas.contract import DEAD_SUFFIX
from schemas.errors import SetupError, SluiceError, TransientError
from services.bootstrap import Project
from services.dictionary import judging
from services.project import CONTRACTS, load_contract
from services.secrets import named_in
from services.setup.addresses import addresses

AGAIN = "it may pass: run sluice doctor again; if it stays, mend what is named here"
FREE_BYTES_MIN = 1_000_000_000
FREE_BYTES_FEW = 5_000_000_000


class Level(StrEnum):
    """What a finding means."""

    FINE = "ok"
    WARNING = "warning"  # it will run, but somebody should know
    FAILED = "failed"  # it will not run, or not as promised


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``remedy`` says how to mend what is not fine."""

    check: str
    level: Level
    what: str
    remedy: str = ""


Check = Callable[[Project], Iterator[Finding]]


def run_checks(project: Project, checks: dict[str, Check]) -> Iterator[Finding]:
    """Every finding of every check, in order; an error of a check is its last finding."""
    for name, check in checks.items():
        yield from guarded(name, partial(check, project))


def guarded(name: str, findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings; the error that ends them becomes one more."""
    try:
        yield from findings()
    except (SetupError, TransientError) as error:
        yield failed(name, error)


def failed(name: str, error: SluiceError) -> Finding:
    """An error as a finding."""
    where = f"{error.where}: " if error.where else ""
    return Finding(name, Level.FAILED, f"{where}{error.what}", error.remedy or AGAIN)


def fine(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.FINE, what)


def check_secrets(project: Project) -> Iterator[Finding]:
    """Every named secret can be fetched, is not empty, and its file is its owner's alone."""
    names = sorted({name for _, name in named_in(project.settings.model_dump(mode="json"))})
    for name in names:
        yield from guarded("secrets", partial(_check_secret, project, name))
    if not names:
        yield fine("secrets", "none are named")


def _check_secret(project: Project, name: str) -> Iterator[Finding]:
    shown = name if not name.startswith("command:") else "command:..."
    if not project.secret(name):
        yield Finding("secrets", Level.FAILED, f"{shown} is empty", "put the secret there")
        return
    path = project.settings.root / name.partition(":")[2]
    if name.startswith("file:") and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"{shown} may be read by others on this machine"
        yield Finding("secrets", Level.WARNING, what, f"chmod 600 {path}")
    else:
        yield fine("secrets", f"{shown} is there")


def check_sources(project: Project) -> Iterator[Finding]:
    """Every source can be built from its settings."""
    for name, table in project.settings.sources.items():
        alone = project.settings.model_copy(update={"sources": {name: table}})
        yield from guarded("sources", partial(_check_source, replace(project, settings=alone)))
    if not project.settings.sources:
        what = "none; no process of this project takes anything in"
        yield Finding("sources", Level.WARNING, what, "add a table [sources.NAME] to sluice.toml")


def _check_source(project: Project) -> Iterator[Finding]:
    for name, source in project.webhooks.items():
        scheme = project.webhook_configs[name].verify or {}
        if scheme.get("scheme") == "none":
            what = f"{name}: deliveries are not verified; anybody can send events"
            remedy = f"choose a scheme in sources.{name}.verify"
            yield Finding("sources", Level.WARNING, what, remedy)
        else:
            yield fine("sources", f"{name}: webhook, POST /v1/in/{source.name}")
    for name, rest in project.rest_sources.items():
        yield fine("sources", f"{name}: polls {len(rest.streams)} stream(s) of {rest.base_url}")


def check_contracts(project: Project) -> Iterator[Finding]:
    """Every contract compiles; how its events are judged."""
    damaged = False
    for path in sorted((project.settings.root / CONTRACTS).glob("*.py")):
        if path.name.startswith("_"):
            continue
        try:
            load_contract(path)
        except SetupError as error:
            damaged = True
            yield failed("contracts", error)
    if damaged:
        return
    for name, contract in sorted(project.streams.items()):
        if name.endswith(DEAD_SUFFIX):
            continue
        wire_schema(contract)
        how = judging(contract)
        if contract.fields and contract.fields[0].name == "payload" and len(contract.fields) == 1:
            yield fine("contracts", f"{name}: none; its events land as JSON")
        elif how == "vectorised":
            yield fine("contracts", f"{name}: {how}")
        else:
            remedy = "say it by Field constraints where they can; see docs/contracts.md"
            yield Finding("contracts", Level.WARNING, f"{name}: judged {how}", remedy)


def check_addresses(project: Project) -> Iterator[Finding]:
    """Nothing listens to other machines by mistake, and every port is free or ours."""
    settings = project.settings
    for section, host in (("gateway", settings.gateway.host), ("admin", settings.admin.host)):
        if not _is_loopback(host):
            yield Finding(
                "addresses",
                Level.WARNING,
                f"{section}.host = {host!r} takes connections from other machines, without TLS",
                "let only a TLS proxy reach it, or bind to 127.0.0.1",
            )
    for address in addresses(project):
        what = f"{address.setting}: {address}"
        if address.problem and not address.ours:
            yield Finding("addresses", Level.FAILED, what, address.remedy)
        else:
            yield fine("addresses", what)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_state(project: Project) -> Iterator[Finding]:
    """The state folder can be written to and has room."""
    folder = project.settings.state
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        what = f"{folder} cannot be written to ({error.strerror})"
        yield Finding("state", Level.FAILED, what, "set state_dir to a folder of ours")
        return
    what = f"{folder}: {free / 1e9:.1f} GB free"
    if free < FREE_BYTES_MIN:
        yield Finding("state", Level.FAILED, what, "make room: seen keys and the log need it")
    elif free < FREE_BYTES_FEW:
        yield Finding("state", Level.WARNING, what, "make room before it fills up")
    else:
        yield fine("state", what)


FOLDER_CHECKS: dict[str, Check] = {
    "secrets": check_secrets,
    "sources": check_sources,
    "contracts": check_contracts,
    "addresses": check_addresses,
    "state": check_state,
}
"""What needs neither broker nor warehouse."""
