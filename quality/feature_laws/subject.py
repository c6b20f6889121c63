"""What a law tries: features with something to compute them from, as a stream's engine or a table's replay does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Stream = Any
"""What features are computed from: records, or rows of tables. Only its subject looks into it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A feature: the closed range of its values, and how far back they see, ns; 0 where that is not in time."""

    name: str
    low: float
    high: float
    horizon_ns: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Feature rows, ascending by when they could be known, then by key.

    known_ns: int64 (n,). keys: (n,). values: float64 (n, columns).
    """

    known_ns: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    values: npt.NDArray[np.float64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Rows:
        """The chosen rows."""
        keys = tuple(key for key, is_chosen in zip(self.keys, chosen.tolist(), strict=True) if is_chosen)
        return Rows(self.known_ns[chosen], keys, self.values[chosen])

    def until(self, at_ns: int) -> Rows:
        """The rows known at a time."""
        return self.where(self.known_ns <= at_ns)


class Subject(Protocol):
    """Features of one group, computed in every way in which the service computes them."""

    @property
    def columns(self) -> Sequence[Column]:
        """The features, in the order of their values."""

    def times(self, stream: Stream) -> npt.NDArray[np.int64]:
        """(m,) ascending, when each part of the stream became known."""

    def rows(self, stream: Stream) -> Rows:
        """All rows at once."""

    def in_pieces(self, stream: Stream, cuts_ns: Sequence[int], *, restarts: bool) -> Rows:
        """The rows until each cut, then on from there; with ``restarts`` by another that was told the state."""

    def from_start(self, stream: Stream, start_ns: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """The rows without what was known before a time, and which values must be as of the whole."""

    def with_another_future(self, stream: Stream, at_ns: int, random: np.random.Generator) -> Stream:
        """The stream with all that becomes known after a time changed."""

    def elsewhere(self, stream: Stream) -> Rows | None:
        """The rows of another process, without the compiler; None where there is no other way."""

    def without(self, stream: Stream, first: int, end: int) -> Stream:
        """The stream without the parts ``first`` to ``end``, in order of ``times``."""
