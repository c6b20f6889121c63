"""Archives: where a daily file is looked for, and how it ends where there is none."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

import pytest

from backfill.bybit.archive import MOST_ATTEMPTS, Archive
from market.errors import NotFound, StoreUnavailable

SYMBOL: Final = "DOGEUSDT"
DAY: Final = "2025-05-31"


@pytest.mark.parametrize("folder", [f"{SYMBOL}/", ""])
@pytest.mark.parametrize("address", ["{path}", "file://{path}", "file://{path}/"])
def test_a_file_comes_as_it_lies_in_a_folder_or_an_object_store(address: str, folder: str, tmp_path: Path) -> None:
    name = f"{folder}{SYMBOL}{DAY}.csv.gz"
    content = gzip.compress(b"timestamp\n" * 300_000, compresslevel=0)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    archive = Archive(address.format(path=tmp_path))
    with archive.trades(SYMBOL, DAY) as found:
        assert found.path.read_bytes() == content
        assert found.source == f"archive {name}"
    with pytest.raises(NotFound, match="must hold"), archive.trades(SYMBOL, "2025-06-01"):
        pass


def test_an_object_store_that_does_not_answer_is_tried_again_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    waited: list[int] = []
    unknown = Archive("nowhere://key:secret@bucket/path?token=secret", waited.append)
    told = rf"^archive nowhere://bucket/path/{SYMBOL}/{DAY}_{SYMBOL}_ob500.data.zip: must be http, https, s3"
    with pytest.raises(StoreUnavailable, match=told) as caught, unknown.orderbook(SYMBOL, DAY):
        pass
    assert "secret" not in str(caught.value)
    assert waited == []
    name = tmp_path / SYMBOL / f"{DAY}_{SYMBOL}_ob500.data.zip"
    name.parent.mkdir()
    name.symlink_to("/proc/self/mem")  # whose first byte cannot be read
    broken = Archive(f"file://{tmp_path}", waited.append)
    with pytest.raises(StoreUnavailable, match="no answer"), broken.orderbook(SYMBOL, DAY):
        pass
    assert waited == list(range(1, MOST_ATTEMPTS))
