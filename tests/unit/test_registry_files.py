"""Schema ids from committed files."""

from pathlib import Path
from typing import Any

import pytest

from schemas.compatibility import Compatibility
from schemas.errors import SetupError
from services.adapters.registry import FileRegistry

OLD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}
WIDER = {
    **OLD,
    "fields": [*OLD["fields"], {"name": "note", "type": ["null", "string"], "default": None}],
}
OTHER: dict[str, Any] = {**OLD, "fields": [{"name": "id", "type": "int"}]}


def test_a_schema_has_one_id_and_a_changed_one_the_next(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path)
    assert registry.register("shop.orders", OLD) == 1
    assert registry.register("shop.orders", WIDER) == 2
    assert registry.register("shop.orders", OLD) == 1
    assert FileRegistry(tmp_path).schema(2) == WIDER
    assert FileRegistry(tmp_path).schema(3) is None


def test_an_incompatible_schema_gets_no_id_and_the_reason_is_said(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path)
    registry.register("shop.orders", OLD)
    with pytest.raises(SetupError, match=r"\$\.id: string was written, int is read") as refused:
        registry.register("shop.orders", OTHER)
    assert "registry.compatibility" in refused.value.remedy
    assert registry.schema(2) is None
    assert registry.register("other.stream", OTHER) == 2
    assert FileRegistry(tmp_path, Compatibility.NONE).register("shop.orders", OTHER) == 3
