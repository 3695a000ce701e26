"""One bad message is one dead letter, whatever happens meanwhile, and holds nobody up."""

import pytest

from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import TransientError
from schemas.events import Partition
from services.adapters.memory_warehouse import Step, WarehouseFault
from tests.support.world import STREAM, World

P0 = Partition(STREAM, 0)
DEAD = Partition(STREAM + ".dead", 0)
GARBAGE = b"\x00\x00\x00\x00\x01\xff\xff\xff"


def order(number: int, **more: object) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5, **more}


def dead(world: World) -> list[tuple[int, str]]:
    """Offset and stage of each dead letter in the table."""
    found = world.account.table(DEAD_LETTERS)
    return sorted(found.select("origin_offset", "stage").rows()) if found.height else []


def messages(world: World) -> int:
    """How often dead letters were published."""
    return len(world.broker.logs[DEAD].messages)


@pytest.mark.parametrize("step", [Step.PUT, Step.COPY, Step.FENCE, Step.COMMIT])
def test_a_load_that_fails_and_moves_to_another_loader_leaves_one_dead_letter_each(
    step: Step,
) -> None:
    """Both loaders publish it, under one id, and the table has it once."""
    world = World(partitions=1)
    first = world.loader()
    first.run(1)
    world.produce(order(1), order(2, amount=-1), GARBAGE, order(3))
    world.account.faults.append(WarehouseFault(step, times=2))
    first.run(1.2)  # published, and the load has failed
    assert world.loaded() == []
    assert messages(world) == 2
    first.log.lose_partitions()  # as if it had been silent for too long
    second = world.loader()
    second.run(3)
    first.run(1)
    second.run(3)
    assert world.loaded() == ["o1", "o3"]
    assert messages(world) >= 4
    assert dead(world) == [(1, "judge"), (2, "decode")]
    assert world.audit().balanced


def test_dead_letters_whose_acknowledgement_was_lost_are_one_each() -> None:
    """They are in the log, and the run is judged again."""
    world = World(partitions=1)
    loader = world.loader()
    loader.run(1)
    publish = loader.ports.publisher.publish
    replies = iter([TransientError("no reply", where="broker")])

    def lossy(records: object) -> None:
        publish(records)  # type: ignore[arg-type]
        error = next(replies, None)
        if error is not None:
            raise error

    object.__setattr__(loader.ports.publisher, "publish", lossy)
    world.produce(order(1), order(2, amount=-1), GARBAGE)
    loader.run(6)
    assert messages(world) == 4
    assert dead(world) == [(1, "judge"), (2, "decode")]
    assert world.loaded() == ["o1"]
    assert world.audit().balanced


def test_undecodable_bytes_are_kept_as_they_came_and_hold_nobody_up() -> None:
    """What follows them is loaded at the very second at which it is loaded without them."""

    def seconds(*poison: bytes) -> float:
        world = World(partitions=1)
        loader = world.loader()
        loader.run(1)
        began = world.clock.monotonic()
        world.produce(order(1), *poison, order(2))
        while world.loaded() != ["o1", "o2"]:
            loader.run(0.05)
        took = world.clock.monotonic() - began
        loader.run(3)
        values = world.account.table(DEAD_LETTERS)["original_value"].to_list() if poison else []
        assert values == list(poison)
        assert world.audit().balanced
        return took

    several = (b"", b"hello", b"\x00", GARBAGE, b"\x00\x00\x00\xff\xff{}", bytes(range(256)) * 40)
    assert seconds(*several) == pytest.approx(seconds(), abs=0.06)
