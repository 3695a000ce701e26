"""The README's own project, made, run and asked as the README says, block by block."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.contract import Contract
from services.demo.folder import free_ports
from services.project import load_contract
from tests.support.api import page, serving
from tests.support.command_line import Sluice, seen, wait_for_up

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket, pytest.mark.timeout(600)]
README = Path(__file__).parents[2] / "README.md"
ELSEWHERE = "https://api.example.com"  # what the test replaces, beside the ports
PORTS = ("8080", "9101", "9102", "9103")
INVOICES = [{"id": n, "total": f"{n}.50", "lines": [{"sku": "tea"}]} for n in range(1, 4)]


class Block(NamedTuple):
    language: str
    text: str


def blocks(heading: str) -> list[Block]:
    """The code of a section of the README, in order."""
    section = README.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)]


@contextmanager
def terminal(script: str, folder: Path, environ: dict[str, str]) -> Iterator[None]:
    """What runs in the first terminal, until it is up; Ctrl-C at the end."""
    log = folder.parent / "up.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"set -e\n{script}"], cwd=folder, env=environ, stderr=out
        )
        try:
            wait_for_up(process, log)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(90)
    assert code == 0, log.read_text()


def made(init: str, home: Path) -> tuple[Path, dict[str, str]]:
    """The project's folder, and the terminal's environment: its virtual environment is active."""
    (home / ".venv").symlink_to(sys.prefix)  # the README begins where `make setup` has run
    script = init.replace("~/", f"{home}/")  # not by HOME: Kafka is kept there once it is fetched
    environ = {**os.environ, "NO_PROXY": "*"}
    done = subprocess.run(
        ["/bin/sh", "-c", f"set -e\n{script}env"], cwd=home, env=environ,
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    environ = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return Path(environ["PWD"]), environ


def compare(contract: str, webhook: str, folder: Path) -> None:
    """What the README shows of the project is what was written."""
    orders = load_contract(folder / "contracts/orders.py")
    scope = {"Contract": Contract, "Order": orders.model}
    exec(contract, scope)  # noqa: S102 - our own page
    for part in ("stream", "model", "key", "business_date"):
        assert getattr(scope["CONTRACT"], part) == getattr(orders, part)
    written = tomllib.loads((folder / "sluice.toml").read_text())
    assert tomllib.loads(webhook)["sources"] == written["sources"]


def test_the_project_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    init, contract, webhook, polled, start, send, look = blocks("Your own project")
    folder, environ = made(init.text, tmp_path)
    assert folder == tmp_path / "shop"
    compare(contract.text, webhook.text, folder)
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    toml = folder / "sluice.toml"
    text = re.sub(r"\b(8080|910[123])\b", lambda found: ports[found[0]], toml.read_text())
    project = Sluice(folder, int(ports["8080"]))
    order = send.text.replace("8080", ports["8080"])
    up = start.text.replace("sluice up", "exec sluice up")  # Ctrl-C reaches it, not the shell
    with serving() as api:
        api.route("/v2/invoices", page({"data": INVOICES}))
        toml.write_text(text + polled.text.replace(ELSEWHERE, api.url))
        with terminal(up, folder, environ):
            use(project, order, look.text)
    assert {call.headers["authorization"] for call in api.calls} == {"Bearer its-token"}


def use(project: Sluice, order: str, look: str) -> None:
    """The second terminal."""
    for body in (order, order, order.replace("A-1", "A-2").replace("12.50", "-1")):
        sent = project.shell(body)
        assert json.loads(sent.stdout)["accepted"] == 1, sent.stderr
    seen(project, "SELECT 1 FROM shop_orders", 1)
    seen(project, "SELECT 1 FROM sluice_ledger WHERE duplicates > 0", 1)
    seen(project, "SELECT 1 FROM sluice_dead_letters", 1)
    seen(project, "SELECT 1 FROM billing_invoices", len(INVOICES))
    asked = project.shell(f"set -e\n{look}")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert re.findall(r"A-\d", asked.stdout) == ["A-1"]
    assert "books balance" in asked.stdout
    landed(project)


def landed(project: Sluice) -> None:
    """The rest of what the README says: raw rows, a dead letter, and books that balance."""
    rows = project.rows("SELECT payload, _source FROM billing_invoices ORDER BY payload:id")
    assert [(row["payload"], row["_source"]) for row in rows] == [(i, "billing") for i in INVOICES]
    (dead,) = project.json("dead", "list")
    assert (dead["stream"], dead["event_id"]) == ("shop.orders", "A-2")
    assert project.json("audit")["balanced"]
