"""The addresses that a project's processes listen on, and whether they can be had."""

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from services.admin_ports import asked, roles
from services.bootstrap import Project


@dataclass(frozen=True, slots=True)
class Address:
    """One address. ``problem``: why it cannot be had, empty if it can."""

    setting: str  # of sluice.toml, such as ``gateway.port``
    host: str
    port: int
    role: str
    problem: str = ""
    ours: bool = False  # the role that belongs there runs already

    @override
    def __str__(self) -> str:
        """``host:port`` and how it stands."""
        state = f"is the running {self.role}'s" if self.ours else self.problem or "is free"
        return f"{self.host}:{self.port} {state}"

    @property
    def remedy(self) -> str:
        """What to do about the problem."""
        if self.ours:
            return "end the `sluice up` that runs already, or set other ports in sluice.toml"
        return f"set another {self.setting} in sluice.toml, or end what uses it"


def addresses(project: Project) -> Iterator[Address]:
    """Every address that the project's processes need. Raises SetupError for wrong sources."""
    settings, wanted = project.settings, roles(project)
    places = [
        (f"admin.{role}_port", settings.admin.host, port, role) for role, port in wanted.items()
    ]
    if "gateway" in wanted:
        places.append(("gateway.port", settings.gateway.host, settings.gateway.port, "gateway"))
    for setting, host, port, role in places:
        problem = _problem(host, port)
        admin = f"http://{settings.admin.host}:{wanted[role]}/live"
        yield Address(
            setting, host, port, role, problem, bool(problem) and asked(admin) is not None
        )


def _problem(host: str, port: int) -> str:
    """Why the address cannot be had; empty if it can, or if any port will do."""
    if port == 0:
        return ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
    return ""
