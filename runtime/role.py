"""A role, and how the roles of a process run: each in its thread, until a signal, a deadline or a failure stops all."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from market.errors import FeatureServiceError

STOP_DEADLINE_S: Final = 30.0
"""For all roles together, from when they are told to stop."""

_log = logging.getLogger(__name__)


class RoleFailed(FeatureServiceError):
    """A role of this process failed; the error is in the log."""


@dataclass(frozen=True, slots=True)
class Role:
    """Something that runs until ``stop`` is called, from another thread.

    ends_with_others: it is there for the other roles, and nothing waits for it.
    """

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]
    ends_with_others: bool = False


def run_until_stopped(roles: Sequence[Role], duration_s: float | None) -> None:
    """Run each role in its thread until a signal, the end of ``duration_s`` or a failure; then stop them all.

    Raises RoleFailed after everything was stopped.
    """
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    threads = [threading.Thread(target=_run_role, args=(role, ended), name=role.name, daemon=True) for role in roles]
    failed: list[str] = []
    deadline = None if duration_s is None else time.monotonic() + duration_s
    try:
        for thread in threads:
            thread.start()
        _log.info("running: %s", ", ".join(role.name for role in roles))
        # A role may end by itself: a recording has an end, and the API stays.
        waiting = {role.name for role in roles if not role.ends_with_others}
        while waiting and not failed:
            name, error = ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            waiting.discard(name)
            if error is not None:
                failed.append(name)
                _log.error("%s failed: %s", name, error, exc_info=_unexplained(error))
    except queue.Empty:
        _log.info("stopping: the duration is over")
    except KeyboardInterrupt:
        _log.info("stopping: asked to")
    finally:
        with _ignoring_signals():
            until = time.monotonic() + STOP_DEADLINE_S
            for role in roles:
                role.stop()
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
                if thread.is_alive():
                    _log.error("%s: must stop within %g s, did not", thread.name, STOP_DEADLINE_S)
                    failed.append(thread.name)
    while not ended.empty():
        name, error = ended.get()
        if error is not None:
            failed.append(name)
            _log.error("%s failed while stopping: %s", name, error, exc_info=_unexplained(error))
    if failed:
        raise RoleFailed(f"roles: must run until they are stopped, failed was {', '.join(failed)}")
    _log.info("stopped")


def _unexplained(error: BaseException) -> BaseException | None:
    """The error whose traceback is needed: one of ours says in its line what is wrong."""
    return None if isinstance(error, FeatureServiceError) else error


def _run_role(role: Role, ended: queue.SimpleQueue[tuple[str, BaseException | None]]) -> None:
    try:
        role.run()
    except BaseException as error:  # noqa: BLE001  # the top of a thread: the main thread logs it and ends the process
        ended.put((role.name, error))
    else:
        ended.put((role.name, None))


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    """A second Ctrl-C must not cut the flush short; every wait in here has its deadline."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
