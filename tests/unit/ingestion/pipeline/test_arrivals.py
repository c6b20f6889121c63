"""What came late or again is counted by kind and minute, and the tape is told when the minute is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.arrivals import Arrivals
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from market.errors import MalformedMessage
from market.events import ARRIVALS, CONTROL, FIRST, LAST, ORDERBOOK, TICKER, TRADE
from storage.instruments import InstrumentPins

BEGIN_NS = 28_000_000 * MINUTE_NS


class Log:
    """Where an arrival is told."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, int]] = []

    def __call__(self, body: bytes, recv_ns: int) -> None:
        self.told.append((body, recv_ns))


@pytest.fixture
def decoders(tmp_path: Path) -> Decoders:
    return Decoders(BYBIT, InstrumentPins(tmp_path))


def decoded(decoders: Decoders, body: bytes) -> DecodedMessage:
    found = decoders.decode(body, BEGIN_NS)
    assert found is not None
    return found


def test_a_minute_is_told_once_when_it_is_over_and_then_begins_anew(decoders: Decoders) -> None:
    arrivals, log = Arrivals(), Log()
    for late_ms in (5, 250, 70):
        arrivals.note(TICKER, BEGIN_NS + SECOND_NS, BEGIN_NS + SECOND_NS + late_ms * MILLISECOND_NS)
    arrivals.note(ORDERBOOK, BEGIN_NS, BEGIN_NS)
    arrivals.note_repeated(TRADE, BEGIN_NS + 2 * SECOND_NS, 3)
    arrivals.tell(log, "BTCUSDT", BEGIN_NS + MINUTE_NS - 1, ended_ns=BEGIN_NS + MINUTE_NS - 1)
    assert log.told == []
    end_ns = BEGIN_NS + MINUTE_NS
    for _ in range(2):
        arrivals.tell(log, "BTCUSDT", end_ns, ended_ns=end_ns)
    [(body, recv_ns)] = log.told
    message = decoded(decoders, body)
    assert (message.symbol, message.kind, recv_ns) == ("BTCUSDT", ARRIVALS, end_ns)
    rows = message.records[["event_ns", "field", "px", "qty", "update_id", "flags"]].tolist()
    assert rows == [(BEGIN_NS, TRADE, 0, 3, 0, FIRST), (BEGIN_NS, TICKER, 3, 0, 250 * MILLISECOND_NS, LAST)]
    assert (arrivals.late, arrivals.repeated) == (3, 3)


@pytest.mark.parametrize("kind", [CONTROL, ARRIVALS])
def test_a_message_of_our_own_that_was_late_is_told_to_nobody(kind: int) -> None:
    arrivals, log = Arrivals(), Log()
    arrivals.note(kind, BEGIN_NS, BEGIN_NS + 1)
    arrivals.tell(log, "BTCUSDT", BEGIN_NS)
    assert (log.told, arrivals.late) == ([], 1)


@pytest.mark.parametrize("kinds", [[], [{"kind": "weather", "late": 1, "most_late_ns": 1, "repeated": 0}], [{}], 7])
def test_counts_that_say_nothing_are_refused(decoders: Decoders, kinds: object) -> None:
    body = json.dumps({"topic": "feature-service.arrivals.BTCUSDT", "ts": 1_700_000_000_000, "kinds": kinds})
    with pytest.raises(MalformedMessage):
        decoders.decode(body.encode(), BEGIN_NS)
