"""Merging parts changes no answer, whatever was written in which order, and while others read."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.merging import KEPT_NS, merge_day, merge_days
from storage.features.part_times import part_times
from storage.features.parts import group_folder, parts_in_order
from storage.features.rebuilt_days import write_rebuilt_day
from storage.features.row_times import read_row_times
from storage.places import local
from tests.examples import examples
from tests.parts_before import restate_before
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOL = "BTCUSDT"
DATE = "2024-10-04"
MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid",), (0,))
SET = FeatureSet("2.0.0", ("mid",), (PRICE,), "cccc")
WIDER = FeatureSet("2.1.0", ("mid", "spread"), (FeatureGroup("price", "aaaa", ("mid", "spread"), (0, 1)),), "dddd")

# What is written: the first second, how many, how late they could be read, in s; served, in the form of before,
# for more columns or rebuilt.
WRITES = st.tuples(
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from((0, 0, 1, 3)),
    st.sampled_from(("served", "before", "wider", "rebuilt")),
)


def rows_of(chosen: FeatureSet, first: int, count: int, number: int) -> FeatureRows:
    row_ns = MIDNIGHT_NS + (first + np.arange(count)) * SECOND_NS
    values = np.tile(number * 1000.0 + np.arange(count), (len(chosen.columns), 1)).T
    return FeatureRows(SYMBOL, chosen, row_ns, np.ascontiguousarray(values), np.zeros((count, 1), np.int8))


def write(root: Path, number: int, first: int, count: int, late_s: int, kind: str) -> None:
    rows = rows_of(WIDER if kind == "wider" else SET, first, count, number)
    available_ns = rows.row_ns + late_s * SECOND_NS
    if kind == "rebuilt":
        made_of = {"price": f"{number:04x}"}
        write_rebuilt_day(FeatureLog(root), SYMBOL, SET.groups, iter([(rows, available_ns)]), date=DATE, inputs=made_of)
        return
    parts = set(root.rglob("part-*.parquet"))
    with FeatureLogWriter(root) as log:
        log.append(rows, available_ns)
    if kind == "before":
        [part] = set(root.rglob("part-*.parquet")) - parts
        restate_before(part)


def day_folder(root: Path) -> Path:
    return group_folder(root, PRICE) / f"symbol={SYMBOL}" / f"date={DATE}"


def answers(root: Path) -> list[object]:
    """Everything that a reader can find: by event and created time the value that wins, and the log's own readings."""
    found: dict[tuple[int, int], float] = {}
    for path in parts_in_order(day_folder(root).parent, None, None):
        table = pq.read_table(local(path), partitioning=None)
        keys = (times.tolist() for times in part_times(table))
        found |= dict(zip(zip(*keys, strict=True), table.column("mid").to_pylist(), strict=True))
    told: list[object] = [found]
    for chosen in (SET, WIDER):
        for served_only in (False, True):
            rows, available_ns = FeatureLog(root).read(
                SYMBOL, chosen, from_ns=None, to_ns=None, served_only=served_only
            )
            told.append((rows.row_ns.tolist(), rows.values.tolist(), available_ns.tolist()))
        times = read_row_times(FeatureLog(root), SYMBOL, chosen, from_ns=MIDNIGHT_NS, to_ns=MIDNIGHT_NS + DAY_NS)
        told.append([each.tolist() for each in astuple(times)])
    return told


@settings(max_examples=examples(30))
@given(st.lists(st.one_of(WRITES, st.sampled_from(("merge", "merge an hour later"))), min_size=1, max_size=12))
def test_no_answer_changes_by_merging_at_any_moment(steps: list[tuple[int, int, int, str] | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        now_ns = 0
        for number, step in enumerate(steps):
            if not isinstance(step, str):
                write(root, number, *step)
                continue
            if not day_folder(root).is_dir():
                continue
            now_ns += KEPT_NS if step == "merge an hour later" else 1
            before = answers(root)
            merge_day(day_folder(root), now_ns=now_ns)
            assert answers(root) == before


def test_a_day_of_many_parts_becomes_one_an_hour_later(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, number, number * 5, 5, 0, "served")
    before = answers(tmp_path)
    done = merge_days(tmp_path, now_ns=0)
    assert (done.days, done.parts) == (1, 20)
    assert len(list(day_folder(tmp_path).glob("*.parquet"))) == 21
    assert merge_days(tmp_path, now_ns=1).parts == 0
    assert merge_days(tmp_path, ["ETHUSDT"], now_ns=KEPT_NS).days == 0
    merge_days(tmp_path, [SYMBOL], now_ns=KEPT_NS)
    [path] = day_folder(tmp_path).iterdir()
    assert path.name == f"part-{MIDNIGHT_NS}-{MIDNIGHT_NS + 99 * SECOND_NS}.parquet"
    assert answers(tmp_path) == before


def test_a_merge_that_was_killed_before_its_part_was_there_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1, 0, 10, 0, "served")
    write(tmp_path, 2, 3, 4, 1, "served")
    before = answers(tmp_path)

    def killed(_staged: dict[Path, Path]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("storage.features.merging.publish_files", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_day(day_folder(tmp_path), now_ns=0)
    for now_ns in (1, KEPT_NS + 2, 2 * KEPT_NS + 3):
        # The merged part has the name of the first one, which is there already.
        assert answers(tmp_path) == before
        merge_day(day_folder(tmp_path), now_ns=now_ns)
    assert answers(tmp_path) == before
    assert len(list(day_folder(tmp_path).glob("*.parquet"))) == 1


def test_reads_go_on_while_parts_are_merged_and_removed(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, number, number * 2, 2, 0, "served")
    expected, _ = FeatureLog(tmp_path).read(SYMBOL, SET, from_ns=None, to_ns=None)
    until_ns = int(expected.row_ns[-1]) + 1
    failures: list[BaseException] = []
    is_over = threading.Event()

    def read_on() -> None:
        try:
            while not is_over.is_set():
                rows, _ = FeatureLog(tmp_path).read(SYMBOL, SET, from_ns=None, to_ns=until_ns)
                assert np.array_equal(rows.row_ns, expected.row_ns)
                assert np.array_equal(rows.values, expected.values)
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            failures.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    for number in range(30):
        write(tmp_path, 100 + number, 80 + number, 1, 0, "served")
        merge_day(day_folder(tmp_path), now_ns=number * KEPT_NS)
        if failures:
            break
    is_over.set()
    reader.join()
    assert not failures, failures
