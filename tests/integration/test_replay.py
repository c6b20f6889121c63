"""Real recordings through the pipeline: rows for every second, parity with a rebuild, and what damage does."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.pipeline.dead_letter import DeadLetter, DeadMessage, read_dead_letter
from ingestion.pipeline.pipeline import Pipeline, available_as_if_live
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS
from quality.parity import Parity
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows
from transforms.status import GAP

LINEAR = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
MIDNIGHT = "reencoded/BTCUSDT_20240718-19.jsonl.gz"


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


class Played:
    """A recording played into a folder."""

    def __init__(self, folder: Path, kernel: Kernel, recording: Path) -> None:
        self.raw = folder / "raw"
        self.features = folder / "features"
        self.kernel = kernel
        pins = InstrumentPins(self.raw)
        self.pipeline = Pipeline(
            kernel,
            pins,
            raw_folder=self.raw,
            dead_letter=DeadLetter(self.raw / "dead_letter.jsonl"),
            sinks=[FeatureLogSink(FeatureLogWriter(self.features))],
            availability=available_as_if_live,
        )
        try:
            play(self.pipeline, read_recording(recording))
        finally:
            self.pipeline.close()
        for symbol in self.pipeline.symbols:
            compact_tape(self.raw, symbol, pins)

    def rows(self, symbol: str) -> FeatureRows:
        served, _ = FeatureLog(self.features).read(symbol, self.kernel.feature_set, from_ns=None, to_ns=None)
        return served

    def parity(self) -> Parity:
        return verify_parity(RawHistory.of(RawData(self.raw)), FeatureLog(self.features), self.kernel)


def write_recording(path: Path, lines: Iterable[dict[str, Any] | bytes]) -> Path:
    with gzip.open(path, "wb") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            file.write(b"\n")
    return path


def recorded_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("recording", "symbols"), [(LINEAR, ["BTCUSDT", "ETHUSDT"]), (MIDNIGHT, ["BTCUSDT"])])
def test_a_real_recording_gives_a_row_for_every_second_and_rebuilds_to_the_bit(
    tmp_path: Path, kernel: Kernel, recorded_data: Path, recording: str, symbols: list[str]
) -> None:
    played = Played(tmp_path, kernel, recorded_data / recording)
    lines = recorded_lines(recorded_data / recording)
    first_s, last_s = lines[0]["recv_ns"] // SECOND_NS, lines[-1]["recv_ns"] // SECOND_NS
    assert (played.pipeline.counters.rejected, played.pipeline.gaps) == (0, 0)
    assert played.pipeline.counters.messages == len(lines)
    for symbol in symbols:
        assert (played.rows(symbol).row_ns // SECOND_NS).tolist() == list(range(first_s + 1, last_s + 1))
    parity = played.parity()
    assert parity.is_exact
    assert parity.compared == played.pipeline.counters.rows


def test_a_symbol_that_falls_silent_before_the_others_has_rows_to_the_end_and_they_rebuild_too(
    tmp_path: Path, kernel: Kernel, recorded_data: Path
) -> None:
    lines = recorded_lines(recorded_data / LINEAR)
    silent_ns = lines[0]["recv_ns"] + 20 * SECOND_NS
    heard = [line for line in lines if "ETHUSDT" not in line["msg"]["topic"] or line["recv_ns"] < silent_ns]
    played = Played(tmp_path / "out", kernel, write_recording(tmp_path / "silent.jsonl.gz", heard))
    assert played.rows("ETHUSDT").row_ns[-1] == played.rows("BTCUSDT").row_ns[-1] > silent_ns
    parity = played.parity()
    assert parity.is_exact
    assert parity.compared == played.pipeline.counters.rows


def test_a_row_of_the_recording_is_what_its_messages_say(tmp_path: Path, kernel: Kernel, recorded_data: Path) -> None:
    played = Played(tmp_path, kernel, recorded_data / MIDNIGHT)
    rows = played.rows("BTCUSDT")
    row_ns = int(rows.row_ns[100])
    trades = [
        (float(trade["p"]), float(trade["v"]))
        for line in recorded_lines(recorded_data / MIDNIGHT)
        if line["msg"]["topic"].startswith("publicTrade") and row_ns - 15 * SECOND_NS <= line["recv_ns"] < row_ns
        for trade in line["msg"]["data"]
    ]
    volume = sum(qty for _, qty in trades)
    value = dict(zip(kernel.feature_set.columns, rows.values[100].tolist(), strict=True))
    assert value["volume_15s"] == pytest.approx(volume, rel=1e-12)
    assert value["vwap_15s"] == pytest.approx(sum(px * qty for px, qty in trades) / volume, rel=1e-12)


def test_a_missing_book_message_makes_book_features_unknown_until_the_next_snapshot_live_and_rebuilt_alike(
    tmp_path: Path, kernel: Kernel, recorded_data: Path
) -> None:
    lines = recorded_lines(recorded_data / MIDNIGHT)
    deltas = [at for at, line in enumerate(lines) if line["msg"].get("type") == "delta"]
    removed, resumed = deltas[2000], deltas[4000]
    snapshot = book_at(lines[: resumed + 1])
    altered = [*lines[:removed], *lines[removed + 1 : resumed], snapshot, *lines[resumed + 1 :]]
    played = Played(tmp_path / "out", kernel, write_recording(tmp_path / "hole.jsonl.gz", altered))
    assert played.pipeline.gaps == 1
    rows = played.rows("BTCUSDT")
    # The first message after the hole is the one that shows it.
    broken_s = lines[deltas[2001]]["recv_ns"] // SECOND_NS + 1
    valid_s = snapshot["recv_ns"] // SECOND_NS + 1
    second = rows.row_ns // SECOND_NS
    is_broken = (second >= broken_s) & (second < valid_s)
    assert np.count_nonzero(is_broken) > 60
    for index, group in enumerate(kernel.feature_set.groups):
        status = rows.status[:, index]
        values = rows.values[:, list(group.indices)]
        if group.name in {"price", "orderbook"}:
            assert (status[is_broken] == GAP).all()
            assert np.isnan(values[is_broken]).all()
            assert (status[~is_broken] != GAP).all()
        elif group.name == "orderflow":
            assert (status != GAP).all()
    after = rows.values[second == valid_s, kernel.feature_set.columns.index("mid_price")]
    assert np.isfinite(after).all()
    assert played.parity().is_exact


def book_at(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """A snapshot message of the book after ``lines``, in place of the last of them."""
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    for line in lines:
        message = line["msg"]
        if message["topic"].startswith("orderbook"):
            for side, levels in sides.items():
                for px, qty in message["data"][side]:
                    if float(qty) == 0:
                        levels.pop(px, None)
                    else:
                        levels[px] = qty
    last = lines[-1]
    data = {**last["msg"]["data"], **{side: list(levels.items()) for side, levels in sides.items()}}
    return {"recv_ns": last["recv_ns"], "msg": {**last["msg"], "type": "snapshot", "data": data}}


def damaged_book(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], bytes]:
    def damage(line: dict[str, Any]) -> bytes:
        copy = json.loads(json.dumps(line))
        change(copy["msg"])
        return json.dumps(copy).encode()

    return damage


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "malformed JSON": (lambda line: json.dumps(line).encode()[:-20], "JSON"),
    "a missing field": (damaged_book(lambda message: message["data"].pop("u")), "u"),
    "a negative size": (damaged_book(lambda message: message["data"].update(b=[["1.00", "-1"]])), "negative"),
    "an unknown topic": (damaged_book(lambda message: message.update(topic="weather.BTCUSDT")), "topic"),
    "a price with too many decimals": (
        damaged_book(lambda message: message["data"].update(b=[["1.1234567891", "1"]])),
        "decimals",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_one_unusable_message_is_counted_kept_with_its_reason_and_harms_nothing_else(
    tmp_path: Path, kernel: Kernel, recorded_data: Path, damage: str
) -> None:
    lines = recorded_lines(recorded_data / MIDNIGHT)[:3000]
    spoil, reason = DAMAGES[damage]
    book = next(line for line in lines[1000:] if line["msg"].get("type") == "delta")
    whole = Played(tmp_path / "whole", kernel, write_recording(tmp_path / "whole.jsonl.gz", lines))
    altered: list[dict[str, Any] | bytes] = [*lines[:1500], spoil(book), *lines[1500:]]
    played = Played(tmp_path / "altered", kernel, write_recording(tmp_path / "altered.jsonl.gz", altered))
    assert played.pipeline.counters.rejected == 1
    assert np.array_equal(played.rows("BTCUSDT").values.view(np.int64), whole.rows("BTCUSDT").values.view(np.int64))
    [dead] = read_dead_letter(played.raw / "dead_letter.jsonl")
    assert isinstance(dead, DeadMessage)
    assert reason in dead.reason
    assert played.parity().is_exact
