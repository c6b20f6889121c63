"""Order books by the part: a certificate of kept parts says what all messages say, and no part is read twice for it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from market.clock import DAY_NS, MINUTE_NS
from market.errors import CorruptStore
from market.events import CONTROL, ORDERBOOK, START, Events
from quality.coverage import CoverageTally
from quality.coverage_document import coverage_document
from quality.time_ranges import Range
from storage.raw.events import read_events
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from storage.raw.streams import backfill_seq
from tests.holed_markets import BEGIN_NS, END_NS, market, planted
from tests.klines import INSTRUMENT, SYMBOL
from training_sets.checks.coverage import symbol_coverage
from training_sets.samples.book_parts import KnownBookParts
from training_sets.samples.kline_days import KlineHistory
from transforms.catalogue import feature_set

CHOSEN = feature_set("price", ["mid_price"])
WHOLE = (BEGIN_NS, END_NS)


def written(folder: Path, seed: int, *, parts: int = 5) -> list[Events]:
    """An hour of order books with holes and a mark, in parts that are cut anywhere."""
    random = Random(seed)  # no secret
    books, _ = market(planted(random))
    mark = books[random.randrange(1, len(books)) :][:1]
    mark["kind"], mark["field"], mark["px"], mark["update_id"], mark["flags"] = CONTROL, START, CONTROL, 0, 3
    cut = np.split(books, sorted(random.sample(range(1, len(books)), parts - 1)))
    for number, piece in enumerate(cut):
        write_events(folder, INSTRUMENT, piece, part=f"{number}")
    return cut


def certificate(raw: RawData, known: KnownBookParts | None, period: Range = WHOLE) -> dict[str, Any]:
    return symbol_coverage(KlineHistory(raw), SYMBOL, CHOSEN, period, books=known, kinds=(ORDERBOOK,))


def of_all_messages(raw: RawData, period: Range = WHOLE) -> dict[str, Any]:
    tally = CoverageTally(*period)
    tally.add_book(read_events(raw, SYMBOL, kinds=(ORDERBOOK,), from_ns=period[0], to_ns=period[1]))
    return coverage_document(SYMBOL, tally, CHOSEN, begin_ns=period[0], end_ns=period[1], kinds=(ORDERBOOK,))


@pytest.mark.parametrize("seed", range(6))
def test_a_certificate_of_parts_says_what_all_messages_say_whatever_was_asked_before(tmp_path: Path, seed: int) -> None:
    written(tmp_path, seed)
    raw, known = RawData(tmp_path), KnownBookParts()
    within = (BEGIN_NS + 7 * MINUTE_NS, END_NS - 11 * MINUTE_NS)  # a part that reaches out of it is not kept
    for period in (within, WHOLE, within):
        assert certificate(raw, known, period) == of_all_messages(raw, period)


def test_parts_that_were_read_are_not_read_again(tmp_path: Path) -> None:
    written(tmp_path, 1)
    raw, known = RawData(tmp_path), KnownBookParts()
    first = certificate(raw, known)
    assert first["streams"]["orderbook"]["missing"]
    for part in raw.parts(SYMBOL):
        for file in part.files:
            (tmp_path / file.path).write_bytes(b"not looked at again")
    assert certificate(raw, known) == first
    with pytest.raises(CorruptStore):
        certificate(raw, None)


def test_messages_that_were_backfilled_stand_between_live_ones(tmp_path: Path) -> None:
    books, _ = market(planted(Random(2)))  # no secret
    live, old = books[::2], books[1::2].copy()
    old["seq"] = backfill_seq("orderbook", BEGIN_NS // DAY_NS) + np.arange(len(old))
    for name, piece in (("live", live), ("old", old)):
        write_events(tmp_path, INSTRUMENT, piece, part=name)
    raw, known = RawData(tmp_path), KnownBookParts()
    for _ in range(2):
        found = certificate(raw, known)
        assert found == of_all_messages(raw)
        assert found["streams"]["orderbook"]["messages_backfilled"] == len(old)
