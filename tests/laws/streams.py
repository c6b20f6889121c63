"""Strategies that draw tapes: what is written, in which order, and how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.events import Events
from tests.laws.markets import WARM_NS
from tests.laws.messages import MIDNIGHT_NS, tape
from tests.laws.writer import Draw, TapeWriter
from transforms.state import GRIDS_NS

_WINDOWS_S: Final = (1, 3, 10, 15, 60, 120, 180, 300)
_TICK_GAPS_NS: Final = tuple(grid_ns + off for grid_ns in GRIDS_NS[:-1] for off in (-1, 0, 1))
SHORT_GAPS_NS: Final = (0, 0, 1, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1, 3 * SECOND_NS, *_TICK_GAPS_NS)
"""Random gaps never hit a window's edge, so the edges are drawn on purpose."""
GAPS_NS: Final = (
    *SHORT_GAPS_NS,
    *(seconds * SECOND_NS + off for seconds in _WINDOWS_S for off in (-1, 0, 1)),
    2 * MINUTE_NS,
    7 * MINUTE_NS,
)

CALM_KINDS: Final = ("delta", "deletion", "trades", "kline", "candles", "bar", "bars", "resent", "ticker", "position")
"""What never ends a broken book."""
KINDS: Final = (
    *("delta", "trades", "ticker", "position", "snapshot", "kline"),
    *CALM_KINDS,
    *("restart", "crossing", "duplicate", "gap", "control_start", "control_gap", "control_history"),
)
REMEMBERED_KINDS: Final = ("ticker", "ticker", "position")
"""What is known for a day once it was said; two tickers, since each holds any of the fields."""
SHORT_KINDS: Final = tuple(kind for kind in KINDS if kind not in ("candles", "bars"))

_STARTS_NS: Final = st.sampled_from(
    tuple(MIDNIGHT_NS + off for off in (0, 1, -1, -3 * SECOND_NS, -MINUTE_NS, 12_345_678_901_234, DAY_NS // 2))
)
_STARTS_WHEN_WARM_NS: Final = st.sampled_from(
    tuple(WARM_NS + off for off in (0, 1, SECOND_NS - 1, 2 * SECOND_NS, 29 * SECOND_NS, 31 * SECOND_NS))
)


@st.composite
def writers(
    draw: Draw, *, gaps_ns: Sequence[int] = GAPS_NS, edges_ns: Sequence[int] = (), is_warm: bool = False
) -> TapeWriter:
    """A writer that has written a first message: mostly a snapshot, so that the book is known.

    is_warm: whether the tape goes on from WARM_NS.
    """
    start_ns = draw(_STARTS_WHEN_WARM_NS if is_warm else _STARTS_NS)
    writer = TapeWriter(draw, start_ns=start_ns, gaps_ns=gaps_ns, edges_ns=edges_ns)
    first = draw(st.sampled_from(("snapshot", "snapshot", "snapshot", "trades", "ticker", "control_start")))
    getattr(writer, first)(writer.now_ns)
    return writer


def kinds(*, among: Sequence[str] = KINDS, max_size: int = 30) -> st.SearchStrategy[list[str]]:
    """The kinds of the messages to come; never few, since left alone half of all tapes hold no more than four."""
    return st.lists(st.sampled_from(among), min_size=max_size // 2, max_size=max_size)


@st.composite
def tapes(
    draw: Draw,
    *,
    gaps_ns: Sequence[int] = GAPS_NS,
    edges_ns: Sequence[int] = (),
    among: Sequence[str] = KINDS,
    max_size: int = 30,
    is_warm: bool = False,
) -> Events:
    """A tape of one symbol."""
    writer = draw(writers(gaps_ns=gaps_ns, edges_ns=edges_ns, is_warm=is_warm))
    for kind in draw(kinds(among=among, max_size=max_size)):
        writer.step(kind)
    return tape(writer.messages)


@st.composite
def tapes_with_cut(
    draw: Draw, *, gaps_ns: Sequence[int] = GAPS_NS, edges_ns: Sequence[int] = (), among: Sequence[str] = KINDS
) -> tuple[Events, int]:
    """A tape and the time of a snapshot in it, from which a computation may start."""
    writer = draw(writers(gaps_ns=gaps_ns, edges_ns=edges_ns))
    for kind in draw(kinds(among=among, max_size=12)):
        writer.step(kind)
    cut_ns = writer.cut()
    for kind in draw(kinds(among=among, max_size=20)):
        writer.step(kind)
    return tape(writer.messages), cut_ns


@st.composite
def tapes_with_cut_and_candles(draw: Draw, candles: int) -> tuple[Events, int]:
    """A tape, the time of a snapshot in it, and from there on a run of candles that ends among other messages."""
    writer = draw(writers(gaps_ns=SHORT_GAPS_NS))
    if draw(st.booleans()):
        writer.candles(writer.now_ns)
    for kind in [*draw(kinds(among=SHORT_KINDS, max_size=6)), *REMEMBERED_KINDS]:
        writer.step(kind)
    cut_ns = writer.cut()
    for kind in [*draw(kinds(among=SHORT_KINDS, max_size=6)), *REMEMBERED_KINDS]:
        writer.step(kind)
    writer.candle_run(candles)
    for kind in [*draw(kinds(among=SHORT_KINDS, max_size=6)), "trades", *REMEMBERED_KINDS]:
        writer.step(kind)
    return tape(writer.messages), cut_ns


@st.composite
def tapes_with_break(draw: Draw) -> tuple[Events, int, int]:
    """A tape whose book breaks once: its events, the time of the break and of the snapshot that ends it."""
    writer = draw(writers())
    for kind in draw(kinds(max_size=8)):
        writer.step(kind)
    writer.cut()
    writer.wait()
    broken_ns = writer.earliest_ns = writer.now_ns
    getattr(writer, draw(st.sampled_from(("gap", "crossing", "control_gap"))))(broken_ns)
    for kind in draw(kinds(among=(*CALM_KINDS, "gap", "duplicate", "crossing", "control_gap"), max_size=12)):
        writer.step(kind)
    mended_ns = writer.cut()
    return tape(writer.messages), broken_ns, mended_ns
