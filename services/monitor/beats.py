"""The heartbeat of an asyncio process."""

import asyncio

from services.monitor.health import Health

EVERY_SECONDS = 1.0
SECONDS_MAX = 15.0  # an event loop that is blocked for longer is stuck


async def keep_beating(
    health: Health, name: str, every: float = EVERY_SECONDS, seconds_max: float = SECONDS_MAX
) -> None:
    """Beat until cancelled: what blocks the event loop stops the beat, and ``/live`` tells."""
    try:
        while True:
            health.beat(name, seconds_max)
            await asyncio.sleep(every)
    finally:
        health.end(name)
