"""What is replaced inside fakesnow: all of it, in one table."""

import importlib
from collections.abc import Callable
from typing import Any

from fakesnow.instance import FakeSnow

from services.embedded.warehouse.extension import copying, numbers, results, stages

REPLACED: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("fakesnow.arrow", "timestamp_to_sf_struct", results.timestamps_with_nulls),
    ("fakesnow.copy_into", "_source_urls", copying.source_urls),
    ("fakesnow.copy_into", "_strip_json_extract", copying.columns_of_fields),
    ("fakesnow.server", "to_sf", numbers.narrowed),
    ("fakesnow.transforms", "integer_precision", numbers.wide_integers),
    ("fakesnow.server", "gcs_stage_info", stages.stage_info),
)


def apply() -> None:
    """Put our functions in place of fakesnow's; everything else is done by subclasses."""
    for module_name, name, function in REPLACED:
        module = importlib.import_module(module_name)
        if not hasattr(module, name):
            msg = f"{module_name}.{name} is gone; this is not the fakesnow that is extended here"
            raise AttributeError(msg)
        setattr(module, name, function)


def share(instance: FakeSnow) -> None:
    """Let new sessions of fakesnow's server use this instance."""
    vars(importlib.import_module("fakesnow.server"))["shared_fs"] = instance
