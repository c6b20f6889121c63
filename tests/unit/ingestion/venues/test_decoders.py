"""Decoders by date: each day is read by its own, and only the days whose decoder changed are read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.scales import Instruments
from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders, venue_of
from ingestion.venues.table import VENUES
from ingestion.venues.venue import DatedDecoder, Venue
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from market.events import TRADE
from market.markets import Market
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter

SYMBOL = "BTCUSDT"
CHANGE_NS = parse_iso_ns("2026-03-02")


class CentsDecoder:
    """A format in which trades were priced in hundredths."""

    def __init__(self, instruments: Instruments) -> None:
        self.compiled = self.typed = 0
        self._decoder = Decoder(instruments)

    def decode(self, body: bytes) -> DecodedMessage | None:
        message = json.loads(body)
        for trade in message["data"]:
            trade["p"] = f"{int(trade['p']) // 100}.{int(trade['p']) % 100:02}"
        return self._decoder.decode(json.dumps(message).encode())

    def read_batch(self, bodies: Sequence[bytes]) -> None:
        """Nothing is compiled."""


OLD = DatedDecoder("1970-01-01", 1, CentsDecoder)
NEW = DatedDecoder("2026-03-02", 2, Decoder)


def trade(price: str, at_ns: int) -> bytes:
    element = {"T": at_ns // MILLISECOND_NS, "s": SYMBOL, "S": "Buy", "v": "0.5", "p": price, "i": str(at_ns)}
    message = {"topic": f"publicTrade.{SYMBOL}", "type": "snapshot", "ts": at_ns // MILLISECOND_NS, "data": [element]}
    return json.dumps(message).encode()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A trade at 60000.5 and at 60001 on either side of the day on which the format changed."""
    InstrumentPins(tmp_path).pin(SYMBOL, "60000.5")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        for at_ns, price in (
            (CHANGE_NS - 2 * HOUR_NS, "6000050"),
            (CHANGE_NS - 1, "6000100"),
            (CHANGE_NS, "60000.5"),
            # Interleaved over midnight: a message of the old day in a segment of the new one.
            (CHANGE_NS - 1, "6000100"),
            (CHANGE_NS + DAY_NS, "60001"),
        ):
            writer.append(at_ns, trade(price, at_ns))
    return tmp_path


def prices(raw: Path) -> list[int]:
    found: list[int] = read_events(RawData(raw), SYMBOL, kinds=[TRADE], from_ns=0, to_ns=2**62)["px"].tolist()
    return found


def with_decoders(*dated: DatedDecoder) -> Venue:
    return replace(BYBIT, decoders=dated)


def compact(raw: Path, *dated: DatedDecoder) -> tuple[int, int]:
    done = compact_tape(raw, SYMBOL, InstrumentPins(raw), venue=with_decoders(*dated))
    return done.made, done.kept


def test_an_older_day_is_read_by_its_own_decoder_and_the_manifest_says_which(raw: Path) -> None:
    assert compact(raw, OLD, NEW) == (4, 0)
    assert prices(raw) == [60_000_500, 60_001_000, 60_000_500, 60_001_000, 60_001_000]
    assert [(part.name[:10], part.decoder_version) for part in RawData(raw).parts(SYMBOL)] == [
        ("2026-03-01", 1),
        ("2026-03-01", 1),
        ("2026-03-02", 2),
        ("2026-03-03", 2),
    ]


def test_a_new_decoder_from_a_date_on_leaves_the_parts_of_older_days_as_they_are(raw: Path) -> None:
    assert compact(raw, OLD, NEW) == (4, 0)
    later = DatedDecoder("2026-03-03", 3, Decoder)
    assert compact(raw, OLD, NEW, later) == (1, 3)
    assert compact(raw, OLD, NEW, later) == (0, 4)


def test_a_mended_decoder_has_the_parts_of_its_days_made_anew_and_of_no_others(raw: Path) -> None:
    assert compact(raw, OLD, NEW) == (4, 0)
    # The first segment of the new day may hold messages of the old one.
    assert compact(raw, DatedDecoder("1970-01-01", 3, CentsDecoder), NEW) == (3, 1)
    assert [part.decoder_version for part in RawData(raw).parts(SYMBOL)] == [3, 3, 3, 2]


def test_the_decoders_in_use_stand_by_date_from_the_beginning_and_no_version_is_used_twice() -> None:
    for venue in VENUES.values():
        Decoders(venue, InstrumentPins(Path("unused")))
        assert len({each.version for each in venue.decoders}) == len(venue.decoders)
    for wrong in ((NEW,), (), (OLD, NEW, NEW), (OLD, DatedDecoder("2026-03-04", 3, Decoder), NEW)):
        with pytest.raises(AssertionError):
            Decoders(with_decoders(*wrong), InstrumentPins(Path("unused")))


def test_a_market_that_no_venue_has_is_refused_by_name() -> None:
    assert venue_of(Market("bybit", "spot")) is BYBIT
    with pytest.raises(InvalidRequest, match=r"^venue: must be bybit, was 'nowhere'$"):
        venue_of(Market("nowhere", "spot"))
    with pytest.raises(InvalidRequest, match=r"^category of bybit: must be linear or spot or inverse, was 'bond'$"):
        venue_of(Market("bybit", "bond"))
