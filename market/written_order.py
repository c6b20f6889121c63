"""The order in which files were written: of two rows of one event time and one created time the last written stands.

Every reader of the feature log goes by it, and so do those of its Iceberg tables. Rows of one time are files of one
folder, the one of their UTC date. There a file's generation, which its metadata states, is one above those of the files
whose period it overlaps; where two have the same, no row is in both, unless their writers knew nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GENERATION: Final = "generation"
"""The key of the generation, a decimal number, in a file's metadata; the partition by it of a table."""


def stated_generation(metadata: Mapping[bytes, bytes] | None) -> int | None:
    """What a file's metadata says; None where it says nothing."""
    stated = (metadata or {}).get(GENERATION.encode(), b"").decode()
    return int(stated) if stated.isdecimal() else None


def written_order(path: str, generation: int) -> tuple[str, int, str]:
    """The key that sorts files by folder, and in each in the order in which they were written."""
    folder, _, name = path.rpartition("/")
    return folder, generation, name
