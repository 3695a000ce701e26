"""The command line in a project folder, and the commands of a README."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from services.cli.app import JSON_ASKED, declared
from services.exit_codes import ExitCode

UP_SECONDS_MAX = 240
SEEN_SECONDS_MAX = 60


@dataclass(frozen=True)
class Sluice:
    """The command line in a project folder."""

    folder: Path
    gateway_port: int

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        binaries = Path(sys.executable).parent
        environ = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_PROXY": "*"}
        return subprocess.run(
            ["/bin/sh", "-c", script], cwd=self.folder, env=environ, capture_output=True, text=True,
            timeout=180, check=False,
        )  # fmt: skip

    def __call__(self, *arguments: str, code: int = 0) -> str:
        token = JSON_ASKED.set(False)
        done = CliRunner().invoke(declared(), [*arguments, "--project", str(self.folder)])
        JSON_ASKED.reset(token)
        assert done.exit_code == code, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, ExitCode.CHECK_FAILED} else done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("sql", statement)
        return found

    def readme(self, heading: str) -> list[str]:
        """The commands under a heading of the README, one text a block."""
        text = (self.folder / "README.md").read_text()
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)

    def send_order(self, order_id: str, amount: str = "12.50") -> subprocess.CompletedProcess[str]:
        """As the README says, with another id and amount."""
        (block,) = self.readme("Send an order")
        return self.shell(block.replace('"A-1"', f'"{order_id}"').replace('"12.50"', f'"{amount}"'))


def wait_for_up(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + UP_SECONDS_MAX
    while "everything is up" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def seen(project: Sluice, statement: str, number: int) -> list[dict[str, Any]]:
    """The rows of a query, once there are as many."""
    deadline = time.monotonic() + SEEN_SECONDS_MAX
    while len(rows := project.rows(statement)) < number:
        assert time.monotonic() < deadline, rows
    return rows
