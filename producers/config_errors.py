"""Pydantic's findings on settings, as errors in our words: what, where, and what was meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from schemas.contract import StreamName
from schemas.errors import SetupError

STREAM_RULE = (
    "a stream is called source.name: lower case letters, digits, _ and -, parts separated by dots"
)
_STREAM_PATTERN = TypeAdapter(StreamName).json_schema()["pattern"]
_FOUND_CHARS_MAX = 100


class Finding(NamedTuple):
    """The first thing that is wrong; ``remedy`` is empty where only the reference helps."""

    what: str
    path: str
    remedy: str = ""


def setup_error(
    error: ValidationError, model: type[BaseModel], where: str, remedy: str
) -> SetupError:
    """The error for a table that ``model`` refuses; ``remedy`` is for want of a better one."""
    found = first_finding(error, model)
    place = f"{where}.{found.path}" if found.path else where
    return SetupError(found.what, where=place, remedy=found.remedy or remedy)


def meant(name: object, known: Iterable[str]) -> str:
    """The remedy for a name that is none of these: the nearest, or all of them."""
    there = sorted(known)
    near = get_close_matches(str(name), there, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(there)}"


def finding(what: str, remedy: str) -> PydanticCustomError:
    """A finding with its own remedy, for a pydantic validator to raise."""
    return PydanticCustomError("finding", "{what}", {"what": what, "remedy": remedy})


def two_identities(where: str) -> SetupError:
    """The error for a table that names its events in both ways; ``where`` is the table."""
    return SetupError(
        "cannot be set together with event_id: an event has one id",
        where=f"{where}.event_id_without",
        remedy="keep event_id if the sender gives an id that its retries share, "
        "event_id_without if it gives none",
    )


def first_finding(error: ValidationError, model: type[BaseModel] | None) -> Finding:
    """The first finding. Of what was given it repeats names of fields and of streams only."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(map(str, first["loc"]))
    context = first.get("ctx", {})
    if isinstance(context.get("error"), ValidationError):  # a validator that asked another model
        inner = first_finding(context["error"], None)
        return inner._replace(path=".".join(filter(None, (path, inner.path))))
    if first["type"] == "extra_forbidden":
        *places, name = first["loc"]
        near = get_close_matches(str(name), _fields(model, places), n=1)
        return Finding("unknown field", path, f"did you mean {near[0]}?" if near else "")
    if first["type"] == "union_tag_invalid":
        known = [kind.strip("' ") for kind in context["expected_tags"].split(",")]
        what = f"{context['discriminator'].strip(chr(39))} is one of {', '.join(sorted(known))}"
        return Finding(what, path, meant(context["tag"], known))
    if context.get("pattern") == _STREAM_PATTERN:
        given = error.errors(include_url=False)[0]["input"]
        return Finding(f"{STREAM_RULE}; found {given[:_FOUND_CHARS_MAX]!r}", path)
    what = first["msg"].removeprefix("Value error, ")
    return Finding(what, path, str(context.get("remedy", "")))


def _fields(model: type[BaseModel] | None, places: Sequence[int | str]) -> list[str]:
    """The fields, as they are written, of what stands at this place below a model."""
    models = [] if model is None else [model]
    for place in places:
        found = [
            field.annotation
            for one in models
            for name, field in one.model_fields.items()
            if place in {name, field.alias}
        ]
        tagged = [one for one in models if _kind(one) == place]
        if found or tagged:  # else an index or a key, which leads to the same models
            models = [below for annotation in found for below in models_in(annotation)] or tagged
    return [
        field.alias or name
        for one in models
        for name, field in one.model_fields.items()
        if not field.exclude
    ]


def _kind(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return field.default if field is not None else None


def models_in(annotation: Any) -> Iterable[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """The models that an annotation names, inside unions and lists too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
