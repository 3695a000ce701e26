"""The poller's ports."""

from schemas.events import CURSORS_TOPIC
from services.adapters.http import open_http
from services.adapters.kafka import KafkaTransactions, read_compacted
from services.adapters.kafka.clients import message_bytes_max
from services.adapters.refresh_tokens import FileRefreshTokens
from services.bootstrap.project import Project
from services.poller.ports import PollPorts


def poll_ports(project: Project) -> PollPorts:
    """What the poller works with."""
    return PollPorts(
        clock=project.clock,
        metrics=project.metrics,
        http=lambda bounds: open_http(bounds, project.clock),
        transactions=lambda name: KafkaTransactions(project.large_options, name),
        cursors=lambda: read_compacted(project.kafka_options, CURSORS_TOPIC),
        encoders=project.encoders,
        dead_letters=project.dead_letters.records,
        secret=project.secret,
        refresh_tokens=FileRefreshTokens(project.settings.state / "tokens"),
        record_bytes_max=message_bytes_max(project.kafka_options),
        dead_letter_bytes_max=message_bytes_max(project.large_options),
    )
