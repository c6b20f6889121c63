"""Messages of symbols that a pipeline was not given are counted, and leave nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel, compile_kernel


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


TRADE = (
    b'{"topic":"publicTrade.DOGEUSDT","type":"snapshot","ts":1772000000000,"data":[{"T":1772000000000,"s":"DOGEUSDT",'
    b'"S":"Buy","v":"1","p":"0.1","i":"1"}]}'
)
FOREIGN = {
    "a price": TRADE,
    "another symbol in its element": TRADE.replace(b"publicTrade.DOGEUSDT", b"publicTrade.BTCUSDT"),
    "no price to pin from": b'{"topic":"tickers.DOGEUSDT","type":"delta","ts":1772000000000,'
    b'"data":{"symbol":"DOGEUSDT","fundingRate":"0.0001"}}',
    "a broken element": b'{"topic":"publicTrade.DOGEUSDT","type":"snapshot","ts":1772000000000,"data":[{"T":"x"}]}',
    "an unknown topic": b'{"topic":"liquidation.DOGEUSDT","data":{}}',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_message_is_counted_and_leaves_nothing(tmp_path: Path, kernel: Kernel, kind: str) -> None:
    told: list[str] = []
    pipeline = pipeline_in(tmp_path, kernel, symbols=("BTCUSDT",))
    pipeline.handle(TimedMessage(1_772_000_000_000_000_000, FOREIGN[kind]), on_durable=lambda: told.append("durable"))
    pipeline.close()
    assert (pipeline.counters.foreign, pipeline.counters.rejected) == (1, 0)
    assert told == ["durable"]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_used_of_an_own_symbol_is_kept(tmp_path: Path, kernel: Kernel) -> None:
    pipeline = pipeline_in(tmp_path, kernel, symbols=("BTCUSDT",))
    for body in (b"{", FOREIGN["an unknown topic"].replace(b"DOGE", b"BTC"), b'{"topic":"nothing"}'):
        pipeline.handle(TimedMessage(1_772_000_000_000_000_000, body))
    pipeline.close()
    assert (pipeline.counters.foreign, pipeline.counters.rejected) == (0, 3)
    assert pipeline.rejected_by_error == {
        "": {"MalformedMessage": 1, "UnknownTopic": 1},
        "BTCUSDT": {"UnknownTopic": 1},
    }
    assert pipeline.rejected_of("BTCUSDT") == 1
