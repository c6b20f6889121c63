"""The writer of a tape: frames wait in memory for the thread that writes them and makes them durable in groups.

1. ``append`` frames a message, gives it its seq and returns; ``storage.tape.disk`` writes what waits and syncs once for
   many messages, and none of them is acknowledged before it.
2. A segment ends at a full ``segment_ns``, a UTC hour unless it is shorter, at ``segment_bytes`` and when the writer
   closes: durable, rename, the folder durable.
   Its beginning is in the segment log before its first frame is acknowledged, and so is its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from market.clock import DAY_NS, HOUR_NS, floor_to, utc_date
from market.errors import FeatureServiceError, StoreUnavailable
from market.markets import DEFAULT_MARKET, Market
from storage.checkpoints import FramePlace
from storage.durable_files import make_folder
from storage.raw.published import Published
from storage.tape.disk import DEFAULT_SYNC_MS, DISK_DEADLINE_S, TapeDisk
from storage.tape.frames import HEADER_BYTES, add_frame, segment_head
from storage.tape.lock import release, take_lock
from storage.tape.open_segment import OpenSegment
from storage.tape.recovery import recover_tape
from storage.tape.segment_log import read_segment_log
from storage.tape.segments import FINISHED, OPEN, check_market, segment_name, tape_folder

SEGMENT_BYTES: Final = 256 << 20


@dataclass(slots=True)
class _Waiting:
    """Consecutive frames of one segment; ``path`` is that of the segment they begin, None continues the last.

    next_seq: one above the last of them, which was received at ``last_ns``.
    """

    first_seq: int
    path: Path | None = None
    frames: bytearray = field(default_factory=bytearray)
    next_seq: int = 0
    last_ns: int = 0


class TapeWriter:
    """The one writer of a symbol's tape. Opening recovers what a crash left.

    disk: whose thread writes, for other tapes of the folder too; None is a thread of its own, with ``sync_ms``, how
    long a message may wait to become durable. segment_bytes: the size at which a segment ends. segment_ns:
    a divisor of an hour; a segment ends where it is full. market: of every message of the symbol. published: of raw
    Parquet; None is that of the root. last_recv_ns: of the last frame on the tape when it was opened, None without one.
    torn_bytes: how much opening moved aside. is_end_lost: frames after the last one on the tape are gone.

    Raises:
        Conflict: another writer holds this symbol's tape, or it is of another market.
        CorruptStore: a file is no segment.
        StoreUnavailable: the folder cannot be read or written.
        InvalidRequest: the symbol cannot name a folder.
    """

    def __init__(  # noqa: PLR0913  # where the tape is, its segments, its disk or that one's pace, what it continues from
        self,
        root: Path,
        symbol: str,
        *,
        disk: TapeDisk | None = None,
        sync_ms: int = DEFAULT_SYNC_MS,
        segment_bytes: int = SEGMENT_BYTES,
        segment_ns: int = HOUR_NS,
        market: Market = DEFAULT_MARKET,
        published: Published | None = None,
    ) -> None:
        self.name = symbol
        self._folder = tape_folder(root, symbol)
        self._segment_bytes = segment_bytes
        self._segment_ns = segment_ns
        self._is_alone = disk is None
        self._disk = TapeDisk(root, sync_ms=sync_ms) if disk is None else disk
        self._changed = self._disk.changed
        # Guarded by _changed.
        self._waiting: list[_Waiting] = []
        self._is_closing = self._is_finished = False
        self._callbacks: list[tuple[int, Callable[[], object]]] = []
        # Of the segment that the next frame goes to.
        self._from_ns = self._until_ns = 0
        self._segment_size = 0
        self._segment_name = ""
        self._begun: set[Path] = set()
        self._head = segment_head(market)
        # The thread's own.
        self._segment = OpenSegment(self._folder, self._head, segment_bytes=segment_bytes, sync=self._disk.sync)
        self._taken_seq = 0
        lock: int | None = None
        try:
            make_folder(self._folder, sync=self._disk.sync.folder)
            lock = take_lock(self._folder, symbol)
            has_tape = len(read_segment_log(self._folder).lines) > 0
            recovered = recover_tape(self._folder, sync=self._disk.sync)
            check_market(root, symbol, market)
            # A last segment that is gone was compacted: its seqs are not given again.
            known_seq = (published or Published(root)).next_seq(
                symbol, market, has_tape=has_tape, tape_ends_ns=recovered.last_recv_ns
            )
            self._disk.join(self, self._folder)
        except OSError as error:
            release(lock)
            raise StoreUnavailable(f"tape {symbol}: cannot be opened, {error}") from error
        except FeatureServiceError:
            release(lock)
            raise
        self._lock: int | None = lock
        self._day = recovered.last_day
        self.last_recv_ns = recovered.last_recv_ns
        self.torn_bytes = recovered.torn_bytes
        self.is_end_lost = recovered.is_end_lost
        self._next_seq = max(recovered.next_seq, known_seq)
        self._durable_seq = self._next_seq - 1
        self._last_offset = 0

    @property
    def next_seq(self) -> int:
        """The seq that the next append will return."""
        return self._next_seq

    @property
    def place(self) -> FramePlace | None:
        """Where the last frame lies that was appended; None before the first."""
        return FramePlace(self._segment_name, self._last_offset) if self._last_offset > 0 else None

    @property
    def durable_seq(self) -> int:
        """Every frame up to this one survives the death of the machine."""
        return self._durable_seq

    def append(self, recv_ns: int, body: bytes) -> int:
        """Frame one message; returns its seq. It is durable once ``durable_seq`` has reached that.

        Raises StoreUnavailable when the disk refused this or an earlier message, ValueError when the writer is closed.
        """
        with self._changed:
            self._check()
            self._disk.wait_for_room()
            add_frame(self._room(recv_ns, HEADER_BYTES + len(body)), self._next_seq - 1, recv_ns, body)
            return self._next_seq - 1

    def append_block(self, frames: memoryview, sizes: Sequence[int], recv_ns: Sequence[int]) -> None:
        """Append frames that ``frame_block`` made, the first of them with ``next_seq``; raises as ``append``."""
        with self._changed:
            self._check()
            self._disk.wait_for_room()
            at = 0
            for size, each_ns in zip(sizes, recv_ns, strict=True):
                room = self._room(each_ns, size)
                room += frames[at : at + size]
                at += size

    def when_durable(self, seq: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, as soon as the frame ``seq`` is durable: now, or later in the writer's thread.

        It must not raise, nor call the writer. After a failure it is never called.
        """
        self.when_each_durable([(seq, callback)])

    def when_each_durable(self, told: Sequence[tuple[int, Callable[[], object]]]) -> None:
        """``when_durable`` for many."""
        with self._changed:
            durable_seq = self._durable_seq
            self._callbacks += [each for each in told if each[0] > durable_seq]
        for callback in [callback for seq, callback in told if seq <= durable_seq]:
            callback()

    def wait_durable(self, seq: int, timeout_s: float) -> bool:
        """Wait up to so many seconds for the frame ``seq`` to be durable; whether it is. From any thread.

        Raises StoreUnavailable when it never will be: the disk refused it or an earlier one.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._durable_seq >= seq or self._disk.failure is not None, timeout_s)
            if self._durable_seq >= seq:
                return True
            self._disk.check()
            return False

    def sync(self) -> None:
        """Wait until every frame is durable. Raises StoreUnavailable, from then on always."""
        with self._changed:
            self._check()
            last_seq = self._next_seq - 1
            self._disk.hurry_until(lambda: self._durable_seq >= last_seq)

    def close(self) -> None:
        """Make every frame durable, finish the segment and let the tape go; closing again does nothing.

        Raises StoreUnavailable, and lets go all the same.
        """
        if self._lock is None:
            return
        if self._is_alone:
            self._disk.close()
        else:
            self._leave()
        release(self._lock)
        self._lock = None
        self._disk.check()
        if not self._is_finished:
            raise StoreUnavailable(f"tape {self.name}: must be closed in {DISK_DEADLINE_S:g} s, was not")

    def end(self) -> None:
        """Nothing is appended any more, says the disk."""
        self._is_closing = True

    def take(self) -> Iterator[None]:
        """What waits, for the disk to write."""
        group, self._waiting = self._waiting, []
        self._taken_seq = self._next_seq - 1
        return self._write(group, is_last=self._is_closing)

    def note_durable(self) -> list[Callable[[], object]]:
        """What was taken is durable, says the disk; whom to tell."""
        last_seq = self._durable_seq = self._taken_seq
        if self._is_closing and not self._waiting and self._segment.is_finished:
            self._is_finished = True
            self._disk.leave(self)
        due = [callback for seq, callback in self._callbacks if seq <= last_seq]
        self._callbacks = [entry for entry in self._callbacks if entry[0] > last_seq]
        return due

    def let_go(self) -> None:
        """Close the segment as it is, says the disk."""
        self._segment.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check(self) -> None:
        self._disk.check()
        if self._is_closing:
            raise ValueError(f"tape {self.name}: must be open, was closed")

    def _leave(self) -> None:
        """Close on a disk that goes on for others."""
        with self._changed:
            if self._is_finished or self._disk.failure is not None:
                return
            self._is_closing = True
            self._disk.add(self)
            with suppress(StoreUnavailable):
                self._disk.hurry_until(lambda: self._is_finished)

    def _room(self, recv_ns: int, size: int) -> bytearray:
        """Where the next frame goes, which has a seq with this."""
        if not self._from_ns <= recv_ns < self._until_ns or self._segment_size >= self._segment_bytes:
            self._begin_segment(recv_ns)
        elif not self._waiting:
            self._wait(_Waiting(self._next_seq))
        waiting = self._waiting[-1]
        self._last_offset = self._segment_size
        self._segment_size += size
        self._disk.waiting_bytes += size
        self._next_seq = waiting.next_seq = self._next_seq + 1
        waiting.last_ns = recv_ns
        return waiting.frames

    def _begin_segment(self, recv_ns: int) -> None:
        day = recv_ns // DAY_NS
        if self._day is not None and day == self._day - 1:
            day = self._day  # a restart between two messages that interleave across midnight
        folder = self._folder / utc_date(day * DAY_NS)
        path = folder / f"{recv_ns}{OPEN}"
        if path in self._begun or path.with_suffix(FINISHED).exists():
            path = folder / f"{recv_ns}-{self._next_seq}{OPEN}"  # a redelivered first message, or a segment of one
        self._begun.add(path)
        self._wait(_Waiting(self._next_seq, path))
        self._segment_name = segment_name(path)
        self._day = day
        self._from_ns = (day - 1) * DAY_NS
        self._until_ns = min(floor_to(recv_ns, self._segment_ns) + self._segment_ns, (day + 1) * DAY_NS)
        self._segment_size = len(self._head)

    def _wait(self, frames: _Waiting) -> None:
        if not self._waiting:
            self._disk.add(self)
        self._waiting.append(frames)

    def _write(self, group: Sequence[_Waiting], *, is_last: bool) -> Iterator[None]:
        """Write frames, segment by segment; where it yields, what was written must be durable before it goes on."""
        for waiting in group:
            if waiting.path is not None:
                yield from self._segment.finish()
                self._segment.begin(waiting.path, waiting.first_seq)
            self._segment.write(waiting.frames, next_seq=waiting.next_seq, last_ns=waiting.last_ns)
        if is_last:
            yield from self._segment.finish()
        yield
