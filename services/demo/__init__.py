"""The demo: a carrier's API, signed webhooks, what they must add up to, and the report."""
