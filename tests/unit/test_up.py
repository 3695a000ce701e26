"""`sluice up`: addresses before anything is started, and who is not ready afterwards."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from typer.testing import CliRunner

from schemas.errors import SetupError
from services.adapters.clock import SystemClock
from services.cli import running, up
from services.cli.app import JSON_ASKED, declared
from services.cli.init import write_project
from services.cli.up import Member, require_startable, tell_readiness
from services.embedded.process import Process, ProcessSpec
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.monitor.server import Admin, routes

pytestmark = pytest.mark.enable_socket
WHY = "env:BILLING_TOKEN is not set"


@dataclass
class Turns:
    """A stop flag that is raised after some waits; ``health`` mends itself before that."""

    left: int
    health: Health | None = None
    waited: list[float] = field(default_factory=list)

    def is_set(self) -> bool:
        return self.left <= 0

    def wait(self, seconds: float) -> bool:
        self.left -= 1
        self.waited.append(seconds)
        if self.health is not None and len(self.waited) > up.READY_TRIES:
            self.health.ready("poller", ok=True)
        return self.is_set()


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    token = JSON_ASKED.set(False)
    yield
    JSON_ASKED.reset(token)
    structlog.reset_defaults()


@pytest.fixture
def health() -> Health:
    return Health(SystemClock(), ("poller",))


@pytest.fixture
def admin(health: Health) -> Iterator[Admin]:
    opened = Admin("127.0.0.1", 0, health, routes(health, bytes, "text/plain"), lambda: None)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project whose ports are free, and which nobody may start."""
    write_project(tmp_path / "shop")
    for name in ("GATEWAY__PORT", "ADMIN__GATEWAY_PORT", "ADMIN__LOADER_PORT"):
        monkeypatch.setenv(f"SLUICE_{name}", str(free_port()))

    def refuse(_folder: Path) -> object:
        raise AssertionError("the broker and the warehouse were started")

    monkeypatch.setattr(running, "open_project", refuse)
    return tmp_path / "shop"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def member(folder: Path, port: int) -> Member:
    process = Process(ProcessSpec("poller", [], folder))
    return Member("poller", process, f"http://127.0.0.1:{port}")


def test_a_taken_port_is_named_with_setting_and_remedy_before_anything_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("SLUICE_GATEWAY__PORT", str(port))
        done = CliRunner().invoke(declared(), ["up", "--project", str(folder)])
    assert done.exit_code == ExitCode.SETUP
    error, where, remedy = done.stderr.splitlines()
    assert error.split(maxsplit=1) == ["error", f"127.0.0.1:{port} is taken"]
    assert where.split(maxsplit=1) == ["where", "sluice.toml: gateway.port"]
    assert "set another gateway.port" in remedy


def test_a_missing_secret_is_named_with_its_setting_and_before_a_taken_port(
    folder: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_ADMIN__LOADER_PORT", str(admin.port))
    settings = folder / "sluice.toml"
    settings.write_text(settings.read_text().replace("file:secrets/shop", "file:secrets/nope"))
    done = CliRunner().invoke(declared(), ["up", "--project", str(folder)])
    assert done.exit_code == ExitCode.SETUP
    error, where, _ = (line.split(maxsplit=1)[1] for line in done.stderr.splitlines())
    assert error.startswith("the secret's file cannot be read")
    assert where == "file:secrets/nope (sources.shop.secrets)"  # and nothing of it is masked


def test_a_second_up_is_told_that_the_first_one_runs(
    folder: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_ADMIN__LOADER_PORT", str(admin.port))
    with pytest.raises(SetupError, match=f":{admin.port} is the running loader's") as caught:
        require_startable(folder)
    assert caught.value.where == "sluice.toml: admin.loader_port"
    assert "end the `sluice up` that runs already" in caught.value.remedy


def test_free_ports_and_open_doors_do_not_keep_up_from_starting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_GATEWAY__HOST", "0.0.0.0")  # noqa: S104 - doctor warns of it
    require_startable(folder)


def test_everything_is_up_is_said_once_everything_is_ready(
    tmp_path: Path, admin: Admin, health: Health
) -> None:
    health.ready("poller", ok=True)
    with capture_logs() as lines:
        tell_readiness([member(tmp_path, admin.port)], Turns(3))
    assert [(line["event"], line["processes"]) for line in lines] == [
        ("everything is up", ["poller"])
    ]


def test_a_process_that_is_not_ready_is_named_once_with_its_reason_and_goes_on(
    tmp_path: Path, admin: Admin, health: Health
) -> None:
    health.ready("poller", ok=False, why=WHY)
    stop = Turns(3 * up.READY_TRIES)
    with capture_logs() as lines:
        tell_readiness([member(tmp_path, admin.port)], stop)
    assert stop.is_set()
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("a process is not ready", "warning")
    assert (line["process"], line["reason"]) == ("poller", f"poller: {WHY}")
    assert line["log"] == str(tmp_path / "poller.log")


def test_a_process_that_does_not_answer_is_named_too(tmp_path: Path) -> None:
    with capture_logs() as lines:
        tell_readiness([member(tmp_path, free_port())], Turns(up.READY_TRIES))
    assert [(line["process"], line["reason"]) for line in lines] == [("poller", "no answer")]


def test_a_process_that_is_mended_later_is_told_as_well(
    tmp_path: Path, admin: Admin, health: Health
) -> None:
    health.ready("poller", ok=False, why=WHY)
    stop = Turns(3 * up.READY_TRIES, health)
    with capture_logs() as lines:
        tell_readiness([member(tmp_path, admin.port)], stop)
    assert [line["event"] for line in lines] == ["a process is not ready", "everything is up"]


@dataclass
class Script:
    """A stop flag that makes the process ready or not, wait by wait, and then is raised."""

    health: Health
    states: list[bool]

    def is_set(self) -> bool:
        return not self.states

    def wait(self, seconds: float) -> bool:
        del seconds
        self.health.ready("poller", ok=self.states.pop(0), why=WHY)
        return self.is_set()


@pytest.mark.parametrize("tries", [up.READY_TRIES - 1, up.READY_TRIES, 3 * up.READY_TRIES])
def test_a_process_that_stops_being_ready_later_is_told_and_that_it_is_again(
    tries: int, tmp_path: Path, admin: Admin, health: Health
) -> None:
    health.ready("poller", ok=True)
    script = Script(health, [True, *[False] * tries, True, True, True])
    with capture_logs() as lines:
        tell_readiness([member(tmp_path, admin.port)], script)
    told = [(line["event"], line.get("reason")) for line in lines]
    assert told[0] == ("everything is up", None)
    assert told[1:] == (
        []
        if tries < up.READY_TRIES
        else [("a process is not ready", f"poller: {WHY}"), ("a process is ready again", None)]
    )
