"""The embedded parts themselves, for the process that owns them."""

from dataclasses import dataclass

from services.embedded.kafka import EmbeddedKafka
from services.embedded.warehouse import EmbeddedWarehouse
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """The embedded parts, for their owner; None for what the project does not embed."""

    kafka: EmbeddedKafka | None
    warehouse: EmbeddedWarehouse | None


def parts_of(settings: Settings) -> Parts:
    """What the settings embed, not started."""
    return Parts(
        _kafka(settings) if settings.embedded_kafka else None,
        _warehouse(settings) if settings.embedded_warehouse else None,
    )


def _kafka(settings: Settings) -> EmbeddedKafka:
    nodes, port = (settings.kafka.nodes, settings.kafka.port) if settings.kafka else (1, 0)
    return EmbeddedKafka(settings.state / "kafka", nodes, port)


def _warehouse(settings: Settings) -> EmbeddedWarehouse:
    port = settings.snowflake.port if settings.snowflake else 0
    # a dead loader's transaction must not hold up the next one for Snowflake's five minutes
    return EmbeddedWarehouse(settings.state / "warehouse", port, idle_transaction_seconds=10)
