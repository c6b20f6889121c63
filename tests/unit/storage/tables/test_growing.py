"""A table that grows is what all its files say, to the bit, whatever became of them between two looks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from market.clock import SystemClock
from storage.tables import growing
from storage.tables.digests import digest_of
from storage.tables.growing import GrowingTables
from storage.tables.mapping import TableMapping, load_mapping
from storage.tables.reading import Table, read_table

MAPPING = """
table: daily_bars
path: "*.csv"
key: ticker
event_time: date
known_time: published
columns: {close: Close}
"""
BARS = ("A,2026-01-05,2026-01-05T17:00,1", "B,2026-01-05,2026-01-05T17:00,2", "A,2026-01-06,2026-01-06T17:00,3")
LONG_AGO_S = 1_700_000_000


@pytest.fixture
def mapping(tmp_path: Path) -> TableMapping:
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    write(tmp_path / "1.csv", BARS)
    return load_mapping(tmp_path / "mapping.yaml")


def write(file: Path, lines: Sequence[str], changed_s: int = LONG_AGO_S) -> None:
    file.write_text("ticker,date,published,Close\n" + "\n".join(lines) + "\n")
    os.utime(file, (changed_s, changed_s))


def said(table: Table) -> tuple[object, ...]:
    """All that a table says."""
    rows = {
        key: [each.tolist() for each in (of.event_ns, of.known_ns, *of.columns.values(), np.array(of.item))]
        for key, of in table.rows.items()
    }
    return rows, list(table.rows), table.report, table.ends


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files of every reading."""
    found: list[list[str]] = []

    def counted(mapping: TableMapping, files: Sequence[Path] | None = None) -> Table:
        found.append([file.name for file in (mapping.files() if files is None else files)])
        return read_table(mapping, files)

    monkeypatch.setattr(growing, "read_table", counted)
    return found


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("2.csv", ["A,2026-01-07,2026-01-07T17:00,4", "0,2026-01-07,2026-01-07T17:00,5"]),
        ("2.csv", ["A,2026-01-06,2026-01-08T17:00,9", "B,2026-01-02,2026-01-08T17:00,9", "B,x,2026-01-08T17:00,9"]),
        ("2.csv", ["A,2026-01-07,2026-01-07T17:00,4", "A,2026-01-07,2026-01-07T17:00,5", "A,2026-01-06,2026-01-09,7"]),
    ],
)
def test_of_a_table_that_grew_only_what_was_added_is_read(
    mapping: TableMapping, reads: list[list[str]], name: str, lines: list[str]
) -> None:
    tables = GrowingTables(SystemClock())
    assert said(tables.read(mapping)) == said(read_table(mapping))
    tables.read(mapping)
    write(mapping.path.parent / name, lines)
    assert said(tables.read(mapping)) == said(read_table(mapping))
    write(mapping.path.parent / "3.csv", ["B,2026-02-09,2026-02-09T17:00,8"])
    assert said(tables.read(mapping)) == said(read_table(mapping))
    assert reads == [["1.csv"], [name], ["3.csv"]]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("1.csv", [*BARS[:2], "A,2026-01-06,2026-01-06T17:00,4"]),
        ("0.csv", ["A,2026-01-07,2026-01-07T17:00,4"]),
        ("2.csv", ["A,2026-01-02,2026-01-05T18:00,4"]),
        ("2.csv", ["A,2026-01-06,2026-01-06T17:00,4"]),
    ],
    ids=["changed", "before the others", "late", "the same again"],
)
def test_where_more_than_its_end_changed_all_is_read(
    mapping: TableMapping, reads: list[list[str]], name: str, lines: list[str]
) -> None:
    tables = GrowingTables(SystemClock())
    tables.read(mapping)
    write(mapping.path.parent / name, lines, LONG_AGO_S + 1)
    assert said(tables.read(mapping)) == said(read_table(mapping))
    assert reads[-1] == sorted({"1.csv", name})


def test_a_file_that_is_gone_or_was_written_just_now_is_read_again(
    mapping: TableMapping, reads: list[list[str]]
) -> None:
    tables = GrowingTables(SystemClock())
    late = mapping.path.parent / "2.csv"
    write(late, ["A,2026-01-07,2026-01-07T17:00,4"])
    tables.read(mapping)
    late.unlink()
    assert said(tables.read(mapping)) == said(read_table(mapping))
    late.write_text("ticker,date,published,Close\nA,2026-01-07,2026-01-07T17:00,4\n")
    for _ in range(2):
        assert tables.read(mapping).rows["A"].columns["close"].tolist() == [1, 3, 4]
    assert reads == [["1.csv", "2.csv"], ["1.csv"], ["2.csv"], ["2.csv"]]


def test_digests_of_rows_that_grew_are_those_of_rows_that_were_read_at_once(
    mapping: TableMapping, tmp_path: Path
) -> None:
    tables = GrowingTables(SystemClock())
    before = tables.read(mapping).rows["A"]
    told = [digest_of(before, count) for count in (2, 1)]
    write(tmp_path / "2.csv", ["A,2026-01-07,2026-01-07T17:00,4", "A,2026-01-08,2026-01-08T17:00,5"])
    grown, whole = tables.read(mapping).rows["A"], read_table(mapping).rows["A"]
    assert grown is not whole
    assert [digest_of(grown, count) for count in (4, 2, 1, 3)] == [digest_of(whole, count) for count in (4, 2, 1, 3)]
    assert told == [digest_of(whole, count) for count in (2, 1)]
    assert len({digest_of(whole, count) for count in (1, 2, 3, 4)}) == 4
