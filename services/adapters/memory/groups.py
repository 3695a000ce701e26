"""Consumer groups in memory: a partition changes hands only when its owner has let go."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.events import Partition


class Member(NamedTuple):
    """A group's member and the topics that it reads."""

    number: int
    topics: frozenset[str]


@dataclass(slots=True)
class Group:
    """Who owns what, and who should."""

    members: list[Member] = field(default_factory=list)
    owners: dict[Partition, Member] = field(default_factory=dict)
    wanted: dict[Partition, Member] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)

    def join(self, member: Member, partitions: Iterable[Partition]) -> None:
        """Share out among one more."""
        self.members.append(member)
        self.rebalance(partitions)

    def leave(self, member: Member, partitions: Iterable[Partition]) -> None:
        """Share out what a member had, which it no longer owns."""
        self.members.remove(member)
        self.owners = {p: owner for p, owner in self.owners.items() if owner != member}
        self.rebalance(partitions)

    def rebalance(self, partitions: Iterable[Partition]) -> None:
        """Share out evenly, moving as little as that takes."""
        held: dict[Member, list[Partition]] = {member: [] for member in self.members}
        loose: list[Partition] = []
        for partition in sorted(partitions):
            owner = self.wanted.get(partition)
            mine = loose if owner is None else held.get(owner, loose)
            mine.append(partition)
        for partition in loose:
            able = [member for member in self.members if partition.topic in member.topics]
            if able:
                held[min(able, key=lambda member: len(held[member]))].append(partition)
        while _move_one(held):
            pass
        self.wanted = {partition: member for member, mine in held.items() for partition in mine}

    def settle(self, member: Member) -> tuple[set[Partition], set[Partition]]:
        """What the member gives back now, and what it gets."""
        back = {p for p, owner in self.owners.items() if owner == member}
        back -= {p for p, owner in self.wanted.items() if owner == member}
        for partition in back:
            del self.owners[partition]
        new = {p for p, owner in self.wanted.items() if owner == member and p not in self.owners}
        self.owners.update(dict.fromkeys(new, member))
        return back, new


def _move_one(held: dict[Member, list[Partition]]) -> bool:
    for mine in held.values():
        for poor, theirs in held.items():
            movable = [partition for partition in mine if partition.topic in poor.topics]
            if movable and len(mine) > len(theirs) + 1:
                mine.remove(movable[-1])
                theirs.append(movable[-1])
                return True
    return False
