"""Kept ids: the newest ids of a stream, each with a seq and a time, in 20 to 30 bytes instead of 300.

1. An id is known by 78 bits of a hash of its UTF-8. Among the 18,000 ids that are kept of a symbol, the chance that a
   new one is taken for one of them is 6e-20: at 20,000 messages a second once in 27 million years.
   Two ids that differ in one aligned word of four bytes alone never have the same.
2. The hashes lie in a ring in order of age, and a table with open addressing says where in the ring one lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from transforms.jit import jit_alone, jit_inside

LARGEST_SEQ: Final = (1 << 48) - 1
WAITING: Final = 256
_FEWEST: Final = 64
_LOW, _HIGH_AND_SEQ, _RECV_NS = range(3)
"""The words of an entry; the last one where times are kept."""
_WORD: Final = (1 << 32) - 1
_FREE: Final = -1


class KeptIds:
    """Ids in the order in which they first came; memory grows with what is kept. has_times: whether times are.

    waiting: of the newest, this many at most wait as they are, so that compiled code is called once for all of them.
    """

    def __init__(self, *, has_times: bool = False, waiting: int = WAITING) -> None:
        self._width = 3 if has_times else 2
        self._most_waiting = waiting
        self._ring, self._table = _room(_FEWEST, self._width)
        self._packed = 0
        """How many are in the ring, of which the ``_past`` oldest are kept no longer."""
        self._past = 0
        self._waiting: dict[str, int] = {}
        self._waiting_recv_ns: list[int] = []
        self._unknown: set[str] = set()  # ids that were asked for of late and are not kept

    def __len__(self) -> int:
        return self._packed - self._past + len(self._waiting)

    def seq_of(self, name: str) -> int | None:
        """The seq that the id was last kept with; None for one that is not kept."""
        if (waiting := self._waiting.get(name)) is not None:
            return waiting
        if name in self._unknown:
            return None
        seq: int = _seq_of(name.encode(), self._past, self._ring, self._table)
        if seq >= 0:
            return seq
        self._note_unknown((name,))
        return None

    def keeps_any(self, names: Sequence[str]) -> bool:
        """Whether any of the ids is kept."""
        if not self._waiting.keys().isdisjoint(names):
            return True
        texts = [name.encode() for name in names]
        ends = np.array(list(accumulate(map(len, texts))), np.int64)
        if _keeps_any(b"".join(texts), ends, self._past, self._ring, self._table):
            return True
        self._note_unknown(names)
        return False

    def keep(self, name: str, seq: int, recv_ns: int = 0) -> None:
        """Keep an id as the newest; of one that is kept already the seq alone changes. seq: 0 to LARGEST_SEQ."""
        if name in self._waiting:
            self._waiting[name] = seq
            return
        if name not in self._unknown and _set_seq(name.encode(), seq, self._past, self._ring, self._table):
            return
        self._unknown.discard(name)
        self._waiting[name] = seq
        if self._width > _RECV_NS:
            self._waiting_recv_ns.append(recv_ns)
        if len(self._waiting) >= self._most_waiting:
            self._pack()

    def forget(self, count: int) -> None:
        """Forget the oldest."""
        if self._packed - self._past < count:
            self._pack()
        self._past += count

    def count_before(self, recv_ns: int, most: int) -> int:
        """How many of the oldest, up to ``most``, are earlier than that and followed by none that is earlier."""
        if self._packed - self._past < most:
            self._pack()
        return int(_count_before(recv_ns, self._past, most, self._ring))

    def entries(self) -> bytes:
        """What is kept, oldest first, for ``restore``."""
        self._pack()
        places = (int(self._ring[-1, 0]) + np.arange(self._packed)) % (len(self._ring) - 1)
        return self._ring[places].tobytes()

    def restore(self, entries: bytes) -> None:
        """Keep what ``entries`` gave in the place of what is kept. Raises ValueError for other bytes."""
        rows = np.frombuffer(entries, np.int64).reshape(-1, self._width)
        ended = np.zeros((1, self._width), np.int64)
        ended[0, 1] = self._packed = len(rows)
        self._past = 0
        self._waiting, self._waiting_recv_ns, self._unknown = {}, [], set()
        self._hold(np.concatenate([rows, ended]), max(_FEWEST, len(rows)))

    def _note_unknown(self, names: Sequence[str]) -> None:
        if len(self._unknown) >= self._most_waiting:
            self._unknown.clear()
        self._unknown.update(names)

    def _pack(self) -> None:
        """Move what waits into the ring, and let what is kept no longer go."""
        names = [name.encode() for name in self._waiting]
        self._packed -= self._past
        _drop(self._past, self._ring, self._table)
        self._past = 0
        capacity = len(self._ring) - 1
        if self._packed + len(names) > capacity:
            self._hold(self._ring, max(capacity * 5 // 4, self._packed + len(names)))
        ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        rows = np.zeros((len(names), 2), np.int64)
        rows[:, 0] = list(self._waiting.values())
        if self._width > _RECV_NS:
            rows[:, 1] = self._waiting_recv_ns
        _add(b"".join(names), ends, rows, self._ring, self._table)
        self._packed += len(names)
        self._waiting, self._waiting_recv_ns = {}, []

    def _hold(self, ring: npt.NDArray[np.int64], capacity: int) -> None:
        self._ring, self._table = _room(capacity, self._width)
        _fill(ring, self._ring, self._table)


def _room(capacity: int, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """An empty ring, whose last row says where its oldest entry is and how many follow, and its table."""
    places = 1 << (capacity * 4 // 3).bit_length()
    return np.zeros((capacity + 1, width), np.int64), np.full(places, _FREE, np.int32)


@jit_inside
def _hash(text: Any, begin: int, end: int) -> tuple[int, int]:
    """63 and 15 bits. No product is above 63 bits, so that plain Python has the same."""
    size = end - begin
    a, b, c = size + 0x1B56C4E9, size + 0x3C6EF372, size + 0x510E527F
    at = begin
    while at < end + 12:  # three words of zeros stir the last one
        word = 0
        if at + 4 <= end:
            word |= int(text[at])
            word |= int(text[at + 1]) << 8
            word |= int(text[at + 2]) << 16
            word |= int(text[at + 3]) << 24
        else:
            for last in range(at, end):
                word |= int(text[last]) << (8 * (last - at))
        a = ((a ^ word) * 0x5BD1E995) & _WORD
        b = ((b ^ word) * 0x2C1B3C6D) & _WORD
        c = ((c ^ word) * 0x45D9F3B3) & _WORD
        a, b, c = a ^ a >> 15, b ^ b >> 13, c ^ c >> 16
        at += 4
    return a | (b & 0x7FFFFFFF) << 32, c >> 4 & 0x7FFF


@jit_inside
def _place(low: int, high: int, ring: Any, table: Any) -> int:
    """Where in the ring the entry of a hash is; -1 where it is not kept."""
    mask = len(table) - 1
    at = low & mask
    while table[at] != _FREE:
        place = table[at]
        if ring[place, _LOW] == low and ring[place, _HIGH_AND_SEQ] >> 48 == high:
            return int(place)
        at = (at + 1) & mask
    return -1


@jit_inside
def _enter(place: int, ring: Any, table: Any) -> None:
    """Let the table know of an entry."""
    mask = len(table) - 1
    at = ring[place, _LOW] & mask
    while table[at] != _FREE:
        at = (at + 1) & mask
    table[at] = place


@jit_inside
def _leave(place: int, ring: Any, table: Any) -> None:
    """Let the table forget an entry; those that had to stand behind it move up."""
    mask = len(table) - 1
    free = ring[place, _LOW] & mask
    while table[free] != place:
        free = (free + 1) & mask
    at = free
    while True:
        at = (at + 1) & mask
        if table[at] == _FREE:
            break
        home = ring[table[at], _LOW] & mask
        if (at - home) & mask >= (at - free) & mask:
            table[free] = table[at]
            free = at
    table[free] = _FREE


@jit_inside
def _kept_place(names: Any, begin: int, end: int, past: int, ring: Any, table: Any) -> int:
    """Where in the ring an id is; -1 where it is not, or is one of the oldest that are past."""
    low, high = _hash(names, begin, end)
    place = _place(low, high, ring, table)
    capacity = len(ring) - 1
    if place < 0 or (place - ring[capacity, 0]) % capacity < past:
        return -1
    return place


@jit_alone
def _seq_of(name: Any, past: int, ring: Any, table: Any) -> int:
    place = _kept_place(name, 0, len(name), past, ring, table)
    return -1 if place < 0 else int(ring[place, _HIGH_AND_SEQ] & LARGEST_SEQ)


@jit_alone
def _keeps_any(names: Any, ends: Any, past: int, ring: Any, table: Any) -> bool:
    begin = 0
    for at in range(len(ends)):
        if _kept_place(names, begin, ends[at], past, ring, table) >= 0:
            return True
        begin = ends[at]
    return False


@jit_alone
def _set_seq(name: Any, seq: int, past: int, ring: Any, table: Any) -> bool:
    """Whether the id is kept, now with this seq."""
    place = _kept_place(name, 0, len(name), past, ring, table)
    if place >= 0:
        ring[place, _HIGH_AND_SEQ] = ring[place, _HIGH_AND_SEQ] >> 48 << 48 | seq
    return place >= 0


@jit_alone
def _add(names: Any, ends: Any, rows: Any, ring: Any, table: Any) -> None:
    """Add ids that are not kept, for which there is room; rows: the seq and the time of each."""
    capacity = len(ring) - 1
    begin = 0
    for at in range(len(ends)):
        low, high = _hash(names, begin, ends[at])
        begin = ends[at]
        place = (ring[capacity, 0] + ring[capacity, 1]) % capacity
        ring[place, _LOW], ring[place, _HIGH_AND_SEQ] = low, high << 48 | rows[at, 0]
        if ring.shape[1] > _RECV_NS:
            ring[place, _RECV_NS] = rows[at, 1]
        _enter(place, ring, table)
        ring[capacity, 1] += 1


@jit_alone
def _drop(count: int, ring: Any, table: Any) -> None:
    """Drop the oldest."""
    capacity = len(ring) - 1
    for _ in range(count):
        first = ring[capacity, 0]
        _leave(first, ring, table)
        ring[capacity, 0] = (first + 1) % capacity
        ring[capacity, 1] -= 1


@jit_alone
def _count_before(recv_ns: int, past: int, most: int, ring: Any) -> int:
    capacity = len(ring) - 1
    count = 0
    while count < most and ring[(ring[capacity, 0] + past + count) % capacity, ring.shape[1] - 1] < recv_ns:
        count += 1
    return count


@jit_alone
def _fill(old: Any, ring: Any, table: Any) -> None:
    """Copy the entries of a ring, oldest first, to another that is empty."""
    capacity = len(old) - 1
    first, count = old[capacity, 0], old[capacity, 1]
    for at in range(count):
        for word in range(old.shape[1]):
            ring[at, word] = old[(first + at) % capacity, word]
        _enter(at, ring, table)
    ring[len(ring) - 1, 1] = count
