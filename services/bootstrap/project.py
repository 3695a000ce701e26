"""A project as commands and processes see it: everything is built, and imported, on first use."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producers.rest import RestSource, parse_source
from producers.webhook import (
    WebhookConfig,
    WebhookPlugins,
    WebhookSource,
    find_plugins,
    make_source,
    read_config,
    streams_of,
)
from schemas.avro import wire_schema
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.dead_letters import BYTES_MAX, SUBJECT, DeadLetterWriter, dead_contract
from schemas.errors import SetupError
from schemas.headers import Attributes, cloud_event
from schemas.ports import Clock
from services.adapters.clock import SystemClock
from services.embedded.stack import Endpoints, embedded
from services.project import CONTRACTS, catalogue, load_contracts
from services.redaction import HIDDEN
from services.secrets import named_in
from services.settings import Settings, Snowflake, load

if TYPE_CHECKING:
    # clients take up to seconds to import, and few commands need all of them: each is imported
    # where it is built
    from producers.encode import Encoder
    from services.adapters.kafka import KafkaAdmin, KafkaLogReader
    from services.adapters.metrics import PrometheusMetrics
    from services.adapters.otlp import OtlpPush
    from services.adapters.registry import Registry
    from services.adapters.snowflake import SnowflakeWarehouse
    from services.embedded.parts import Parts

REST = "rest"


@dataclass(frozen=True)
class Project:
    """A project folder with its embedded parts running. Everything is built on first use."""

    settings: Settings
    endpoints: Endpoints
    clock: Clock

    def secret(self, name: str) -> str:
        """A secret's text, hidden from every log from now on.

        Raises SetupError, naming the settings that ask for it.
        """
        try:
            text = self.settings.secret(name)
        except SetupError as error:
            named = named_in(self.settings.model_dump(mode="json"))
            places = sorted({place for place, found in named if found == name})
            where = f"{error.where} ({', '.join(places)})" if places else error.where
            raise SetupError(error.what, where=where, remedy=error.remedy) from None
        HIDDEN.hide(text)
        return text

    @cached_property
    def metrics(self) -> "PrometheusMetrics":
        """The process's metrics."""
        from services.adapters.metrics import PrometheusMetrics

        return PrometheusMetrics()

    def metrics_push(self, role: str, instance: str) -> "OtlpPush | None":
        """Pushes the metrics until it is closed; None where no endpoint is named.

        Raises SetupError where the extra is not installed, or a header's secret is missing.
        """
        settings = self.settings.telemetry
        if settings.otlp_endpoint is None:
            return None
        try:
            from services.adapters import otlp
        except ImportError as error:
            raise SetupError(
                f"metrics cannot be pushed: {error.name} is not installed",
                where="sluice.toml: telemetry.otlp_endpoint",
                remedy="install sluice[otlp], or leave the endpoint out",
            ) from error
        resource = {
            "service.name": f"sluice-{role}",
            "service.instance.id": instance,
            "service.version": version("sluice"),
        }
        target = otlp.OtlpTarget(
            endpoint=settings.otlp_endpoint,
            headers=lambda: {n: self.secret(s) for n, s in settings.otlp_headers.items()},
            every_seconds=settings.otlp_every_seconds,
            timeout_seconds=settings.otlp_timeout_seconds,
        )
        return otlp.OtlpPush(target, resource, self.metrics, self.clock)

    @cached_property
    def registry(self) -> "Registry":
        """Schema ids."""
        settings = self.settings.registry
        if settings.url is None:
            from services.adapters.registry import FileRegistry

            return FileRegistry(self.settings.root / "avro", settings.compatibility)
        auth = None
        if settings.user is not None and settings.password is not None:
            auth = (settings.user, self.secret(settings.password))
        from services.adapters.registry_http import HttpRegistry

        return HttpRegistry(settings.url, auth, settings.timeout_seconds)

    # Sources and streams

    @cached_property
    def plugins(self) -> WebhookPlugins:
        """Webhook presets and signature schemes, the project's own too."""
        return find_plugins(self.settings.root)

    @cached_property
    def webhook_configs(self) -> dict[str, WebhookConfig]:
        """The webhook tables of ``[sources]``. Raises SetupError for an unknown kind."""
        found = {}
        for name, table in self.settings.sources.items():
            kind = table.get("kind")
            if kind in self.plugins.kinds:
                found[name] = read_config(name, table, self.plugins)
            elif kind != REST:
                kinds = sorted({REST, *self.plugins.kinds})
                raise SetupError(
                    f"no source is of kind {kind!r}",
                    where=f"sources.{name}.kind",
                    remedy=f"use one of {', '.join(kinds)}",
                )
        return found

    @cached_property
    def webhooks(self) -> dict[str, WebhookSource]:
        """The webhook sources, with their secrets."""
        return {
            name: make_source(name, config, [self.secret(s) for s in config.secrets], self.plugins)
            for name, config in self.webhook_configs.items()
        }

    def refreshed(self, source: WebhookSource) -> WebhookSource:
        """The source with the secrets of now; itself where they are the same. Raises SetupError."""
        config = self.webhook_configs[source.name]
        secrets = tuple(self.secret(name) for name in config.secrets)
        if secrets == source.secrets:
            return source
        return make_source(source.name, config, secrets, self.plugins)

    @cached_property
    def rest_sources(self) -> dict[str, RestSource]:
        """The polled sources."""
        return {
            name: parse_source(name, table)
            for name, table in self.settings.sources.items()
            if table.get("kind") == REST
        }

    @cached_property
    def streams(self) -> dict[str, Contract]:
        """Every stream's contract, dead letter streams included."""
        contracts = load_contracts(self.settings.root / CONTRACTS)
        named = {s.stream for source in self.rest_sources.values() for s in source.streams}
        for name, config in self.webhook_configs.items():
            named |= streams_of(name, config, self.plugins)
        return catalogue(contracts, sorted(named))

    @cached_property
    def schema_ids(self) -> dict[str, int]:
        """The wire schema's id of every stream; registers what is new."""
        dead = self.registry.register(SUBJECT, wire_schema(dead_contract("any.stream")))
        return {
            name: dead
            if name.endswith(DEAD_SUFFIX)
            else self.registry.register(name, wire_schema(contract))
            for name, contract in self.streams.items()
        }

    @cached_property
    def encoders(self) -> "dict[str, Encoder]":
        """The encoder of every stream, without the dead letters'."""
        from producers.encode import StreamEncoder

        return {
            name: StreamEncoder(contract, self.schema_ids[name], attributes=self.attributes)
            for name, contract in self.streams.items()
            if not name.endswith(DEAD_SUFFIX)
        }

    @cached_property
    def dead_letters(self) -> DeadLetterWriter:
        """Turns rejections into records."""
        return DeadLetterWriter(
            self.registry.register(SUBJECT, wire_schema(dead_contract("any.stream"))),
            self.attributes,
        )

    @property
    def attributes(self) -> Attributes | None:
        """What every record's headers say of it, if the settings ask for that."""
        kafka = self.settings.kafka
        return cloud_event if kafka is not None and kafka.cloudevents else None

    # Kafka

    @cached_property
    def kafka_options(self) -> dict[str, Any]:
        """The librdkafka settings of every client, secrets included: never log them."""
        kafka = self.settings.kafka
        options: dict[str, Any] = dict(kafka.options) if kafka is not None else {}
        if kafka is not None:
            options |= {name: self.secret(s) for name, s in kafka.secrets.items()}
        if self.settings.bootstrap_servers is not None:
            options["bootstrap.servers"] = self.settings.bootstrap_servers
        if self.endpoints.bootstrap is not None:
            options["bootstrap.servers"] = self.endpoints.bootstrap
        if not options.get("bootstrap.servers"):
            raise SetupError(
                "no broker is named",
                where="sluice.toml: kafka.options",
                remedy='set "bootstrap.servers", or leave [kafka] out for the embedded broker',
            )
        return options

    @property
    def large_options(self) -> dict[str, Any]:
        """The options of producers that write dead letters."""
        return {"message.max.bytes": BYTES_MAX, **self.kafka_options}

    def admin(self) -> "KafkaAdmin":
        """Topics."""
        from services.adapters.kafka import KafkaAdmin

        return KafkaAdmin(self.kafka_options)

    def reader(self) -> "KafkaLogReader":
        """Ranges of the log."""
        from services.adapters.kafka import KafkaLogReader

        return KafkaLogReader(self.kafka_options)

    # Warehouse

    def warehouse_arguments(self) -> dict[str, Any]:
        """Arguments of the connector, with the secrets of now: never log them."""
        from services.adapters import snowflake

        settings = self.settings.snowflake
        if self.endpoints.warehouse is not None:
            return snowflake.embedded_arguments(
                settings or Snowflake(embedded=True), self.endpoints.warehouse
            )
        if settings is None:
            raise SetupError("no warehouse is named", where="sluice.toml: snowflake")
        return snowflake.connection_arguments(settings, self.secret)

    def warehouse(self) -> "SnowflakeWarehouse":
        """A session."""
        from services.adapters.snowflake import SnowflakeWarehouse

        return SnowflakeWarehouse(self.warehouse_arguments, self.clock)


def read_project(root: Path) -> Project:
    """The project of a folder without its embedded parts, for what needs neither of them.

    Raises SetupError.
    """
    return Project(load(root), Endpoints(), SystemClock())


@contextmanager
def open_project(root: Path) -> Iterator[Project]:
    """The project of a folder, its embedded parts running until the exit. Raises SetupError."""
    settings, clock = load(root), SystemClock()
    with embedded(settings, clock, _parts) as endpoints:
        yield Project(settings, endpoints, clock)


def _parts(settings: Settings) -> "Parts":
    from services.embedded.parts import parts_of

    return parts_of(settings)
