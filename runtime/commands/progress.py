"""Progress of a long command on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Steps:
    """Names the step that begins, and how far it has come."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._name = ""

    def begin(self, name: str, *, total: float | None = None) -> None:
        """The next step; the one before it is done. ``total`` gives it a bar of that length."""
        if self._bar is None:
            print(f"{name} ...", file=sys.stderr, flush=True)
            return
        self.finish()
        self._name = name
        self._task = self._bar.add_task(name, total=total)

    def reach(self, done: float) -> None:
        """How much of the present step's total is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def tell(self, note: str) -> None:
        """Report on the current step: next to its bar on a terminal, as a line elsewhere."""
        if self._bar is None:
            print(note, file=sys.stderr, flush=True)
        elif self._task is not None:
            self._bar.update(self._task, description=f"{self._name}: {note}")

    def finish(self) -> None:
        """The last step is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=1, completed=1)


def remaining(*, elapsed_s: float, done: int, left: int) -> str:
    """How long what is left will take, at the pace of what was done, in words for a person."""
    if left == 0:
        return "done"
    if done == 0:
        return "time left unknown"
    seconds = round(elapsed_s / done * left)
    if seconds < 60:
        return f"about {seconds} s left"
    if seconds < 3600:
        return f"about {seconds // 60} min {seconds % 60} s left"
    return f"about {seconds // 3600} h {seconds % 3600 // 60} min left"


@contextmanager
def showing_progress() -> Iterator[Steps]:
    """Steps on standard error; the bars stay on the screen when the block ends."""
    if not sys.stderr.isatty():
        yield Steps(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        steps = Steps(bar)
        yield steps
        steps.finish()
