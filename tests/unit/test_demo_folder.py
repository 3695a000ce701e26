"""The folder that the demo runs in."""

import fcntl
import tomllib
from pathlib import Path

import pytest

from schemas.errors import SetupError
from services.demo.expected import FLIGHTS, PLANES, WEATHER
from services.demo.folder import PROJECT, free_ports, make_folder, with_ports
from services.project import load_contracts
from services.settings import load

pytestmark = pytest.mark.enable_socket  # free ports are found by trying them


def test_the_folder_is_a_project_with_ports_of_its_own_and_new_secrets(tmp_path: Path) -> None:
    one, other = make_folder(tmp_path / "one"), make_folder(tmp_path / "other")
    assert one.environ.keys() == {"DEMO_NOAA_SECRET", "DEMO_FAA_SECRET", "DEMO_CARRIER_TOKEN"}
    assert not set(one.environ.values()) & set(other.environ.values())
    settings = load(one.root)
    assert settings.gateway.port == one.ports["gateway"]
    assert settings.admin.loader_port == one.ports["loader_admin"]
    assert settings.sources["flights"]["base_url"] == f"{one.carrier_url}/v1"
    assert load_contracts(one.root / "contracts").keys() == {FLIGHTS, WEATHER, PLANES}
    assert not list(one.root.rglob("__init__.py"))
    assert not any(
        secret in (one.root / "sluice.toml").read_text() for secret in one.environ.values()
    )


def test_a_demo_of_before_is_wiped(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "demo").root
    (root / ".sluice").mkdir()
    (root / ".sluice" / "old").touch()
    make_folder(root)
    assert not (root / ".sluice" / "old").exists()


@pytest.mark.parametrize("text", [None, 'project = "shop"\n'])
def test_what_is_not_the_demos_is_never_wiped(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "precious").touch()
    if text is not None:
        (tmp_path / "sluice.toml").write_text(text)
    with pytest.raises(SetupError, match="not the demo's"):
        make_folder(tmp_path)
    assert (tmp_path / "precious").exists()


def test_a_running_demo_is_left_alone(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "demo").root
    (root / ".sluice" / "run").mkdir(parents=True)
    with (root / ".sluice" / "run" / "stack.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match="a demo is running"):
            make_folder(root)


def test_ports_are_different_and_the_packaged_settings_are_valid() -> None:
    assert len(set(free_ports(5))) == 5
    text = (PROJECT / "sluice.toml").read_text()
    names = ("gateway", "gateway_admin", "poller_admin", "loader_admin", "carrier")
    changed = tomllib.loads(with_ports(text, {name: 1_000 + n for n, name in enumerate(names)}))
    assert changed["gateway"] == {"port": 1_000}
    assert changed["admin"] == {"gateway_port": 1_001, "poller_port": 1_002, "loader_port": 1_003}
    assert changed["sources"]["flights"]["base_url"] == "http://127.0.0.1:1004/v1"
