"""A secret that cannot be had is a setup error that names the reference and shows nothing of it."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from producers.webhook import WebhookSource
from schemas.errors import SetupError
from services.gateway import rotation
from services.secrets import resolve
from tests.support.http import source


@pytest.mark.parametrize(
    ("name", "where", "what"),
    [
        ("file:binary", "file:binary", "no text in UTF-8"),
        ("file:missing", "file:missing", "No such file"),
        ("file:a\0b", "file:a\0b", "cannot be read"),
        ("env:MISSING", "env:MISSING", "is not set"),
        ('command:echo "open', "command:echo", "ValueError"),
        ("command:cat binary", "command:cat", "CalledProcessError"),
        ("command:printf '\\377'", "command:printf", "no text in UTF-8"),
        ("command:no-such-command", "command:no-such-command", "FileNotFoundError"),
    ],
)
def test_each_way_to_fail_is_a_setup_error(
    name: str, where: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(SetupError) as caught:
        resolve(name, {}, tmp_path)
    assert caught.value.where == where
    assert what in caught.value.what
    assert caught.value.remedy
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)


def test_a_secret_that_fails_once_is_taken_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "REFRESH_SECONDS", 0.001)
    old, new = source(), source(rate_per_second=7)
    answers: list[SetupError | WebhookSource] = [SetupError("no"), SetupError("no"), new]

    def refreshed(_: WebhookSource) -> WebhookSource:
        answer = answers.pop(0) if answers else new
        if isinstance(answer, SetupError):
            raise answer
        return answer

    async def main() -> None:
        sources = {"shop": old}
        keeping = asyncio.create_task(rotation.keep_secrets(sources, refreshed))
        async with asyncio.timeout(10):
            while sources["shop"] is old:  # noqa: ASYNC110 - a dict tells nobody
                await asyncio.sleep(0.001)
        keeping.cancel()

    with capture_logs() as logs:
        asyncio.run(main())
    assert [log["event"] for log in logs] == [
        "a secret cannot be refreshed",
        "rotated secrets are taken up",
    ]
