"""Predictions as they come over the wire: JSON text, turned into float64 arrays a piece at a time.

A number of the text would take ten times its bytes as an object of Python, a list of three more than that: a whole body
parsed at once takes gigabytes. A piece ends after a comma, is closed to a list of its own and decoded strictly; what is
no list of numbers, or of equally long lists of numbers, fails in the piece that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest

PIECE_BYTES: Final = 1 << 18
MOST_PREDICTIONS: Final = 10_000_000
_LONGEST_SPACE: Final = 1 << 10
"""Before the first value: after more than that, rows are no rows."""
_NUMBERS: Final = msgspec.json.Decoder(list[float])
_ROWS: Final = msgspec.json.Decoder(list[list[float]])

Predictions = npt.NDArray[np.float64] | dict[str, npt.NDArray[np.float64]]


def read_predictions(text: msgspec.Raw, *, piece_bytes: int = PIECE_BYTES) -> Predictions | None:
    """One array, (n,) or (n, k), or one by target; None for null.

    Raises InvalidRequest naming the list that is none.
    """
    content = bytes(text).strip()
    if content == b"null":
        return None
    if not content.startswith(b"{"):
        return _array("predictions", content, piece_bytes)
    by_target: Mapping[str, msgspec.Raw] = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return {
        name: _array(f"predictions of {name}", bytes(each).strip(), piece_bytes) for name, each in by_target.items()
    }


def _array(thing: str, content: bytes, piece_bytes: int) -> npt.NDArray[np.float64]:
    if not (content.startswith(b"[") and content.endswith(b"]")):
        raise InvalidRequest(f"{thing}: must be a list of numbers, was {content[:40]!r}")
    start, stop, rows = 1, len(content) - 1, 0
    is_rows = content[1 : 1 + _LONGEST_SPACE].lstrip().startswith(b"[")
    pieces: list[npt.NDArray[np.float64]] = []
    while start < stop:
        end = _cut(content, start, stop, piece_bytes, is_rows=is_rows)
        text = b"[" + content[start:end] + b"]"
        try:
            found = np.array(_ROWS.decode(text) if is_rows else _NUMBERS.decode(text), np.float64)
        except (msgspec.DecodeError, ValueError) as error:
            rule = "rows of one length" if is_rows else "numbers"
            raise InvalidRequest(f"{thing}: must be a list of {rule}, was not after row {rows}: {error}") from error
        # An empty piece is the whole of an empty list, or what follows the last comma.
        if len(found) == 0 and (pieces or end < stop):
            raise InvalidRequest(f"{thing}: must be a list of numbers, was one with nothing after a comma")
        rows += len(found)
        if rows > MOST_PREDICTIONS:
            raise InvalidRequest(f"{thing}: must be at most {MOST_PREDICTIONS} rows, was more")
        if len(found):
            pieces.append(found)
        if end == stop - 1:
            raise InvalidRequest(f"{thing}: must be a list of numbers, was one with nothing after a comma")
        start = end + 1
    if not pieces:
        return np.empty(0)
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise InvalidRequest(f"{thing}: must be rows of one length, was not")
    return np.concatenate(pieces)


def _cut(content: bytes, start: int, stop: int, piece_bytes: int, *, is_rows: bool) -> int:
    """Where the comma is that ends the piece, or ``stop``."""
    at = start + piece_bytes
    if at < stop and is_rows:
        at = content.find(b"]", at, stop)
    end = content.find(b",", at, stop) if 0 <= at < stop else -1
    return stop if end < 0 else end
