"""Where a store's files are, told by an address; an object store is not opened by that."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from market.errors import InvalidRequest, StoreUnavailable
from storage.features.log import FeatureLog
from storage.places import local, matching, place_of
from transforms.rows import FeatureGroup, FeatureSet

OF_NO_ADDRESS = "address: must be s3://bucket or s3://bucket/prefix, without a query, was"


def test_an_address_says_where(tmp_path: Path) -> None:
    assert place_of(str(tmp_path)) == tmp_path
    place = place_of("s3://bucket/some/prefix/")
    assert [str(place / "x=1"), str((place / "x=1").parent), (place / "x=1").relative_to(place).as_posix()] == [
        "s3://bucket/some/prefix/x=1",
        "s3://bucket/some/prefix",
        "x=1",
    ]
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301  # our own
    assert sorted([place / "b", place / "a"]) == [place / "a", place / "b"]


@pytest.mark.parametrize("address", ["s3://", "s3://UPPER/x", "s3://bucket/x?region=y", "s3://key:secret@bucket/x"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match=OF_NO_ADDRESS):
        place_of(address)


@pytest.mark.parametrize("address", ["gs://bucket/x", "S3://bucket/x", "s3:/bucket/x", "file:///x"])
def test_an_address_of_another_scheme_is_no_folder_of_that_name(address: str) -> None:
    with pytest.raises(InvalidRequest, match=f"address: must be a path or s3://bucket/prefix, was '{address}'"):
        place_of(address)


def test_an_object_is_no_file_of_this_machine(tmp_path: Path) -> None:
    place = place_of("s3://bucket/some/prefix")
    with pytest.raises(TypeError, match="s3://bucket/some/prefix: must be a file of this machine, was an object"):
        open(place)  # noqa: PTH123, SIM115
    with pytest.raises(InvalidRequest, match="must be on this machine, was in an object store"):
        local(place)
    assert local(tmp_path) == tmp_path


@pytest.mark.parametrize("pattern", ["*.parquet", "date=*/*.parquet"])
def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, pattern: str) -> None:
    unreadable = tmp_path / ("date=1" if "/" in pattern else "folder")
    unreadable.symlink_to(unreadable)  # to itself: whoever runs the tests cannot read it
    with pytest.raises(StoreUnavailable, match=f"{unreadable}: cannot be read: .*symbolic links"):
        matching(tmp_path if "/" in pattern else unreadable, pattern)
    (tmp_path / "date=2").write_text("a file")
    assert matching(tmp_path / "nowhere", pattern) == matching(tmp_path / "date=2", pattern) == []


def test_the_feature_log_is_not_empty_where_it_cannot_be_read(tmp_path: Path) -> None:
    group = FeatureGroup("price", "aaaa", ("mid",), (0,))
    symbol = FeatureLog(tmp_path).of_symbol(group, "BTCUSDT")
    symbol.parent.mkdir(parents=True)  # type: ignore[union-attr]  # of this machine
    symbol.symlink_to(symbol)  # type: ignore[union-attr]
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        FeatureLog(tmp_path).last_served_row_ns("BTCUSDT", FeatureSet("1.0.0", ("mid",), (group,), "cccc"))


def test_a_process_without_an_object_store_imports_no_client_of_one() -> None:
    asks = "import sys, storage.features.log, storage.raw.parquet; print('obstore' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"
