"""The dead-letter file: every rejected message with its reason and its bytes, one JSON line each.

It is bounded: at half of its size or of its days it becomes the older half, ``<name>.older.jsonl``, in place of the one
before. A message that a broker delivers again after a restart is known by its bytes and kept once.

A thread makes the lines durable, one fdatasync for all that wait, so that a rejected message holds up no good one. What
the disk refuses is final, as on a tape.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import read_json
from ingestion.messages import RejectedLine
from market.clock import DAY_NS
from market.errors import MalformedMessage, StoreUnavailable
from storage.durable_files import make_folder, sync_folder
from storage.file_locks import exclusive

DISK_DEADLINE_S: Final = 60.0
"""A disk that takes longer has failed."""
LONGEST_REASON: Final = 500
"""Characters; an error may quote a value of any length."""
KNOWN_BYTES: Final = 16 << 20
"""Of the end of the file, whose messages are known when they are delivered again."""
DEFAULT_BYTES: Final = 256 << 20
DEFAULT_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """One rejected message; ``error`` is the name of the error's class, ``body`` the bytes as they came."""

    recv_ns: int
    error: str
    reason: str
    body: bytes


class _Line(Struct, kw_only=True, frozen=True):
    """One line of the file; bytes that are no UTF-8 text stand in ``body_base64``."""

    recv_ns: int
    error: str
    reason: str
    body: str | UnsetType = UNSET
    body_base64: bytes | UnsetType = UNSET


_LINE = JsonDecoder(_Line)


class DeadLetter:
    """Appends rejected messages to a file, which is opened on the first one; each is flushed to the system at once."""

    def __init__(self, path: Path, *, most_bytes: int = DEFAULT_BYTES, most_days: int = DEFAULT_DAYS) -> None:
        """most_bytes, most_days: of both halves together; days by the messages' own times."""
        self._path = path
        self._half_bytes = most_bytes // 2
        self._half_ns = most_days * DAY_NS // 2
        self._file: BinaryIO | None = None
        self._begins_ns: int | None = None
        # Bodies that were there before this process began, each as often as it was.
        self._known: Counter[bytes] | None = None
        self.count = 0
        """Messages appended through this object."""
        self._changed = threading.Condition(threading.Lock())
        # Guarded by _changed; bounded by what a source leaves unacknowledged.
        self._waiting: list[Callable[[], object]] = []
        self._is_closing = False
        self._failure: StoreUnavailable | None = None
        self._thread: threading.Thread | None = None

    def append(self, *, recv_ns: int, reason: str, error: str, body: bytes) -> None:
        """Write one rejected message, unless an earlier process has; ``error`` is its class's name.

        Raises StoreUnavailable when it cannot.
        """
        if self._failure is not None:
            raise self._failure
        text: str | UnsetType = UNSET
        raw: bytes | UnsetType = UNSET
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raw = body
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
        line = msgspec.json.encode(_Line(recv_ns=recv_ns, error=error, reason=reason, body=text, body_base64=raw))
        try:
            self._file = self._opened(recv_ns, len(line))
            if self._is_known(body):
                return
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as cause:
            raise self._unavailable(cause) from cause
        self.count += 1

    def _opened(self, recv_ns: int, size: int) -> BinaryIO:
        """The file that the next line of so many bytes goes to."""
        if self._file is not None and not self._is_current(self._file):
            self.close()  # another process has begun the next half
        file = self._file or self._open()
        # Until it is handed back a failure must not leave it open.
        self._file = file
        is_old = self._begins_ns is not None and recv_ns - self._begins_ns > self._half_ns
        if file.tell() > 0 and (file.tell() + size > self._half_bytes or is_old):
            self.close()
            with exclusive(self._path.with_name(f".{self._path.name}.lock")):
                self._path.replace(older_half(self._path))
                sync_folder(self._path.parent)
            file = self._open()
        if self._begins_ns is None:
            self._begins_ns = recv_ns
        return file

    def _open(self) -> BinaryIO:
        if self._known is None:
            self._known = Counter(_last_bodies(self._path))
        file = _open_to_append(self._path)
        first = next(read_dead_letter(self._path), None)
        self._begins_ns = first.recv_ns if isinstance(first, DeadMessage) else None
        return file

    def _is_current(self, file: BinaryIO) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _is_known(self, body: bytes) -> bool:
        """Whether an earlier process has written this message; each line counts once."""
        key = sha256(body).digest()
        if not self._known or self._known[key] <= 0:
            return False
        self._known[key] -= 1
        return True

    def when_durable(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, in another thread, as soon as every message appended before is on the disk.

        It must not raise. After a failure of the disk it is never called, and the next append raises.
        """
        with self._changed:
            self._waiting.append(callback)
            self._changed.notify_all()
            if self._thread is None and self._file is not None:
                self._is_closing = False
                self._thread = threading.Thread(
                    target=self._sync, args=(self._file.fileno(),), name="dead letter", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Make every message durable and close the file, if one was opened; a later append opens it again.

        Raises StoreUnavailable, and closes all the same.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(DISK_DEADLINE_S)
            self._thread = None
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.fdatasync(file.fileno())
        except OSError as cause:
            raise self._unavailable(cause) from cause
        finally:
            file.close()

    def _sync(self, descriptor: int) -> None:
        """The thread: whenever someone waits, one sync for all of them, until the file is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                due, self._waiting = self._waiting, []
            if not due:
                return
            try:
                os.fdatasync(descriptor)
            except OSError as cause:
                self._failure = self._unavailable(cause)
                self._failure.__cause__ = cause
                return
            for callback in due:
                callback()

    def _unavailable(self, cause: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"dead letter {self._path}: cannot be written: {cause}")


def older_half(path: Path) -> Path:
    """The path of the older half of a dead letter."""
    return path.with_name(f"{path.stem}.older{path.suffix}")


def read_both_halves(path: Path) -> Iterator[DeadMessage | RejectedLine]:
    """The rejected messages of a dead letter, the older half first; see ``read_dead_letter``."""
    yield from read_dead_letter(older_half(path))
    yield from read_dead_letter(path)


def read_dead_letter(path: Path, *, begin: int = 0) -> Iterator[DeadMessage | RejectedLine]:
    """The rejected messages of a file in their order; none when it was never opened.

    begin: the byte to begin at, whose line may be a torn one. A line torn by a crash comes back as RejectedLine and
    reading continues. Raises StoreUnavailable when the file cannot
    be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(begin)
            for line_number, line in enumerate(file, start=1):
                yield _parse(line.rstrip(b"\n"), line_number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"dead letter {path}: must be readable, was not: {error}") from error


def _open_to_append(path: Path) -> BinaryIO:
    make_folder(path.parent)
    file = path.open("a+b")
    sync_folder(path.parent)
    # A crash may have torn the last line; it must not swallow the next one.
    if file.tell() > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _last_bodies(path: Path) -> Iterator[bytes]:
    """Hashes of the last messages of both halves."""
    for half in (older_half(path), path):
        begin = max(0, half.stat().st_size - KNOWN_BYTES) if half.is_file() else 0
        for found in read_dead_letter(half, begin=begin):
            if isinstance(found, DeadMessage):
                yield sha256(found.body).digest()


def _parse(line: bytes, line_number: int) -> DeadMessage | RejectedLine:
    try:
        dead = read_json(_LINE, line, "line")
        if dead.body is not UNSET:
            return DeadMessage(dead.recv_ns, dead.error, dead.reason, dead.body.encode())
        if dead.body_base64 is not UNSET:
            return DeadMessage(dead.recv_ns, dead.error, dead.reason, dead.body_base64)
        raise MalformedMessage("line: must hold body or body_base64, was neither")
    except MalformedMessage as error:
        return RejectedLine(line_number, str(error), line)
