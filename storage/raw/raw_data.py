"""Raw data: raw Parquet of one place, opened; its manifest is read and hashed once a version of each entry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from market.errors import NotFound
from market.instruments import Instrument
from storage.durable_files import FileVersion, file_version
from storage.places import Place
from storage.raw.manifest import RawFile, RawPart, common_scale, entry_paths, read_entry


@dataclass(frozen=True, slots=True)
class PartsOf:
    """Parts, and the place in which their files are."""

    place: Place
    parts: tuple[RawPart, ...]


class RawData:
    """What the manifest of one place names; safe among threads. What is written meanwhile is seen by the next call.

    folder: of this machine, where tapes and pins are. place: where the paths of a part begin; None is the folder.
    beside: parts of another place, as its manifest had them, to which it adds. A copy in another process has read
    nothing yet.
    """

    def __init__(self, folder: Path, place: Place | None = None, beside: PartsOf | None = None) -> None:
        self.folder = folder
        self.place: Place = folder if place is None else place
        self._beside = beside
        self._of_beside = {file.path for part in (beside.parts if beside else ()) for file in part.files}
        self._read: dict[str, dict[Place, tuple[FileVersion, RawPart]]] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[Path, Place, PartsOf | None]]:
        return type(self), (self.folder, self.place, self._beside)

    def path(self, stated: RawFile) -> Place:
        """Where a file of one of the parts is."""
        if self._beside is not None and stated.path in self._of_beside:
            return self._beside.place / stated.path
        return self.place / stated.path

    def parts(self, symbol: str) -> list[RawPart]:
        """The symbol's parts in order of seq; none when it has none. Raises CorruptStore, InvalidRequest."""
        before = self._read.get(symbol, {})
        now: dict[Place, tuple[FileVersion, RawPart]] = {}
        for path in entry_paths(self.place, symbol):
            try:
                version = file_version(path)
            except FileNotFoundError:  # retired since it was listed
                continue
            known = before.get(path)
            now[path] = known if known is not None and known[0] == version else (version, read_entry(path, symbol))
        self._read[symbol] = now  # what is gone is forgotten
        beside = () if self._beside is None else self._beside.parts
        known_beside = [part for part in beside if part.symbol == symbol]
        return sorted([*known_beside, *(part for _, part in now.values())], key=lambda part: part.first_seq)

    def symbols(self) -> list[str]:
        """The symbols that have raw Parquet, sorted."""
        beside = () if self._beside is None else self._beside.parts
        own = (path.parent.name.removeprefix("symbol=") for path in entry_paths(self.place, None))
        return sorted({*own, *(part.symbol for part in beside)})

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
            raise NotFound(
                f"raw Parquet of {symbol}: must exist, was none in {self.place}, which holds "
                f"{', '.join(self.symbols()) or 'nothing'}; feature-service replay, run or backfill run writes it"
            )
        return parts
