"""The gateway's ports."""

from services.adapters.kafka.group_commit import GroupCommit
from services.bootstrap.project import Project
from services.gateway.ports import GatewayPorts


def gateway_ports(project: Project) -> GatewayPorts:
    """Call it in the event loop that serves."""
    seconds = project.settings.gateway.ack_seconds_max
    return GatewayPorts(
        sources=project.webhooks,
        encoders=project.encoders,
        dead_letters=project.dead_letters.records,
        sink=GroupCommit(project.kafka_options, seconds),
        clock=project.clock,
        metrics=project.metrics,
    )
