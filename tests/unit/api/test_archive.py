"""The zip that is made while it is sent."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

from api.archive import zip_chunks
from storage.objects.path import PIECE_BYTES


def test_the_chunks_are_a_zip_of_the_files_and_none_holds_much_more_than_one_read(tmp_path: Path) -> None:
    contents = {
        "empty.parquet": b"",
        "fold-000/small.json": b"{}",
        "large.parquet": random.Random(1).randbytes(2 * PIECE_BYTES + 1),
    }
    (tmp_path / "fold-000").mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    chunks = list(zip_chunks([tmp_path / name for name in contents], tmp_path))
    assert max(map(len, chunks)) < PIECE_BYTES + 1000
    with zipfile.ZipFile(io.BytesIO(b"".join(chunks))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
