"""Features of streams as a subject of the laws: the engine itself, on a stream of records."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS, floor_to
from market.errors import CorruptStore
from market.events import Events
from market.instruments import Instrument
from quality.feature_laws.subject import Column, Rows
from transforms.catalogue import FEATURES, column_horizon_ns
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows

_TAIL_NS: Final = 5 * SECOND_NS
_PLAIN_SECONDS: Final = 20
"""Without the compiler a row takes milliseconds."""


class StreamedFeatures:
    """The features of a kernel."""

    def __init__(self, kernel: Kernel, instrument: Instrument, cache_folder: Path) -> None:
        self._kernel = kernel
        self._instrument = instrument
        self._cache = cache_folder
        chosen = kernel.feature_set
        self.columns = [
            Column(name, FEATURES[name].low, FEATURES[name].high, column_horizon_ns(chosen, name))
            for name in chosen.columns
        ]

    def times(self, stream: Events) -> npt.NDArray[np.int64]:
        """When each message was received."""
        return np.asarray(stream["recv_ns"][_firsts(stream)], np.int64)

    def rows(self, stream: Events) -> Rows:
        engine = Engine(self._kernel, self._instrument)
        engine.feed(stream)
        return _rows([engine.advance(_end(stream))])

    def in_pieces(self, stream: Events, cuts_ns: Sequence[int], *, restarts: bool) -> Rows:
        engine = Engine(self._kernel, self._instrument)
        pieces = []
        fed = 0
        for cut_ns in cuts_ns:
            end = int(np.searchsorted(stream["recv_ns"], cut_ns, side="right"))
            engine.feed(stream[fed:end])
            fed = end
            pieces.append(engine.advance(cut_ns))
            if restarts:
                state = engine.checkpoint()
                engine = Engine(self._kernel, self._instrument)
                engine.restore(state)
        engine.feed(stream[fed:])
        return _rows([*pieces, engine.advance(_end(stream))])

    def from_start(self, stream: Events, start_ns: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """From the whole second before on, with the order book that there was, if one was known."""
        start_ns = floor_to(start_ns, SECOND_NS)
        is_later = stream["recv_ns"] >= start_ns
        before = Engine(self._kernel, self._instrument)
        before.feed(stream[~is_later])
        before.advance(start_ns)
        engine = Engine(self._kernel, self._instrument, start_ns=start_ns)
        book = before.known_book()
        if book is not None:
            engine.begin_with(book)
        engine.feed(stream[is_later])
        rows = _rows([engine.advance(_end(stream))])
        horizons = np.array([each.horizon_ns for each in self.columns])
        return rows, (rows.known_ns - start_ns)[:, None] >= horizons[None, :]

    def with_another_future(self, stream: Events, at_ns: int, random: np.random.Generator) -> Events:
        """A row at ``b`` is made of what was received before it."""
        is_past = stream["recv_ns"] < at_ns
        future = stream[~is_past].copy()
        match int(random.integers(3)):
            case 0:
                future = future[:0]
            case 1:
                future["px"] += random.integers(1, 50)
                future["qty"] = future["qty"] * 3 + 1
            case _:
                future = future[future["seq"] % 2 == 0]
        end = stream[-1:].copy()  # so that both have rows until the same end
        end["seq"] = stream["seq"].max() + 1
        return np.concatenate([stream[is_past], future, end])

    def elsewhere(self, stream: Events) -> Rows | None:
        """The first seconds in a new interpreter, as plain Python."""
        until_ns = int(stream["recv_ns"][0]) + _PLAIN_SECONDS * SECOND_NS
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "events.npy", stream[stream["recv_ns"] < until_ns])
            arguments = [folder, str(self._cache), str(until_ns), _told(self._instrument)]
            found = subprocess.run(  # noqa: S603  # our own interpreter
                [sys.executable, "-m", "quality.feature_laws.plain", *arguments, *self._kernel.feature_set.columns],
                env={**os.environ, "NUMBA_DISABLE_JIT": "1"},  # noqa: TID251  # numba's own, beside all of ours
                capture_output=True,
                text=True,
                check=False,
            )
            if found.returncode != 0:
                raise CorruptStore(f"features without the compiler: must be computed, was {found.stderr[-2000:]}")
            with np.load(Path(folder) / "rows.npz") as held:
                return Rows(held["known_ns"], ("",) * len(held["known_ns"]), held["values"])

    def without(self, stream: Events, first: int, end: int) -> Events:
        firsts = [*_firsts(stream).tolist(), len(stream)]
        return np.concatenate([stream[: firsts[first]], stream[firsts[min(end, len(firsts) - 1)] :]])


def _firsts(stream: Events) -> npt.NDArray[np.int64]:
    if len(stream) == 0:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.append(True, stream["seq"][1:] != stream["seq"][:-1]))


def _end(stream: Events) -> int:
    return int(stream["recv_ns"].max()) + _TAIL_NS if len(stream) else 0


def _rows(pieces: Sequence[FeatureRows]) -> Rows:
    known_ns = np.concatenate([piece.row_ns for piece in pieces])
    return Rows(known_ns, ("",) * len(known_ns), np.concatenate([piece.values for piece in pieces]))


def _told(instrument: Instrument) -> str:
    return f"{instrument.symbol},{instrument.price_exponent},{instrument.quantity_exponent}"
