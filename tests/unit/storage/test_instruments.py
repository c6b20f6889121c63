"""Instrument pins: a scale is decided once, survives, and is the same for everybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from market.errors import Conflict, CorruptStore, InvalidRequest
from market.events import TRADE, Events, empty_events, mark_message
from market.instruments import Instrument, pin_scale
from storage import instruments
from storage.instruments import FILE_NAME, InstrumentPins
from storage.raw.parquet import write_events
from storage.raw.published import Published
from storage.tape import TapeWriter


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


def test_the_file_is_read_once_for_all_symbols_until_somebody_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = InstrumentPins(tmp_path)
    for number in range(9):
        others.pin(f"S{number}", "65000.5")
    reads: list[Path] = []
    read = instruments._read_pins

    def counted(path: Path) -> dict[str, Instrument]:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(instruments, "_read_pins", counted)
    pins = InstrumentPins(tmp_path)
    assert all(pins.get(f"S{number}") is not None for number in range(9))
    assert pins.get("LATE") is None
    assert len(reads) == 1
    pinned = others.pin("LATE", "1.5")
    assert pins.get("LATE") == pinned


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


def lines(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / FILE_NAME).read_text().splitlines()]


def test_a_pin_is_appended_and_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    pins = InstrumentPins(tmp_path)
    pins.pin("BTCUSDT", "65000.5")
    before = (tmp_path / FILE_NAME).read_bytes()
    inode = (tmp_path / FILE_NAME).stat().st_ino
    pins.pin("ETHUSDT", "2500.12")
    pins.pin("BTCUSDT", "1")
    assert (tmp_path / FILE_NAME).read_bytes().startswith(before)
    assert (tmp_path / FILE_NAME).stat().st_ino == inode
    assert [line["symbol"] for line in lines(tmp_path)] == ["BTCUSDT", "ETHUSDT"]


def test_every_flipped_bit_is_named_and_nothing_is_pinned_anew(tmp_path: Path) -> None:
    InstrumentPins(tmp_path).pin("BTCUSDT", "65000.5")
    InstrumentPins(tmp_path).pin("ETHUSDT", "2500.12")
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
            with pytest.raises(CorruptStore, match=f"{path} line [12]: must"):
                InstrumentPins(tmp_path).pin(symbol, "1.5")
        assert path.read_bytes() == damaged


def test_a_line_that_a_crash_tore_was_not_used_and_is_passed_over(tmp_path: Path) -> None:
    InstrumentPins(tmp_path).pin("BTCUSDT", "65000.5")
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"symbol":"ETHU')
    pins = InstrumentPins(tmp_path)
    assert pins.get("ETHUSDT") is None
    pins.pin("SOLUSDT", "150.1")
    assert [line["symbol"] for line in lines(tmp_path)] == ["BTCUSDT", "SOLUSDT"]


@pytest.mark.parametrize("is_pinned_otherwise", [False, True], ids=["the file is gone", "the file has another scale"])
def test_the_scale_that_raw_parquet_states_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_pinned_otherwise: bool
) -> None:
    scale = Instrument("BTCUSDT", 2, 6)
    write_events(tmp_path, scale, trade(1), part="2024-10-04-1")
    write_events(tmp_path, Instrument("BTCUSDT", 2, 6), trade(2), part="2024-10-04-2")
    pins = InstrumentPins(tmp_path, stated=Published(tmp_path).scale)
    if is_pinned_otherwise:
        InstrumentPins(tmp_path).declare(Instrument("BTCUSDT", 3, 6))
        with pytest.raises(CorruptStore, match=f"{tmp_path / FILE_NAME} BTCUSDT: must be the scale of its raw Parquet"):
            pins.get("BTCUSDT")
        return
    assert pins.pin("BTCUSDT", "65000.5") == scale
    assert "restored from raw Parquet" in caplog.text
    assert InstrumentPins(tmp_path).get("BTCUSDT") == scale
    assert pins.get("ETHUSDT") is None


def test_a_symbol_with_a_tape_is_not_pinned_anew_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    InstrumentPins(tmp_path).pin("BTCUSDT", "65000.5")
    assert caplog.text == ""
    with TapeWriter(tmp_path, "BTCUSDT") as writer:
        writer.append(1, b"x")
    (tmp_path / FILE_NAME).unlink()
    InstrumentPins(tmp_path).pin("BTCUSDT", "1.5")
    assert "pinned again" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"BTCUSDT": 3}',
        '{"symbol":"BTCUSDT","price_exponent":3,"quantity_exponent":6}',
        '{"symbol":"BTCUSDT","price_exponent":3,"quantity_exponent":60,"crc32":"00000000"}',
        '{"symbol":"BTCUSDT","price_exponent":3,"quantity_exponent":6,"crc32":"00000000"}',
    ],
)
def test_a_file_that_holds_something_else_is_corrupt_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(content + "\n")
    with pytest.raises(CorruptStore, match=str(path)):
        InstrumentPins(tmp_path).pin("BTCUSDT", "65000.5")
    assert path.read_text() == content + "\n"


def trade(seq: int) -> Events:
    records = empty_events(1)
    records["seq"], records["recv_ns"], records["kind"], records["px"] = seq, seq, TRADE, 1
    return mark_message(records)
