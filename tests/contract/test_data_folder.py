"""The database belongs to one raw folder: another is refused by name, until it is adopted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from market.errors import Conflict, CorruptStore, StoreUnavailable
from storage.database.data_folder import FILE_NAME, adopt_folder, claim_folder, read_folder_id


def test_the_first_folder_has_the_database_and_another_is_refused_by_name(fresh_url: str, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    claim_folder(fresh_url, first)
    claim_folder(fresh_url, first)
    with pytest.raises(Conflict) as refused:
        claim_folder(fresh_url, other)
    told = str(refused.value)
    assert f"raw folder {other}: " in told
    assert f"belongs to, {first} on " in told
    assert f"with id {read_folder_id(first)}, had no id" in told
    assert "feature-service db adopt-folder" in told
    assert not other.exists(), "what is refused leaves nothing"


def test_a_folder_of_another_database_is_refused_with_its_id(fresh_url: str, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    claim_folder(fresh_url, other)
    adopt_folder(fresh_url, first)
    with pytest.raises(Conflict, match=f"had id {read_folder_id(other)}"):
        claim_folder(fresh_url, other)
    assert adopt_folder(fresh_url, other) == read_folder_id(other)
    claim_folder(fresh_url, other)


def test_a_folder_that_was_moved_is_known_by_its_id_and_named_where_it_is(fresh_url: str, tmp_path: Path) -> None:
    claim_folder(fresh_url, tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    claim_folder(fresh_url, tmp_path / "after")
    with pytest.raises(Conflict, match=f"belongs to, {tmp_path / 'after'} on "):
        claim_folder(fresh_url, tmp_path / "before")


def test_processes_that_start_at_once_on_one_folder_agree_and_on_two_one_has_it(fresh_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: claim_folder(fresh_url, tmp_path / "shared"), range(8)))
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [FILE_NAME]
    adopt_folder(fresh_url, tmp_path / "shared")

    def claims(name: str) -> bool:
        try:
            claim_folder(fresh_url, tmp_path / name)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(claims, ("shared", "second"))) == [True, False]


def test_an_id_that_cannot_be_read_names_its_file(fresh_url: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff not an id")
    with pytest.raises(CorruptStore, match=f"{tmp_path / FILE_NAME}: must hold the id of its folder, was"):
        claim_folder(fresh_url, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StoreUnavailable, match=str(tmp_path / FILE_NAME)):
        claim_folder(fresh_url, tmp_path)
