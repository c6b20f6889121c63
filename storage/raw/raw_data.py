"""Raw data: one folder of raw Parquet, opened; its manifest is read and hashed once a version of each entry."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from market.errors import NotFound
from market.instruments import Instrument
from storage.durable_files import FileVersion, file_version
from storage.raw.manifest import RawPart, common_scale, entry_paths, read_entry


class RawData:
    """What the manifest of one folder names; safe among threads. What is written meanwhile is seen by the next call.

    folder: where the paths of a part begin. A copy in another process has read nothing yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, dict[Path, tuple[FileVersion, RawPart]]] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.folder,)

    def parts(self, symbol: str) -> list[RawPart]:
        """The symbol's parts in order of seq; none when it has none. Raises CorruptStore, InvalidRequest."""
        before = self._read.get(symbol, {})
        now: dict[Path, tuple[FileVersion, RawPart]] = {}
        for path in entry_paths(self.folder, symbol):
            try:
                version = file_version(path)
            except FileNotFoundError:  # retired since it was listed
                continue
            known = before.get(path)
            now[path] = known if known is not None and known[0] == version else (version, read_entry(path, symbol))
        self._read[symbol] = now  # what is gone is forgotten
        return sorted((part for _, part in now.values()), key=lambda part: part.first_seq)

    def symbols(self) -> list[str]:
        """The symbols that have raw Parquet, sorted."""
        return sorted({path.parent.name.removeprefix("symbol=") for path in entry_paths(self.folder, None)})

    def period(self, symbol: str) -> tuple[int, int]:
        """``recv_ns`` of the symbol's first and of its last record. Raises NotFound when it has none, CorruptStore."""
        parts = self._some_parts(symbol)
        return min(part.first_ns for part in parts), max(part.last_ns for part in parts)

    def instrument(self, symbol: str) -> Instrument:
        """The scale that every part of the symbol states.

        Raises:
            NotFound: the symbol has no raw Parquet.
            CorruptStore: two parts disagree, or one states no possible scale.
        """
        return common_scale(self._some_parts(symbol))

    def _some_parts(self, symbol: str) -> list[RawPart]:
        parts = [part for part in self.parts(symbol) if part.files]
        if not parts:
            raise NotFound(f"raw Parquet of {symbol}: must exist, was none in {self.folder}")
        return parts
