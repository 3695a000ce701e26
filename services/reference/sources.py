"""``docs/reference/sources.md``: every field of ``[sources.NAME]``, from what reads it."""

import inspect
import re
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from producers.answer_errors import AnswerErrors
from producers.auth import Auth
from producers.cursors import Cursor
from producers.limits import RateHeaders
from producers.pagers import pagers
from producers.rest import RestSource, RestStream
from producers.webhook import WebhookConfig, find_plugins
from services.reference.pages import NOTE, grid

INNER: dict[type[BaseModel], str] = {
    RestStream: "streams",
    Cursor: "cursor",
    AnswerErrors: "errors",
    RateHeaders: "rate_headers",
}
"""Tables inside a source's table, by the section that describes them."""


def sources_page() -> str:
    """docs/reference/sources.md."""
    plugins = find_plugins()
    parts = [
        NOTE.format(source="`producers`"),
        "# Sources\n",
        (
            "One table `[sources.NAME]` of `sluice.toml` a source; `kind` says what it is. "
            "Secrets are named as `env:NAME`, `file:PATH` or `command:LINE`, never written in "
            "the file. [gateway](../gateway.md) and [poller](../poller.md) explain how they work.\n"
        ),
        "## Webhook sources\n",
        _about(WebhookConfig),
        _fields(WebhookConfig),
        "### Presets\n",
        "A `kind` beside `webhook`; what the table says comes first.\n",
        grid(
            ("kind", "what"),
            ((f"`{name}`", preset.description) for name, preset in plugins.presets.items()),
        ),
        "### verify\n",
        '`verify = { scheme = "...", ... }`, with the scheme\'s own options.\n',
    ]
    for name, scheme in sorted(plugins.schemes.items()):
        secret = "" if scheme.needs_secret else " Needs no secret."
        parts += [f"#### {name}\n", _first(scheme.prepare) + secret + "\n", _fields(scheme.options)]
    parts += ["## REST sources\n", _about(RestSource), _fields(RestSource)]
    for model, name in INNER.items():
        parts += [f"### {name}\n", _about(model), _fields(model)]
    parts += ["### auth\n", '`auth = { kind = "...", ... }`.\n']
    for model in _kinds_of_auth():
        parts += [f"#### {_kind(model)}\n", _about(model), _fields(model)]
    parts += ["### pager\n", '`pager = { kind = "...", ... }`.\n']
    for name, model in sorted(pagers().items()):
        parts += [f"#### {name} pages\n", _about(model), _fields(model)]
    return "\n".join(part for part in parts if part)


def _kinds_of_auth() -> Iterable[type[BaseModel]]:
    union = get_args(Auth)[0]
    return tuple(get_args(union))


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_fields["kind"].default)


def _about(model: type[BaseModel]) -> str:
    text = inspect.cleandoc(model.__doc__ or "")
    return re.sub(r"``(.+?)``", r"`\1`", text) + "\n"


def _first(thing: object) -> str:
    """The first line of what a function says of itself."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].replace("``", "`")


def _fields(model: type[BaseModel]) -> str:
    rows = [
        (
            f"`{info.alias or name}`",
            _type(info.annotation),
            _default(info.get_default(call_default_factory=True), required=info.is_required()),
            info.description or "",
        )
        for name, info in model.model_fields.items()
        if name != "kind" or model is WebhookConfig
    ]
    return grid(("field", "type", "default", "what"), rows) if rows else ""


def _default(value: Any, *, required: bool) -> str:  # noqa: ANN401 - any field's
    if required:
        return "needed"
    if value in (None, PydanticUndefined, "", (), {}) or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {Union, UnionType}:
        return " or ".join(dict.fromkeys(_type(a) for a in arguments if a is not NoneType))
    if origin is Literal:
        return ", ".join(f'"{a}"' if isinstance(a, str) else str(a).lower() for a in arguments)
    if origin in {tuple, list}:
        return f"list of {_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, "table")
