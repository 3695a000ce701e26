"""What foreign producers may put on a topic: dead letters, and nobody waits for them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its documented names
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.avro import HEADER
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.dead_letters import headers_of
from services.adapters.registry import FileRegistry
from tests.support.orders import check, loaded, produce
from tests.support.project import CONTACTS, ORDERS, Site, standing, until
from tests.support.senders import order

HEADERS = (
    ("h" * 300, b"\x00" * 300),
    ("trace", b"\xff\xfe"),
    ("trace", None),
    ("ce_id", '\u20ac"\\'.encode()),
    ("empty", b""),
)

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

Tell = Callable[[str], object]

AGE_SECONDS = 1.0
HEAL_SECONDS = 15.0
LARGE = 9_000_000  # more than the topic of dead letters takes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("poison") / "project") as standing_site:
        yield standing_site


def put(site: Site, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
    """A message of somebody who has never heard of us."""
    client = Producer({**site.project.kafka_options, "message.max.bytes": 20_000_000})
    client.produce(ORDERS, value, key, headers=headers)
    assert client.flush(10) == 0


def dead(site: Site) -> dict[str, dict[str, Any]]:
    """The dead letters by the original key, and that their places are different ones."""
    found = site.rows(f"SELECT * FROM {DEAD_LETTERS}")
    places = {(row["origin_partition"], row["origin_offset"]) for row in found}
    assert len(places) == len(found)
    return {bytes(row["original_key"] or b"").decode(errors="replace"): row for row in found}


def test_poison_becomes_dead_letters_with_place_and_reason_and_holds_nobody_up(
    site: Site, tell: Tell
) -> None:
    known, contacts = site.project.schema_ids[ORDERS], site.project.schema_ids[CONTACTS]
    whole = site.encoded(order("whole"))[0].value
    poison: dict[str, tuple[bytes | None, str]] = {
        "text": (b"hello", "bad_frame"),
        "empty": (b"", "bad_frame"),
        "magic only": (b"\x00", "bad_frame"),
        "unknown schema": (HEADER.pack(0, 987_654) + b"123", "unknown_schema"),
        "garbage": (HEADER.pack(0, known) + b"\xff" * 40, "undecodable"),
        "cut": (whole[:-5], "undecodable"),
        "too long": (whole + b"12345", "undecodable"),
        "header only": (HEADER.pack(0, known), "undecodable"),
        "null": (None, "null_value"),
        "large": (b"x" * 1_000_000, "bad_frame"),
        "another stream's": (HEADER.pack(0, contacts) + whole[5:], ""),
    }
    with site.up("loader") as members:
        loaded(site, produce(site, 1), HEAL_SECONDS)
        made = produce(site, 100)
        for key, (value, _) in poison.items():
            put(site, key.encode(), value, [("trace", b"\xff\xfe"), ("none", None)])
        made += produce(site, 100)
        tell(f"behind the poison: loaded after {loaded(site, made, AGE_SECONDS + 2):.2f} s")
        until(lambda: site.count(DEAD_LETTERS) >= len(poison), AGE_SECONDS + 3, "dead letters")
        found = dead(site)
        assert found.keys() == poison.keys()
        for key, (value, reason) in poison.items():
            row = found[key]
            assert not reason or row["reason"] == reason, row
            assert (row["stream"], row["origin_partition"] is not None) == (ORDERS, True)
            kept = row["original_value"]
            assert (None if kept is None else bytes(kept)) == value, key
        check(site, made)
        assert members["loader"].process.restarts == 0


LEVELS = {"type": "record", "name": "n", "fields": [{"name": "next", "type": ["null", "n"]}]}
NUMBER = {"type": "bytes", "logicalType": "decimal", "precision": 10_000, "scale": 0}
STRANGERS: dict[str, tuple[Any, bytes]] = {  # the type of its field, and what it holds
    "no JSON": ("string", b"\x0ahello"),
    "a number": ("long", b"\x0a"),
    "deeper than JSON": (LEVELS, b"\x02" * 300 + b"\x00"),
    "deeper than Python": (LEVELS, b"\x02" * 900 + b"\x00"),
    "deeper than the stack": (LEVELS, b"\x02" * 500_000 + b"\x00"),
    "a number of a megabyte": (NUMBER, b"\x80\x89\x7a" + b"\x7f" * 1_000_000),
    "a billion of nothing": ({"type": "array", "items": "null"}, b"\x80\xa8\xd6\xb9\x07\x00"),
}


def test_records_that_cannot_be_read_end_no_loader(site: Site, tell: Tell) -> None:
    """By schemas that somebody else registered: `payload` looks like one without a contract."""
    registry = FileRegistry(site.root / "avro")
    ids = {}
    for number, (key, (kind, _)) in enumerate(STRANGERS.items()):
        name = "payload" if isinstance(kind, str) else "theirs"
        schema = {"type": "record", "name": "r", "fields": [{"name": name, "type": kind}]}
        ids[key] = registry.register(f"strangers-{number}", schema)
    with site.up("loader") as members:
        loaded(site, produce(site, 1), HEAL_SECONDS)
        for key, (_, body) in STRANGERS.items():
            put(site, key.encode(), HEADER.pack(0, ids[key]) + body)
        made = produce(site, 100)
        tell(f"behind them: loaded after {loaded(site, made, HEAL_SECONDS):.2f} s")
        until(lambda: STRANGERS.keys() <= dead(site).keys(), HEAL_SECONDS, "dead letters")
        found = dead(site)
        assert {found[key]["reason"] for key in STRANGERS} == {"undecodable"}
        check(site, made)
        assert members["loader"].process.restarts == 0


def test_keys_and_headers_that_are_no_text_are_no_obstacle(site: Site) -> None:
    with site.up("loader"):
        before = site.count(DEAD_LETTERS)
        put(site, None, b"no key")
        put(site, b"\xff\xfe\x00", b"bytes for a key")
        put(site, b"k" * 5000, b"a long key", list(HEADERS))
        until(lambda: site.count(DEAD_LETTERS) == before + 3, HEAL_SECONDS, "dead letters")
        row = dead(site)["k" * 5000]
        assert headers_of(json.loads(row["original_headers"])) == HEADERS
        check(site, produce_and_wait(site))


def test_a_message_too_large_to_be_a_dead_letter_holds_nobody_up(site: Site, tell: Tell) -> None:
    resource = ConfigResource(ResourceType.TOPIC, ORDERS)
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", "20000000", incremental_operation=AlterConfigOpType.SET)
    )
    admin = AdminClient(dict(site.project.kafka_options))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    with site.up("loader") as members:
        loaded(site, produce(site, 1), HEAL_SECONDS)
        before = site.count(DEAD_LETTERS)
        put(site, b"far too large", b"x" * LARGE)
        made = produce(site, 100)
        tell(f"behind {LARGE:,} bytes: loaded after {loaded(site, made, HEAL_SECONDS):.2f} s")
        until(lambda: site.count(DEAD_LETTERS) == before + 1, HEAL_SECONDS, "the dead letter")
        # the message stays in the log alone, and its dead letter says so
        (row,) = [row for row in dead(site).values() if "oversized" in row["violations"]]
        assert (row["reason"], row["original_value"]) == ("bad_frame", None)
        check(site, made)
        assert members["loader"].process.restarts == 0


def produce_and_wait(site: Site) -> list[str]:
    made = produce(site, 10)
    loaded(site, made, HEAL_SECONDS)
    return made
