"""A file of raw Parquet is the same however its records came."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from market.events import EVENT, ORDERBOOK
from storage.raw.file import ROW_GROUP_ROWS, PartFile


@pytest.mark.parametrize("count", [ROW_GROUP_ROWS, ROW_GROUP_ROWS + 5])
def test_row_groups_do_not_depend_on_how_the_records_were_cut(tmp_path: Path, count: int) -> None:
    records = np.zeros(count, EVENT)
    records["seq"] = records["recv_ns"] = np.arange(count) // 40
    records["kind"] = ORDERBOOK
    digests = set()
    for number, cuts in enumerate(([], [1], [ROW_GROUP_ROWS - 1, ROW_GROUP_ROWS], range(50_000, count, 50_000))):
        file = PartFile(tmp_path / f"part-{number}.parquet", {})
        for begin, end in pairwise([0, *cuts, count]):
            piece = records[begin:end].copy()
            file.append(piece)
            piece["px"] = 1  # what is appended is copied
        staged, stated = file.finish(tmp_path, "raw_orderbook_deltas")
        assert stated.records == count
        digests.add(stated.sha256)
        staged.unlink()
    assert len(digests) == 1
