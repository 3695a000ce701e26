"""Says how far the demo is: bars on a terminal, a plain line now and then elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.ports import Clock

LINE_SECONDS = 5.0


@dataclass(slots=True)
class Teller:
    """Prints what happens, with the seconds since the start."""

    console: Console
    clock: Clock
    began_at: float = field(default_factory=lambda: psutil.Process().create_time())  # epoch

    @property
    def seconds(self) -> float:
        """Since the process was started: importing counts as well."""
        return self.clock.now() / 1e6 - self.began_at

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(f"{self.seconds:6.1f} s  {text}", highlight=False, markup=False)

    @contextmanager
    def bars(self, totals: dict[str, int]) -> Iterator["Bars"]:
        """Bars by name, for as long as the block runs."""
        columns = (
            TextColumn("          {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        shown = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not shown) as progress:
            yield Bars(self, progress, totals)


class Bars:
    """Several counts on their way to their totals."""

    def __init__(self, teller: Teller, progress: Progress, totals: dict[str, int]) -> None:
        self._teller = teller
        self._progress = progress
        self._totals = totals
        self._tasks = {name: progress.add_task(name, total=n) for name, n in totals.items()}
        self._counts = dict.fromkeys(totals, 0)
        self._said_at = teller.clock.monotonic()

    def set(self, name: str, count: int) -> None:
        """Move one."""
        self._counts[name] = min(count, self._totals[name])
        self._progress.update(self._tasks[name], completed=self._counts[name])
        now = self._teller.clock.monotonic()
        if not self._teller.console.is_terminal and now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            self._teller.say(", ".join(self._texts()))

    def add(self, name: str, count: int) -> None:
        """Move one on."""
        self.set(name, self._counts[name] + count)

    def _texts(self) -> Iterator[str]:
        for name, count in self._counts.items():
            yield f"{name} {count:,} of {self._totals[name]:,}"
