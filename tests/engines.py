"""An engine of this thread, which keeps to no order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from training_sets.engines.engine import Task

T = TypeVar("T")


@dataclass
class Backwards:
    """Performs tasks here, the last first. given: those that it began, in that order."""

    workers: int = 2
    given: list[Any] = field(default_factory=list)

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[T]:
        """The results, as ``Engine.run`` says."""
        for task in reversed(tasks):
            self.given.append(task)
            yield task.perform(lambda: False)
