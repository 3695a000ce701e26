"""Messages that are too large for a dead letter: told of, and no obstacle."""

from tests.support.world import STREAM, World


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
