"""What a folder takes on the disk: a file with two links, as published files have, takes its room once."""

from __future__ import annotations

import os
from pathlib import Path

from api.stats import _folder


def test_a_file_with_two_links_takes_its_room_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100)
    (tmp_path / "two").write_bytes(b"y" * 10)
    os.link(tmp_path / "one", tmp_path / "again")
    assert _folder(tmp_path) == {"size_bytes": 110, "file_count": 3}
