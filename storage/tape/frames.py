"""Frames: one message each, as bytes in a segment.

A frame is a little-endian header (length u32, crc32 u32, seq i64, recv_ns i64) followed by the body; the checksum
covers seq, recv_ns and body.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from zlib import crc32

_HEADER: Final = struct.Struct("<IIqq")
_STAMP: Final = struct.Struct("<qq")
_SEQ: Final = struct.Struct("<q")
HEADER_BYTES: Final = _HEADER.size
_SEQ_AT: Final = HEADER_BYTES - _STAMP.size
FIRST_SEQ: Final = 1
FRAMES_SOUGHT: Final = 64
"""After a bad frame the next one is sought by its seq; damage that took more frames than this ends the segment."""
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
    """Bytes of a segment that are no whole frame: from ``offset``, up to ``end``."""

    path: Path
    offset: int
    end: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path} at offset {self.offset}: {self.reason}"


class _BadFrame(Exception):
    """The bytes at an offset are no whole frame."""


def add_frame(pending: bytearray, seq: int, recv_ns: int, body: bytes) -> None:
    """Append a frame to bytes that are to be written."""
    stamp = _STAMP.pack(seq, recv_ns)
    pending += _HEADER.pack(len(body), crc32(body, crc32(stamp)), seq, recv_ns)
    pending += body


def read_frames(segment: Path, expected: int | None = None, *, offset: int = 0) -> Iterator[Frame | Damage]:
    """The frames of a segment as long as it is now, and in their places the bytes that are none.

    expected: the seq of the first frame, by which the next whole one is found when the first is damaged. offset: where
    that frame begins.
    """
    with _open_segment(segment) as file:
        end = os.fstat(file.fileno()).st_size  # a live segment grows: what comes after this is for the next reader
        file.seek(offset)
        while offset < end:
            try:
                frame = _read_frame(file, end - offset)
            except _BadFrame as bad:
                file.seek(offset)
                found = None if expected is None else _next_frame(file.read(end - offset), expected)
                resumed = end if found is None else offset + found
                yield Damage(segment, offset, resumed, str(bad))
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
        offset = 0
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


def _next_frame(rest: bytes, expected: int) -> int | None:
    """Offset in ``rest`` of the first whole frame after a bad one whose seq should be ``expected``."""
    for seq in range(expected + 1, expected + 1 + FRAMES_SOUGHT):
        pattern = _SEQ.pack(seq)
        at = rest.find(pattern)
        while at >= 0:
            offset = at - _SEQ_AT
            if offset > 0 and _is_whole(rest, offset):
                return offset
            at = rest.find(pattern, at + 1)
    return None


def _is_whole(rest: bytes, offset: int) -> bool:
    if offset + HEADER_BYTES > len(rest):
        return False
    length, crc, _, _ = _HEADER.unpack_from(rest, offset)
    end = offset + HEADER_BYTES + int(length)
    return end <= len(rest) and crc32(memoryview(rest)[offset + _SEQ_AT : end]) == int(crc)
