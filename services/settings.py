"""Settings of a project folder: ``sluice.toml``, overridden by ``SLUICE_*`` variables.

The only place that reads the environment. Every field has a description, from which
``docs/reference/settings.md`` is generated.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from producers.config_errors import first_finding, models_in
from schemas.compatibility import Compatibility
from schemas.errors import SetupError
from services.environment import PREFIX, require_known, variable_of
from services.secrets import SecretName, resolve

FILE = "sluice.toml"


class Section(BaseModel):
    """A table of ``sluice.toml``: unknown names are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(Section):
    """The broker. Without this table the embedded Apache Kafka is used."""

    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="librdkafka settings for every client, passed through as they are, such as "
        '"bootstrap.servers", "security.protocol", "sasl.mechanism", "ssl.ca.location".',
    )
    secrets: dict[str, SecretName] = Field(
        default_factory=dict,
        description='librdkafka settings that are secret, such as "sasl.password", each as '
        "env:NAME, file:PATH or command:LINE.",
    )
    embedded: bool = Field(
        default=False,
        description="Start an Apache Kafka as a child process even with this table.",
    )
    nodes: int = Field(default=1, ge=1, le=3, description="Brokers of the embedded Kafka.")
    port: int = Field(
        default=0,
        ge=0,
        le=65000,
        description="First port of the embedded Kafka; 0 takes free ones.",
    )
    partitions: int = Field(default=2, ge=1, description="Partitions of topics that are created.")
    replication: int | None = Field(
        default=None,
        ge=1,
        description="Replicas of topics that are created; default: 3, or the brokers there are. "
        "Of three or more, two have what is acknowledged.",
    )
    retention_hours: int = Field(
        default=168,
        ge=1,
        description="Retention of created topics; two dedupe windows and an hour are always kept.",
    )
    cloudevents: bool = Field(
        default=False, description="Headers of CloudEvents 1.0 on every record, for other readers."
    )


class Registry(Section):
    """Schema ids. Without a URL they come from the project's committed ``avro/ids.json``."""

    url: str | None = Field(default=None, description="A registry with the Confluent API.")
    compatibility: Compatibility = Field(
        default=Compatibility.BACKWARD,
        description="What a changed contract has to do with the schemas before it; a registry "
        "behind a URL has its own rule.",
    )
    user: str | None = Field(default=None, description="User name for basic authentication.")
    password: SecretName | None = Field(default=None, description="Password for it.")
    timeout_seconds: float = Field(default=10, gt=0, description="Longest wait for one answer.")


class Snowflake(Section):
    """The warehouse. Without this table the embedded stand-in is used."""

    embedded: bool = Field(
        default=False, description="Use the embedded stand-in even with this table."
    )
    account: str = Field(default="", description="Account identifier, such as myorg-account1.")
    user: str = Field(default="", description="User that loads.")
    auth: Literal["key_pair", "oauth", "pat", "password"] = Field(
        default="key_pair", description="How the user proves itself."
    )
    private_key: SecretName | None = Field(default=None, description="PKCS#8, PEM, for key_pair.")
    private_key_passphrase: SecretName | None = Field(default=None, description="Its passphrase.")
    token: SecretName | None = Field(default=None, description="Token, for oauth and pat.")
    password: SecretName | None = Field(default=None, description="Password, for password.")
    role: str = Field(default="", description="Role that loads.")
    warehouse: str = Field(default="", description="Virtual warehouse that runs the COPY.")
    database: str = Field(default="SLUICE", description="Database of tables, ledger and stage.")
    schema_: str = Field(
        default="RAW", alias="schema", description="Schema of tables, ledger and stage."
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Further arguments of snowflake.connector.connect, such as host or proxy_host.",
    )
    query_tag: str = Field(
        default="sluice",
        description="QUERY_TAG of every statement; those of a load are JSON with topic and "
        "table, and with this in it.",
    )
    network_timeout_seconds: int = Field(
        default=60, ge=1, description="Longest wait for one answer, retries included."
    )
    lock_timeout_seconds: int = Field(
        default=60,
        ge=1,
        description="LOCK_TIMEOUT of the session: longest wait for another load.",
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65000,
        description="Port of the embedded stand-in; 0 takes a free one.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.embedded:
            return self
        needs = {
            "key_pair": "private_key",
            "oauth": "token",
            "pat": "token",
            "password": "password",
        }
        missing = [
            name
            for name in ("account", "user", "warehouse", "role", needs[self.auth])
            if not str(getattr(self, name) or "").strip()
        ]
        if missing:
            msg = f"snowflake.{missing[0]} is empty (auth = {self.auth!r} needs it)"
            raise ValueError(msg)
        return self


class Gateway(Section):
    """The webhook endpoint."""

    host: str = Field(default="127.0.0.1", description="Address to bind; loopback unless told.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    body_bytes_max: int = Field(
        default=1_000_000, ge=1, description="Largest body as it comes over the wire (413)."
    )
    bodies_bytes_max: int = Field(
        default=268_435_456, ge=1, description="Largest size of all bodies without an answer (503)."
    )
    inflated_bytes_max: int = Field(
        default=20_000_000, ge=1, description="Largest body after decompression (413)."
    )
    events_max: int = Field(default=10_000, ge=1, description="Most events in one body (422).")
    depth_max: int = Field(default=32, ge=1, description="Deepest nesting of one event.")
    keys_max: int = Field(default=2_000, ge=1, description="Most keys in one event, all levels.")
    header_bytes_max: int = Field(default=16_384, ge=1, description="Largest header block (431).")
    body_seconds_max: float = Field(
        default=10, gt=0, description="Longest time a client may take to send its body (408)."
    )
    ack_seconds_max: float = Field(
        default=2.5, gt=0, description="Longest wait for a body's turn and the broker (503)."
    )
    in_flight_events_max: int = Field(
        default=50_000, ge=1, description="Most events waiting for the broker (503)."
    )
    rate_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Requests per second and source (429); default: no limit.",
    )


class Admin(Section):
    """Health and metrics of every process, on a port of their own."""

    host: str = Field(default="127.0.0.1", description="Address to bind; loopback unless told.")
    gateway_port: int = Field(default=9101, ge=0, le=65535, description="Port of the gateway's.")
    poller_port: int = Field(default=9102, ge=0, le=65535, description="Port of the poller's.")
    loader_port: int = Field(default=9103, ge=0, le=65535, description="Port of the loader's.")
    auditor_port: int = Field(default=9104, ge=0, le=65535, description="Port of the auditor's.")


class Poller(Section):
    """Polled sources."""

    timeout_seconds: float = Field(default=30, gt=0, description="Longest wait for one answer.")
    page_bytes_max: int = Field(
        default=50_000_000, ge=1, description="Largest answer that is read."
    )
    attempts_max: int = Field(
        default=6,
        ge=1,
        description="Tries of one request before the stream waits for its next turn.",
    )
    backoff_seconds_max: float = Field(default=60, gt=0, description="Longest wait between tries.")
    setup_retry_seconds: float = Field(
        default=300,
        gt=0,
        description="Wait of a stream whose failure needs somebody to change something.",
    )


class Loader(Section):
    """Micro-batches."""

    group: str = Field(default="sluice-loader", description="Consumer group of the loaders.")
    rows_max: int = Field(default=100_000, ge=1, description="Events that close a batch.")
    bytes_max: int = Field(
        default=64_000_000, ge=1, description="Bytes of messages that close a batch."
    )
    age_seconds_max: float = Field(
        default=5, gt=0, description="Age of its first event that closes a batch."
    )
    lanes: int = Field(default=2, ge=1, le=16, description="Loads at once, over all streams.")
    keep_files: bool = Field(default=False, description="Leave loaded files in the stage.")
    poll_messages_max: int = Field(default=25_000, ge=1, description="Messages of one poll.")
    drain_seconds: float = Field(default=20, gt=0, description="Longest wait of a stop for loads.")
    breaker_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of rejects that stops a partition; 1 switches the breaker off.",
    )
    breaker_events_min: int = Field(
        default=1_000, ge=1, description="Events that the share is taken over."
    )
    breaker_in_a_row_max: int = Field(
        default=1_000, ge=1, description="Most rejects in a row that do not stop a partition."
    )


class Audit(Section):
    """The auditor: `sluice audit --every 1m`."""

    full_every_seconds: float = Field(
        default=3_600,
        gt=0,
        description="How often it reads everything again; between, it reads what is new. Damage "
        "to what was proved before, and its repair, are seen by an audit of everything only.",
    )


class Telemetry(Section):
    """Metrics pushed by OTLP, beside every process's `/metrics`."""

    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://.",
        description="Where metrics are pushed to (OTLP over HTTP, protobuf), with its path; needs "
        "sluice[otlp]. Without it nothing is pushed.",
    )
    otlp_headers: dict[str, SecretName] = Field(
        default_factory=dict,
        description="Headers of every push, such as authorization, each as env:NAME, file:PATH or "
        "command:LINE.",
    )
    otlp_every_seconds: float = Field(default=60, gt=0, description="Time between two pushes.")
    otlp_timeout_seconds: float = Field(
        default=10, gt=0, description="Longest time for one push, tries included."
    )


class Settings(BaseSettings):
    """A project's ``sluice.toml``. ``SLUICE_LOADER__LANES=4`` overrides ``[loader] lanes``."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="SLUICE_", env_nested_delimiter="__"
    )

    project: str = Field(
        default="sluice",
        pattern=r"^[a-z][a-z0-9-]{0,40}$",
        description="Name, in group ids and query tags.",
    )
    state_dir: Path = Field(
        default=Path(".sluice"), description="Everything that Sluice keeps on this machine."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    kafka: Kafka | None = Field(default=None, description="The broker; default: embedded.")
    registry: Registry = Field(default=Registry(), description="Schema ids.")
    snowflake: Snowflake | None = Field(
        default=None, description="The warehouse; default: embedded."
    )
    gateway: Gateway = Field(default=Gateway(), description="Webhook endpoint.")
    admin: Admin = Field(default=Admin(), description="Health and metrics.")
    poller: Poller = Field(default=Poller(), description="Polled sources.")
    loader: Loader = Field(default=Loader(), description="Micro-batches.")
    audit: Audit = Field(default=Audit(), description="The auditor that stays.")
    telemetry: Telemetry = Field(default=Telemetry(), description="Metrics pushed by OTLP.")
    sources: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="One table a source; `kind` says which plug-in reads the rest of it.",
    )
    root: Path = Field(default=Path(), exclude=True, description="The project folder itself.")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over the file over the defaults."""
        del dotenv_settings, file_secret_settings
        root = init_settings().get("root", Path())
        file = TomlConfigSettingsSource(settings_cls, toml_file=root / FILE)
        return init_settings, env_settings, file

    @property
    def state(self) -> Path:
        """The absolute state folder."""
        return (self.root / self.state_dir).resolve()

    @property
    def embedded_kafka(self) -> bool:
        """Whether Sluice runs its own broker."""
        return self.bootstrap_servers is None and (self.kafka is None or self.kafka.embedded)

    @property
    def bootstrap_servers(self) -> str | None:
        """``KAFKA_BOOTSTRAP_SERVERS``: a broker to use where the settings have no ``[kafka]``."""
        return os.environ.get("KAFKA_BOOTSTRAP_SERVERS") if self.kafka is None else None

    @property
    def embedded_warehouse(self) -> bool:
        """Whether Sluice runs its own stand-in."""
        return self.snowflake is None or self.snowflake.embedded

    def secret(self, name: str) -> str:
        """A secret's text, fetched now. Raises SetupError."""
        return resolve(name, dict(os.environ), self.root)


def _paths() -> Iterator[str]:
    """Every setting, with the tables that it is in."""
    for name, info in Settings.model_fields.items():
        if not info.exclude:
            yield name
            for table in models_in(info.annotation):
                for below, field in table.model_fields.items():
                    yield f"{name}.{field.alias or below}"


def load(root: Path) -> Settings:
    """The settings of the project folder ``root``. Raises SetupError naming field and remedy.

    What an environment variable has set is told with its name.
    """
    file = root / FILE
    text = file.read_text(errors="replace") if file.is_file() else ""
    require_known(os.environ, _paths(), text)
    try:
        return Settings(root=root.resolve())
    except ValidationError as error:
        found = first_finding(error, Settings)
        variable = variable_of(found.path, os.environ)
        place = f"{file}: {found.path}" if found.path else str(file)
        raise SetupError(
            found.what,
            where=f"environment variable {variable}" if variable else place,
            remedy=found.remedy or "see docs/reference/settings.md for the fields and their forms",
        ) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        variable = variable_of(field[1] if field else "", os.environ)
        raise SetupError(
            "not the JSON that a table or a list takes",
            where=f"environment variable {variable or PREFIX + '*'}",
            remedy="write JSON, or set single fields, such as SLUICE_LOADER__LANES=4",
        ) from None
    except ValueError as error:  # TOML that cannot be parsed
        raise SetupError(
            f"not valid TOML: {error}", where=str(file), remedy="mend the file's syntax"
        ) from None
