"""The demo's folder: a copy of the project, with ports of its own and secrets for one run."""

import base64
import fcntl
import secrets
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SetupError

PROJECT = Path(__file__).with_name("project")
MARK = 'project = "demo"'  # in the sluice.toml of a folder that is ours
HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)  # below those that systems take for outgoing connections
_FIXED = {
    "gateway": "port = 8080",
    "gateway_admin": "gateway_port = 9101",
    "poller_admin": "poller_port = 9102",
    "loader_admin": "loader_port = 9103",
    "carrier": ":8099/",
}
"""What the packaged sluice.toml says of each port, once."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """A folder that is ready to run."""

    root: Path
    ports: Mapping[str, int]
    environ: Mapping[str, str]  # the secrets, for the processes

    @property
    def gateway_url(self) -> str:
        """Where webhooks go."""
        return f"http://{HOST}:{self.ports['gateway']}"

    @property
    def carrier_url(self) -> str:
        """Where the carriers' API is."""
        return f"http://{HOST}:{self.ports['carrier']}"

    @property
    def webhook_secrets(self) -> dict[str, str]:
        """The secret of each sender."""
        return {name: self.environ[f"DEMO_{name.upper()}_SECRET"] for name in ("noaa", "faa")}


def make_folder(root: Path) -> DemoFolder:
    """Wipe ``root`` and put the project there.

    Raises SetupError for a folder with something else in it, or whose demo is still running.
    """
    root = root.resolve()
    _check_ours(root)
    shutil.rmtree(root, ignore_errors=True)
    ignored = shutil.ignore_patterns("__init__.py", "__pycache__")
    shutil.copytree(PROJECT, root, ignore=ignored)
    ports = dict(zip(_FIXED, free_ports(len(_FIXED)), strict=True))
    file = root / "sluice.toml"
    file.write_text(with_ports(file.read_text(), ports))
    return DemoFolder(root, ports, _new_secrets())


def _check_ours(root: Path) -> None:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    file = root / "sluice.toml"
    if not file.is_file() or MARK not in file.read_text(errors="replace").splitlines():
        raise SetupError(
            "the folder holds something that is not the demo's",
            where=str(root),
            remedy="name another one with --folder; what is in it would be deleted",
        )
    lock = root / ".sluice" / "run" / "stack.lock"
    if not lock.exists():
        return
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(
                "a demo is running in this folder",
                where=str(root),
                remedy="stop it with Ctrl-C, or name another folder with --folder",
            ) from None


def with_ports(text: str, ports: Mapping[str, int]) -> str:
    """The settings with these ports in place of the fixed ones."""
    for name, fixed in _FIXED.items():
        if text.count(f"\n{fixed}") + text.count(f"{HOST}{fixed}") != 1:
            raise AssertionError(f"sluice.toml of the demo says {fixed!r} not exactly once")
        number = fixed.strip(":/").rsplit(maxsplit=1)[-1]
        text = text.replace(fixed, fixed.replace(number, str(ports[name])))
    return text


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now. Raises SetupError."""
    first = secrets.randbelow(len(PORTS))
    found: list[int] = []
    for step in range(len(PORTS)):
        port = PORTS[(first + step) % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise SetupError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}", where=HOST)


def _new_secrets() -> dict[str, str]:
    def key() -> str:
        return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"

    return {
        "DEMO_NOAA_SECRET": key(),
        "DEMO_FAA_SECRET": key(),
        "DEMO_CARRIER_TOKEN": secrets.token_urlsafe(24),
    }
