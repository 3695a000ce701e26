"""SLUICE_* variables that belong to nothing, and errors that name the variable."""

from pathlib import Path

import pytest

from schemas.errors import SetupError
from services.settings import load

TOML = '[snowflake]\nembedded = true\n[registry]\npassword = "env:SLUICE_LOADR"\nuser="SLUICE_SNOWFLAKE_TOKEN"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sluice.toml").write_text(TOML)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SLUICE_KAFAK__NODES", "3", ("belongs to no setting", "mean SLUICE_KAFKA__NODES?")),
        ("SLUICE_ZZZ__NODES", "3", ("belongs to no setting", "unset it")),
        ("SLUICE_LOG_LEVL", "debug", ("belongs to no setting", "mean SLUICE_LOG_LEVEL?")),
        ("SLUICE_LOADER_LANES", "3", ("belongs to no setting", "mean SLUICE_LOADER__LANES?")),
        ("sluice_kafak__nodes", "3", ("belongs to no setting", "mean SLUICE_KAFKA__NODES?")),
        ("SLUICE_GATEWAY_PORT", "8080", ("belongs to no setting", "mean SLUICE_GATEWAY__PORT?")),
        ("SLUICE_LOADER__LANS", "3", ("unknown field", "did you mean lanes?")),
        ("SLUICE_LOADER__LANES", "many", ("valid integer", "docs/reference/settings.md")),
        ("SLUICE_KAFKA__OPTIONS", '{"a": [1]}', ("valid", "docs/reference/settings.md")),
        ("SLUICE_LOADER", "{lanes", ("not the JSON", "write JSON")),
        ("SLUICE_LOADER", '{"lans": 3}', ("unknown field", "did you mean lanes?")),
    ],
)
def test_a_variable_that_is_wrong_is_told_with_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: tuple[str, str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as caught:
        load(folder)
    assert caught.value.where == f"environment variable {name}"
    assert says[0] in caught.value.what
    assert says[1] in caught.value.remedy
    assert "many" not in caught.value.what


@pytest.mark.parametrize(
    "name",
    [
        "SLUICE_FOLDER",
        "SLUICE_LOADR",  # the settings name it as a secret
        "SLUICE_WEBHOOK_SECRET",  # somebody else's
        "SLUICE_SERVICE_HOST",
        "SLUICE_GATEWAY_SERVICE_PORT_HTTP",
        "SLUICE_PORT",
        "SLUICE_GATEWAY_PORT",  # of a service that is called sluice-gateway
        "SLUICE_TEST_SNOWFLAKE",
        "SLUICE_SNOWFLAKE_TOKEN",  # the settings mention it
        "SLUICE_LOADER_PORT_9103_TCP_ADDR",
        "SLUICED__OUT",
    ],
)
def test_what_is_no_setting_and_not_meant_as_one_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:1")
    assert load(folder).embedded_warehouse


def test_a_variable_overrides_and_the_file_is_named_for_what_it_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_LOADER__LANES", "3")
    assert load(folder).loader.lanes == 3
    (folder / "sluice.toml").write_text("[loader]\nlans = 3\n")
    with pytest.raises(SetupError) as caught:
        load(folder)
    assert caught.value.where == f"{folder / 'sluice.toml'}: loader.lans"
