"""A project folder: its contracts, and from its settings the streams that there are."""

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError
from pydantic_core import SchemaError

from producers.config_errors import first_finding
from schemas.avro import wire_schema
from schemas.contract import DEAD_SUFFIX, Contract, raw_contract
from schemas.dead_letters import dead_contract
from schemas.errors import SetupError

CONTRACTS = "contracts"
ATTRIBUTE = "CONTRACT"
_FAULTS = (  # what a file may raise when it is run; pydantic's own are among them
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SchemaError,  # such as a limit that is no number
    SyntaxError,
    TypeError,
    ValueError,
)


def load_contracts(folder: Path) -> dict[str, Contract]:
    """The contracts of ``contracts/*.py``, by stream. Raises SetupError naming file and field."""
    found: dict[str, Contract] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        contract = load_contract(path)
        if contract.stream in found:
            raise SetupError(
                f"a second contract for {contract.stream}",
                where=str(path),
                remedy="keep one of them; a stream has one contract",
            )
        if contract.stream.endswith(DEAD_SUFFIX):
            raise SetupError(
                f"{contract.stream} is the name of a dead letter stream",
                where=str(path),
                remedy=f"choose a name without {DEAD_SUFFIX}",
            )
        found[contract.stream] = contract
    return found


def load_contract(path: Path) -> Contract:
    """The ``CONTRACT`` of one file. Raises SetupError naming file and field."""
    try:
        module = _imported(path)
    except ValidationError as error:
        found = first_finding(error, Contract if error.title == Contract.__name__ else None)
        raise SetupError(
            f"{found.path + ': ' if found.path else ''}{found.what}",
            where=str(path),
            remedy=found.remedy or "see docs/contracts.md",
        ) from None
    contract: object = getattr(module, ATTRIBUTE, None)
    if not isinstance(contract, Contract):
        raise SetupError(
            f"declares no {ATTRIBUTE}",
            where=str(path),
            remedy=f"declare {ATTRIBUTE} = Contract(stream=..., model=...), "
            "or begin the file's name with _",
        )
    wire_schema(contract)  # two types of one name show here
    return contract


def _imported(path: Path) -> ModuleType:
    name = f"sluice_contracts.{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SetupError("cannot be imported", where=str(path), remedy="give it a name ending .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks annotations up there
    try:
        spec.loader.exec_module(module)
    except ValidationError:
        raise
    except _FAULTS as error:
        raise SetupError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=str(path),
            remedy="run the file with python to see where",
        ) from error
    return module


def catalogue(contracts: Mapping[str, Contract], named: Iterable[str]) -> dict[str, Contract]:
    """Every stream's contract, dead letter streams included.

    Streams that only a source names are raw: their payload lands in a VARIANT column. Raises
    SetupError where two streams have one table, or one has what is Sluice's own.
    """
    streams = dict(contracts)
    for name in named:
        streams.setdefault(name, raw_contract(name))
    tables: dict[str, str] = {}
    for name, contract in streams.items():
        _refuse_ours(contract, "contracts" if name in contracts else "sluice.toml: sources")
        other = tables.setdefault(contract.table_name, name)
        if other != name:
            raise SetupError(
                f"{name} and {other} have the same table {contract.table_name}",
                where="contracts",
                remedy="give one of them another `table`",
            )
    return streams | {
        contract.dead_topic: dead_contract(name) for name, contract in streams.items()
    }


def _refuse_ours(contract: Contract, where: str) -> None:
    """Sluice keeps its own topics (``sluice.batches``) and tables (``SLUICE_LEDGER``) there."""
    if contract.stream.startswith("sluice."):
        raise SetupError(
            f"{contract.stream}: topics that begin with sluice. are Sluice's own",
            where=where,
            remedy="call the source another name than sluice",
        )
    if contract.table_name.startswith("SLUICE_"):
        raise SetupError(
            f"{contract.stream} has the table {contract.table_name}: those that begin with "
            "SLUICE_ are Sluice's own",
            where=where,
            remedy="give its contract another `table`",
        )
