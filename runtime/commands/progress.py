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

    def begin(self, name: str, *, total: float | None = None) -> None:
        """The next step; the one before it is done. ``total`` gives it a bar of that length."""
        if self._bar is None:
            print(f"{name} ...", file=sys.stderr, flush=True)
            return
        self.finish()
        self._task = self._bar.add_task(name, total=total)

    def reach(self, done: float) -> None:
        """How much of the present step's total is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def finish(self) -> None:
        """The last step is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=1, completed=1)


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
