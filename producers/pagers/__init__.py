"""How a source cuts its records into pages: one plug-in a file, which declares ``PAGER``."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Protocol

from producers.config_errors import finding, meant
from schemas.errors import SetupError
from schemas.events import Headers

Position = dict[str, Any]
"""Where a run stands: small JSON, stored with the page before it."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a run covers. Microseconds since the epoch, UTC."""

    since: int | str | None  # the cursor less its look-back; None: from the beginning
    until: int  # when the run began


@dataclass(frozen=True, slots=True)
class Turn:
    """What a position changes in the stream's request: parameters, or path and query."""

    params: Mapping[str, str | int] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a pager sees of an answer."""

    url: str  # the URL that was asked
    value: Any  # the parsed body
    records: tuple[Any, ...]
    headers: Headers
    digest: str  # of the body
    secret_params: frozenset[str] = frozenset()  # never to be stored


class Step(NamedTuple):
    """Where to go on; ``reached``: everything before this instant has been read."""

    position: Position | None  # None: the run is complete
    reached: int | None = None


class Pager(Protocol):
    """A frozen pydantic model whose fields are the pager's settings. No I/O, no state."""

    @property
    def windowed(self) -> bool:
        """Whether the pager itself says how far the run has come, instead of the records."""

    @property
    def params(self) -> frozenset[str]:
        """The names of all parameters that its turns may have."""

    def first(self, span: Span) -> Position | None:
        """The first page's position; None: nothing to read."""

    def turn(self, position: Position) -> Turn:
        """What to ask at a position."""

    def after(self, position: Position, page: Page) -> Step:
        """Where to go on. Raises SetupError for a page that leads nowhere new."""


@cache
def pagers() -> Mapping[str, type[Any]]:
    """The pagers of this folder by name. Raises SetupError for a file that declares none."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(__path__):
        declared = getattr(importlib.import_module(f"{__name__}.{module.name}"), "PAGER", None)
        if declared is None or declared.model_fields["kind"].default != module.name:
            raise SetupError(
                "declares no PAGER of its own name",
                where=f"producers/pagers/{module.name}.py",
                remedy="set PAGER to the model whose kind is the file's name",
            )
        found[module.name] = declared
    return found


def pager_of(settings: object) -> object:
    """The pager that ``{kind = ...}`` names; for pydantic, hence ValueError."""
    if not isinstance(settings, Mapping):
        return settings  # already a pager
    kind = settings.get("kind")
    if kind not in pagers():
        what = f"kind is one of {', '.join(sorted(pagers()))}"
        raise finding(what, meant(kind, pagers()))
    return pagers()[str(kind)](**settings)


def stuck(what: str) -> SetupError:
    """The error for a source whose pages do not lead on."""
    return SetupError(
        f"the source repeats itself: {what}",
        remedy="compare the pager's settings with the source's documentation",
    )
