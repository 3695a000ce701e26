"""What the pages claim is there: links, tests, commands, settings, metrics, types, reasons."""

import datetime as dt
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import pytest
import yaml
from pydantic import BaseModel, Field, JsonValue, create_model
from typer.main import get_command

from consumers import ledger
from producers.auth import Auth
from producers.cursors import Run, State, dump_state
from producers.pagers import Span, pagers
from producers.refusal import RefusalReason
from schemas import avro, table
from schemas.columns import dtype_of
from schemas.contract import Contract, Raw
from schemas.dead_letters import dead_contract
from schemas.events import REPORTS
from schemas.telemetry import METRICS
from services.cli.app import declared
from services.cli.docs import pages, stale, write
from services.reference import pages as rendered
from services.settings import Kafka
from services.setup import apply
from tests.support.world import World

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
OWN = [page for page in PAGES if page.relative_to(ROOT) not in pages()]
SERIES = {name for metric in METRICS.values() for name in metric.series}


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    yield from re.findall(r'(?:src|href)="([^"]+)"', page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", OWN, ids=named)
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    folders = "tests|docs|schemas|producers|consumers|services|deploy|benchmarks"
    for path, name in re.findall(rf"`((?:{folders})/[\w./-]+?)(?:[:]+(\w+))?`", text):
        assert (ROOT / path).exists(), path
        if name:
            assert re.search(
                rf"^\s*(async )?(def|class) {name}\b", (ROOT / path).read_text(), re.MULTILINE
            )
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def commands() -> set[str]:
    found = set()
    todo = [("sluice", get_command(declared()))]
    while todo:
        path, command = todo.pop()
        found.add(path)
        inner: dict[str, Any] = getattr(command, "commands", {})
        todo += [(f"{path} {name}", one) for name, one in inner.items()]
    return found


@pytest.mark.parametrize("page", OWN, ids=named)
def test_every_command_that_is_named_exists(page: Path) -> None:
    there = commands()
    groups = {command.rpartition(" ")[0] for command in there} - {"", "sluice"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    shown = re.findall(r"`([^`\n]+)`", text)
    shown += [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in shown:
        for words in re.findall(r"(?:^|&& )(sluice(?: [a-z]+)+)", line):
            parts = words.split()
            name = " ".join(parts[:3] if " ".join(parts[:2]) in groups else parts[:2])
            assert name in there, line
        for target in re.findall(r"^make ([a-z]+)", line):
            assert target in targets, line


def test_every_command_that_a_message_names_exists() -> None:
    there = {command.split()[1] for command in commands() if " " in command}
    sources = [
        path
        for folder in ("schemas", "producers", "consumers", "services", "deploy")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".yml", ".toml", ".md", ".txt"}
    ]
    named = {
        (path.name, name)
        for path in sources
        for name in re.findall(r"`sluice ([a-z]+)", path.read_text())
    }
    assert {(path, name) for path, name in named if name not in there} == set()


@pytest.mark.parametrize("page", OWN, ids=named)
def test_every_setting_and_metric_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    tables = "|".join(rendered.tables_of())
    settings = {setting.name for setting in rendered.settings_of()}
    for name in re.findall(rf"`((?:{tables})\.[a-z_]+)`", text):
        assert name in settings, name
    for name in re.findall(r"`(sluice_\w+)`", text):
        assert name in SERIES, name


def test_examples_of_sluice_toml_are_toml() -> None:
    found = [block for page in OWN for block in blocks(page, "toml")]
    assert found
    for block in found:
        tomllib.loads(block)


def test_the_decisions_are_numbered_without_gaps_and_listed() -> None:
    found = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in found] == list(range(1, len(found) + 1))
    index = (ROOT / "docs/adr/README.md").read_text()
    for number, path in enumerate(found, 1):
        head, _, status, *_ = path.read_text().splitlines()
        assert re.fullmatch(rf"# {number}\. .+", head)
        assert status.startswith("Status: ")
        assert f"{number}. [{head.partition('. ')[2]}]({path.name})" in index


def test_the_gateways_page_has_every_refusal() -> None:
    text = (ROOT / "docs/gateway.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", text, re.MULTILINE)
    shown = {name: status for status, names in rows for name in re.findall(r"`(\w+)`", names)}
    comments = rendered.comments_of(RefusalReason)
    assert shown == {name: comment[:3] for name, comment in comments.items()}


def test_the_pollers_page_has_every_pager_and_every_auth() -> None:
    text = (ROOT / "docs/poller.md").read_text()
    kinds = [str(m.model_fields["kind"].default) for m in get_args(get_args(Auth)[0])]
    assert [k for k in (*kinds, *pagers()) if f"`{k}`" not in text] == []


def test_the_operations_page_has_every_alert() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in rules for rule in group["rules"]}
    assert set(re.findall(r"`(Sluice[A-Z]\w+)`", text)) == alerts


class Color(StrEnum):
    RED = "red"


class Line(BaseModel):
    sku: str


TYPES: dict[str, Any] = {
    "dt": dt,
    "Decimal": Decimal,
    "UUID": UUID,
    "Literal": Literal,
    "Annotated": Annotated,
    "Field": Field,
    "JsonValue": JsonValue,
    "Any": Any,
    "Color": Color,
    "Line": Line,
}


def shown_avro(schema: Any) -> str:
    """The non-null branch of a schema, in the words of the page."""
    if isinstance(schema, list):
        return shown_avro(schema[1])
    if isinstance(schema, str):
        return schema
    kind = schema["type"]
    if avro.JSON_PROPERTY in schema:
        return f"{kind} (JSON)"
    match schema.get("logicalType"):
        case None:
            inner = schema.get("items") or schema.get("values")
            return f"{kind} of {shown_avro(inner)}" if inner else str(kind)
        case "decimal":
            return f"{kind}, decimal({schema['precision']},{schema['scale']})"
        case logical:
            return f"{kind}, {logical}"


def rows_of_types() -> list[tuple[str, ...]]:
    text = (ROOT / "docs/contracts.md").read_text()
    (block,) = re.findall(r"\| pydantic \|.*\n\| --- .*\n((?:\|.*\n)+)", text)
    rows = [re.split(r"(?<!\\) ?\| ?", line.strip("|")) for line in block.splitlines()]
    return [tuple(cell.strip().replace("\\|", "|") for cell in row) for row in rows]


@pytest.mark.parametrize("row", rows_of_types(), ids=lambda row: row[0])
def test_the_table_of_types_is_what_the_code_does(row: tuple[str, ...]) -> None:
    annotation = eval(re.findall(r"`([^`]+)`", row[0])[0], TYPES)  # noqa: S307 - our own page
    contract = Contract(stream="a.b", model=create_model("M", x=(annotation, ...)))
    (field,) = contract.fields
    assert row[1:] == (
        shown_avro(avro.wire_schema(contract)["fields"][0]["type"]),
        re.sub(r"\w+=(?!None)|, \w+=None", "", str(dtype_of(field.type))),
        table.column_type(field.type),
    )


def test_the_contracts_page_has_every_field_of_a_contract_and_every_column_of_ours() -> None:
    text = (ROOT / "docs/contracts.md").read_text()
    assert [name for name in Contract.model_fields if f"`{name}`" not in text] == []
    contract = Contract(stream="a.b", model=Line, load_raw=True)
    ours = [c.name.upper() for c in table.columns_of(contract) if c.name.startswith("_")]
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_the_topics_page_has_every_topic_and_every_field_of_ours() -> None:
    text = page("topics")
    contract = Contract(stream="a.b", model=Line)
    streams = {each.topic: each for each in (contract, dead_contract("a.b"))}
    made = [spec.name.replace("a.b", apply.STREAM) for spec in apply.topic_specs(streams, Kafka())]
    assert made == list(apply.TRAFFIC) == re.findall(r"^## `(.+)`$", text, re.MULTILINE)
    assert [name for name in avro.system_fields(contract) if f"| `{name}` |" not in text] == []


def test_the_topics_page_has_every_field_of_a_report_and_of_a_cursor() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.turn(3)
    world.produce({"order_id": "o1", "amount": 1.5})
    loader.run(1.3)
    published = [e[1][0] for e in world.journal if e[0] == "publish"]
    (report,) = (json.loads(record.value) for record in published if record.topic == REPORTS)
    state = json.loads(dump_state(State(run=Run(position=None, span=Span(None, 1), plan="p"))))
    text = page("topics")
    for name in (*report, *report["ranges"][0], *state):
        assert f"`{name}`" in text, name


def test_the_tables_page_says_what_every_column_is() -> None:
    text = page("tables")
    rows = re.findall(r"^\| `(\w+)` \|.* \| (.*) \|$", text, re.MULTILINE)
    assert [name for name, what in rows if not what.endswith(".")] == []
    contracts = (Contract(stream="a.b", model=Raw, load_raw=True), dead_contract("a.b"))
    columns = [c.name.upper() for contract in contracts for c in table.columns_of(contract)]
    for ddl in ledger.TABLES.values():
        columns += re.findall(r"^  (\w+) ", ddl, re.MULTILINE)
    assert Counter(name for name, _ in rows) == Counter(columns)


def page(name: str) -> str:
    return pages()[Path(f"docs/reference/{name}.md")]


def test_every_generated_page_is_current() -> None:
    assert stale(ROOT) == [], "run `make docs`"


def test_pages_are_written_where_they_are_missing(tmp_path: Path) -> None:
    assert set(write(tmp_path)) == set(pages())
    assert write(tmp_path) == []
