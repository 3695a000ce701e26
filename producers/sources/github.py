"""GitHub webhooks."""

from collections.abc import Sequence

from producers.webhook import Answer, Handshake, WebhookPreset
from schemas.events import Delivery


def _pong(delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
    """GitHub sends one ``ping`` when a webhook is set up."""
    del secrets
    return Answer(body=b"pong") if delivery.headers.get("x-github-event") == "ping" else None


SOURCE = WebhookPreset(
    name="github",
    description="Webhooks of a GitHub repository, organisation or app; one stream an event type.",
    verify={"scheme": "github"},
    event_id="{x-github-delivery}",  # the same GUID when it is delivered again
    stream="{source}.{x-github-event}",
    handshake=Handshake(_pong),
)
