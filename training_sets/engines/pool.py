"""Processes of this machine, begun for one run and ended with it."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import TypeVar

from training_sets.engines.engine import Task

T = TypeVar("T")

_is_stopping: Event | None = None
"""In a process of the pool: whether to begin nothing further."""


class Pool:
    """So many processes, which import what a task needs: about two seconds each."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    @property
    def workers(self) -> int:
        return self._workers

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[T]:
        """The results, as ``Engine.run`` says."""
        # spawn: a forked child would share the locks of this process's threads in whatever state they are.
        context = get_context("spawn")
        is_stopping = context.Event()
        count = min(self._workers, len(tasks))
        with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(is_stopping,)) as pool:
            try:
                for done in as_completed([pool.submit(_perform, task) for task in tasks]):
                    yield done.result()
            finally:
                is_stopping.set()
                pool.shutdown(cancel_futures=True)


def _begin(is_stopping: Event) -> None:
    """Ctrl-C on a terminal reaches every process; the one that waits for results decides, and says so by an event."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    global _is_stopping  # noqa: PLW0603  # what a pool hands its processes can be kept nowhere else
    _is_stopping = is_stopping


def _perform(task: Task[T]) -> T:
    assert _is_stopping is not None, "the process was begun by _begin"
    return task.perform(_is_stopping.is_set)


def end_with_parent() -> None:
    """Have the kernel end this process when its parent is killed: it would wait for work without end."""
    set_parent_death_signal = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(set_parent_death_signal, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
