"""The gateway: receives webhooks."""

import asyncio
from contextlib import suppress

import structlog
import uvloop

from services.bootstrap import Project
from services.bootstrap.gateway import gateway_ports
from services.exit_codes import ExitCode
from services.gateway.rotation import keep_secrets
from services.gateway.serve import listen, serve
from services.processes.watched import Watched, beat, watched


def run_gateway(project: Project) -> ExitCode:
    """Serve webhooks until SIGTERM; then answer all that wait, and leave."""
    settings = project.settings.gateway
    longest = settings.body_seconds_max + 2 * settings.ack_seconds_max
    with watched(project, "gateway", longest) as here:
        _ = project.webhooks, project.encoders  # what is wrong with them is said before listening
        listener = listen(settings)
        host, port = listener.getsockname()[:2]
        structlog.get_logger("gateway").info("listening", host=host, port=port)
        uvloop.run(_gateway(project, here, listener))
    return ExitCode.OK


async def _gateway(project: Project, here: Watched, listener: object) -> None:
    stop = asyncio.Event()
    beating = asyncio.create_task(beat(here, "gateway", stop))
    ports = gateway_ports(project)
    keeping = asyncio.create_task(keep_secrets(ports.sources, project.refreshed))
    keeping.add_done_callback(lambda _: stop.set())  # without it rotated secrets would be refused
    here.health.ready("gateway", ok=True)
    try:
        await serve(ports, project.settings.gateway, listener, stop)  # type: ignore[arg-type] # a socket
    finally:
        keeping.cancel()
        beating.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
