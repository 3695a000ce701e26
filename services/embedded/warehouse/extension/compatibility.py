"""What fakesnow needs before it can be imported.

fakesnow 0.12.1 imports two private modules of snowflake-connector-python that version 5 no longer
has. The server never calls what it takes from them, so empty classes do.
"""

import importlib
import importlib.metadata
import sys
import types

from schemas.errors import SetupError

FAKESNOW_VERSION = "0.12.1"
REMEDY = f"install the extra: pip install 'sluice[embedded]' (fakesnow[server]=={FAKESNOW_VERSION})"

_MODULES_OF_CONNECTOR_4 = {"converter": "SnowflakeConverter", "file_util": "SnowflakeFileUtil"}


def require_fakesnow() -> None:
    """Raises SetupError unless the very version is installed that this package extends."""
    try:
        found = importlib.metadata.version("fakesnow")
    except importlib.metadata.PackageNotFoundError:
        raise SetupError(
            "fakesnow is not installed", where="embedded warehouse", remedy=REMEDY
        ) from None
    if found != FAKESNOW_VERSION:
        raise SetupError(
            f"fakesnow {found} is installed; its internals are extended here, so only "
            f"{FAKESNOW_VERSION} will do",
            where="embedded warehouse",
            remedy=REMEDY,
        )


def stub_connector_modules() -> None:
    """Put empty stand-ins where connector 5 has no such module."""
    for name, member in _MODULES_OF_CONNECTOR_4.items():
        qualified = f"snowflake.connector.{name}"
        try:
            importlib.import_module(qualified)
        except ModuleNotFoundError:
            module = types.ModuleType(qualified)
            setattr(module, member, type(member, (), {}))
            sys.modules[qualified] = module
            setattr(importlib.import_module("snowflake.connector"), name, module)
