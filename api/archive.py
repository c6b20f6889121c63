"""A zip made while it is sent: no temporary file, and no more memory than one chunk."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence

from storage.places import Place, file_pieces


def zip_chunks(paths: Sequence[Place], folder: Place) -> Iterator[bytes]:
    """The bytes of a zip of each file under its path in the folder, stored as it is: Parquet is compressed already."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            member.file_size = path.stat().st_size  # beyond 2 GB it takes other headers
            with archive.open(member, "w") as file:
                for piece in file_pieces(path):
                    file.write(piece)
                    yield outlet.take()
    yield outlet.take()


class _Outlet:
    """What zipfile writes to; it cannot seek, so zipfile states each size after the bytes."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, chunk: bytes) -> int:
        self._held += chunk
        return len(chunk)

    def flush(self) -> None:
        """Nothing is behind it."""

    def close(self) -> None:
        """Nothing is held open."""

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken
