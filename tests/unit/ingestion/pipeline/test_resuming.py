"""A restart goes on where the tape ends: rows served after it are those that a rebuild computes, book included."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline import resuming
from ingestion.pipeline.resuming import VersionBefore
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.played.play import play
from market.clock import SECOND_NS
from storage.checkpoints import checkpoint_path
from tests.pipelines import pipeline_in
from tests.restarted import BEGIN_NS, SHORT, STOPPED_AFTER_S, SYMBOL, Kept, assert_rebuilt, before_and_after, serve
from transforms.catalogue import set_horizon_ns
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet, joined_rows


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


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_rows_made_again_beside_the_pipeline_are_those_that_it_served(
    tmp_path: Path,
    short: Kernel,
    messages: list[TimedMessage],
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_checkpoint: bool,
) -> None:
    monkeypatch.setattr(resuming, "MARGIN_NS", 5 * SECOND_NS)  # so that rows are closed in two parts
    first, second = messages[:200], messages[200:]
    serve(tmp_path, short, first)
    if not has_checkpoint:
        checkpoint_path(tmp_path, SYMBOL).unlink()
    kept = Kept()
    with closing(pipeline_in(tmp_path, short, kept, tape_sync_ms=1)) as pipeline:
        play(pipeline, second)
        assert pipeline.lanes[SYMBOL].durability()(30)
        served = joined_rows([each.whole_seconds().rows for each in kept.served])
        between_ns = int(served.row_ns[2]), int(served.row_ns[-3])
        made = pipeline.rows_again(SYMBOL, short, between_ns, between_ns[1] + 7)
    assert made is not None
    assert len(made.rows) > 60
    assert np.array_equal(made.rows.row_ns, served.row_ns[2:-2])
    assert np.array_equal(made.rows.values.view(np.int64), served.values[2:-2].view(np.int64))
    assert np.array_equal(made.rows.status, served.status[2:-2])


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
