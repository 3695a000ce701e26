"""Rejected events on their way out of the stream: durable before anything else happens."""

from collections.abc import Sequence

from consumers.loading.loader import LoadPorts
from schemas.dead_letters import without_bytes
from schemas.errors import OversizedError, RejectReason
from schemas.events import Rejection


def publish_dead(ports: LoadPorts, rejections: Sequence[Rejection]) -> None:
    """Durable on return. The bytes of what no dead letter can hold stay where they are."""
    left = list(rejections)
    while True:
        try:
            ports.publisher.publish(ports.dead_letters(left))
        except OversizedError as error:
            whole = left[error.index]
            if whole.violations[-1].reason is RejectReason.OVERSIZED:  # it was not the original
                raise
            left[error.index] = without_bytes(whole)
        else:
            return


def count_dead(ports: LoadPorts, topic: str, rejections: Sequence[Rejection]) -> None:
    """The metric, by stage and reason."""
    for rejection in rejections:
        ports.metrics.count(
            "load_events_dead",
            stream=topic,
            stage=rejection.stage.value,
            reason=rejection.reason.value,
        )
