"""A restart goes on where the tape ends: rows served after it are those that a rebuild computes, book included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.lane_memory import unpacked
from ingestion.pipeline.redelivery import SeenEntries
from ingestion.pipeline.resuming import VersionBefore
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import StoreUnavailable
from storage.checkpoints import checkpoint_path, read_checkpoint, write_checkpoint
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from storage.tape import read_tape
from tests.pipelines import pipeline_in
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.catalogue import feature_set, set_horizon_ns
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet

SYMBOL = "BTCUSDT"
BEGIN_NS = parse_iso_ns("2026-01-05T12:59:30")
SHORT = feature_set("0.0.1", ["depth_bid_top5", "depth_ask_top5"])
STOPPED_AFTER_S = 80
"""Longer than the horizon: the one snapshot, at the beginning, lies before it."""


@pytest.fixture(scope="module")
def messages() -> list[TimedMessage]:
    return list(simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=BEGIN_NS, duration_ns=100 * SECOND_NS))


@pytest.fixture(scope="module")
def short(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(SHORT, kernel_cache)
    kernel.warm_up()
    return kernel


class Kept:
    """Keeps every row that is served."""

    def __init__(self) -> None:
        self.served: list[ServedRows] = []

    def write(self, served: Sequence[ServedRows]) -> None:
        self.served += served

    def close(self) -> None:
        pass


def serve(raw: Path, kernel: Kernel, messages: Sequence[TimedMessage]) -> list[ServedRows]:
    """What one process serves from its start to its end."""
    kept = Kept()
    pipeline = pipeline_in(raw, kernel, kept, tape_sync_ms=1)
    try:
        for message in messages:
            pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            pipeline.handle(message)
    finally:
        pipeline.close()
    return kept.served


def before_and_after(messages: Sequence[TimedMessage]) -> tuple[Sequence[TimedMessage], Sequence[TimedMessage]]:
    """The messages of two processes."""
    cut = next(
        at for at, each in enumerate(messages) if each.recv_ns > BEGIN_NS + STOPPED_AFTER_S * SECOND_NS + SECOND_NS // 3
    )
    return messages[:cut], messages[cut:]


def assert_rebuilt(raw: Path, kernel: Kernel, served: list[ServedRows]) -> None:
    """Every row is that of a rebuild, and some book features are known."""
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    rebuilt = rebuild_rows(RawData(raw), SYMBOL, kernel)
    row_ns = np.concatenate([each.rows.row_ns for each in served])
    values = np.concatenate([each.rows.values for each in served])
    status = np.concatenate([each.rows.status for each in served])
    at = np.searchsorted(rebuilt.row_ns, row_ns)
    assert np.array_equal(rebuilt.row_ns[at], row_ns)
    assert np.array_equal(rebuilt.values[at].view(np.int64), values.view(np.int64))
    assert np.array_equal(rebuilt.status[at], status)
    assert np.isfinite(values[:, kernel.feature_set.columns.index("depth_bid_top5")]).all()


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_restart_long_after_the_last_snapshot_still_has_the_book(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage], *, has_checkpoint: bool
) -> None:
    assert set_horizon_ns(SHORT) < STOPPED_AFTER_S * SECOND_NS
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    if not has_checkpoint:
        checkpoint_path(tmp_path, SYMBOL).unlink()
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_state_gone_on_from_is_the_state_of_a_replay_for_every_feature(
    tmp_path: Path, kernel_cache: Path, messages: list[TimedMessage]
) -> None:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    first, second = before_and_after(messages)
    served = []
    for name in ("gone on from", "replayed"):
        raw = tmp_path / name
        serve(raw, kernel, first)
        if name == "replayed":
            checkpoint_path(raw, SYMBOL).unlink()
        served.append(serve(raw, kernel, second))
        assert_rebuilt(raw, kernel, served[-1])
    for one, other in zip(*served, strict=True):
        assert np.array_equal(one.rows.values.view(np.int64), other.rows.values.view(np.int64))
        assert np.array_equal(one.rows.status, other.rows.status)
        assert one.rows.reasons is not None
        assert other.rows.reasons is not None
        assert np.array_equal(one.rows.reasons, other.rows.reasons)


@pytest.mark.parametrize("goes_back", [False, True])
def test_a_restart_with_another_version_serves_what_a_rebuild_with_it_computes_and_leaves_no_row_out(
    tmp_path: Path, short: Kernel, kernel_cache: Path, messages: list[TimedMessage], *, goes_back: bool
) -> None:
    other = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    before, after = (other, short) if goes_back else (short, other)
    first, second = before_and_after(messages)
    served = serve(tmp_path, before, first), serve(tmp_path, after, second)
    seconds = [
        row_ns // SECOND_NS for each in served for one in each for row_ns in one.rows.row_ns if row_ns % SECOND_NS == 0
    ]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    assert {one.rows.feature_set.version for one in served[1]} == {after.feature_set.version}
    assert_rebuilt(tmp_path, after, served[1])


def test_while_ingest_was_away_nothing_is_known_and_nothing_is_told_as_zero(
    tmp_path: Path, kernel_cache: Path, messages: list[TimedMessage]
) -> None:
    """The book of before was served as that of every second without a message, and the volume as 0."""
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    first = [each for each in messages if each.recv_ns < BEGIN_NS + 20 * SECOND_NS]
    second = [each for each in messages if each.recv_ns > BEGIN_NS + 27 * SECOND_NS]
    serve(tmp_path, kernel, first)
    rows = [each.rows for each in serve(tmp_path, kernel, second)]
    row_ns, values = np.concatenate([each.row_ns for each in rows]), np.concatenate([each.values for each in rows])
    is_away = (row_ns > first[-1].recv_ns) & (row_ns <= second[0].recv_ns)
    names = ["mid_price", "returns_1s", "volume_3s", "trade_count_3s", "funding_rate", "mark_index_basis"]
    columns = [kernel.feature_set.columns.index(name) for name in names if name in kernel.feature_set.columns]
    assert np.unique(row_ns[is_away] // SECOND_NS).size >= 7
    assert np.isnan(values[is_away][:, columns]).all()


class KeptOnDisk:
    """A log that had rows up to some time when its process was killed, and takes what is written again."""

    def __init__(self, kept_ns: dict[str, int]) -> None:
        self.kept_ns = kept_ns
        self.again: list[ServedRows] = []

    def last_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:  # noqa: ARG002  # of one
        return self.kept_ns.get(feature_set.version)

    def last_given_ns(self, symbol: str) -> int | None:  # noqa: ARG002  # nothing is known of that
        return None

    def write_again(self, served: ServedRows) -> None:
        self.again.append(served)

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # of all
        return True


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_start_after_a_change_and_a_kill_computes_the_rows_of_both_versions_that_were_not_on_the_disk(
    tmp_path: Path, short: Kernel, kernel_cache: Path, messages: list[TimedMessage], *, has_checkpoint: bool
) -> None:
    after = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    first, second = before_and_after(messages)
    early = [each for each in first if each.recv_ns < BEGIN_NS + 40 * SECOND_NS + SECOND_NS // 3]
    serve(tmp_path, short, early)
    state = checkpoint_path(tmp_path, SYMBOL).read_bytes()
    serve(tmp_path, short, first[len(early) :])
    checkpoint_path(tmp_path, SYMBOL).write_bytes(state)
    if not has_checkpoint:
        checkpoint_path(tmp_path, SYMBOL).unlink()
    kept_ns, until_ns = BEGIN_NS + 50 * SECOND_NS, BEGIN_NS + 70 * SECOND_NS
    history = KeptOnDisk({short.feature_set.version: kept_ns})
    pipeline = pipeline_in(tmp_path, after, history=history, before=VersionBefore(lambda: short, until_ns))
    pipeline.handle(second[0])
    pipeline.close()
    of_short, of_after = history.again
    assert of_short.rows.row_ns.tolist() == list(range(kept_ns + SECOND_NS, until_ns + 1, SECOND_NS))
    assert of_after.rows.row_ns.tolist() == list(range(until_ns + SECOND_NS, first[-1].recv_ns + 1, SECOND_NS))
    assert_rebuilt(tmp_path, short, [of_short])
    assert_rebuilt(tmp_path, after, [of_after])


def test_a_checkpoint_names_the_tape_s_last_frame_and_what_its_state_belongs_to(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    serve(tmp_path, short, first)
    *_, last = read_tape(tmp_path, SYMBOL)
    head = checkpoint_path(tmp_path, SYMBOL).read_bytes().split(b"\n", 1)[0].decode()
    identity = f"{short.run.__module__} 3 6 {SECOND_NS}"
    assert identity in head
    checkpoint = read_checkpoint(tmp_path, SYMBOL, identity)
    assert checkpoint is not None
    assert (checkpoint.seq, checkpoint.recv_ns) == (last.seq, last.recv_ns)
    assert read_checkpoint(tmp_path, SYMBOL, "other code") is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "nothing": lambda path: path.write_bytes(b""),
    "no checkpoint": lambda path: path.write_bytes(b"x" * 100_000),
    "another position": lambda path: path.write_bytes(path.read_bytes().replace(b'"seq":', b'"seq":1', 1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage], damage: str
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    DAMAGES[damage](checkpoint_path(tmp_path, SYMBOL))
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_checkpoint_whose_memory_is_of_another_form_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    checkpoint = read_checkpoint(tmp_path, SYMBOL, f"{short.run.__module__} 3 6 {SECOND_NS}")
    assert checkpoint is not None
    write_checkpoint(tmp_path, SYMBOL, replace(checkpoint, memory=b"another"))
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_restart_at_a_checkpoint_decodes_nothing_of_the_past_and_knows_what_it_knew(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    pipeline = pipeline_in(tmp_path, short)
    for message in first:
        pipeline.handle(message)
    before = pipeline.lanes[SYMBOL]._memory.packed()
    pipeline.close()
    again = pipeline_in(tmp_path, short)
    try:
        assert again.go_on(SYMBOL, now_ns=first[-1].recv_ns)
        lane = again.lanes[SYMBOL]
        marks = lane.last_seq - len(first)
        assert again.decoders.compiled + again.decoders.typed == marks < 10
        assert lane._memory.seen.entries() == unpacked_seen(before)
        assert lane._memory.book._whole == lane._memory.book._last is not None
    finally:
        again.close()


def unpacked_seen(packed: bytes) -> SeenEntries:
    memory = unpacked(packed)
    assert memory is not None
    return memory.seen.entries()


def test_a_checkpoint_of_another_tape_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path / "other", short, [TimedMessage(each.recv_ns - 1, each.body) for each in first])
    serve(tmp_path / "raw", short, first)
    checkpoint_path(tmp_path / "other", SYMBOL).replace(checkpoint_path(tmp_path / "raw", SYMBOL))
    assert_rebuilt(tmp_path / "raw", short, serve(tmp_path / "raw", short, second))


def test_a_checkpoint_ahead_of_its_tape_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    shorter = first[: len(first) - 100]
    serve(tmp_path / "longer", short, first)
    serve(tmp_path / "raw", short, shorter)
    checkpoint_path(tmp_path / "longer", SYMBOL).replace(checkpoint_path(tmp_path / "raw", SYMBOL))
    assert_rebuilt(tmp_path / "raw", short, serve(tmp_path / "raw", short, [*first[-100:], *second]))


def test_where_no_checkpoint_can_be_written_ingest_goes_on(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    assert "no checkpoint" in caplog.text
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_tape_that_the_disk_refused_leaves_no_checkpoint_of_what_was_lost(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    serve(tmp_path, short, first[:50])
    before = checkpoint_path(tmp_path, SYMBOL).read_bytes()
    # A file where the hour's segment should go.
    (blocked,) = (tmp_path / "tape" / SYMBOL).glob("2026-*")
    blocked.rename(tmp_path / "aside")
    blocked.write_text("")
    with pytest.raises(StoreUnavailable):
        serve(tmp_path, short, first[50:])
    assert checkpoint_path(tmp_path, SYMBOL).read_bytes() == before
