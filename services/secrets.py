"""Secrets are named in settings and fetched when they are needed; their text is never shown."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from schemas.errors import SetupError
from services.redaction import HIDDEN

COMMAND_SECONDS_MAX = 10
_NAME = re.compile(r"(env|file|command):\S.*")


def _named(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind not in {"env", "file", "command"} or not rest:
        # the text itself may be a secret by mistake, hence is not repeated
        msg = "a secret is named as env:NAME, file:PATH or command:LINE, never written here"
        raise ValueError(msg)
    return text


SecretName = Annotated[str, AfterValidator(_named)]
"""``env:NAME``, ``file:PATH`` or ``command:LINE``."""


def named_in(settings: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Where settings name secrets, such as ``sources.shop.secrets``, and those names."""
    match settings:
        case str() if _NAME.fullmatch(settings):
            yield place, settings
        case dict():
            for key, inner in settings.items():
                yield from named_in(inner, f"{place}.{key}" if place else str(key))
        case list() | tuple():
            for inner in settings:
                yield from named_in(inner, place)
        case _:
            return


def resolve(name: str, environ: dict[str, str], root: Path) -> str:
    """The secret's text, without a trailing newline. Raises SetupError, naming the reference.

    From then on logs mask it (:mod:`services.redaction`).
    """
    text = _fetch(name, environ, root)
    HIDDEN.hide(text)
    return text


def _fetch(name: str, environ: dict[str, str], root: Path) -> str:
    kind, _, rest = name.partition(":")
    match kind:
        case "env":
            if rest not in environ:
                raise SetupError(
                    f"environment variable {rest} is not set",
                    where=name,
                    remedy=f"export {rest}=... before the start",
                )
            return environ[rest]
        case "file":
            try:
                return _text((root / rest).read_bytes(), name)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the path
                why = getattr(error, "strerror", None) or type(error).__name__
                raise SetupError(
                    f"the secret's file cannot be read ({why})",
                    where=name,
                    remedy="check the path and its permissions",
                ) from None
        case _:
            return _from_command(name, rest)


def _from_command(name: str, line: str) -> str:
    where = name.split(" ", 1)[0]
    try:
        done = subprocess.run(  # noqa: S603 - see above
            shlex.split(line), capture_output=True, check=True, timeout=COMMAND_SECONDS_MAX
        )
    except (
        OSError,
        ValueError,
        subprocess.SubprocessError,
    ) as error:  # ValueError: a quote is open
        raise SetupError(
            f"the secret's command failed ({type(error).__name__})",
            where=where,
            remedy="run the command by hand; it must print the secret and exit with 0",
        ) from None
    return _text(done.stdout, where)


def _text(found: bytes, where: str) -> str:
    try:
        return found.decode().rstrip("\r\n")
    except UnicodeDecodeError:  # which quotes the bytes
        raise SetupError(
            "the secret is no text in UTF-8", where=where, remedy="give binary secrets in base64"
        ) from None
