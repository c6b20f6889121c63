"""A dump holds what the database held, and fills an empty one alone."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from market.errors import Conflict, NotFound, StoreUnavailable
from runtime.wheel_files import postgres_program
from storage.database.dumps import restore_dump, write_dump
from storage.database.metadata import Metadata
from tests.dataset_record import RECORD
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.manifest import MANIFEST_NAME


def program(name: str, url: str) -> str:
    return postgres_program(name, is_configured=make_url(url).host is not None)


def test_an_empty_database_gets_what_was_dumped_and_its_datasets_are_found_where_they_lie_now(
    metadata: Metadata, fresh_url: str, empty_url: str, tmp_path: Path
) -> None:
    metadata.create_dataset(replace(RECORD, status="ready", path="/before/ds-1"))
    metadata.create_dataset(replace(RECORD, dataset_id="ds-2", status="ready", path="/before/ds-2"))
    write_dump(fresh_url, tmp_path / "dump", pg_dump=program("pg_dump", fresh_url))
    restore_dump(empty_url, tmp_path / "dump", pg_restore=program("pg_restore", empty_url))
    (tmp_path / "ds-1").mkdir()
    (tmp_path / "ds-1" / MANIFEST_NAME).touch()
    with closing(Metadata(empty_url)) as restored:
        assert restored.get_dataset("ds-1") == metadata.get_dataset("ds-1")
        assert restored.move_datasets(Datasets(tmp_path).find) == 1
        assert restored.get_dataset("ds-1").path == str(tmp_path / "ds-1")
        assert restored.get_dataset("ds-2").path == "/before/ds-2"
    with pytest.raises(Conflict, match=r"must be empty to be filled from a dump, had \d+ tables"):
        restore_dump(empty_url, tmp_path / "dump", pg_restore=program("pg_restore", empty_url))


def test_what_is_no_dump_is_refused_in_the_words_of_the_program(empty_url: str, tmp_path: Path) -> None:
    restore = program("pg_restore", empty_url)
    with pytest.raises(NotFound, match="nothing: must be a file that"):
        restore_dump(empty_url, tmp_path / "nothing", pg_restore=restore)
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(StoreUnavailable, match=r"pg_restore: must end without an error, .* not appear to be a valid"):
        restore_dump(empty_url, tmp_path / "rubbish", pg_restore=restore)
