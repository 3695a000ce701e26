"""A new project, and what doctor and contract say of it, without a broker or a warehouse."""

import json
import re
import socket
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.errors import SetupError
from services.bootstrap import read_project
from services.cli.app import JSON_ASKED, declared
from services.cli.contract import landed
from services.cli.doctor import examined
from services.cli.init import TEMPLATES, write_project
from services.dictionary import dictionary_page
from services.exit_codes import ExitCode
from services.project import load_contract
from services.setup.doctor import FOLDER_CHECKS, Finding, Level, run_checks
from services.setup.table_columns import fits

BY_ROW = """
from pydantic import BaseModel, field_validator
from schemas.contract import Contract

class Thing(BaseModel):
    id: str

    @field_validator("id")
    @classmethod
    def _even(cls, value: str) -> str:
        return value

CONTRACT = Contract(stream="shop.things", model=Thing)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "My Shop 1"
    write_project(root)
    return root


def run(*arguments: str) -> tuple[int, str, str]:
    token = JSON_ASKED.set(False)
    done = CliRunner().invoke(declared(), list(arguments))
    JSON_ASKED.reset(token)
    return done.exit_code, done.stdout, done.stderr


def findings(folder: Path, *checks: str) -> list[Finding]:
    chosen = {name: FOLDER_CHECKS[name] for name in checks or FOLDER_CHECKS}
    return list(run_checks(read_project(folder), chosen))


def only(found: list[Finding], level: Level) -> list[Finding]:
    return [finding for finding in found if finding.level is level]


# init


def test_a_new_project_has_settings_a_contract_and_a_secret_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    project = read_project(folder)
    assert project.settings.project == "my-shop-1"
    assert list(project.streams) == ["shop.orders", "shop.orders.dead"]
    assert project.settings.embedded_kafka
    assert project.settings.embedded_warehouse
    secret = folder / "secrets/shop"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    other = tmp_path / "other"
    write_project(other)
    assert secret.read_text() != (other / "secrets/shop").read_text()
    assert len(project.secret("file:secrets/shop")) == 64


def test_secrets_and_state_stay_out_of_git(folder: Path) -> None:
    ignored = (folder / ".gitignore").read_text().split()
    assert {".sluice/", "secrets/"} <= set(ignored)


def test_the_commented_source_and_connections_can_be_switched_on(folder: Path) -> None:
    """Without the marks before them the lines are valid, so nobody starts with a typing error."""
    path = folder / "sluice.toml"
    text = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", path.read_text())
    path.write_text(text)
    project = read_project(folder)
    assert not project.settings.embedded_kafka
    assert not project.settings.embedded_warehouse
    assert [s.stream for s in project.rest_sources["billing"].streams] == ["billing.invoices"]


@pytest.mark.parametrize("name", ["file.txt", ".hidden"])
def test_a_folder_with_anything_in_it_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    code, _, err = run("init", str(tmp_path))
    assert code == ExitCode.SETUP
    assert "not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("init", str(tmp_path / "file" / "below"))
    assert code == ExitCode.SETUP
    assert "Traceback" not in err


def test_init_lists_what_it_wrote(tmp_path: Path) -> None:
    code, out, _ = run("init", str(tmp_path / "p"), "--json")
    assert code == 0
    assert set(json.loads(out)["files"]) == {*map(str, TEMPLATES), "secrets/shop"}


@pytest.mark.parametrize(
    ("name", "project"), [("42", "sluice-42"), ("Ü", "sluice"), ("x" * 99, "x" * 40)]
)
def test_whatever_the_folder_is_called_the_project_has_a_valid_name(
    name: str, project: str, tmp_path: Path
) -> None:
    write_project(tmp_path / name)
    assert read_project(tmp_path / name).settings.project == project


# doctor, without a network


@pytest.mark.enable_socket
def test_a_new_project_is_healthy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, port in zip(("GATEWAY__PORT", "ADMIN__GATEWAY_PORT", "ADMIN__LOADER_PORT"),
                          free_ports(3), strict=True):  # fmt: skip
        monkeypatch.setenv(f"SLUICE_{name}", str(port))
    found = findings(folder)
    assert only(found, Level.FAILED) == only(found, Level.WARNING) == []
    assert Counter(f.check for f in found).keys() == FOLDER_CHECKS.keys()


def free_ports(number: int) -> list[int]:
    held = [socket.socket() for _ in range(number)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def test_settings_that_cannot_be_read_end_the_examination_with_the_field(folder: Path) -> None:
    (folder / "sluice.toml").write_text("[loader]\nlanes = 0\n")
    (finding,) = examined(folder)
    assert (finding.check, finding.level) == ("settings", Level.FAILED)
    assert "loader.lanes" in finding.what
    assert finding.remedy


def test_every_secret_that_is_missing_empty_or_open_to_others_is_named(folder: Path) -> None:
    path = folder / "sluice.toml"
    names = '"file:secrets/shop", "env:SLUICE_NO_SUCH_NAME", "file:secrets/empty"'
    path.write_text(path.read_text().replace('"file:secrets/shop"', names, 1))
    (folder / "secrets/empty").write_text("")
    (folder / "secrets/shop").chmod(0o644)
    found = findings(folder, "secrets")
    assert [(f.level.value, *f.what.split()[:2]) for f in found] == [
        ("failed", "env:SLUICE_NO_SUCH_NAME", "(sources.shop.secrets):"),
        ("failed", "file:secrets/empty", "is"),
        ("warning", "file:secrets/shop", "may"),
    ]
    assert all(f.remedy for f in found)


def test_a_contract_that_is_judged_row_by_row_is_named_with_the_reason(folder: Path) -> None:
    (folder / "contracts/things.py").write_text(BY_ROW)
    (finding,) = only(findings(folder, "contracts"), Level.WARNING)
    assert "shop.things" in finding.what
    assert "_even is a custom validator" in finding.what


def test_every_damaged_contract_is_named_not_only_the_first(folder: Path) -> None:
    (folder / "contracts/a.py").write_text("x = ")
    (folder / "contracts/b.py").write_text("x = 1")
    found = only(findings(folder, "contracts"), Level.FAILED)
    assert [f.what.partition(":")[0].rpartition("/")[2] for f in found] == ["a.py", "b.py"]


@pytest.mark.enable_socket
def test_contracts_that_cannot_be_read_keep_doctor_from_starting_anything(folder: Path) -> None:
    (folder / "contracts/a.py").write_text("x = ")
    path = folder / "sluice.toml"
    path.write_text(path.read_text().replace("port = 8080", "port = 0"))
    *_, last = list(examined(folder))
    assert (last.check, last.level) == ("outside", Level.WARNING)
    assert "once sources and contracts are right" in last.what


def test_every_wrong_source_is_named_once_not_only_the_first(folder: Path) -> None:
    path = folder / "sluice.toml"
    path.write_text(
        path.read_text() + '\n[sources.one]\nkind = "nonsense"\n\n[sources.two]\nkind = "rest"\n'
    )
    found = [f for f in only(list(examined(folder)), Level.FAILED) if f.check != "outside"]
    assert [f.check for f in found] == ["sources", "sources"]
    assert [("sources.one" in f.what, "sources.two" in f.what) for f in found] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.enable_socket
def test_a_port_that_another_program_uses_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("SLUICE_GATEWAY__PORT", str(port))
        monkeypatch.setenv("SLUICE_ADMIN__GATEWAY_PORT", str(free_ports(1)[0]))
        (finding,) = only(findings(folder, "addresses"), Level.FAILED)
    assert f"gateway.port: 127.0.0.1:{port} is taken" in finding.what


@pytest.mark.enable_socket
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what is warned of
def test_an_address_that_other_machines_reach_needs_a_proxy(
    host: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_GATEWAY__HOST", host)
    monkeypatch.setenv("SLUICE_GATEWAY__PORT", "0")
    (finding,) = only(findings(folder, "addresses"), Level.WARNING)
    assert finding.what.startswith(f"gateway.host = {host!r}")
    assert "TLS" in finding.remedy


def test_a_state_folder_that_cannot_be_written_fails(folder: Path) -> None:
    (folder / ".sluice").write_text("a file")
    (finding,) = findings(folder, "state")
    assert finding.level is Level.FAILED


def test_a_source_that_verifies_nothing_is_a_warning(folder: Path) -> None:
    path = folder / "sluice.toml"
    text = path.read_text()
    start = text.index("verify = ")
    path.write_text(
        text[:start]
        + 'verify = { scheme = "none", anyone_may_send = true }\n'
        + text[text.index("\nstream", start) :]
    )
    (finding,) = only(findings(folder, "sources"), Level.WARNING)
    assert "not verified" in finding.what


@pytest.mark.enable_socket
def test_doctor_fails_with_1_and_says_so_in_json(folder: Path) -> None:
    (folder / "contracts/a.py").write_text("x = ")
    (folder / "secrets/shop").write_text("")
    code, out, _ = run("doctor", "--json", "-C", str(folder))
    body = json.loads(out)
    assert (code, body["ok"]) == (ExitCode.CHECK_FAILED, False)
    assert {f["check"] for f in body["findings"] if f["level"] == "failed"} >= {
        "secrets",
        "contracts",
    }


@pytest.mark.parametrize(
    ("wanted", "there", "fine"),
    [
        ("VARCHAR", ("TEXT", None, None), True),
        ("VARCHAR", ("VARIANT", None, None), False),
        ("TIMESTAMP_NTZ(6)", ("TIMESTAMP_NTZ", None, None), True),
        ("TIMESTAMP_NTZ(6)", ("TIMESTAMP_LTZ", None, None), False),
        ("NUMBER(12,2)", ("NUMBER", 12, 2), True),
        ("NUMBER(12,2)", ("NUMBER", 38, 9), True),
        ("NUMBER(12,2)", ("NUMBER", 12, 3), False),  # one whole digit less
        ("NUMBER(12,2)", ("NUMBER", 38, 0), False),
        ("NUMBER(38,0)", ("FLOAT", None, None), False),
    ],
)
def test_a_column_fits_if_it_holds_every_value(
    wanted: str,
    there: tuple[Any, ...],
    fine: bool,
) -> None:
    row = dict(zip(("data_type", "numeric_precision", "numeric_scale"), there, strict=True))
    assert fits(wanted, row) is fine


@pytest.mark.parametrize(
    ("length", "fine"), [(None, True), (16_777_216, True), (134_217_728, True), (2, False)]
)
def test_a_text_fits_a_column_without_a_limit_only(length: int | None, fine: bool) -> None:
    assert fits("VARCHAR", {"data_type": "TEXT", "character_maximum_length": length}) is fine


# contract


def test_show_names_types_rules_and_roles(folder: Path) -> None:
    code, out, _ = run("contract", "show", "shop.orders", "--json", "-C", str(folder))
    body = json.loads(out)
    assert code == 0
    assert (body["key"], body["business date"], body["judged"]) == (
        "order_id",
        "placed_at",
        "vectorised",
    )
    fields = {field["name"]: field for field in body["fields"]}
    assert fields["order_id"]["rules"] == ["length >= 1", "length <= 100"]
    assert fields["order_id"]["roles"] == ["key"]
    assert fields["amount"]["column"] == "NUMBER(12,2)"
    assert fields["amount"]["rules"] == [">= 0"]
    assert fields["currency"]["rules"] == ["matches ^[A-Z]{3}$"]
    assert fields["lines"]["rules"] == ["default []"]


def test_show_says_under_which_name_a_field_is_sent(folder: Path) -> None:
    file = folder / "contracts/orders.py"
    field = '    order_id: str = Field(alias="orderId"'
    file.write_text(file.read_text().replace("    order_id: str = Field(", f"{field}, "))
    code, out, _ = run("contract", "show", "shop.orders", "-C", str(folder))
    assert code == 0
    assert "order_id (sent as orderId)" in " ".join(out.split())


def test_ddl_and_avro_are_those_that_apply_uses(folder: Path) -> None:
    _, out, _ = run("contract", "ddl", "shop.orders", "-C", str(folder))
    assert out.startswith("CREATE TABLE IF NOT EXISTS SHOP_ORDERS (\n  ORDER_ID VARCHAR COMMENT")
    _, out, _ = run("contract", "avro", "shop.orders", "-C", str(folder))
    assert json.loads(out)["name"] == "orders"


def test_the_dictionary_describes_every_column_and_breaks_no_table(folder: Path) -> None:
    page = dictionary_page(load_contract(folder / "contracts/orders.py"))
    assert "| `AMOUNT` | `NUMBER(12,2)` decimal(12, 2) | no | Total with taxes. | >= 0 |" in page
    assert "`_LOADED_AT`" in page
    cells = 0
    for line in page.splitlines():
        if line.startswith("|"):
            cells = cells or line.count("|")
            assert line.count("|") == cells
        else:
            cells = 0


def test_a_stream_that_is_not_there_is_an_error_that_lists_the_others(folder: Path) -> None:
    code, _, err = run("contract", "show", "shop.nothing", "-C", str(folder))
    assert code == ExitCode.SETUP
    assert "shop.orders" in err


def test_infer_writes_a_file_that_loads_and_replaces_none_unasked(folder: Path) -> None:
    samples = folder / "samples.ndjson"
    samples.write_text('{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}\n')
    arguments = ("contract", "infer", "shop.items", str(samples), "-C", str(folder))
    code, out, _ = run(*arguments)
    assert code == 0
    assert str(folder / "contracts/shop_items.py") in out
    assert load_contract(folder / "contracts/shop_items.py").stream == "shop.items"
    (folder / "contracts/shop_items.py").write_text("mine")
    code, _, err = run(*arguments)
    assert (code, "there already" in err) == (ExitCode.SETUP, True)
    assert (folder / "contracts/shop_items.py").read_text() == "mine"
    assert run(*arguments, "--force")[0] == 0
    assert sorted(p.name for p in (folder / "contracts").glob("*.py")) == [
        "orders.py",
        "shop_items.py",
    ]


def test_infer_says_which_file_is_a_streams_contract_already(folder: Path) -> None:
    with pytest.raises(SetupError, match=r"shop.orders has a contract already") as caught:
        landed(read_project(folder), "shop.orders", 1)
    assert caught.value.where == str(folder / "contracts/orders.py")
    with pytest.raises(SetupError, match=r"no stream is called shop.nothing"):
        landed(read_project(folder), "shop.nothing", 1)


@pytest.mark.parametrize("stream", ["Shop", "shop", "shop orders", "shop.Orders"])
def test_a_name_that_is_no_streams_is_refused_before_anything_is_written(
    stream: str, folder: Path
) -> None:
    samples = folder / "samples.json"
    samples.write_text('{"id": 1}')
    code, _, err = run("contract", "infer", stream, str(samples), "-C", str(folder))
    assert (code, "no stream's name" in err) == (ExitCode.SETUP, True)
    assert [p.name for p in (folder / "contracts").glob("*.py")] == ["orders.py"]
