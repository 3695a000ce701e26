"""``SLUICE_*`` variables: which belong to which setting, and which to none."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from schemas.errors import SetupError

PREFIX, SEPARATOR = "SLUICE_", "__"
OTHERS = frozenset({"SLUICE_FOLDER"})
"""Variables that are read elsewhere: the option ``--project``."""
_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)=.*|\w+_PORT=\w+://.*"
)
_NEAR, _FAR = 0.9, 0.6


def require_known(environ: Mapping[str, str], paths: Iterable[str], toml: str) -> None:
    """Refuse variables that can only be misspelt settings, which would be silently ignored.

    ``paths``: the settings, such as ``loader`` and ``loader.lanes``. A section that there is not is
    refused; a name without a section may be somebody else's, and is refused only where it is
    nearly a setting's. What Kubernetes adds for a service, and what the text ``toml`` mentions, as
    for a secret, is left alone. Raises SetupError with the name.
    """
    known = [variable(path) for path in paths]
    sections = {name for name in known if SEPARATOR not in name}
    for name in sorted(environ):
        upper = name.upper()
        section, separator, _ = upper.removeprefix(PREFIX).partition(SEPARATOR)
        if not upper.startswith(PREFIX) or name in toml or upper in OTHERS:
            continue
        if f"{PREFIX}{section}" in sections or _OF_KUBERNETES.fullmatch(f"{upper}={environ[name]}"):
            continue
        near = get_close_matches(upper, known, n=1, cutoff=_FAR if separator else _NEAR)
        if separator or near:
            raise SetupError(
                "belongs to no setting",
                where=f"environment variable {name}",
                remedy=f"{f'did you mean {near[0]}? ' if near else ''}docs/reference/settings.md "
                "has all names; unset it where it is meant for something else",
            )


def variable(path: str) -> str:
    """The variable of the setting at a dotted path."""
    return f"{PREFIX}{path.replace('.', SEPARATOR)}".upper()


def variable_of(path: str, environ: Mapping[str, str]) -> str | None:
    """The variable that set the field at a dotted path, or a table that it is in; None: none."""
    parts = path.split(".")
    there = {name.upper(): name for name in environ}
    for length in range(len(parts), 0, -1):
        name = there.get(variable(".".join(parts[:length])))
        if name is not None:
            return name
    return None
