"""Messages that are too large for a dead letter: told of, and no obstacle."""

from tests.support.strangers import message
from tests.support.world import SCHEMAS, STREAM, World


def test_a_message_too_large_for_a_dead_letter_leaves_its_bytes_in_the_log() -> None:
    world = World(partitions=1)
    world.produce({"order_id": "o1", "amount": 1.0}, b"x" * 5000, b"short")
    world.produce({"order_id": "o2", "amount": 1.0})
    world.broker.message_bytes_max = 3000
    world.loader().run(5)
    assert world.loaded() == ["o1", "o2"]
    dead = world.account.table("SLUICE_DEAD_LETTERS").sort("origin_offset")
    assert dead["stream"].to_list() == [STREAM, STREAM]
    assert dead["origin_offset"].to_list() == [1, 2]
    assert dead["original_value"].to_list() == [None, b"short"]
    assert dead["reason"].to_list() == ["bad_frame", "bad_frame"]
    assert "5003 bytes" in dead["violations"][0]
    assert world.audit().balanced


def test_names_as_long_as_the_message_leave_room_too() -> None:
    """Somebody else made them: ours are never so long."""
    world = World(partitions=1)
    names = {"_id": "e" * 5000, "_source": "s" * 5000, "_received_at": 1, "_extra": None}
    order = {"order_id": "o1", "amount": -1.0, "placed_at": None, "_raw": None}
    world.produce(message(SCHEMAS[1], 1, order | names), {"order_id": "o2", "amount": 1.0})
    world.broker.message_bytes_max = 3000
    world.loader().run(5)
    assert world.loaded() == ["o2"]
    dead = world.account.table("SLUICE_DEAD_LETTERS")
    assert dead["origin_offset"].to_list() == [0]
    assert dead["event_id"][0].startswith("sha:")
    assert dead["source"][0].startswith("sha:")
    assert world.audit().balanced
