"""Every message of real recordings gives its own numbers, read a second way."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from ingestion.venues.bybit.decode import Decoder
from market.events import (
    KLINE,
    ORDERBOOK,
    TICKER,
    TRADE,
)
from tests.bybit_messages import (
    Json,
    PinnedScales,
    check_whole_message,
    column,
)


def _real_messages(folder: Path) -> Iterator[Json]:
    for name in (
        "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz",
        "reencoded/BTCUSDT_20240718-19.jsonl.gz",
    ):
        with gzip.open(folder / name) as file:
            for line in file:
                yield json.loads(line)["msg"]
    with (
        zipfile.ZipFile(folder / "bybit/2024-12-01_XRPUSDT_ob500.data.zip") as archive,
        archive.open(archive.namelist()[0]) as file,
    ):
        for line in file:
            yield json.loads(line)


def test_every_recorded_message_gives_its_own_numbers(recorded_data: Path) -> None:
    instruments = PinnedScales()
    decoder = Decoder(instruments)
    counts = dict.fromkeys((ORDERBOOK, TRADE, KLINE, TICKER), 0)
    for message in _real_messages(recorded_data):
        decoded = decoder.decode(json.dumps(message).encode())
        assert decoded is not None
        check_whole_message(decoded)
        counts[decoded.kind] += 1
        scale = instruments.by_symbol[decoded.symbol]
        data = message["data"]
        if decoded.kind == ORDERBOOK:
            levels = [*data["b"], *data["a"]]
            expected = [(Decimal(px), Decimal(qty)) for px, qty in levels] or [(Decimal(0), Decimal(0))]
        elif decoded.kind == TRADE:
            expected = [(Decimal(trade["p"]), Decimal(trade["v"])) for trade in data]
        else:
            continue
        assert [
            (Decimal(px).scaleb(-scale.price_exponent), Decimal(qty).scaleb(-scale.quantity_exponent))
            for px, qty in zip(column(decoded, "px"), column(decoded, "qty"), strict=True)
        ] == expected
    assert counts == {ORDERBOOK: 835 + 8989 + 50, TRADE: 28 + 10701, KLINE: 34 + 8, TICKER: 401}
    assert decoder.typed == 3, "the first message of each symbol, which pins its scale"
