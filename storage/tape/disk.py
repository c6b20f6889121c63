"""The disk under the tapes of one process: a thread that writes what their writers have and makes it durable in groups.

1. Every ``sync_ms`` the thread takes what waits in all writers, writes each tape's frames into its own segment and then
   syncs once for all of them; ``storage.group_sync`` says how.
2. What must be durable before a tape goes on, as the end of a segment before its name says so, is a place where the
   work on that tape yields. The work on all tapes goes on side by side, so that 500 of them end their hour in as many
   syncs as one.
3. What the disk refuses is final, for every tape of the process. The kernel reports lost pages once and calls them
   clean afterwards, so a second try would lie: every call from then on raises the first failure, and a restart
   recovers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from market.errors import StoreUnavailable
from storage.group_sync import GroupSync
from storage.tape.segments import tapes_folder

DEFAULT_SYNC_MS: Final = 200
QUEUE_BYTES: Final = 64 << 20
DISK_DEADLINE_S: Final = 60.0
"""A disk that takes longer has failed."""


class TapeWork(Protocol):
    """A writer as the disk sees it; ``end``, ``take`` and ``note_durable`` are called with the disk's lock held."""

    name: str

    def end(self) -> None:
        """Nothing is appended any more: the next steps finish its segment."""
        ...

    def take(self) -> Iterator[None]:
        """Begin with what waits; the steps of writing it, between which what was written is made durable."""
        ...

    def note_durable(self) -> list[Callable[[], object]]:
        """The steps are over, what they wrote is durable; whom to tell, without the lock."""
        ...

    def let_go(self) -> None:
        """Close what is open, as it is."""
        ...


class TapeDisk:
    """One thread for any number of writers, each of which registers itself; it begins with the first."""

    def __init__(self, root: Path, *, sync_ms: int = DEFAULT_SYNC_MS, queue_bytes: int = QUEUE_BYTES) -> None:
        """root: the raw folder. sync_ms: how long a message may wait to become durable.

        queue_bytes: of all tapes; an append that finds more frames waiting for the disk waits for it too.
        """
        self.changed = threading.Condition(threading.Lock())
        """Guards this and the writers; told of every group that became durable."""
        self.sync = GroupSync(tapes_folder(root))
        self.failure: StoreUnavailable | None = None
        self.waiting_bytes = 0
        self._queue_bytes = queue_bytes
        self._sync_s = sync_ms / 1e3
        # Guarded by changed.
        self._writers: dict[TapeWork, None] = {}
        self._due: dict[TapeWork, None] = {}
        self._is_hurried = self._is_closing = False
        self._thread: threading.Thread | None = None

    def join(self, writer: TapeWork, folder: Path) -> None:
        """Write for this one as well, whose tape is in ``folder``.

        Raises StoreUnavailable when the disk has refused something before, OSError.
        """
        with self.changed:
            self.check()
            if self._is_closing:
                raise ValueError("tapes: must be open, were closed")
            self.sync.open()
            self.sync.check_device(folder.stat().st_dev)
            self._writers[writer] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tapes", daemon=True)
                self._thread.start()

    def leave(self, writer: TapeWork) -> None:
        """Write for this one no longer; with the lock held."""
        self._writers.pop(writer, None)

    def check(self) -> None:
        """Raises what the disk refused."""
        if self.failure is not None:
            raise self.failure

    def wait_for_room(self) -> None:
        """Wait while too much waits; with the lock held. Raises StoreUnavailable."""
        if self.waiting_bytes > self._queue_bytes:
            self.hurry_until(lambda: self.waiting_bytes <= self._queue_bytes)

    def add(self, writer: TapeWork) -> None:
        """A writer has something to be taken; with the lock held."""
        if not self._due:
            self.changed.notify_all()
        self._due[writer] = None

    def hurry_until(self, is_reached: Callable[[], bool]) -> None:
        """Wait for the disk without waiting for ``sync_ms``; with the lock held. Raises StoreUnavailable."""
        self._is_hurried = True
        self.changed.notify_all()
        if not self.changed.wait_for(lambda: self.failure is not None or is_reached(), DISK_DEADLINE_S):
            self.failure = StoreUnavailable(f"tapes: disk must answer in {DISK_DEADLINE_S:g} s, did not")
        self.check()

    def close(self) -> None:
        """Make every frame durable, finish every segment and end the thread; each writer raises what was refused."""
        with self.changed:
            for writer in self._writers:
                writer.end()
                self._due[writer] = None
            self._is_closing = True
            self.changed.notify_all()
        if self._thread is not None:
            self._thread.join(DISK_DEADLINE_S)
        self.sync.close()

    def _run(self) -> None:
        """The thread: groups of all tapes to the disk until it is closed or refuses."""
        try:
            while self._write_group():
                pass
        except BaseException as error:  # noqa: BLE001  # the top of a thread: every writer raises it
            self._fail("tapes", error)
        with self.changed:
            left = list(self._writers)
        for writer in left:
            writer.let_go()

    def _fail(self, name: str, error: BaseException) -> None:
        failure = StoreUnavailable(f"{name}: cannot be written to disk, {error}")
        failure.__cause__ = error
        with self.changed:
            self.failure = self.failure or failure
            self.changed.notify_all()

    def _write_group(self) -> bool:
        """Write what waits and make it durable; False when the disk is closed and nothing is left."""
        with self.changed:
            self.changed.wait_for(lambda: self._due or self._is_closing)
            self.changed.wait_for(lambda: self._is_hurried or self._is_closing, self._sync_s)
            due, self._due = list(self._due), {}
            self._is_hurried = False
            taken_bytes = self.waiting_bytes
            steps = [(writer, writer.take()) for writer in due]
        if not due:
            return False
        while steps := [(writer, step) for writer, step in steps if self._goes_on(writer, step)]:
            self.sync.settle()
        with self.changed:
            self.waiting_bytes -= taken_bytes
            told = [callback for writer in due for callback in writer.note_durable()]
            self.changed.notify_all()
        for callback in told:
            callback()
        return True

    def _goes_on(self, writer: TapeWork, steps: Iterator[None]) -> bool:
        try:
            return next(steps, self) is None
        except OSError as error:
            self._fail(f"tape {writer.name}", error)
            raise
