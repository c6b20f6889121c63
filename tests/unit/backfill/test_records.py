"""The records of an archive's order book are those of its messages one by one, however its lines are written."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from backfill.bybit.messages import AVAILABILITY_NS
from backfill.fetching import SymbolDay
from backfill.held import Held
from backfill.records import book_records, message_records
from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import read_recording
from market.clock import DAY_NS
from market.errors import MalformedMessage, UnreadableRecording
from market.events import CONTROL, GAP, Events
from storage.instruments import InstrumentPins
from transforms.tape_order import joined

ASKED: Final = SymbolDay("XRPUSDT", "orderbook", "2024-12-01")
NAME: Final = "2024-12-01_XRPUSDT_ob500.data.zip"


@pytest.fixture
def lines(recorded_data: Path) -> list[bytes]:
    with ZipFile(recorded_data / "bybit" / NAME) as archive:
        return archive.read(archive.namelist()[0]).splitlines(keepends=True)


def archived(folder: Path, lines: list[bytes]) -> Path:
    path = folder / NAME
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("x.data", b"".join(lines))
    return path


def one_by_one(folder: Path, path: Path) -> Events:
    def messages() -> Iterator[TimedMessage]:
        for line in read_recording(path):
            assert isinstance(line, TimedMessage)
            yield TimedMessage(line.recv_ns + AVAILABILITY_NS["orderbook"], line.body)

    return joined([*message_records(InstrumentPins(folder / "pins"), ASKED, Held(frozenset(), ()), messages())])


def test_the_records_are_those_of_the_messages_one_by_one_and_a_gap_at_the_end(
    lines: list[bytes], tmp_path: Path
) -> None:
    stream = random.Random(5)
    mixed = []
    for line in lines:
        message = json.loads(line)
        spaced = json.dumps(message).encode() + b"\n"
        backwards = json.dumps({**message, "data": dict(sorted(message["data"].items()))}).encode() + b"\n"
        mixed += [stream.choice((line, line, line, spaced, backwards)), *[b"\r\n"] * stream.randrange(2)]
    for some in (lines, mixed, [*lines[:-1], lines[-1].rstrip()], lines[:1]):
        path = archived(tmp_path, some)
        pieces = list(book_records(InstrumentPins(tmp_path / "other"), ASKED, path))
        found, expected = joined(pieces), one_by_one(tmp_path, path)
        assert found[:-1].tobytes() == expected.tobytes()
        gap = found[-1]
        assert (gap["kind"], gap["field"], gap["seq"]) == (CONTROL, GAP, expected["seq"][-1] + 1)
        assert gap["recv_ns"] == gap["event_ns"] == expected["recv_ns"][-1]


def test_most_lines_of_an_archive_are_read_together(lines: list[bytes], tmp_path: Path) -> None:
    pieces = list(book_records(InstrumentPins(tmp_path), ASKED, archived(tmp_path, lines)))
    messages = [len(np.unique(piece["seq"])) for piece in pieces]
    assert messages == [1, len(lines) - 1, 1], "the first pins the scale, the last is the gap"


def test_a_book_to_the_end_of_its_day_has_no_gap(lines: list[bytes], tmp_path: Path) -> None:
    last = json.loads(lines[-1])
    last["ts"] = last["cts"] = (ASKED.day_ns + DAY_NS) // 10**6 - 5_000
    path = archived(tmp_path, [*lines, json.dumps(last).encode()])
    assert CONTROL not in joined(list(book_records(InstrumentPins(tmp_path), ASKED, path)))["kind"]


def test_a_line_that_is_no_message_is_named(lines: list[bytes], tmp_path: Path) -> None:
    for place in (0, 1, 30):
        path = archived(tmp_path, [*lines[:place], b"\n", b"broken\n", *lines[place:]])
        with pytest.raises(UnreadableRecording, match=rf"ob500\.data\.zip line {place + 2}: "):
            list(book_records(InstrumentPins(tmp_path), ASKED, path))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"XRPUSDT", b"BTCUSDT", "must hold nothing else"),
        (b"orderbook.500", b"tickers", "must"),
        (b'"cts":1733011', b'"cts":1833011', "must be of its day"),
        (b'"cts":1733011', b'"cts":1533011', "must be of its day"),
        (b'"ts":1733011', b'"ts":1733111', "must be of its day"),
        (b'"ts":1733011', b'"ts":9223371', "must be of its day"),
    ],
)
def test_a_message_of_another_symbol_kind_or_day_is_refused(
    lines: list[bytes], tmp_path: Path, *, old: bytes, new: bytes, told: str
) -> None:
    for place in (0, 20):
        changed = [*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]
        with pytest.raises(MalformedMessage, match=told):
            list(book_records(InstrumentPins(tmp_path), ASKED, archived(tmp_path, changed)))
