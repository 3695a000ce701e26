"""A project as `sluice init` writes it, run as its README says, seen by every command."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.init import write_project
from services.demo.folder import free_ports
from services.exit_codes import ExitCode
from services.project import load_contract
from tests.support.command_line import Sluice, seen, wait_for_up

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
]
RAW_SOURCE = """
[sources.raw]
kind = "webhook"
verify = { scheme = "none", anyone_may_send = true }
stream = "raw.events"
"""
EVENT = {"id": 1, "at": "2026-01-31T08:00:00Z", "price": 12.5, "tags": ["a"], "who": {"name": "x"}}


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
