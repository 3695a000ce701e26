"""A webhook source: how deliveries are proved, named and taken apart."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from producers.config_errors import STREAM_RULE, meant, setup_error, two_identities
from producers.content import FieldPointers, content_id
from producers.places import Read, stream_name, template
from producers.plugins import find
from producers.signatures import find_schemes
from producers.signing import AnyScheme, Verify
from schemas.contract import StreamName
from schemas.errors import SetupError
from schemas.events import Delivery, Headers
from schemas.pointers import Tokens, pointer_tokens

KIND = "webhook"
UNPLACED = "unknown"
_REFERENCE = "see docs/reference/sources.md for the fields and their forms"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,60}")
STREAM = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*){1,4}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handshake answers instead of taking the delivery in."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Handshake:
    """A provider's way to ask whether we are who it thinks we are.

    ``answer`` gets the delivery with its inflated payload and the live secrets, and returns None
    for an ordinary delivery. POST deliveries are verified before; other methods, which carry no
    signature, are not.
    """

    answer: Callable[[Delivery, Sequence[str]], Answer | None]
    methods: frozenset[str] = frozenset({"POST"})


@dataclass(frozen=True, slots=True)
class WebhookPreset:
    """What a provider's webhooks have in common. One file in ``producers/sources`` declares one.

    ``event_id`` and ``stream`` are texts with places (:mod:`producers.places`) or functions of
    the headers and one record.
    """

    name: str
    description: str
    verify: Mapping[str, Any]  # {"scheme": ..., and its options}
    stream: str | Read
    event_id: str | Read | None = None
    id_per: Literal["record", "delivery"] = "record"  # for functions; a text shows it
    records: str = ""
    handshake: Handshake | None = None


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """One configured source, ready to take deliveries in."""

    name: str
    verify: Verify
    stream: Read
    fallback: str  # the stream whose dead letters take what belongs to no other
    fixed: bool = False  # fallback is the only stream
    event_id: Read | None = None  # None: the encoder derives it
    id_per_record: bool = True  # False: records of one delivery are numbered
    records: Tokens = ()  # where the array of records is; (): the body itself
    rate_per_second: float | None = None
    handshake: Handshake | None = None
    challenge: str = "Signature"
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def methods(self) -> frozenset[str]:
        """The methods that are answered."""
        return frozenset({"POST"}) | (self.handshake.methods if self.handshake else frozenset())


def _named(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind not in {"env", "file", "command"} or not rest:
        # the text itself may be a secret by mistake, hence is not repeated
        msg = "a secret is named as env:NAME, file:PATH or command:LINE, never written here"
        raise ValueError(msg)
    return text


def _pointer(text: str) -> str:
    pointer_tokens(text)
    return text


class WebhookConfig(BaseModel):
    """The table ``[sources.NAME]`` of a webhook source. A preset (``kind``) fills what is left out.

    In ``event_id`` and ``stream``, ``{x-some-header}`` stands for a header, ``{/some/pointer}``
    for a string or integer in the record, ``{source}`` for the source's own name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: str = Field(
        default=KIND, description="`webhook`, or a preset such as `github` or `stripe`."
    )
    secrets: tuple[Annotated[str, AfterValidator(_named)], ...] = Field(
        default=(),
        description="The live secrets, each as env:NAME, file:PATH or command:LINE; several while "
        "they are being rotated.",
    )
    verify: dict[str, Any] | None = Field(
        default=None,
        description="`scheme` and its options, such as "
        '{ scheme = "hmac", header = "x-signature" }.',
    )
    stream: str | None = Field(
        default=None, description="The stream of a record, such as `shop.{x-shop-topic}`."
    )
    streams: dict[str, StreamName] = Field(
        default_factory=dict,
        description="Streams by what `stream` gives, where its own text does not do.",
    )
    event_id: str | None = Field(
        default=None,
        description="The id of an event, stable over the sender's retries, such as `{/id}` or "
        "`{x-delivery}`; default: derived from key and version, or from the record's bytes.",
    )
    event_id_without: FieldPointers | None = Field(
        default=None,
        description="Instead of `event_id`: the id is a hash of the record without what these "
        "JSON pointers find, such as `/sent_at` or `/meta/attempt`; `[]` leaves nothing out.",
    )
    records: Annotated[str, AfterValidator(_pointer)] | None = Field(
        default=None,
        description="JSON pointer to the array of records in the body; default: the body.",
    )
    rate_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Requests per second (429 beyond); default: the gateway's rate_per_second.",
    )


@dataclass(frozen=True, slots=True)
class WebhookPlugins:
    """The presets and signature schemes there are, by name."""

    presets: Mapping[str, WebhookPreset]
    schemes: Mapping[str, AnyScheme]

    @property
    def kinds(self) -> frozenset[str]:
        """Every ``kind`` that makes a table of ``[sources]`` a webhook source."""
        return frozenset({KIND, *self.presets})


def find_plugins(root: Path | None = None) -> WebhookPlugins:
    """What ships, and what ``sources`` and ``signatures`` of a project folder add.

    Raises SetupError naming the file.
    """
    package = import_module("producers.sources")
    found = find(package, "SOURCE", object, root and root / "sources")
    presets = {name: preset for name, preset in found.items() if isinstance(preset, WebhookPreset)}
    return WebhookPlugins(presets, find_schemes(root and root / "signatures"))


def read_config(name: str, table: Mapping[str, Any], plugins: WebhookPlugins) -> WebhookConfig:
    """One table of ``[sources]``, with its preset. Raises SetupError naming the field."""
    where = f"sources.{name}"
    if not NAME.fullmatch(name):
        raise SetupError(
            f"{name!r} cannot be the name of a source",
            where=where,
            remedy="use lower case letters, digits, - and _, a letter first",
        )
    try:
        config = WebhookConfig.model_validate(dict(table))
    except ValidationError as error:
        raise setup_error(error, WebhookConfig, where, _REFERENCE) from None
    if config.kind not in plugins.kinds:
        raise SetupError(
            f"no webhook source is of kind {config.kind!r}",
            where=f"{where}.kind",
            remedy=meant(config.kind, plugins.kinds),
        )
    if config.event_id is not None and config.event_id_without is not None:
        raise two_identities(where)
    preset = plugins.presets.get(config.kind)
    for needed in ("verify", "stream"):
        if preset is None and getattr(config, needed) is None:
            raise SetupError("is needed", where=f"{where}.{needed}", remedy=_NEEDED[needed])
    return config


_NEEDED = {
    "verify": 'say how deliveries are proved, such as verify = { scheme = "standard_webhooks" }',
    "stream": 'name the stream of its records, such as stream = "shop.orders"',
}


def make_source(
    name: str, config: WebhookConfig, secrets: Sequence[str], plugins: WebhookPlugins
) -> WebhookSource:
    """The source that a config describes; ``secrets`` are the texts behind ``config.secrets``.

    Raises SetupError naming the field.
    """
    preset = plugins.presets.get(config.kind)
    scheme, verify = _verification(name, config, secrets, plugins)
    source = WebhookSource(
        name=name,
        verify=verify,
        stream=_fixed(""),
        fallback=f"{name}.{UNPLACED}",
        records=pointer_tokens(_either(config.records, preset and preset.records) or ""),
        rate_per_second=config.rate_per_second,
        handshake=preset.handshake if preset else None,
        challenge=scheme.challenge,
        secrets=tuple(secrets),
    )
    source = _with_event_id(source, config, preset)
    return _with_stream(source, config, preset)


def streams_of(name: str, config: WebhookConfig, plugins: WebhookPlugins) -> set[str]:
    """The streams that a source names without a delivery. Raises SetupError naming the field.

    Where its deliveries decide, that of those which belong to none is among them, for its dead
    letters.
    """
    wanted = _either(config.stream, getattr(plugins.presets.get(config.kind), "stream", None))
    fixed = _fixed_stream(name, wanted)
    return {*config.streams.values(), fixed or f"{name}.{UNPLACED}"}


def _verification(
    name: str, config: WebhookConfig, secrets: Sequence[str], plugins: WebhookPlugins
) -> tuple[AnyScheme, Verify]:
    where = f"sources.{name}.verify"
    preset = plugins.presets.get(config.kind)
    table = dict(_either(config.verify, preset and preset.verify) or {})
    wanted = table.pop("scheme", None)
    scheme = plugins.schemes.get(str(wanted))
    if scheme is None:
        raise SetupError(
            "scheme is missing or unknown",
            where=f"{where}.scheme",
            remedy=meant(wanted, plugins.schemes),
        )
    try:
        options = scheme.options.model_validate(table)
    except ValidationError as error:
        raise setup_error(error, scheme.options, where, _REFERENCE) from None
    if scheme.needs_secret and not (secrets and all(secrets)):
        raise SetupError(
            f"scheme {scheme.name} needs a secret" if not secrets else "a secret is empty",
            where=f"sources.{name}.secrets",
            remedy='name where it is kept, such as secrets = ["env:SHOP_SECRET"]',
        )
    try:
        return scheme, scheme.prepare(options, secrets)
    except SetupError as error:
        raise SetupError(
            error.what, where=f"sources.{name}.secrets", remedy=error.remedy
        ) from error


def _with_event_id(
    source: WebhookSource, config: WebhookConfig, preset: WebhookPreset | None
) -> WebhookSource:
    if config.event_id_without is not None:
        return replace(source, event_id=_content(source.name, config.event_id_without))
    wanted = _either(config.event_id, preset and preset.event_id)
    if not wanted:
        return source
    if not isinstance(wanted, str):
        per_record = preset is None or preset.id_per == "record"
        return replace(source, event_id=wanted, id_per_record=per_record)
    try:
        compiled = template(wanted, source.name)
    except ValueError as error:
        raise _bad_text(source.name, "event_id", error) from None
    if compiled.fixed:
        raise _bad_text(source.name, "event_id", ValueError("it would be the same for all events"))
    return replace(source, event_id=compiled.read, id_per_record=compiled.reads_records)


def _with_stream(
    source: WebhookSource, config: WebhookConfig, preset: WebhookPreset | None
) -> WebhookSource:
    wanted = _either(config.stream, preset and preset.stream)
    fixed = _fixed_stream(source.name, wanted)
    if isinstance(wanted, str):
        _require_given(source.name, wanted, config.streams)
    if fixed is not None:
        return replace(source, stream=_fixed(fixed), fallback=fixed, fixed=True)
    names = {stream_name(key): name for key, name in config.streams.items()}
    read = template(wanted, source.name).read if isinstance(wanted, str) else wanted
    return replace(source, stream=_mapped(read or _fixed(""), names))


def _fixed_stream(source: str, wanted: str | Read | None) -> str | None:
    """The stream of every delivery; None where they decide. Raises SetupError for a bad text."""
    if not isinstance(wanted, str):
        return None
    try:
        compiled = template(wanted, source)
    except ValueError as error:
        raise _bad_text(source, "stream", error) from None
    if not compiled.fixed:
        return None
    name = compiled.literals[0]
    if not STREAM.fullmatch(name):
        raise _bad_text(source, "stream", ValueError(f"{STREAM_RULE}; found {name!r}"))
    return name


def _require_given(source: str, stream: str, streams: Iterable[str]) -> None:
    """Raises SetupError for a key of ``streams`` that the text ``stream`` cannot give."""
    compiled = template(stream, source)
    given = ".+".join(re.escape(stream_name(text)) for text in compiled.literals)
    for key in streams:
        if compiled.fixed:
            raise SetupError(
                "is never looked at: `stream` is the same for all records",
                where=f"sources.{source}.streams",
                remedy="name a place in `stream`, such as {/type}, or leave `streams` out",
            )
        if not re.fullmatch(given, stream_name(key)):
            raise SetupError(
                f"no record is of stream {key!r}: `stream` is {stream!r}",
                where=f"sources.{source}.streams",
                remedy="write the keys as `stream` gives them, its places filled in",
            )


def _either(configured: object, preset: object) -> Any:  # noqa: ANN401 - both of one field's type
    return preset if configured is None else configured


def _fixed(name: str) -> Read:
    def read(headers: Headers, value: Mapping[str, Any]) -> str | None:
        del headers, value
        return name

    return read


def _content(source: str, left_out: Sequence[str]) -> Read:
    name = content_id(source, left_out)

    def read(headers: Headers, value: Mapping[str, Any]) -> str | None:
        del headers
        return name(value)

    return read


def _mapped(read: Read, names: Mapping[str, str]) -> Read:
    def mapped(headers: Headers, value: Mapping[str, Any]) -> str | None:
        text = read(headers, value)
        if text is None:
            return None
        name = stream_name(text)
        return names.get(name, name)

    return mapped


def _bad_text(source: str, name: str, error: ValueError) -> SetupError:
    return SetupError(
        str(error),
        where=f"sources.{source}.{name}",
        remedy="write {x-some-header} for a header, {/some/pointer} for a field of the record",
    )
