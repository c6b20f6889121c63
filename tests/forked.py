"""Processes that a test kills, forked from one that has imported what they need: to start one takes milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess


def forked(work: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A started process; its exit code is 0 once ``work`` has returned. No thread of this process is in it.

    What the module of the first ``work`` imports is there already.
    """
    context: ForkServerContext = get_context("forkserver")
    # Without the main module each would run it again, which is pytest's.
    context.set_forkserver_preload(["__main__", __name__, work.__module__])
    # The server that forks may have been started before a test set variables.
    process = context.Process(target=_run, args=(dict(os.environ), work, *arguments))
    process.start()
    return process


def _run(environment: dict[str, str], work: Callable[..., object], *arguments: object) -> None:
    os.environ.update(environment)
    work(*arguments)
