"""Lines of an archive are read by the hundred as the typed decoder reads each, up to the first that is declined."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from ingestion.decoding.wire import LAST_MILLISECOND
from ingestion.venues.bybit.canonical_lines import BookLines
from ingestion.venues.bybit.decode import Decoder
from market.clock import MILLISECOND_NS
from market.errors import RejectedMessage
from market.events import empty_events
from market.instruments import Instrument
from tests.bybit_messages import BOOK, Json
from tests.unit.ingestion.venues.bybit.test_canonical import VALUES, Scales, mutated
from transforms.tape_order import joined

TOPIC = "orderbook.200.BTCUSDT"
DELAY_NS = 100 * MILLISECOND_NS
SEQ = -(2**40)
PERIOD: Final = {"from_ms": 1, "to_ms": LAST_MILLISECOND - DELAY_NS // MILLISECOND_NS}
"""All times that fit int64 ns with the delay."""
COMPACT = (",", ":")


def line_of(message: Json, separators: tuple[str, str] = COMPACT, end: bytes = b"\r\n") -> bytes:
    return json.dumps(message, separators=separators).encode() + end


def book_lines() -> BookLines:
    return BookLines(Scales().by_symbol["BTCUSDT"], TOPIC, len('{"topic":"'), delay_ns=DELAY_NS, **PERIOD)


def check(lines: list[bytes]) -> int:
    """How many lines were read in one call; they are read alike, and stamped."""
    found, count, at = book_lines().read(b"".join(lines), 0, seq=SEQ)
    assert at == sum(map(len, lines[:count]))
    typed = Decoder(Scales())
    expected = []
    for seq, line in enumerate(lines[:count], start=SEQ):
        try:
            decoded = typed.decode_typed(line.strip())
        except RejectedMessage as error:
            pytest.fail(f"{line!r}: must be declined as it is rejected, was read: {error}")
        assert decoded is not None
        assert decoded.topic == TOPIC
        expected.append(decoded.stamped(json.loads(line)["ts"] * MILLISECOND_NS + DELAY_NS, seq))
    assert found.tobytes() == (joined(expected) if expected else empty_events(0)).tobytes(), lines[:count]
    return count


def deep(levels: int, at: int) -> Json:
    side = [[f"{60_000 + place}.5", f"0.{place:03}"] for place in range(levels)]
    kind = "snapshot" if at == 0 else "delta"
    data = {**BOOK["data"], "b": side, "a": side[: levels // 2], "u": at + 1, "seq": at * 7}
    return {"topic": TOPIC, "type": kind, "ts": 1786310819000 + at, "data": data, "cts": 1786310819000 + at}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("separators", [COMPACT, (",", ": ")])
def test_lines_are_read_whatever_they_hold_and_whoever_wrote_them(separators: tuple[str, str], end: bytes) -> None:
    lines = [line_of(deep(levels, at), separators, end) for at, levels in enumerate((5000, 0, 1, 40))]
    if separators != COMPACT:
        lines = [line.replace(b'{"topic": ', b'{"topic":') for line in lines]
    assert check(lines) == 4


def test_a_line_is_read_without_what_an_order_book_need_not_state() -> None:
    data = {name: value for name, value in BOOK["data"].items() if name != "seq"}
    without = {name: value for name, value in BOOK.items() if name != "cts"} | {"data": data}
    reordered = {**BOOK, "data": dict(sorted(BOOK["data"].items()))}
    named = {**BOOK, "cs": 7, "data": {**data, "new": None, "symbol": "BTCUSDT"}}
    assert check([line_of(message) for message in (without, BOOK, named, BOOK)]) == 4
    assert check([line_of(BOOK), line_of(reordered)]) == 1, "asks before bids are for the typed decoder"


def test_reading_ends_before_a_line_that_is_declined() -> None:
    good = line_of(BOOK)
    other = {**BOOK, "topic": TOPIC.replace("200", "500")}
    enveloped = {**BOOK, "payload": BOOK["data"]}
    for bad in (
        b"\r\n",
        b"{}\n",
        good[:-2],
        line_of(other),
        line_of(enveloped),
        b" " + good,
        good.replace(b"}\r", b"} \r"),
    ):
        assert check([good, good, bad]) == 2


def test_a_line_of_another_period_is_declined() -> None:
    first, last = PERIOD.values()
    lines = [line_of({**BOOK, "ts": ts}) for ts in (first, last, last + 1)]
    assert check(lines) == 2
    happened = [line_of({**BOOK, "cts": cts}) for cts in (first, last, last + 1)]
    assert check(happened) == 2
    near = BookLines(Scales().by_symbol["BTCUSDT"], TOPIC, len('{"topic":"'), delay_ns=0, from_ms=2, to_ms=last)
    assert near.read(b"".join(lines), 0, seq=1)[1:] == (0, 0)


def test_a_line_of_a_scale_that_its_symbol_has_not_is_declined() -> None:
    lines = BookLines(Instrument("BTCUSDT", 0, 0), TOPIC, len('{"topic":"'), delay_ns=0, **PERIOD)
    found, count, at = lines.read(line_of(BOOK), 0, seq=1)
    assert (len(found), count, at) == (0, 0, 0)


def test_a_real_archive_is_read_in_one_call(recorded_data: Path) -> None:
    [path] = (recorded_data / "bybit").glob("*_ob500.data.zip")
    with ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0])
    scales = Scales()
    scales.by_symbol["XRPUSDT"] = Instrument("XRPUSDT", 8, 6)
    topic = "orderbook.500.XRPUSDT"
    lines = BookLines(scales.by_symbol["XRPUSDT"], topic, text.find(topic.encode()), delay_ns=0, **PERIOD)
    found, count, at = lines.read(text, 0, seq=0)
    assert (count, at) == (50, len(text))
    typed = Decoder(scales)
    decoded = [typed.decode_typed(line) for line in text.splitlines()]
    assert found["px"].tolist() == [px for message in decoded if message for px in message.records["px"].tolist()]


def fuzzed(seed: int, count: int) -> int:
    """Check so many texts of some lines, some of them changed; returns how many lines were read of the changed ones."""
    rng = random.Random(seed)
    read = 0
    for _ in range(count):
        changed = mutated(rng) if rng.random() < 0.3 else changed_line(rng)
        lines = [line_of(BOOK), changed.replace(b"\n", b"") + b"\n", line_of(BOOK)]
        read += check(lines) == 3
    return read


def changed_line(rng: random.Random) -> bytes:
    """A line of the exchange with one of its values or bytes changed."""
    message = json.loads(json.dumps(BOOK))
    at = rng.choice((message, message["data"], message["data"]["b"][0]))
    keys = range(2) if isinstance(at, list) else list(at)
    if rng.random() < 0.7:
        at[rng.choice(keys)] = rng.choice(VALUES)
    line = bytearray(line_of(message, end=b""))
    if rng.random() < 0.4:
        place = rng.randrange(len(line))
        line[place : place + rng.randrange(3)] = rng.choice(
            (b"", b" ", b"0", b'"', b",", b"}", b"]", b"\r", b"\x80", b"9" * 20)
        )
    return bytes(line)


def test_changed_lines_are_read_alike_or_declined() -> None:
    read = fuzzed(seed=1, count=5_000)
    assert 500 < read < 4_500, "the changes must leave both kinds"


@pytest.mark.soak
def test_a_million_changed_lines_are_read_alike_or_declined() -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    assert fuzzed(seed, 1_000_000) > 0
