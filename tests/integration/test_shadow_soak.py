"""No false alarm: a million served rows, over many segments of the tape and their compaction, all agree with it."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from tests.shadowed import ShadowedMarket
from transforms.kernel import compile_kernel
from upkeep.shadow import SymbolShadow

ROWS = int(os.environ.get("FEATURE_SERVICE_SHADOW_ROWS", "1000000"))
VERSION = "1.0.0"
BOOK_NS = SECOND_NS // 5
SEGMENT_NS = 2 * MINUTE_NS
LOOK_S = 5
COMPACT_EVERY = 60
BEGIN_ANEW_EVERY = 500
"""Looks: then another process watches."""


@pytest.mark.soak
def test_a_million_served_rows_agree_with_the_tape(tmp_path: Path, kernel_cache: Path) -> None:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    begin_ns = 1_780_000_000 * SECOND_NS
    sent = simulate(DEFAULT_SYMBOLS[:1], seed=17, start_ns=begin_ns, duration_ns=30 * DAY_NS, book_interval_ns=BOOK_NS)
    market = ShadowedMarket(tmp_path, "BTCUSDT", kernel, sent, segment_ns=SEGMENT_NS)
    compared, looks, begun_s = 0, 0, time.process_time()
    with closing(market.pipeline):
        while compared < ROWS:
            market.run(LOOK_S)
            market.vectors.clear()
            found = market.look()
            assert (found.mismatched, found.mismatches, +found.not_compared) == (0, (), {}), found
            compared += found.compared
            looks += 1
            if looks % COMPACT_EVERY == 0:
                compact_tape(tmp_path, "BTCUSDT", market.pins)
            if looks % BEGIN_ANEW_EVERY == 0:
                market.run(3)
                market.shadow = SymbolShadow(market.source, "BTCUSDT")
    print(f"{compared} rows in {looks} looks, none differs; {time.process_time() - begun_s:.0f} s of the processor")
