"""``docs/reference/cli.md``: every command with its options, rendered from the application."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from services.cli.app import declared
from services.comments import comments_of
from services.exit_codes import ExitCode
from services.reference.pages import NOTE, grid

HIDDEN = {"help"}


def render_cli() -> str:
    """The page, in Markdown."""
    command = get_command(declared())
    parts = [
        NOTE.format(source="`services/cli`"),
        "# Command line\n",
        (
            "Answers go to standard output, errors and notices to standard error. An error says "
            "what, where and what to do next; with `--json` it is a JSON object. `--help` after "
            "any command explains it; `sluice --version` names the version.\n"
        ),
        "## Exit codes\n",
        grid(("code", "when"), ((f"`{c}`", t) for c, t in comments_of(ExitCode).items())),
    ]
    for name, one in _leaves(command, ("sluice",)):
        parts += [f"## {name}\n", f"{_prose(one.help)}\n", f"```\n{_usage(name, one)}\n```\n"]
        rows = [_row(parameter) for parameter in one.params if parameter.name not in HIDDEN]
        if rows:
            parts.append(grid(("argument or option", "what", "default"), rows))
    return "\n".join(parts)


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - click's, without public types
    """Every command that is no group, by its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name in sorted(inner):
        yield from _leaves(inner[name], (*path, name))


def _usage(name: str, command: Any) -> str:  # noqa: ANN401 - see above
    words = [
        f"[{_argument(p)}]" if not p.required else _argument(p)
        for p in command.params
        if p.param_type_name == "argument"
    ]
    return " ".join((name, "[OPTIONS]", *words))


def _argument(parameter: Any) -> str:  # noqa: ANN401 - see above
    several = "..." if parameter.nargs < 0 else ""
    return str(parameter.metavar or parameter.name.upper()) + several


def _row(parameter: Any) -> tuple[str, str, str]:  # noqa: ANN401 - see above
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`", parameter.help or "", ""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    what = parameter.help or ""
    if parameter.envvar:
        what += f" Variable: `{parameter.envvar}`."
    empty = parameter.default is None or parameter.default is False
    return names, what, "" if empty else f"`{parameter.default}`"


def _prose(text: str | None) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text or ""))
