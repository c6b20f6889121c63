"""Raw data that stays open against a plain dict of parts: written, written anew, and retired in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from market.clock import DAY_NS
from market.events import KIND_COUNT, TRADE, empty_events, mark_message
from market.instruments import Instrument
from storage.places import Place
from storage.raw.events import read_events
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from storage.retention.raw import archive_parts, delete_parts, expired_parts, restore_parts

BTC = Instrument("BTCUSDT", 3, 6)
MIDNIGHT_NS = 20_000 * DAY_NS
EVER = {"from_ns": 0, "to_ns": 2**62}
PARTS = st.integers(0, 4)


class ManifestMachine(RuleBasedStateMachine):
    """Part n is the n-th day; what it holds is told by its prices."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-raw-"))
        self.raw = RawData(self.folder / "raw", self.new_place())
        self.archive = self.folder / "archive"
        self.kept: dict[int, list[int]] = {}
        self.archived: dict[int, list[int]] = {}
        self.written = 0

    def new_place(self) -> Place | None:
        """Of raw Parquet; None is the raw folder. A machine of another store has it elsewhere."""
        return None

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.archived) == 0)
    @rule(part=PARTS, count=st.integers(1, 3))
    def write(self, part: int, count: int) -> None:
        records = empty_events(count)
        prices = list(range(self.written, self.written + count))
        self.written += count
        records["seq"] = 10 * part + 1 + np.arange(count)
        records["recv_ns"] = MIDNIGHT_NS + part * DAY_NS + np.arange(count)
        records["kind"], records["px"] = TRADE, prices
        for at in range(count):
            mark_message(records[at : at + 1])
        write_events(self.raw.place, BTC, records, part=f"{part:04d}")
        self.kept[part] = prices

    @rule(before=PARTS)
    def put_away(self, before: int) -> None:
        expired = expired_parts(self.raw, BTC.symbol, MIDNIGHT_NS + before * DAY_NS)
        assert [part.name for part in expired] == [f"{part:04d}" for part in sorted(self.kept) if part < before]
        archive_parts(self.raw, self.archive, expired)
        for part in [part for part in self.kept if part < before]:
            self.archived[part] = self.kept.pop(part)

    @precondition(lambda self: len(self.archived) > 0)
    @rule()
    def bring_back(self) -> None:
        assert restore_parts(self.raw, self.archive, BTC.symbol) == len(self.archived)
        self.kept |= self.archived
        shutil.rmtree(self.archive)
        self.archived = {}

    @rule(part=PARTS)
    def delete(self, part: int) -> None:
        chosen = [each for each in self.raw.parts(BTC.symbol) if each.name == f"{part:04d}"]
        delete_parts(self.raw, chosen, used_by=())
        self.kept.pop(part, None)

    @invariant()
    def what_is_open_tells_what_is_there(self) -> None:
        if not hasattr(self, "folder"):
            return
        fresh = RawData(self.raw.folder, self.raw.place)
        assert self.raw.parts(BTC.symbol) == fresh.parts(BTC.symbol)
        assert [part.name for part in self.raw.parts(BTC.symbol)] == [f"{part:04d}" for part in sorted(self.kept)]
        assert self.raw.symbols() == ([BTC.symbol] if self.kept else [])
        events = read_events(self.raw, BTC.symbol, kinds=range(KIND_COUNT), **EVER)
        assert events["px"].tolist() == [price for part in sorted(self.kept) for price in self.kept[part]]
