"""Blocks of frames: the frames of many messages made by one call of compiled code, without the GIL."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from storage.tape import frames
from storage.tape.frames import HEADER_BYTES
from transforms.jit import jit_inside, jit_over

_POLYNOMIAL: Final = 0xEDB88320
_ALL_ONES: Final = (1 << 32) - 1
_CRC, _SEQ, _RECV_NS = 4, 8, 16
"""Where in a frame its header's fields begin, behind the length."""


def _tables() -> npt.NDArray[np.int64]:
    """What eight bytes at once do to a CRC-32: by how many bytes follow, and the byte."""
    tables = np.zeros((8, 256), np.int64)
    found = np.arange(256, dtype=np.int64)
    for _ in range(8):
        found = found >> 1 ^ _POLYNOMIAL * (found & 1)
    tables[0] = found
    for at in range(1, 8):
        tables[at] = tables[at - 1] >> 8 ^ tables[0][tables[at - 1] & 255]
    return tables


_TABLES: Final = _tables()


def frame_block(
    text: bytes, ends: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]
) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """Frames of messages that stand one after the other in ``text``, the same bytes as ``add_frame`` makes.

    ends (n + 1,): where each begins, and the end. chosen (3, k): which messages, their seqs and their receive times.
    Returns the frames, in the order chosen, and the size of each, (k,).
    """
    sizes = ends[chosen[0] + 1] - ends[chosen[0]] + HEADER_BYTES
    block = np.empty(int(sizes.sum()), np.uint8)
    _write_frames(np.frombuffer(text, np.uint8), ends, chosen, _TABLES, block)
    return block.data, sizes


@jit_inside
def _crc(tables: Any, covered: Any) -> int:
    """The CRC-32 of bytes, at least eight, as zlib has it."""
    # Of a place with a sign the compiler asks each time whether it counts from the end.
    at, last = np.uint64(0), np.uint64(len(covered))
    eight = np.uint64(8)
    found = _ALL_ONES
    while at + eight <= last:
        low = found ^ (
            int(covered[at])
            | int(covered[at + np.uint64(1)]) << 8
            | int(covered[at + np.uint64(2)]) << 16
            | int(covered[at + np.uint64(3)]) << 24
        )
        found = (
            tables[7, low & 255]
            ^ tables[6, low >> 8 & 255]
            ^ tables[5, low >> 16 & 255]
            ^ tables[4, low >> 24 & 255]
            ^ tables[3, covered[at + np.uint64(4)]]
            ^ tables[2, covered[at + np.uint64(5)]]
            ^ tables[1, covered[at + np.uint64(6)]]
            ^ tables[0, covered[at + np.uint64(7)]]
        )
        at += eight
    while at < last:
        found = tables[0, (found ^ int(covered[at])) & 255] ^ found >> 8
        at += np.uint64(1)
    return int(found ^ _ALL_ONES)


@jit_over(frames)
def _write_frames(text: Any, ends: Any, chosen: Any, tables: Any, block: Any) -> None:
    at = 0
    for row in range(chosen.shape[1]):
        message, seq, recv_ns = chosen[0, row], chosen[1, row], chosen[2, row]
        begin, end = ends[message], ends[message + 1]
        size = end - begin
        for place in range(8):
            block[at + _SEQ + place] = seq >> 8 * place & 255
            block[at + _RECV_NS + place] = recv_ns >> 8 * place & 255
        body_at = at + HEADER_BYTES
        block[body_at : body_at + size] = text[begin:end]
        crc = _crc(tables, block[at + _SEQ : body_at + size])
        for place in range(4):
            block[at + place] = size >> 8 * place & 255
            block[at + _CRC + place] = crc >> 8 * place & 255
        at = body_at + size
