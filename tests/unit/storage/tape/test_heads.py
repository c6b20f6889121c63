"""The head of a segment: it names the market, costs no frame when it is damaged, and a crash may tear it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from market.clock import DAY_NS
from market.errors import Conflict
from market.events import TRADE, empty_events, mark_message
from market.instruments import Instrument
from market.markets import DEFAULT_MARKET, Market
from storage.raw.parquet import PartWriter, write_events
from storage.tape import Frame, TapeWriter, read_tape, read_tape_and_holes, tape_market
from storage.tape.frames import read_head, segment_head

SYMBOL: Final = "BTCUSDT"
BEGIN_NS: Final = 20_000 * DAY_NS
SPOT: Final = Market("bybit", "spot")


def taped(root: Path, market: Market) -> Path:
    """A segment of two messages."""
    with TapeWriter(root, SYMBOL, market=market) as writer:
        for number in range(2):
            writer.append(BEGIN_NS + number, b"message")
    (segment,) = (root / "tape" / SYMBOL).glob("*/*.log")
    return segment


def test_a_tape_is_of_the_market_that_its_first_writer_had(tmp_path: Path) -> None:
    assert tape_market(tmp_path, SYMBOL) is None
    segment = taped(tmp_path, SPOT)
    assert segment.read_bytes().startswith(b"FSTAPE ")
    assert read_head(segment) == tape_market(tmp_path, SYMBOL) == SPOT
    with pytest.raises(Conflict, match=r"must be of one market, bybit spot, was asked for bybit linear$"):
        TapeWriter(tmp_path, SYMBOL, market=DEFAULT_MARKET)
    TapeWriter(tmp_path, SYMBOL, market=SPOT).close()


def test_no_head_can_be_taken_for_a_frame() -> None:
    assert int.from_bytes(segment_head(SPOT)[:4], "little") > 1 << 30, "its length would be more than a segment's"


@pytest.mark.parametrize("kept", [1, 7, 20, len(segment_head(SPOT)) - 1, len(segment_head(SPOT))])
def test_a_crash_in_the_first_write_leaves_no_segment_and_gives_the_seq_back(tmp_path: Path, kept: int) -> None:
    segment = taped(tmp_path, SPOT)
    (segment.parents[1] / "segments.index").unlink()
    segment.write_bytes(segment.read_bytes()[:kept])
    segment.rename(segment.with_suffix(".open"))
    assert list(read_tape(tmp_path, SYMBOL)) == []
    with TapeWriter(tmp_path, SYMBOL, market=SPOT) as writer:
        assert writer.append(BEGIN_NS, b"again") == 1
    assert list(read_tape(tmp_path, SYMBOL)) == [Frame(1, BEGIN_NS, b"again")]


def test_a_damaged_head_is_told_and_another_segment_says_the_market(tmp_path: Path) -> None:
    segment = taped(tmp_path, SPOT)
    with TapeWriter(tmp_path, SYMBOL, market=SPOT) as writer:
        writer.append(BEGIN_NS + 3, b"message")
    damaged = bytearray(segment.read_bytes())
    damaged[len(b"FSTAPE ") + 12] ^= 1
    segment.write_bytes(damaged)
    assert read_head(segment) is None
    assert tape_market(tmp_path, SYMBOL) == SPOT
    hole, *frames = read_tape_and_holes(tmp_path, SYMBOL)
    assert str(hole).startswith(f"before seq 1: {segment} at offset 0: ")
    assert [frame.seq for frame in frames if isinstance(frame, Frame)] == [1, 2, 3]


def test_what_is_left_of_a_market_in_raw_parquet_keeps_another_out_too(tmp_path: Path) -> None:
    """The tape went to the archive: its seqs go on, and so must its market."""
    linear = Instrument("BTCUSDT", 2, 3)
    trade = empty_events(1)
    trade["kind"], trade["seq"], trade["recv_ns"] = TRADE, 1, BEGIN_NS
    write_events(tmp_path, linear, mark_message(trade), part="2024-10-04-1")
    with pytest.raises(Conflict, match=r"^raw Parquet of BTCUSDT: must be of one market, bybit linear, was asked for"):
        TapeWriter(tmp_path, SYMBOL, market=SPOT)
    with pytest.raises(Conflict, match="was asked for bybit spot"):
        PartWriter(tmp_path, linear, part="other", decoder_version=1, market=SPOT)
    TapeWriter(tmp_path, SYMBOL).close()
