"""A project as `sluice init` writes it, run as its README says, seen by every command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import JSON_ASKED, declared
from services.cli.init import write_project
from services.exit_codes import ExitCode
from services.project import load_contract

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
]
UP_SECONDS_MAX = 240
SEEN_SECONDS_MAX = 60
RAW_SOURCE = """
[sources.raw]
kind = "webhook"
verify = { scheme = "none", anyone_may_send = true }
stream = "raw.events"
"""
EVENT = {"id": 1, "at": "2026-01-31T08:00:00Z", "price": 12.5, "tags": ["a"], "who": {"name": "x"}}


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


def free_ports(number: int) -> list[int]:
    held = [socket.socket() for _ in range(number)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(scope="module")
def sluice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sluice]:
    """A new project that is up; only its ports are not those of the template."""
    folder = tmp_path_factory.mktemp("cli") / "shop"
    ports = dict(zip(("8080", "9101", "9102", "9103"), free_ports(4), strict=True))
    project = Sluice(folder, ports["8080"])
    write_project(folder)
    for file in ("sluice.toml", "README.md"):
        text = (folder / file).read_text()
        for old, new in ports.items():
            text = text.replace(old, str(new))
        (folder / file).write_text(text)
    toml = folder / "sluice.toml"
    toml.write_text(toml.read_text() + RAW_SOURCE)
    (line,) = project.readme("Run it")
    arguments = line.split()
    with (folder.parent / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *arguments[1:]], cwd=folder, stderr=log,
        )  # fmt: skip
        try:
            wait_for_up(process, Path(log.name))
            yield project
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(90)
    assert code == 0, Path(log.name).read_text()


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


def test_a_new_project_does_what_its_readme_says(sluice: Sluice) -> None:
    for _ in range(2):  # the second is a duplicate
        sent = sluice.send_order("A-1")
        assert (sent.returncode, json.loads(sent.stdout)["accepted"]) == (0, 1), sent.stderr
    bad = sluice.send_order("A-2", amount="-1")
    assert bad.returncode == 0
    rows = seen(sluice, "SELECT order_id, amount, placed_at FROM shop_orders", 1)
    assert rows == [{"order_id": "A-1", "amount": "12.50", "placed_at": "2026-01-31T08:00:00"}]
    (dead,) = seen(sluice, "SELECT _id, stream, reason FROM sluice_dead_letters", 1)
    assert (dead["stream"], dead["reason"]) == ("shop.orders", "out_of_range")

    (commands,) = sluice.readme("Look at it")
    done = sluice.shell(f"set -e\n{commands}")
    assert done.returncode == 0, done.stderr
    assert "books balance" in done.stdout
    (commands,) = sluice.readme("Go on")
    done = sluice.shell(f"set -e\n{commands}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_forged_order_is_refused(sluice: Sluice) -> None:
    (block,) = sluice.readme("Send an order")
    done = sluice.shell(block.replace("secrets/shop", "sluice.toml"))
    assert done.returncode != 0
    assert "401" in done.stderr


def test_status_tells_where_everything_stands(sluice: Sluice) -> None:
    assert sluice.send_order("S-1").returncode == 0
    seen(sluice, "SELECT 1 FROM shop_orders WHERE order_id = 'S-1'", 1)
    body = sluice.json("status")
    stream = next(each for each in body["streams"] if each["stream"] == "shop.orders")
    assert (stream["table"], stream["lag"]) == ("SHOP_ORDERS", 0)
    assert stream["rows_loaded"] >= 1
    assert stream["business_date"] == "2026-01-31"
    assert 0 <= stream["loaded_seconds_ago"] < 600
    ends = sum(p["log_end"] for p in stream["partitions"])
    assert ends == sum(p["next_offset"] or 0 for p in stream["partitions"]) > 0
    assert {p["role"]: p["state"] for p in body["processes"]} == {
        "gateway": "ready",
        "loader": "ready",
    }
    shown = sluice("status")
    assert "shop.orders" in shown
    assert "ready" in shown


def test_dead_letters_can_be_listed_counted_and_read(sluice: Sluice) -> None:
    assert sluice.send_order("D-1", amount="-5").returncode == 0
    chosen = ("--stream", "shop.orders", "--reason", "out_of_range", "--since", "1h")
    statement = "SELECT 1 FROM sluice_dead_letters WHERE event_id = 'D-1'"
    seen(sluice, statement, 1)
    letters = sluice.json("dead", "list", *chosen)
    letter = next(each for each in letters if each["event_id"] == "D-1")
    assert sluice.json("dead", "list", "--limit", "1") == [letters[0]]
    other = sluice("dead", "list", "--stream", "shop.other", code=ExitCode.SETUP)
    assert "did you mean shop.orders?" in other
    (fault,) = sluice.json("dead", "count", *chosen)
    assert (fault["path"], fault["letters"]) == ("$.amount", len(letters))
    body = sluice.json("dead", "show", letter["id"])
    assert body["violations"][0]["path"] == "$.amount"
    assert body["original"]["form"] == "avro"
    assert json.loads(body["original"]["content"]["_raw"])["order_id"] == "D-1"
    assert "D-1" in sluice("dead", "show", letter["id"])
    assert "no dead letter of this id" in sluice("dead", "show", "x", code=ExitCode.SETUP)


def test_repeats_are_told_from_changed_data(sluice: Sluice) -> None:
    for order_id, amount in (("C-1", "1.00"), ("C-1", "1.00"), ("C-2", "1.00"), ("C-2", "2.00")):
        assert sluice.send_order(order_id, amount).returncode == 0
    body = sluice.json("duplicates", "shop.orders", code=ExitCode.CHECK_FAILED)
    (stream,) = body["streams"]
    (example,) = stream["examples"]
    assert (example["id"], example["copies"], example["fields"]) == ("C-2", 2, ["amount"])
    assert example["first"]["topic"] == example["last"]["topic"] == "shop.orders"
    assert example["first"]["offset"] < example["last"]["offset"]
    assert stream["duplicates"] >= 2
    assert "C-2" in sluice("duplicates", code=ExitCode.CHECK_FAILED)
    quiet = sluice("duplicates", "--since", "1h", "--ignore", "amount")
    assert "duplicates are repeats" in quiet
    error = json.loads(sluice("duplicates", "shop.order", "--json", code=ExitCode.SETUP))
    assert "shop.orders" in error["error"]["remedy"]


def test_sql_answers_in_every_form_and_names_what_is_wrong(sluice: Sluice) -> None:
    statement = "SELECT 1 AS a, PARSE_JSON('{\"x\": [1]}') AS b, NULL AS c"
    assert sluice.rows(statement) == [{"a": 1, "b": {"x": [1]}, "c": None}]
    assert sluice("sql", statement, "--csv").splitlines()[0] == "a,b,c"
    assert "null" in sluice("sql", statement)
    error = json.loads(sluice("sql", "SELECT * FROM nowhere", "--json", code=ExitCode.SETUP))
    assert "NOWHERE" in error["error"]["what"]
    assert "SHOW TABLES" in error["error"]["remedy"]


def test_doctor_finds_a_column_of_another_type_and_nothing_else(sluice: Sluice) -> None:
    body = sluice.json("doctor")
    bad = [f for f in body["findings"] if f["level"] == "failed"]
    assert (bad, body["ok"]) == ([], True)
    contract = sluice.folder / "contracts/orders.py"
    text = contract.read_text()
    try:
        contract.write_text(text.replace('currency: str = Field(pattern="^[A-Z]{3}$",',
                                         "currency: int = Field("))  # fmt: skip
        body = sluice.json("doctor", code=ExitCode.CHECK_FAILED)
    finally:
        contract.write_text(text)
    (bad,) = (f for f in body["findings"] if f["level"] == "failed")
    assert bad["what"] == "SHOP_ORDERS.CURRENCY is TEXT, the contract says NUMBER(38,0)"
    assert bad["remedy"]


def test_a_contract_is_inferred_from_what_landed(sluice: Sluice) -> None:
    for number in range(3):
        body = json.dumps(EVENT | {"id": number})
        url = f"http://127.0.0.1:{sluice.gateway_port}/v1/in/raw"
        sent = sluice.shell(
            f"curl -sS --fail-with-body {url} -H 'content-type: application/json' -d '{body}'"
        )
        assert sent.returncode == 0, sent.stderr
    seen(sluice, "SELECT payload FROM raw_events", 3)
    target = sluice.folder / "inferred.py"
    assert sluice.json("contract", "infer", "raw.events", "--out", str(target))["records"] == 3
    found = load_contract(target)
    assert {field.name: str(field.type).partition("(")[0] for field in found.fields} == {
        "id": "integer",
        "at": "timestamp",
        "price": "Decimal",
        "tags": "Array",
        "who": "Record",
    }
    assert found.model.model_validate(EVENT)


def test_every_digit_of_a_number_reaches_the_table(sluice: Sluice) -> None:
    url = f"http://127.0.0.1:{sluice.gateway_port}/v1/in/raw"
    bodies = [
        f'{{"exact":{last},"number":1234567890123456789012{last},"rate":0.1234567890123456789{last}}}'
        for last in (1, 2)
    ]
    for body in bodies:
        sent = sluice.shell(f"curl -sS {url} -H 'content-type: application/json' -d '{body}'")
        assert json.loads(sent.stdout)["accepted"] == 1, sent.stderr
    statement = "SELECT payload FROM raw_events WHERE payload:exact IS NOT NULL"
    seen(sluice, statement, 2)
    text = sluice("sql", statement, "--json")
    assert sorted(re.findall(r'{"exact".*?}', text)) == bodies


def test_at_the_end_the_books_balance(sluice: Sluice) -> None:
    assert sluice.json("audit")["balanced"]
