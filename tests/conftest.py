"""Fixtures that several suites share."""

from hypothesis import settings

pytest_plugins = ["tests.support.kafka"]

# how long an example takes says something about the machine, and nothing about the code
settings.register_profile("machine", deadline=None)
settings.load_profile("machine")
