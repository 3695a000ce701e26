"""Secrets of webhook sources that are rotated while the gateway runs."""

import asyncio
from collections.abc import Callable, MutableMapping

import structlog

from producers.webhook import WebhookSource
from schemas.errors import SetupError

REFRESH_SECONDS = 30.0

Refreshed = Callable[[WebhookSource], WebhookSource]
"""The source with the secrets of now; the same object where they are. Raises SetupError."""


async def keep_secrets(sources: MutableMapping[str, WebhookSource], refreshed: Refreshed) -> None:
    """Take rotated secrets up, until cancelled.

    One that cannot be fetched leaves its source as it was: what was accepted still is.
    """
    log = structlog.get_logger("gateway")
    failing: dict[str, str] = {}
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        for name, source in list(sources.items()):
            try:
                found = await asyncio.to_thread(refreshed, source)
            except SetupError as error:
                if failing.get(name) != str(error):  # once, not twice a minute
                    log.warning("a secret cannot be refreshed", source=name, error=str(error))
                failing[name] = str(error)
                continue
            failing.pop(name, None)
            if found is not source:
                sources[name] = found
                log.info("rotated secrets are taken up", source=name)
