"""What an engine is: something that performs tasks side by side, and hands back their results as they end.

A task leaves its work in a store, whole or not at all, and work that is there is not done again. So an engine may
perform a task twice, in any order and on any machine that reaches the same stores: the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Result_co = TypeVar("Result_co", covariant=True)
T = TypeVar("T")


class Task(Protocol[Result_co]):
    """A value that can be pickled, and performed in any process."""

    def perform(self, is_stopping: Callable[[], bool]) -> Result_co:
        """Do it. Where ``is_stopping`` says so, end at the next place where what was done is whole."""
        ...


class Engine(Protocol):
    """Performs tasks; ``workers`` is how many of them it can be expected to perform side by side."""

    @property
    def workers(self) -> int: ...

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[T]:
        """The result of each task, in the order in which they end.

        The first task that raises ends the run with its error. Closing the iterator lets tasks that have begun end at
        their next whole place, and begins no other.

        Raises StoreUnavailable when the engine cannot be reached, and what a task raises.
        """
        ...


def performed(tasks: Sequence[Task[T]], engine: Engine | None) -> Iterator[T]:
    """The results in the order in which they end; without an engine, or of a single task, from this thread.

    Raises what ``Engine.run`` does.
    """
    if engine is None or len(tasks) <= 1:
        return (task.perform(lambda: False) for task in tasks)
    return engine.run(tasks)
