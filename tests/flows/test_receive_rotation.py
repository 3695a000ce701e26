"""Secrets that are rotated while the gateway runs: no restart, and nobody is refused."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from services.bootstrap import Project, read_project
from services.gateway.app import Gateway
from services.gateway.rotation import REFRESH_SECONDS, keep_secrets
from tests.support.http import World, call, signature
from tests.support.virtual import run_virtually

SETTINGS = """
[sources.shop]
kind = "webhook"
secrets = ["file:one", "file:two"]
verify = { scheme = "hmac", header = "x-signature" }
stream = "shop.orders"
event_id = "{/id}"
"""


@dataclass
class Site:
    """A gateway in virtual time, with the secrets of a project's files."""

    root: Path
    project: Project = field(init=False)
    world: World = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        (self.root / "sluice.toml").write_text(SETTINGS)
        self.write(one="old", two="old")
        self.project = read_project(self.root)
        self.world = World(list(self.project.webhooks.values()))

    def write(self, **secrets: str) -> None:
        for name, text in secrets.items():
            (self.root / name).write_text(text)

    def run(self, scenario: Callable[["Site", Gateway], Coroutine[Any, Any, None]]) -> None:
        async def both() -> None:
            ports = replace(self.world.ports, sources=dict(self.project.webhooks))
            keeping = asyncio.create_task(keep_secrets(ports.sources, self.project.refreshed))
            await scenario(self, Gateway(ports, self.world.settings))
            keeping.cancel()

        run_virtually(both())

    async def send(self, app: Gateway, secret: str) -> int:
        self.sent += 1
        body = b'{"id":"%d"}' % self.sent
        return (await call(app, body, {"x-signature": signature(body, secret)})).status


def test_a_rotation_in_two_steps_refuses_nobody_and_ends_the_old_secret(tmp_path: Path) -> None:
    async def scenario(site: Site, app: Gateway) -> None:
        signed_with = "old"
        for second in range(300):
            await asyncio.sleep(1)
            if second == 50:
                site.write(two="new")
            if second == 50 + 2 * REFRESH_SECONDS:
                signed_with = "new"  # the sender changes
            if second == 200:
                site.write(one="new")
            assert await site.send(app, signed_with) == 200
        assert await site.send(app, "old") == 401
        assert len(site.world.sink.records) == 300

    Site(tmp_path).run(scenario)


def test_a_secret_that_cannot_be_fetched_leaves_its_source_as_it_was(tmp_path: Path) -> None:
    async def scenario(site: Site, app: Gateway) -> None:
        (site.root / "two").unlink()
        with capture_logs() as logged:
            await asyncio.sleep(10 * REFRESH_SECONDS)
        (warning,) = [line for line in logged if line["log_level"] == "warning"]
        assert warning["source"] == "shop"
        assert await site.send(app, "old") == 200
        site.write(two="new")
        await asyncio.sleep(2 * REFRESH_SECONDS)
        assert await site.send(app, "new") == 200

    Site(tmp_path).run(scenario)
