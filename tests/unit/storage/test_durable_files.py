"""Durable files: a replacement happens as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from storage.durable_files import replace_file


def test_a_replacement_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    replace_file(path, lambda file: file.write(b"old"))

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(StoreUnavailable, match="no room"):
        replace_file(path, lambda _: fail(OSError("no room")))
    with pytest.raises(ZeroDivisionError):
        replace_file(path, lambda _: fail(ZeroDivisionError()))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
