"""Frames: one message each, as bytes in a segment, after a head that names the market.

The head is one line of text: ``FSTAPE``, the CRC-32 of what follows in hex, the venue and the category. A segment that
was written before there were heads begins with a frame.

A frame is a little-endian header (length u32, crc32 u32, seq i64, recv_ns i64) followed by the body; the checksum
covers seq, recv_ns and body. After bytes that are not a whole frame, reading continues at the next place where the
checksum says that one begins: damage costs the messages that it hit.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final
from zlib import crc32

import numpy as np

from market.markets import Market

HEAD_MARK: Final = b"FSTAPE "
"""Read as the length of a frame, its first bytes are more than a segment can hold."""
_LONGEST_HEAD: Final = 200
_HEADER: Final = struct.Struct("<IIqq")
_HEAD: Final = re.compile(HEAD_MARK + rb"([0-9a-f]{8}) ([ -~]+)\n")
_STAMP: Final = struct.Struct("<qq")
HEADER_BYTES: Final = _HEADER.size
_SEQ_AT: Final = HEADER_BYTES - _STAMP.size
FIRST_SEQ: Final = 1
_LARGEST_SEQ: Final = 1 << 48
"""Of a frame that is believed to begin somewhere: text read as a number is far above it."""
BUFFER_BYTES: Final = 1 << 16
"""No more: who puts a month of segments in order reads the first frame of each."""
BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it arrived."""

    seq: int
    recv_ns: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no whole frame: from ``offset``, up to ``end``.

    What follows is of the end of a segment alone. is_tear: they are the beginning of the frame that was due, as a crash
    in the middle of a write leaves it. Such a frame was never acknowledged; any other bytes may have been. most_frames:
    there were no more than that.
    """

    path: Path
    offset: int
    end: int
    reason: str
    is_tear: bool = False
    most_frames: int = 0

    def __str__(self) -> str:
        return f"{self.path} at offset {self.offset}: {self.reason}"


class _BadFrame(Exception):
    """The bytes at an offset are no whole frame."""


def segment_head(market: Market) -> bytes:
    """The bytes that a segment of this market begins with."""
    text = str(market).encode()
    return HEAD_MARK + f"{crc32(text):08x} ".encode() + text + b"\n"


def read_head(segment: Path) -> Market | None:
    """The market that a segment names; None where it names none, or its head is damaged."""
    with _open_segment(segment) as file:
        return _read_head(file)[0]


def head_bytes(segment: Path) -> int:
    """How long a segment's head is; 0 where it has none, or a damaged one."""
    with _open_segment(segment) as file:
        return _read_head(file)[1]


def has_frames(segment: Path) -> bool:
    """Whether a segment holds more than its head: of one that does not, the writer died before its first frame."""
    with _open_segment(segment) as file:
        size = os.fstat(file.fileno()).st_size
        return size > _LONGEST_HEAD or size > _read_head(file)[1]


def add_frame(pending: bytearray, seq: int, recv_ns: int, body: bytes) -> None:
    """Append a frame to bytes that are to be written."""
    stamp = _STAMP.pack(seq, recv_ns)
    pending += _HEADER.pack(len(body), crc32(body, crc32(stamp)), seq, recv_ns)
    pending += body


def read_frames(segment: Path, expected: int | None = None, *, offset: int = 0) -> Iterator[Frame | Damage]:
    """The frames of a segment as long as it is now, and in their places the bytes that are none.

    expected: the seq of the first frame, if known: no lower one is believed after damage. offset: where that frame
    begins; 0 is after the head.
    """
    with _open_segment(segment) as file:
        end = os.fstat(file.fileno()).st_size  # a live segment grows: what comes after this is for the next reader
        offset = offset or _read_head(file)[1]
        file.seek(offset)
        while offset < end:
            try:
                frame = _read_frame(file, end - offset)
            except _BadFrame as bad:
                # A damaged head costs no frame, anything else at least the one that was due.
                lowest_seq = FIRST_SEQ if expected is None else expected + (offset > 0)
                resumed = _next_frame(file, offset + 1, end, lowest_seq)
                damage = Damage(segment, offset, resumed, str(bad))
                yield _judged_end(file, damage, expected) if resumed == end else damage
                offset = resumed
                file.seek(offset)
            else:
                yield frame
                expected = frame.seq + 1
                offset += HEADER_BYTES + len(frame.body)


def frame_offset(segment: Path, first_seq: int, seq: int) -> int | None:
    """Where in a segment that begins with ``first_seq`` the frame ``seq`` begins, which is whole.

    None when it is not, or the headers before it do not lead there. The bytes of the frames before it are not checked,
    which takes a fifth of the time.
    """
    with _open_segment(segment) as file:
        offset = _read_head(file)[1]
        file.seek(offset)
        expected = first_seq
        while len(block := file.read(BLOCK_BYTES)) >= HEADER_BYTES:
            at = 0
            while at + HEADER_BYTES <= len(block):
                length, _, found, _ = _HEADER.unpack_from(block, at)
                if found != expected:
                    return None
                if found == seq:
                    is_whole = isinstance(next(read_frames(segment, offset=offset + at)), Frame)
                    return offset + at if is_whole else None
                expected += 1
                at += HEADER_BYTES + length
            offset += at
            file.seek(offset)
    return None


def _open_segment(segment: Path) -> BinaryIO:
    try:
        return segment.open("rb", buffering=BUFFER_BYTES)
    except FileNotFoundError:
        # The writer finished it since it was listed.
        return segment.with_suffix(".log").open("rb", buffering=BUFFER_BYTES)


def _read_head(file: BinaryIO) -> tuple[Market | None, int]:
    """The market of a segment and the length of its head, from the beginning of the file; None and 0 without one."""
    line = file.readline(_LONGEST_HEAD)
    found = _HEAD.fullmatch(line)
    if found is None or crc32(found[2]) != int(found[1], 16):
        return None, 0
    return Market.parse(found[2].decode()), len(line)


def _read_frame(file: BinaryIO, left: int) -> Frame:
    if left < HEADER_BYTES:
        raise _BadFrame(f"header must have {HEADER_BYTES} bytes, was {left}")
    header = file.read(HEADER_BYTES)
    length, crc, seq, recv_ns = _HEADER.unpack(header)
    size = HEADER_BYTES + length
    if size > left:
        raise _BadFrame(f"frame must end in the {left} bytes that follow, was {size}")
    body = file.read(length)
    if crc32(body, crc32(header[_SEQ_AT:])) != crc:
        raise _BadFrame(f"checksum must be that of the frame, was {crc:#010x}")
    return Frame(seq, recv_ns, body)


def _next_frame(file: BinaryIO, begin: int, end: int, lowest_seq: int) -> int:
    """Offset from ``begin`` on of the first whole frame with at least this seq; ``end`` without one."""
    while begin + HEADER_BYTES <= end:
        file.seek(begin)
        block = file.read(min(BLOCK_BYTES, end - begin))
        count = len(block) - HEADER_BYTES + 1
        lengths = np.ndarray(count, "<u4", block, 0, (1,))
        seqs = np.ndarray(count, "<i8", block, _SEQ_AT, (1,))
        left = end - begin - HEADER_BYTES - np.arange(count)
        for at in np.flatnonzero((seqs >= lowest_seq) & (seqs < _LARGEST_SEQ) & (lengths <= left)).tolist():
            file.seek(begin + at)
            try:
                _read_frame(file, end - begin - at)
            except _BadFrame:
                continue
            return int(begin + at)
        begin += count
    return end


def _judged_end(file: BinaryIO, damage: Damage, expected: int | None) -> Damage:
    """Damage that no whole frame follows, with what its bytes say of it."""
    file.seek(damage.offset)
    rest = memoryview(file.read(damage.end - damage.offset))
    is_torn_head = damage.offset == 0 and bytes(rest).startswith(HEAD_MARK) and b"\n" not in bytes(rest)
    if len(rest) < HEADER_BYTES or is_torn_head:
        return replace(damage, is_tear=True, most_frames=1)
    length, crc, seq, _ = _HEADER.unpack_from(rest)
    if crc32(rest[_SEQ_AT:]) == crc:  # whole but for its length
        return replace(damage, most_frames=1)
    if seq == (seq if expected is None else expected) and HEADER_BYTES + length > len(rest):
        return replace(damage, is_tear=True, most_frames=1)
    at = count = 0
    while at + HEADER_BYTES <= len(rest):
        at += HEADER_BYTES + int(_HEADER.unpack_from(rest, at)[0])
        count += 1
    # Where the lengths do not lead to the end: no frame is shorter than its header.
    return replace(damage, most_frames=count if at == len(rest) else -(-len(rest) // HEADER_BYTES))
