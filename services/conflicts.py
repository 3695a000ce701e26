"""Reports the duplicates of a project's streams, and which of them differ."""

from collections.abc import Callable, Sequence

from consumers.repeats.comparison import compared
from consumers.repeats.duplicates import Duplicates, DuplicatesPorts, Wanted, duplicates_once
from schemas.contract import DEAD_SUFFIX, Contract
from schemas.errors import SetupError
from services.bootstrap import Project


def duplicates_of(
    project: Project,
    names: Sequence[str],
    wanted: Wanted,
    progress: Callable[[str, int], None] = lambda _topic, _count: None,
) -> list[Duplicates]:
    """The report of these streams; without names, of all but those of dead letters.

    Raises SetupError for a stream or an ignored field that there is not, where nothing is left to
    compare, and for more events than are compared at a time; TransientError as the ports do.
    """
    contracts = chosen(project, names)
    _check_fields(contracts, wanted.ignored)
    reader = project.reader()
    try:
        ports = DuplicatesPorts(reader, project.registry.schema, progress)
        return [duplicates_once(ports, contract, wanted) for contract in contracts]
    finally:
        reader.close()


def chosen(project: Project, names: Sequence[str]) -> list[Contract]:
    """The contracts of these streams. Raises SetupError naming those that there are."""
    streams = project.streams
    own = sorted(name for name in streams if not name.endswith(DEAD_SUFFIX))
    for name in names:
        if name not in streams:
            raise SetupError(
                f"there is no stream {name}",
                where="STREAM",
                remedy=f"name one of {', '.join(own) or 'none yet'}",
            )
    return [streams[name] for name in dict.fromkeys(names or own)]


def _check_fields(contracts: Sequence[Contract], ignored: frozenset[str]) -> None:
    known = {name for contract in contracts for name in compared(contract)}
    for name in sorted(name for name in ignored - known if not name.startswith("/")):
        raise SetupError(
            f"no field is called {name}",
            where="--ignore",
            remedy=f"name one of {', '.join(sorted(known))}, or point into the record, as /sent_at",
        )
    for contract in contracts:
        if ignored >= compared(contract).keys():
            raise SetupError(
                f"nothing of {contract.stream} is left to compare",
                where="--ignore",
                remedy="ignore fewer fields, or name other streams",
            )
