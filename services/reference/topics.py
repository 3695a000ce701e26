"""``docs/reference/topics.md``: every topic, as `sluice apply` makes it, and what is on it."""

import datetime as dt

from schemas import avro
from schemas.contract import DEDUPE_WINDOW_MAX, Contract, Raw
from schemas.dead_letters import TABLE, dead_contract
from services.reference.pages import NOTE, grid
from services.settings import Kafka
from services.setup.apply import DEAD, HOUR_MS, STREAM, TRAFFIC, Traffic, topic_specs

EXAMPLE = Contract(stream="source.stream", model=Raw)
DAY = dt.timedelta(days=1)
WINDOWS = (dt.timedelta(), DAY, 3 * DAY, DEDUPE_WINDOW_MAX)
REPLICAS = 3
RETENTIONS = (1, 168, 720)  # hours; the second is the default


def topics_page() -> str:
    """docs/reference/topics.md."""
    parts = [
        NOTE.format(source="`services/setup/apply.py`"),
        "# Topics\n",
        (
            "`sluice apply` and `sluice up` create those that are missing. They change none that "
            "is there, but say how it differs. Replicas: `kafka.replication`, or three where there "
            "are as many brokers.\n"
        ),
        grid(
            ("topic", "what", "writes", "reads"),
            ((f"`{n}`", t.what, t.writers, t.readers) for n, t in TRAFFIC.items()),
        ),
    ]
    streams = {each.topic: each for each in (EXAMPLE, dead_contract(EXAMPLE.stream))}
    names = {EXAMPLE.topic: STREAM, EXAMPLE.dead_topic: DEAD}
    for spec in topic_specs(streams, Kafka()):
        name = names.get(spec.name, spec.name)
        parts += [f"## `{name}`\n", _facts(TRAFFIC[name], spec.partitions, spec.settings(REPLICAS))]
        if name == STREAM:
            parts += ["The fields are the contract's, and Sluice's own:\n", _system_fields()]
            parts += ["How long it is kept:\n", _retentions()]
        elif name == DEAD:
            link = f"tables.md#{TABLE.lower()}"
            parts.append(f"The fields are the columns of [{TABLE}]({link}), in lower case.\n")
    return "\n".join(parts)


def _facts(traffic: Traffic, partitions: int, settings: dict[str, str]) -> str:
    default = "" if traffic.partitions == str(partitions) else f"; by default {partitions}"
    made = ", ".join(f"`{name}={value}`" for name, value in settings.items())
    return grid(
        ("", "what"),
        (
            ("partitions", traffic.partitions + default),
            ("kept", traffic.kept),
            ("key", traffic.key),
            ("value", traffic.value),
            (f"made with, of {REPLICAS} replicas", made),
        ),
    )


def _system_fields() -> str:
    rows = []
    for name in avro.system_fields(EXAMPLE):
        kind = avro.system_type(name)
        rows.append((f"`{name}`", str(kind.get("logicalType", kind["type"])), avro.ABOUT[name]))
    return grid(("field", "Avro", "what"), rows)


def _retentions() -> str:
    head = ("`dedupe_window`", *(f"`retention_hours = {hours}`" for hours in RETENTIONS))
    return grid(head, map(_retention, WINDOWS))


def _retention(window: dt.timedelta) -> tuple[str, ...]:
    contract = Contract(stream=EXAMPLE.stream, model=Raw, dedupe_window=window)
    kept = [
        topic_specs({EXAMPLE.stream: contract}, Kafka(retention_hours=hours))[0].retention_ms
        for hours in RETENTIONS
    ]
    return (f"{window.days} d", *(f"{each / HOUR_MS:g} h" for each in kept))
