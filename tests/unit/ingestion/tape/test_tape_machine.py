"""A tape, its raw Parquet and its archive against a plain list: written, torn, compacted, put away and brought back."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from ingestion.tape.whole import whole_raw
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, SECOND_NS
from market.events import TRADE
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.retention.raw import archive_parts, delete_parts, expired_parts, restore_parts
from storage.tape import Frame, TapeWriter, read_tape_and_holes
from tests.machines import machine_settings

SYMBOL: Final = "BTCUSDT"
BEGIN_NS: Final = 20_000 * DAY_NS
PERIOD: Final = {"from_ns": 0, "to_ns": 2**62}
GAPS_NS: Final = st.sampled_from([1, SECOND_NS, HOUR_NS, DAY_NS])


def trade(seq: int, recv_ns: int) -> bytes:
    """A message that its price tells from all others: its seq."""
    at_ms = recv_ns // MILLISECOND_NS
    element = {"T": at_ms, "s": SYMBOL, "S": "Buy", "v": "1", "p": str(seq), "i": str(seq)}
    return json.dumps({"topic": f"publicTrade.{SYMBOL}", "ts": at_ms, "data": [element]}).encode()


class TapeMachine(RuleBasedStateMachine):
    """Messages are known by their seq. What was put away or deleted is the oldest there is."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-tape-"))
        self.raw = self.folder / "raw"
        self.archive = self.folder / "archive"
        self.instrument = InstrumentPins(self.raw).pin(SYMBOL, "1")
        self.now_ns = BEGIN_NS
        self.kept: dict[int, int] = {}  # seq and recv_ns of what is on the tape or in raw Parquet
        self.compacted: set[int] = set()
        self.archived: dict[int, int] = {}
        self.given = 0
        self.writer: TapeWriter | None = None
        # Most of what can go wrong needs some finished segments, in raw Parquet and not.
        for _ in range(3):
            self.write(2, HOUR_NS)
            self.compact(is_checked=False)
            self.stop()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            if self.writer is not None:
                self.writer.close()
            shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 3), gap_ns=GAPS_NS)
    def write(self, count: int, gap_ns: int) -> None:
        self.writer = self.writer or TapeWriter(self.raw, SYMBOL, sync_ms=1)
        for _ in range(count):
            self.now_ns += gap_ns
            self.given += 1
            assert self.writer.append(self.now_ns, trade(self.given, self.now_ns)) == self.given
            self.kept[self.given] = self.now_ns
        self.writer.sync()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def stop(self) -> None:
        assert self.writer is not None
        self.writer.close()
        self.writer = None

    @precondition(lambda self: self.writer is not None)
    @rule(torn=st.integers(0, 30))
    def crash(self, torn: int) -> None:
        """The machine goes on with what was on the disk, and the beginning of a frame that was not."""
        assert self.writer is not None
        left = self.folder / "left"
        shutil.copytree(self.raw, left)
        self.writer.close()
        self.writer = None
        shutil.rmtree(self.raw)
        left.rename(self.raw)
        (live,) = (self.raw / "tape" / SYMBOL).glob("*/*.open")
        due = (100).to_bytes(4, "little") + bytes(4) + (self.given + 1).to_bytes(8, "little")
        live.write_bytes(live.read_bytes() + (due + bytes(14))[:torn])

    @rule(is_checked=st.booleans())
    def compact(self, is_checked: bool) -> None:  # noqa: FBT001  # hypothesis gives it by name
        if not (self.raw / "tape" / SYMBOL).is_dir():
            return
        done = compact_tape(self.raw, SYMBOL, InstrumentPins(self.raw), is_checked=is_checked)
        assert done.holes == ()
        live = {} if self.writer is None else self._of_open_segment()
        self.compacted = self.kept.keys() - live

    @rule(age_ns=st.sampled_from([0, HOUR_NS, DAY_NS]), is_deleted=st.booleans())
    def put_away(self, age_ns: int, is_deleted: bool) -> None:  # noqa: FBT001  # hypothesis gives it by name
        raw = RawData(self.raw)
        expired = expired_parts(raw, SYMBOL, self.now_ns - age_ns)
        seqs = {seq for part in expired for seq in range(part.first_seq, part.last_seq + 1)}
        assert seqs <= self.compacted, "only what is in raw Parquet goes"
        if is_deleted:
            delete_parts(raw, expired, used_by=())
        else:
            archive_parts(raw, self.archive, expired)
            self.archived |= {seq: self.kept[seq] for seq in seqs}
        for seq in seqs:
            del self.kept[seq]
        self.compacted -= seqs

    @precondition(lambda self: len(self.archived) > 0)
    @rule()
    def bring_back(self) -> None:
        restore_parts(RawData(self.raw), self.archive, SYMBOL)
        self.kept |= self.archived
        self.compacted |= self.archived.keys()
        shutil.rmtree(self.archive)
        self.archived = {}

    @invariant()
    def nothing_is_lost_or_told_twice(self) -> None:
        if not hasattr(self, "folder") or self.given == 0:
            return
        raw = RawData(self.raw)
        assert self._prices(raw) == sorted(self.compacted)
        with whole_raw(raw, SYMBOL, InstrumentPins(self.raw)) as whole:
            assert self._prices(whole) == sorted(self.kept)
        found = list(read_tape_and_holes(self.raw, SYMBOL))
        on_tape = {each.seq: each.recv_ns for each in found if isinstance(each, Frame)}
        assert on_tape.items() <= self.kept.items()
        assert self.kept.keys() - on_tape.keys() <= self.compacted
        assert verify_tape(self.raw, SYMBOL, InstrumentPins(self.raw)).findings == []

    def _prices(self, raw: RawData) -> list[int]:
        events = read_events(raw, SYMBOL, kinds=[TRADE], **PERIOD)
        return [price // 10**self.instrument.price_exponent for price in events["px"].tolist()]

    def _of_open_segment(self) -> set[int]:
        open_segments = {path.stem for path in (self.raw / "tape" / SYMBOL).glob("*/*.open")}
        first_ns = min((int(stem.partition("-")[0]) for stem in open_segments), default=2**62)
        return {seq for seq, recv_ns in self.kept.items() if recv_ns >= first_ns}


TestTape = TapeMachine.TestCase
TestTape.settings = machine_settings(runs=5, steps=10)
