"""Finds plug-ins: one file, one declaration of the file's own name. Importing has no effect."""

import pkgutil
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from schemas.errors import SetupError

T = TypeVar("T")


def find(package: ModuleType, attribute: str, kind: type[T], folder: Path | None) -> dict[str, T]:
    """The plug-ins of a package and of a project's folder, by name; the folder's come last.

    Raises SetupError naming the module that declares nothing, or something else, or another name.
    """
    found: dict[str, T] = {}
    for module in (*_shipped(package), *_own(folder, package.__name__)):
        stem = module.__name__.rpartition(".")[2]
        found[stem] = _declared(module, stem, attribute, kind)
    return found


def _shipped(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__):
        yield import_module(f"{package.__name__}.{info.name}")


def _own(folder: Path | None, package: str) -> Iterator[ModuleType]:
    paths: Sequence[Path] = sorted(folder.glob("*.py")) if folder is not None else ()
    for path in paths:
        if path.name.startswith("_"):
            continue
        yield _imported(path, f"{package}.own.{path.stem}")


def _imported(path: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # classes look their annotations up there
    try:
        SourceFileLoader(name, str(path)).exec_module(module)
    except (ImportError, SyntaxError, NameError, AttributeError) as error:
        raise SetupError(
            f"cannot be imported: {error}", where=str(path), remedy="mend the file"
        ) from error
    return module


def _declared(module: ModuleType, stem: str, attribute: str, kind: type[T]) -> T:
    declared = getattr(module, attribute, None)
    where = str(module.__file__)
    if not isinstance(declared, kind):
        raise SetupError(
            f"declares no {attribute} of type {kind.__name__}",
            where=where,
            remedy=f"declare {attribute} = {kind.__name__}(...), or begin the file's name with _",
        )
    name = getattr(declared, "name", None)
    if name != stem:
        raise SetupError(
            f"{attribute} is called {name!r}, its file {stem!r}",
            where=where,
            remedy="give both the same name",
        )
    return declared
