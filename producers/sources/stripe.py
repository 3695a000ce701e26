"""Stripe webhooks."""

from producers.webhook import WebhookPreset

SOURCE = WebhookPreset(
    name="stripe",
    description="Webhooks of a Stripe account; one stream an event type, such as "
    "stripe.invoice.paid.",
    verify={"scheme": "stripe"},
    event_id="{/id}",
    stream="{source}.{/type}",
)
