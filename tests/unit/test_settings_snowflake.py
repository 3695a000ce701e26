"""What a session needs is asked for at the start, not found missing at the first load."""

from pathlib import Path

import pytest

from schemas.errors import SetupError
from services.settings import load

WHOLE = {
    "account": "myorg-account1",
    "user": "loader",
    "warehouse": "loading",
    "role": "loader",
    "auth": "pat",
    "token": "file:token",
}


def written(root: Path, values: dict[str, str]) -> Path:
    lines = "\n".join(f'{name} = "{value}"' for name, value in values.items())
    (root / "sluice.toml").write_text(f"[snowflake]\n{lines}\n")
    return root


@pytest.mark.parametrize("blank", [None, "", "  ", "\\t"], ids=["none", "empty", "spaces", "tab"])
@pytest.mark.parametrize("name", ["account", "user", "warehouse", "role"])
def test_a_blank_account_user_warehouse_or_role_stops_the_start(
    tmp_path: Path, name: str, blank: str | None
) -> None:
    values = {key: value for key, value in WHOLE.items() if key != name}
    if blank is not None:
        values[name] = blank
    with pytest.raises(SetupError, match=rf"snowflake\.{name} is empty"):
        load(written(tmp_path, values))


@pytest.mark.parametrize(
    ("auth", "needs"),
    [
        ("key_pair", "private_key"),
        ("oauth", "token"),
        ("pat", "token"),
        ("password", "password"),
    ],
)
def test_without_its_secret_an_auth_stops_the_start(tmp_path: Path, auth: str, needs: str) -> None:
    values = {key: value for key, value in WHOLE.items() if key != "token"} | {"auth": auth}
    with pytest.raises(SetupError, match=rf"snowflake\.{needs} is empty .*'{auth}'"):
        load(written(tmp_path, values))
    found = load(written(tmp_path, values | {needs: "file:secret"})).snowflake
    assert found is not None
    assert found.auth == auth


@pytest.mark.parametrize("blank", ["", " ", "hunter2"])
def test_a_secret_is_named_and_never_blank_or_written_out(tmp_path: Path, blank: str) -> None:
    with pytest.raises(SetupError, match="a secret is named as") as caught:
        load(written(tmp_path, WHOLE | {"token": blank}))
    assert "hunter2" not in str(caught.value)
