"""Instrument pins: a scale is decided once, survives, and is the same for everybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from market.errors import Conflict, CorruptStore, InvalidRequest
from market.instruments import Instrument, pin_scale
from storage.instruments import InstrumentPins


def test_a_pin_is_kept_whatever_price_comes_later_and_by_whom(tmp_path: Path) -> None:
    pins, others = InstrumentPins(tmp_path), InstrumentPins(tmp_path)
    assert others.get("BTCUSDT") is None
    pinned = pins.pin("BTCUSDT", "65000.5")

    assert pinned == pin_scale("BTCUSDT", "65000.5")
    assert pins.pin("BTCUSDT", "0.001") == pinned
    assert others.pin("BTCUSDT", "0.001") == pinned
    assert InstrumentPins(tmp_path).get("BTCUSDT") == pinned


def test_a_pin_made_by_another_writer_after_ours_was_read_is_not_lost(tmp_path: Path) -> None:
    pins, others = InstrumentPins(tmp_path), InstrumentPins(tmp_path)
    pins.pin("BTCUSDT", "65000.5")
    others.pin("ETHUSDT", "2500.12")
    pins.pin("SOLUSDT", "150.1")
    assert others.get("SOLUSDT") == pins.get("SOLUSDT") is not None

    kept = InstrumentPins(tmp_path)
    assert [kept.get(symbol) is not None for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")] == [True] * 3


def test_processes_that_pin_at_once_agree(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from storage.instruments import InstrumentPins
sys.stdin.readline()
pins = InstrumentPins(Path(sys.argv[1]))
print([pins.pin(f"S{index}", sys.argv[2]).price_exponent for index in range(40)])
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), price],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for price in ("65000.5", "0.5", "12")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    answers = {writer.communicate(timeout=60)[0] for writer in writers}

    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(answers) == 1
    kept = InstrumentPins(tmp_path)
    assert str([pin.price_exponent for index in range(40) if (pin := kept.get(f"S{index}"))]) == answers.pop().strip()


def test_a_declared_scale_is_pinned_and_another_one_is_a_conflict(tmp_path: Path) -> None:
    declared = Instrument("BTCUSDT", 2, 6)
    InstrumentPins(tmp_path).declare(declared)
    pins = InstrumentPins(tmp_path)
    pins.declare(declared)

    assert pins.pin("BTCUSDT", "65000.5") == declared
    with pytest.raises(Conflict, match="BTCUSDT scale: must stay as pinned"):
        pins.declare(Instrument("BTCUSDT", 3, 6))
    assert InstrumentPins(tmp_path).get("BTCUSDT") == declared


def test_a_text_that_is_no_price_pins_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a positive decimal number"):
        InstrumentPins(tmp_path).pin("BTCUSDT", "0")
    with pytest.raises(InvalidRequest, match="symbol: must be"):
        InstrumentPins(tmp_path).pin("../BTCUSDT", "1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"BTCUSDT": 3}',
        '{"BTCUSDT": {"price_exponent": 3}}',
        '{"BTCUSDT": {"price_exponent": 3, "quantity_exponent": "6"}}',
        '{"BTCUSDT": {"price_exponent": true, "quantity_exponent": 6}}',
        '{"BTCUSDT": {"price_exponent": 3, "quantity_exponent": 60}}',
    ],
)
def test_a_file_that_holds_something_else_is_corrupt_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "instruments.json"
    path.write_text(content)
    with pytest.raises(CorruptStore, match=str(path)):
        InstrumentPins(tmp_path).pin("BTCUSDT", "65000.5")
    assert path.read_text() == content
