"""What audits have proved so far, so that the next one need only look at what is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumers.books.balance import Finding, Totals
from schemas.events import Partition


@dataclass(frozen=True, slots=True)
class Letters:
    """What was refused before the log, of one stream, as far as its dead letters are loaded."""

    refused: int = 0  # distinct ones: rows of SLUICE_DEAD_LETTERS
    repeated: int = 0  # messages of the dead letter topic whose key was there before
    keys: frozenset[str] = frozenset()  # of those that the log has shown

    def settled(self, keys: Sequence[str], rows: int) -> "Letters":
        """With the messages and rows that have been loaded since."""
        new = set(keys) - self.keys
        return Letters(
            self.refused + rows,
            self.repeated + len(keys) - len(new),
            self.keys | new if new else self.keys,
        )

    def sides(self, in_flight: Sequence[str]) -> Totals:
        """Their part of the books, with the messages that are not loaded yet."""
        new = set(in_flight) - self.keys
        refused = self.refused + len(new)
        repeated = self.repeated + len(in_flight) - len(new)
        return Totals(accepted=refused + repeated, duplicate=repeated, dead=refused)


@dataclass(frozen=True, slots=True)
class Proved:
    """Where audits stand.

    ``after``: every offset below was held against ledger, log and tables. What that found is in
    ``findings`` and stays there: only an audit that begins with :data:`NOTHING` can clear it.
    """

    after: Mapping[Partition, int] = field(default_factory=dict)
    totals: Mapping[str, Totals] = field(default_factory=dict)  # by stream, without in flight
    letters: Mapping[str, Letters] = field(default_factory=dict)  # by stream
    findings: Sequence[Finding] = ()


NOTHING = Proved()
"""From here an audit reads all there is."""
