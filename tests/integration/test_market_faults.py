"""Markets that misbehave, played, rebuilt and compared: no wrong number, and no market lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS
from tests.market_lines import SYMBOL, book, case, column, line, played, statuses, trades
from tests.played import Played, write_recording
from transforms.kernel import Kernel, compile_kernel
from transforms.status import GAP


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.mark.parametrize("seqs", ["none", "risen", "fallen"])
@pytest.mark.parametrize("first", [88_001, 3])
def test_a_restart_that_was_missed_loses_the_book_until_the_next_snapshot(
    tmp_path: Path, kernel: Kernel, seqs: str, first: int
) -> None:
    def seq_of(at: int, update_id: int) -> int | None:
        return {"none": None, "risen": 10**9 + at, "fallen": 10**9 + update_id}[seqs]

    lines = [book(0, first, kind="snapshot", seq=seq_of(0, first))]
    lines += [book(at, first + at, seq=seq_of(at, first + at)) for at in range(1, 4)]
    lines += [book(4 + at, 2 + at, bid="90.00", ask="90.02", seq=seq_of(4 + at, 2 + at)) for at in range(6)]
    lines += [
        book(11, 500, bid="91.00", ask="91.02", kind="snapshot", seq=seq_of(11, 10**6)),
        book(13, 501, bid="91.00", ask="91.02"),
    ]
    found = played(tmp_path, kernel, lines)
    assert column(found, "mid_price")[:4] == [100.01] * 4
    assert column(found, "mid_price")[4:11] == [None] * 7
    assert statuses(found, "price")[4:11] == ["GAP"] * 7
    assert column(found, "mid_price")[11:] == [91.01] * 2
    assert found.pipeline.gaps == 1


def test_a_gap_and_its_repair_are_a_line_of_the_log_each(
    tmp_path: Path, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [book(0, 100, kind="snapshot"), book(1, 101), book(2, 105), book(3, 106), book(3.5, 110)]
    lines += [book(4.5, 500, kind="snapshot"), book(6, 501)]
    found = Played(tmp_path / "out", kernel, write_recording(tmp_path / "recording.jsonl.gz", lines))
    told = [each.getMessage() for each in caplog.records if "orderbook: " in each.getMessage()]
    assert told == [
        f"{SYMBOL} orderbook: sequence gap of 3 messages, u 102 to 104",
        f"{SYMBOL} orderbook: recovered by a snapshot, 2.500 s after it was lost",
    ]
    assert found.pipeline.gaps == 1
    caplog.clear()
    assert found.parity().is_exact
    assert not [each for each in caplog.records if "orderbook: " in each.getMessage()]  # only what is lived is told


def test_a_message_seen_before_changes_nothing(tmp_path: Path, kernel: Kernel) -> None:
    lines = [book(0, 100, kind="snapshot"), book(1, 101), book(2, 102, bid="100.01")]
    again = [{**each, "recv_ns": lines[-1]["recv_ns"] + at + 1} for at, each in enumerate(lines[1:])]
    found = played(tmp_path, kernel, [*lines, *again, book(4, 103, ask="100.03")])
    assert (found.pipeline.gaps, found.pipeline.duplicates) == (0, 2)
    assert None not in column(found, "mid_price")


def test_a_snapshot_that_had_to_be_rejected_loses_the_book(tmp_path: Path, kernel: Kernel) -> None:
    bad = book(3, 1, bid="-1", kind="snapshot")
    lines = [book(0, 50, kind="snapshot"), book(1, 51), bad, *(book(3 + at, 1 + at) for at in range(1, 4))]
    found = played(tmp_path, kernel, [*lines, book(8, 9, bid="100.01", kind="snapshot"), book(10, 10)])
    assert statuses(found, "orderbook")[3:8] == ["GAP"] * 5
    assert column(found, "mid_price")[:3] == [100.01] * 3
    assert column(found, "mid_price")[8:] == [100.015] * 2


def test_the_snapshot_before_a_rejected_message_that_comes_again_brings_no_old_book_back(
    tmp_path: Path, kernel: Kernel
) -> None:
    whole = book(1, 51, bid="99.98", kind="snapshot")
    again = {**whole, "recv_ns": book(3, 0)["recv_ns"]}
    lines = [book(0, 50, kind="snapshot"), whole, book(2, 52, bid="-1"), again, book(4, 53)]
    found = played(tmp_path, kernel, [*lines, book(6, 53, bid="100.01", kind="snapshot"), book(7, 54), book(8, 55)])
    assert statuses(found, "orderbook")[2:6] == ["GAP"] * 4
    assert column(found, "mid_price")[6:] == [100.015] * 2


def test_trades_that_could_not_be_read_make_the_windows_over_them_unknown_and_no_others(
    tmp_path: Path, kernel: Kernel
) -> None:
    bad = trades(20.5, 7)
    bad["msg"]["data"][0]["v"] = "1e5"
    lines = [trades(at, at + 1) for at in range(40)]
    found = played(tmp_path, kernel, [*lines[:21], bad, *lines[21:]])
    volume = column(found, "volume_3s")
    assert volume[:2] == [None, None]
    assert volume[2:20] == [3.0 * at for at in range(2, 20)]
    assert volume[20:23] == [None] * 3, "rows at 21 to 23 s look at 20.5 s; their history begins there"
    assert volume[23:] == [3.0 * at for at in range(23, 39)]


@pytest.mark.parametrize("cut", [110, 150, 200])
def test_trades_of_a_message_that_breaks_off_are_unknown_too(tmp_path: Path, kernel: Kernel, cut: int) -> None:
    whole = json.dumps(trades(10.5, 5)).encode()
    found = played(tmp_path, kernel, [*(trades(at, at + 100) for at in range(11)), whole[:cut], trades(14, 300)])
    assert column(found, "volume_3s")[10:13] == [None] * 3


@pytest.mark.parametrize(
    "messages",
    [
        [[1, 2], [2, 3], [4]],
        [[1, 1, 2], [3], [3, 4, 4]],
        [[1], [2], [3], [4], [1, 2, 3, 4]],
        [[1, 2, 3, 4], [4, 3], [2, 1], [1]],
    ],
)
def test_each_trade_is_counted_once_whatever_message_brings_it(
    tmp_path: Path, kernel: Kernel, messages: list[list[int]]
) -> None:
    lines = [book(0, 5, kind="snapshot"), *(trades(10 + at / 10, *each) for at, each in enumerate(messages))]
    found = played(tmp_path, kernel, [*lines, book(12, 6)])
    assert column(found, "volume_3s")[10] == 10.0
    assert column(found, "trade_count_3s")[10] == 4.0
    assert found.pipeline.redelivered > 0


def test_a_trade_that_comes_again_after_minutes_is_known(tmp_path: Path, kernel: Kernel) -> None:
    lines = [trades(0, 1, 2), trades(8 * 60, 2, 5), trades(8 * 60 + 2, 6)]
    found = played(tmp_path, kernel, lines)
    assert column(found, "volume_3s")[8 * 60] == 5.0


def test_a_snapshot_that_comes_again_never_brings_an_old_book_back(tmp_path: Path, kernel: Kernel) -> None:
    first = book(0, 100, kind="snapshot", seq=1000)
    lines = [first, book(1, 101, bid="100.01", seq=1001), book(2, 102, seq=1002)]
    again = {**first, "recv_ns": lines[-1]["recv_ns"] + SECOND_NS // 10}
    found = played(tmp_path, kernel, [*lines, again, book(5, 103, seq=1003), book(7, 104, seq=1004)])
    assert column(found, "mid_price") == [100.01, *[100.015] * 6]
    assert (found.pipeline.gaps, found.pipeline.ignored) == (0, 1)


def test_windows_do_not_reach_over_messages_that_a_snapshot_shows_to_be_missing(tmp_path: Path, kernel: Kernel) -> None:
    lines = [book(at, 100 + at, kind="delta" if at else "snapshot") for at in range(8)]
    later = [book(8, 300, bid="100.01", kind="snapshot"), *(book(8 + at, 300 + at, bid="100.01") for at in range(1, 6))]
    found = played(tmp_path, kernel, [*lines, *later])
    assert column(found, "mid_price") == [100.01] * 8 + [100.015] * 5
    returns = column(found, "returns_3s")
    assert returns[7] == 0.0
    assert returns[8:11] == [None] * 3
    assert returns[11:] == [0.0] * 2


def test_a_numbering_that_comes_near_one_that_was_ignored_is_not_ignored(tmp_path: Path, kernel: Kernel) -> None:
    """Two streams were mixed once; then the exchange begins anew and its ids pass where the ignored ones stood."""
    linear = [book(0, 50, kind="snapshot", seq=1), book(1, 51, seq=2)]
    mixed = [book(1.5, 8, bid="80.00", ask="80.02", kind="snapshot", seq=3), book(2, 52, seq=4)]
    anew = [book(3, 1, bid="100.01", kind="snapshot", seq=5)]
    anew += [book(3 + at, 1 + at, bid=f"{99 if at % 2 else 100}.01", seq=5 + at) for at in range(1, 15)]
    for at, each in enumerate(anew[1:], start=1):
        each["msg"]["data"]["b"] = [["100.01", str(at)]]
    found = played(tmp_path, kernel, [*linear, *mixed, *anew])
    depth = column(found, "depth_bid_top5")
    assert depth[3:] == [float(at) for at in [1, *range(1, 14)]][: len(depth[3:])]
    assert found.pipeline.ignored == 0


def test_of_two_depths_the_deeper_is_kept_to(tmp_path: Path, kernel: Kernel) -> None:
    found = case(tmp_path, kernel, "two_depths.jsonl")
    assert column(found, "mid_price", symbol="FFFUSDT") == [100.015, 100.035, 100.055, 100.075]
    assert sum(lane.ignored for lane in found.pipeline.lanes.values()) == 8
    assert found.pipeline.gaps == 0


def test_a_depth_that_falls_silent_gives_way_to_the_other(tmp_path: Path, kernel: Kernel) -> None:
    lines = [book(0, 5, kind="snapshot"), book(1, 6)]
    lines += [book(2 + at, 900 + at, depth=50, bid="99.00", ask="99.02") for at in range(14)]
    lines += [book(16, 914, depth=50, bid="99.00", ask="99.02", kind="snapshot"), book(18, 915, depth=50, bid="99.01")]
    found = played(tmp_path, kernel, lines)
    mid = column(found, "mid_price")
    assert mid[:11] == [100.01] * 11
    assert mid[12:16] == [None] * 4
    assert mid[16:] == [99.01] * 2


def test_two_markets_of_one_name_never_mix(tmp_path: Path, kernel: Kernel) -> None:
    """Spot beside linear: the books' numberings tell them apart once the first goes on after the second's snapshot."""
    linear = [book(0.0, 5_000, kind="snapshot"), *(book(at, 5_000 + at) for at in range(1, 20))]
    spot = [book(0.5, 70_000, bid="80.00", ask="80.02", kind="snapshot")]
    spot += [book(at + 0.5, 70_000 + at, bid="80.00", ask="80.02") for at in range(1, 20)]
    mixed = sorted([*linear, *spot, book(9.7, 5_009, kind="snapshot")], key=lambda each: each["recv_ns"])
    found = played(tmp_path, kernel, mixed)
    mid = column(found, "mid_price")
    assert mid[1:9] == [None] * 8
    assert mid[10:] == [100.01] * (len(mid) - 10)


@pytest.mark.parametrize("linear_between", [False, True])
def test_no_return_is_made_of_two_markets_books(tmp_path: Path, kernel: Kernel, *, linear_between: bool) -> None:
    """The other market's update comes before its snapshot: the book is lost, and the snapshot repairs another one."""
    lines = [book(at, 5_000 + at, kind="delta" if at else "snapshot") for at in range(8)]
    lines.append(book(8.0, 70_000, bid="80.00", ask="80.02"))
    if linear_between:
        lines.append(book(8.1, 5_008))
    lines += [
        book(8.2 + at, 70_001 + at, bid="80.00", ask="80.02", kind="delta" if at else "snapshot") for at in range(6)
    ]
    lines += [book(14.5, 5_020, kind="snapshot"), *(book(14.5 + at, 5_020 + at) for at in range(1, 6))]
    found = played(tmp_path, kernel, lines)
    returns = [each for each in column(found, "returns_3s") if each is not None]
    assert returns
    assert set(returns) == {0.0}


def test_a_return_bridges_a_gap_that_the_same_book_repairs(tmp_path: Path, kernel: Kernel) -> None:
    lines = [book(at, 100 + at, kind="delta" if at else "snapshot") for at in range(8)]
    lines += [book(8.1, 120), book(8.3, 130, bid="100.01", kind="snapshot"), book(10, 131), book(12, 132)]
    returns = column(played(tmp_path, kernel, lines), "returns_3s")
    assert returns[8] == pytest.approx(0.005 / 100.01)
    assert returns[9] is not None


def test_a_restart_of_the_numbering_begins_the_books_history_anew(tmp_path: Path, kernel: Kernel) -> None:
    lines = [book(at, 100 + at, kind="delta" if at else "snapshot") for at in range(8)]
    lines += [book(8 + at, 1 + at, bid="80.00", ask="80.02", kind="delta" if at else "snapshot") for at in range(8)]
    found = played(tmp_path, kernel, lines)
    assert set(column(found, "returns_3s")) == {None, 0.0}
    assert None not in column(found, "mid_price")


def test_without_trades_nothing_is_said_of_them(tmp_path: Path, kernel: Kernel) -> None:
    """0 is what is traded while trades arrive: with none for five minutes, or never any, it is unknown."""
    lines = [book(at * 10, 5 + at, kind="delta" if at else "snapshot") for at in range(70)]
    for name in ("never", "once"):
        (tmp_path / name).mkdir()
    found = played(tmp_path / "never", kernel, lines)
    assert set(column(found, "volume_3s")) == set(column(found, "trade_count_3s")) == {None}
    assert set(statuses(found, "orderflow")) == {"NO_DATA"}
    found = played(tmp_path / "once", kernel, [*lines[:2], trades(15, 4), *lines[2:]])
    volume = column(found, "volume_3s")
    assert volume[:15] == [None] * 15
    assert volume[15:18] == [4.0] * 3
    assert volume[18:315] == [0.0] * 297
    assert volume[315:] == [None] * len(volume[315:])


def test_a_market_below_one_whose_sizes_have_two_decimals_is_taken_whole(tmp_path: Path, kernel: Kernel) -> None:
    found = case(tmp_path, kernel, "cheap_spot.jsonl")
    assert column(found, "mid_price", symbol="AAAUSDT") == [0.0732] * 3
    assert column(found, "depth_bid_top5", symbol="AAAUSDT") == [910.2] * 3
    assert column(found, "volume_3s", symbol="AAAUSDT")[2] == 33.75


def test_the_first_price_decides_nothing_at_a_peg(tmp_path: Path, kernel: Kernel) -> None:
    below, above = (case(tmp_path, kernel, f"peg_{side}.jsonl").rows("QQQUSDT") for side in ("below", "above"))
    assert len(below) == 5
    is_vwap = np.array([name.startswith("vwap") for name in kernel.feature_set.columns])
    assert np.array_equal(below.values[:, ~is_vwap], above.values[:, ~is_vwap], equal_nan=True)
    assert np.isfinite(below.values[1:, kernel.feature_set.columns.index("mid_price")]).all()


def test_an_empty_first_snapshot_is_a_valid_book_that_fills(tmp_path: Path, kernel: Kernel) -> None:
    found = case(tmp_path, kernel, "empty_first.jsonl")
    assert column(found, "mid_price", symbol="JJJUSDT") == [None, None, 7.005, 7.0055, 7.0055, 7.0055]
    assert statuses(found, "price", symbol="JJJUSDT")[:2] == ["NO_DATA"] * 2
    assert found.pipeline.gaps == 0


def test_a_market_that_never_has_a_price_has_rows_and_no_error(tmp_path: Path, kernel: Kernel) -> None:
    empty = [
        line(
            at, {"topic": f"orderbook.50.{SYMBOL}", "type": "snapshot", "data": {"s": SYMBOL, "b": [], "a": [], "u": 1}}
        )
        for at in range(4)
    ]
    found = Played(tmp_path / "out", kernel, write_recording(tmp_path / "empty.jsonl.gz", empty))
    assert statuses(found, "price") == ["NO_DATA"] * 3


def test_a_book_is_in_no_row_of_a_gap(tmp_path: Path, kernel: Kernel) -> None:
    """What stands under the status GAP is unknown in every column of the group."""
    lines = [book(0, 5, kind="snapshot"), book(2, 9), book(4, 20, kind="snapshot"), book(6, 21)]
    rows = played(tmp_path, kernel, lines).rows(SYMBOL)
    for at, group in enumerate(kernel.feature_set.groups):
        if group.name in {"price", "orderbook"}:
            assert np.isnan(rows.values[rows.status[:, at] == GAP][:, list(group.indices)]).all()
