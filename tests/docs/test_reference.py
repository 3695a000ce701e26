"""The reference pages say what the code does, and the example files are what they claim."""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from schemas.errors import RejectReason, SetupError, Stage
from schemas.telemetry import METRICS, Hop
from services.cli.docs import pages, stale, write
from services.exit_codes import ExitCode
from services.reference import pages as rendered
from services.settings import (
    Admin,
    Gateway,
    Kafka,
    Loader,
    Poller,
    Registry,
    Settings,
    Snowflake,
    Telemetry,
    load,
)

ROOT = Path(__file__).parents[2]
KEY = "file:secrets/snowflake_key.p8"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SLUICE_"):
            monkeypatch.delenv(name)


def project(tmp_path: Path, example: str) -> Path:
    shutil.copy(ROOT / "docs/config" / example, tmp_path / "sluice.toml")
    return tmp_path


def minimal(root: Path) -> Settings:
    return Settings(
        root=root,
        project="shop",
        kafka=Kafka(options={"bootstrap.servers": "kafka:9092"}),
        snowflake=Snowflake(
            account="myorg-account1",
            user="SLUICE",
            private_key=KEY,
            role="SLUICE_LOADER",
            warehouse="SLUICE_WH",
        ),
    )


def reference(root: Path) -> Settings:
    return Settings(
        root=root,
        kafka=Kafka(
            options={"bootstrap.servers": "kafka:9092", "security.protocol": "SASL_SSL"},
            secrets={"sasl.password": "env:KAFKA_PASSWORD"},
            replication=3,
        ),
        registry=Registry(
            url="https://registry.example.com", user="sluice", password="env:REGISTRY_PASSWORD"
        ),
        snowflake=Snowflake(
            account="myorg-account1",
            user="SLUICE",
            private_key=KEY,
            private_key_passphrase="env:SNOWFLAKE_KEY_PASSPHRASE",
            token="file:secrets/snowflake_token",
            password="env:SNOWFLAKE_PASSWORD",
            role="SLUICE_LOADER",
            warehouse="SLUICE_WH",
            options={"client_session_keep_alive": True},
        ),
        gateway=Gateway(rate_per_second=500),
        admin=Admin(),
        poller=Poller(),
        loader=Loader(),
        telemetry=Telemetry(
            otlp_endpoint="https://collector.example.com/v1/metrics",
            otlp_headers={"authorization": "env:OTLP_AUTHORIZATION"},
        ),
        sources={"shop": {"kind": "stripe", "secrets": ["env:STRIPE_SECRET"]}},
    )


@pytest.mark.parametrize("path", pages(), ids=str)
def test_a_generated_file_is_current(path: Path) -> None:
    assert path not in stale(ROOT), "run `sluice docs`"


def test_a_page_that_was_edited_or_lost_is_stale_until_it_is_written_again(tmp_path: Path) -> None:
    assert write(tmp_path) == list(pages())
    page = Path("docs/reference/metrics.md")
    (tmp_path / page).write_text("edited")
    (tmp_path / "docs/config/reference.toml").unlink()
    mended = [page, Path("docs/config/reference.toml")]
    assert stale(tmp_path) == mended
    assert write(tmp_path) == mended
    assert write(tmp_path) == []


def test_the_minimal_file_is_exactly_these_settings(tmp_path: Path) -> None:
    assert load(project(tmp_path, "minimal.toml")) == minimal(tmp_path)


def test_nothing_can_be_left_out_of_the_minimal_file(tmp_path: Path) -> None:
    """Each line is needed, or it makes a difference."""
    lines = (ROOT / "docs/config/minimal.toml").read_text().splitlines()
    whole = minimal(tmp_path)
    for number, line in enumerate(lines):
        if "=" not in line or line.startswith("#"):
            continue
        (tmp_path / "sluice.toml").write_text("\n".join(lines[:number] + lines[number + 1 :]))
        try:
            assert load(tmp_path) != whole, line
        except SetupError:
            continue


def test_an_empty_file_is_complete(tmp_path: Path) -> None:
    (tmp_path / "sluice.toml").write_text("")
    settings = load(tmp_path)
    assert (settings.embedded_kafka, settings.embedded_warehouse) == (True, True)


def test_the_reference_file_is_exactly_these_settings(tmp_path: Path) -> None:
    assert load(project(tmp_path, "reference.toml")) == reference(tmp_path)


def test_the_reference_file_has_every_field_with_a_comment() -> None:
    text = (ROOT / "docs/config/reference.toml").read_text()
    written = tomllib.loads(text)
    for setting in rendered.settings_of():
        value = written
        for part in setting.path:
            value = value[part]
        assert setting.description.endswith("."), setting.name
    lines = text[: text.index("[sources.shop]")].splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\w+ = ", line):
            assert lines[number - 1].startswith("# "), line


def test_the_reference_file_shows_the_defaults_where_there_are_any() -> None:
    shown = {s.name: s.default for s in rendered.settings_of() if s.name not in rendered.EXAMPLES}
    written = tomllib.loads((ROOT / "docs/config/reference.toml").read_text())
    for name, default in shown.items():
        value = written
        for part in name.split("."):
            value = value[part]
        assert value == default, name
    assert rendered.EXAMPLES.keys() <= {setting.name for setting in rendered.settings_of()}


def test_every_variable_on_the_page_overrides_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set to what the reference file says, all at once, they give what that file gives."""
    written = tomllib.loads((ROOT / "docs/config/reference.toml").read_text())
    for setting in rendered.settings_of():
        value = written
        for part in setting.path:
            value = value[part]
        plain = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(setting.variable, plain)
    assert load(tmp_path) == reference(tmp_path)


def test_every_metric_setting_reason_and_code_is_described() -> None:
    page = {path.stem: text for path, text in rendered.code_pages().items()}
    for metric in METRICS.values():
        assert f"| `{metric.exposed}` | {metric.kind} |" in page["metrics"]
    for setting in rendered.settings_of():
        assert f"`{setting.variable}`" in page["settings"]
    for kind, text in (
        (RejectReason, page["reject-reasons"]),
        (Stage, page["reject-reasons"]),
        (ExitCode, page["exit-codes"]),
        (Hop, page["metrics"]),
    ):
        comments = rendered.comments_of(kind)
        assert comments.keys() == {str(member.value) for member in kind}
        for code, comment in comments.items():
            assert f"| `{code}` | {comment.replace('|', chr(92) + '|')} |" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for path, text in pages().items():
        cells = 0
        for line in text.splitlines() if path.suffix == ".md" else ():
            if not line.startswith("|"):
                cells = 0
                continue
            found = len(re.findall(r"(?<!\\)\|", line))
            cells = cells or found
            assert found == cells, line
